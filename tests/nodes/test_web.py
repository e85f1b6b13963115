"""The browser page: who is let in, what it shows, and a real Chromium that looks at it."""

from __future__ import annotations

import contextlib
import html
import logging
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calib.document import rig_document
from calib.rig import Rig
from capture.control import ControlServer
from capture.pose_wire import META, POSES, TRUTH, PosePublisher
from capture.rundir import RunDirectory
from nodes import web_gate
from nodes.feed import Feed
from nodes.scene import look
from nodes.web import figures_of, main
from nodes.web_gate import Gate, close_server, open_server
from nodes.web_page import Figures, balls, bars, linear, panel_html, turns
from rigpose import codec
from rigpose.errors import ConfigError, MissingError, RigposeError
from tests.calib.scenes import ring
from tests.capture.poses import COCO17, STANDING_MM, payload, pose_set, stride, subject
from tests.nodes.browser import Browser

CAMERAS = ring(4, radius_mm=3500, height_mm=1700).cameras
FLOOR = Rig(CAMERAS, {"world": "floor"})
NOT_BY_PROXY = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def meta(rig: Rig = FLOOR, name: str = "bench") -> bytes:
    return codec.pack(
        {
            **codec.header("live", "engine", "e", 0),
            "type": "meta",
            "name": name,
            "skeletons": {COCO17.name: COCO17.model_dump(mode="json")},
            "rig": rig_document(rig),
            "calibration_id": rig.calibration_id,
        }
    )


def truth(tick: Any, position_mm: np.ndarray) -> bytes:
    header = codec.header("live", "truth", "t", 1)
    message = {"type": "truth", "tick": tick, "skeleton": COCO17.name, "position_mm": position_mm.astype(np.float32)}
    return codec.pack({**header, **message})


def status(url: str) -> tuple[int, bytes]:
    try:
        with NOT_BY_PROXY.open(url, timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


@pytest.fixture
def server() -> Iterator[tuple[Any, str]]:
    opened, url = open_server()
    yield opened, url
    close_server(opened)


class TestGate:
    @pytest.mark.parametrize("path", ["/secret", "/secret/", "/secret?a=b", "/secret/page.html"])
    def test_the_token_is_the_first_part_of_the_path_and_is_taken_away(self, path: str) -> None:
        assert Gate("secret").inner_path(path) in ("/", "/page.html")

    @pytest.mark.parametrize("path", ["/", "", "/secre", "/secrets/", "/a/secret/", "/?secret", "//secret/", "/séc"])
    def test_anything_else_is_refused(self, path: str) -> None:
        assert Gate("secret").inner_path(path) is None

    def test_the_page_opens_with_the_token_and_not_without(self, server: tuple[Any, str]) -> None:
        _, url = server
        code, page = status(url)
        assert code == 200 and b"<html" in page
        base, token = re.fullmatch(r"(http://127\.0\.0\.1:\d+/)([\w-]{32})/", url).groups()  # type: ignore[union-attr]
        for path in ("", "index.html", token[:-1] + "/", f"?token={token}", f"x/{token}/", token.swapcase() + "/"):
            code, page = status(base + path)
            assert code == 403 and b"<html" not in page, path

    def test_the_websocket_opens_with_the_token_and_not_without(self, server: tuple[Any, str]) -> None:
        import viser
        from websockets.exceptions import InvalidStatus
        from websockets.sync.client import connect
        from websockets.typing import Subprotocol

        _, url = server
        protocols = [Subprotocol(f"viser-v{viser.__version__}")]
        inside = url.replace("http", "ws")
        with connect(inside, subprotocols=protocols, proxy=None) as socket_:
            assert len(socket_.recv(timeout=10)) > 100
        for outside in (inside.rsplit("/", 2)[0] + "/", inside[:-2] + "/"):
            with pytest.raises(InvalidStatus, match="403"):
                connect(outside, subprotocols=protocols, proxy=None)

    def test_only_this_machine_is_served(self, server: tuple[Any, str]) -> None:
        bound = {connection.getsockname()[0] for connection in _sockets(server[0])}
        assert bound == {"127.0.0.1"}

    def test_each_start_has_another_token(self, server: tuple[Any, str]) -> None:
        other, url = open_server()
        close_server(other)
        assert url.rsplit("/", 2)[1] != server[1].rsplit("/", 2)[1]

    def test_the_token_stands_in_no_log(self, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.DEBUG):
            server, url = open_server()
            assert status(url)[0] == 200
            close_server(server)
        assert url.rsplit("/", 2)[1] not in caplog.text

    def test_a_viser_that_does_not_ask_is_not_served(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """As if another version opened its port in another way."""
        monkeypatch.setattr(Gate, "installed", lambda self: contextlib.nullcontext())
        port = web_gate.free_port(None)
        with pytest.raises(RigposeError, match="without asking for the token"):
            open_server(port)
        with pytest.raises(OSError):
            socket.create_connection(("127.0.0.1", port), 2).close()

    def test_nobody_can_lead_the_page_out_of_the_house(self, server: tuple[Any, str]) -> None:
        assert server[0].request_share_url() is None
        assert server[0]._share_tunnel is None

    def test_a_port_in_use_is_an_error_in_one_line(self, free_tcp_port: int) -> None:
        with socket.socket() as other:
            other.bind(("127.0.0.1", free_tcp_port))
            other.listen()
            with pytest.raises(ConfigError, match=rf"port {free_tcp_port}: .*in use.*give another --port"):
                open_server(free_tcp_port)

    @pytest.mark.parametrize("text", ["0", "70000", "abc", "-1"])
    def test_a_port_that_is_none(self, text: str) -> None:
        with pytest.raises(ConfigError, match="is not the number of a port"):
            main([f"--port={text}"])

    def test_the_extra_is_not_installed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "viser", None)
        with pytest.raises(MissingError, match=r"extra web .*rigpose\[web\]"):
            open_server()

    def test_importing_the_view_does_not_import_viser(self) -> None:
        program = "import sys, nodes.web; sys.exit('viser' in sys.modules or 'websockets' in sys.modules)"
        assert subprocess.run([sys.executable, "-c", program], timeout=60).returncode == 0


def _sockets(server: Any) -> list[socket.socket]:
    import psutil

    port = server.get_port()
    found = [c for c in psutil.Process().net_connections("tcp") if c.status == "LISTEN" and c.laddr.port == port]

    class Bound:
        def __init__(self, address: Any) -> None:
            self.getsockname = lambda: address

    return [Bound(connection.laddr) for connection in found]  # type: ignore[misc]


def turned(quaternion: np.ndarray) -> np.ndarray:
    """Where a quaternion takes +z, by its definition q z q*."""
    w, x, y, z = quaternion
    return np.array([2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)])


class TestShapes:
    @given(st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda v: np.linalg.norm(v) > 1e-3))
    def test_a_bar_points_from_its_start_to_its_end(self, direction: tuple[float, ...]) -> None:
        (quaternion,) = turns(np.array([direction]))
        assert np.linalg.norm(quaternion) == pytest.approx(1)
        np.testing.assert_allclose(turned(quaternion), np.array(direction) / np.linalg.norm(direction), atol=1e-6)

    @pytest.mark.parametrize("direction", [(0, 0, 1), (0, 0, -1), (0, 0, 0)])
    def test_up_down_and_nowhere(self, direction: tuple[int, ...]) -> None:
        (quaternion,) = turns(np.array([direction], float))
        assert np.isfinite(quaternion).all()
        if any(direction):
            np.testing.assert_allclose(turned(quaternion), direction, atol=1e-9)

    def test_what_is_not_seen_is_not_drawn_and_nothing_is_nan(self) -> None:
        it = look(subject(STANDING_MM, unseen=(9, 15)), COCO17, 1700.0)
        joints = balls(it.points_mm, it.joint_mm, it.colours)
        bones = bars(it.points_mm[it.bones[:, 0]], it.points_mm[it.bones[:, 1]], it.bone_mm, it.bone_colours)
        hidden = [i for i, bone in enumerate(COCO17.edges) if {9, 15} & set(bone)]
        assert np.flatnonzero(joints.scales.sum(axis=1) == 0).tolist() == [9, 15]
        assert np.flatnonzero(bones.scales.sum(axis=1) == 0).tolist() == hidden
        for instances in (joints, bones):
            assert all(np.isfinite(values).all() for values in (instances.positions, instances.turns, instances.scales))

    def test_a_bar_is_as_long_as_its_bone(self) -> None:
        (scale,) = bars(np.zeros((1, 3)), np.array([[3.0, 0, 4]]), np.array([0.1]), np.ones((1, 3))).scales
        np.testing.assert_allclose(scale, [0.1, 0.1, 5.0])

    def test_colours_are_told_in_linear_light(self) -> None:
        assert linear(np.array([[0.0, 0.5, 1.0]])).tolist() == [[0, 55, 255]]


class TestPanel:
    def test_what_stands_in_it_is_never_run(self) -> None:
        bad = "<script>alert(1)</script>"
        shown = panel_html(Figures(title=bad, state=bad, rows=[(bad, bad)], notes=[bad]))
        assert "<script" not in shown and shown.count(html.escape(bad)) == 5


@pytest.fixture
def run_dir() -> Iterator[RunDirectory]:
    with tempfile.TemporaryDirectory(prefix="rp") as folder:
        yield RunDirectory.create("live", (), Path(folder) / "run")


def heard(feed: Feed, publisher: PosePublisher, messages: list[tuple[bytes, bytes]], seconds: float = 5) -> None:
    """Publish until the feed has something of it."""
    end = time.monotonic() + seconds
    before = feed.received + feed.rejected
    while feed.received + feed.rejected == before:
        assert time.monotonic() < end
        for message in messages:
            publisher.send(*message)
        feed.hear(0.05)


class TestFeed:
    def test_the_panel_says_what_the_newest_pose_says(self, run_dir: RunDirectory) -> None:
        with Feed(run_dir) as feed, PosePublisher(run_dir.endpoint("poses")) as publisher:
            assert figures_of(feed, None).state == "waiting for the engine"
            pose = pose_set(6, (subject(STANDING_MM, unseen=(3,)),), missing=(2,))
            heard(feed, publisher, [(META, meta()), (POSES, payload(pose))])
            figures = figures_of(feed, 12)
        rows = dict(figures.rows)
        assert (figures.title, figures.state, figures.good) == ("bench", "tracked", True)
        assert (rows["joints solved"], rows["cameras"], rows["frames skipped"]) == ("16 of 17", "3 of 4", "12")
        assert (rows["exposure to pose"], rows["frame to pose"], rows["sets"]) == ("22 ms", "20 ms", "7")
        assert rows["residual, median"] == "2.0 px" and "error to the truth" not in rows
        assert figures.notes == ["without cam2"]

    def test_an_old_pose_and_an_empty_set_are_told(self, run_dir: RunDirectory) -> None:
        with Feed(run_dir) as feed, PosePublisher(run_dir.endpoint("poses")) as publisher:
            heard(feed, publisher, [(POSES, payload(pose_set(0)))])
            assert figures_of(feed, None).state == "nobody is seen"
            feed.pose_s -= 3
            figures = figures_of(feed, None)
            assert (figures.state, figures.good) == ("no pose for 3 s", False)

    def test_the_error_to_the_truth_of_the_same_tick(self, run_dir: RunDirectory) -> None:
        with (
            Feed(run_dir) as feed,
            PosePublisher(run_dir.endpoint("poses")) as poses,
            PosePublisher(run_dir.endpoint("truth")) as truths,
        ):
            end = time.monotonic() + 10
            tick = 0
            while feed.mpjpe_mm is None:
                assert time.monotonic() < end
                tick += 1
                there = stride(tick / 5)
                truths.send(TRUTH, truth(tick, there))
                time.sleep(0.005)
                poses.send(POSES, payload(pose_set(tick, (subject(there + [3.0, 0, 4.0], unseen=(2,)),))))
                feed.hear(0.02)
            assert feed.mpjpe_mm == pytest.approx(5.0, abs=0.01)
            assert ("error to the truth", "5.0 mm") in figures_of(feed, None).rows

    @pytest.mark.parametrize(
        "bad", [b"", b"\xc1", truth(1, np.zeros(3)), truth("x", STANDING_MM), codec.pack({"version": 99})]
    )
    def test_what_follows_no_contract_is_counted(self, run_dir: RunDirectory, bad: bytes) -> None:
        with (
            Feed(run_dir) as feed,
            PosePublisher(run_dir.endpoint("poses")) as poses,
            PosePublisher(run_dir.endpoint("truth")) as truths,
        ):
            heard(feed, truths, [(TRUTH, bad)])
            rejected = feed.rejected
            heard(feed, poses, [(POSES, bad)])
            assert feed.rejected > rejected and feed.pose is None


class Engine:
    """Publishes a walking person until it is closed, as an engine would."""

    def __init__(self, run_dir: RunDirectory, rig: Rig = FLOOR, *, missing: tuple[int, ...] = ()) -> None:
        self._endpoint = run_dir.endpoint("poses")
        self._rig, self._missing = rig, missing
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        with PosePublisher(self._endpoint) as publisher:
            seq = 0
            while not self._stop.is_set():
                if seq % 10 == 0:
                    publisher.send(META, meta(self._rig))
                pose = pose_set(seq, (subject(stride(seq / 8)),), missing=self._missing)
                publisher.send(POSES, payload(pose))
                seq += 1
                time.sleep(0.03)

    def close(self) -> None:
        self._stop.set()
        self._thread.join()


class View:
    """`python -m nodes.web`, supervised by this test."""

    def __init__(self, run_dir: RunDirectory) -> None:
        self._server = ControlServer(run_dir.endpoint("control"), "live")
        command = [sys.executable, "-m", "nodes.web", "--run-dir", str(run_dir.path), "--supervised"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.url = ""
        end = time.monotonic() + 40
        while not self.url:
            assert time.monotonic() < end and self.process.poll() is None, self.process.communicate()
            for kind, _, message in self._server.receive():
                if kind == "event" and message["event"] == web_gate.LINK:
                    self.url = message["data"]["url"]
                    self.text = message["text"]
            time.sleep(0.02)

    def counters(self) -> dict[str, Any]:
        self._server.receive()
        (report,) = self._server.reports.values()
        return report.counters

    def stop(self) -> tuple[int, str]:
        self._server.receive()
        (report,) = self._server.reports.values()
        self._server.stop(report)
        out, _ = self.process.communicate(timeout=20)
        return self.process.returncode, out

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()
        self._server.close()


def mass(picture: np.ndarray, side: str) -> np.ndarray:
    """Where the limbs of a side are in a picture: their number of pixels and middle (x, y)."""
    scene = picture[:, : int(0.68 * picture.shape[1])].astype(int)
    blue, green, red = np.moveaxis(scene, -1, 0)
    if side == "left":
        close = (blue > 180) & (green > 130) & (red < blue - 60)
    else:
        close = (red > 190) & (green > 110) & (green < red - 40) & (blue < green - 20)
    found = np.argwhere(close)[:, ::-1]
    return np.array([len(found), *(found.mean(axis=0) if len(found) else (0, 0))])


@pytest.mark.gui
@pytest.mark.process
@pytest.mark.slow
class TestBrowser:
    def test_it_opens_moves_closes_reopens_and_outlives_the_engine(self, run_dir: RunDirectory) -> None:
        with Browser() as browser, contextlib.ExitStack() as stack:
            view = View(run_dir)
            stack.callback(view.close)
            token = view.url.rsplit("/", 2)[1]
            # Open before there is any pose.
            tab = browser.tab(view.url)
            tab.until(lambda text: "waiting for the engine" in text)
            engine = Engine(run_dir)
            try:
                tab.until(lambda text: all(word in text for word in ("bench", "tracked", "17 of 17")))
                first = _until_drawn(tab)
                moved = _until_moved(tab, first)
                assert moved > 1.0, "the limbs have moved"
                # Without the token: no page, and nothing of the rig.
                stranger = browser.tab(view.url.replace(token, token[::-1]))
                assert web_gate.REFUSED.strip() in stranger.until(lambda text: bool(text))
                stranger.close()
                # Two pages at once; one closed; the link opens it again.
                second = browser.tab(view.url)
                second.until(lambda text: "tracked" in text)
                _until(lambda: view.counters().get("pages") == 2)
                tab.close()
                _until(lambda: view.counters().get("pages") == 1)
                second.close()
                tab = browser.tab(view.url)
                tab.until(lambda text: "tracked" in text)
                _until_moved(tab, _until_drawn(tab))
            finally:
                engine.close()
            tab.until(lambda text: "no pose for" in text)
            _until(lambda: mass(tab.picture(), "left")[0] == 0)  # an old pose is grey
            # It comes back with another rig, and lacks a camera.
            engine = Engine(run_dir, Rig(ring(4, radius_mm=5000).cameras, {"world": "board"}), missing=(2,))
            try:
                tab.until(lambda text: "tracked" in text and "3 of 4" in text and "without cam2" in text)
                _until_moved(tab, _until_drawn(tab))
                counters = view.counters()
                assert counters["poses"] > 30 and counters["rejected"] == 0
            finally:
                engine.close()
            code, out = view.stop()
            assert code == 0, out
            # The link is told to launch's terminal, and stands in no log.
            logs = "".join(file.read_text() for file in run_dir.path.glob("*.jsonl"))
            assert "the view is open at http://127.0.0.1" in logs
            assert token not in logs + out + view.text

    def test_launch_prints_the_link_and_the_page_shows_the_rig(self, tmp_path: Path) -> None:
        with Browser() as browser, _launched(tmp_path) as (process, run):
            url = _link(process)
            tab = browser.tab(url)
            tab.until(lambda text: "tracked" in text and "frames skipped" in text, seconds=60)
            _until_moved(tab, _until_drawn(tab))
            process.terminate()
            process.communicate(timeout=60)
            assert process.returncode in (0, 130)
            kept = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
            kept += b"".join(file.read_bytes() for file in run.rglob("*") if file.is_file())
            assert b"the view is open at" in kept and url.rsplit("/", 2)[1].encode() not in kept


@pytest.mark.process
def test_a_rig_goes_on_without_the_extra_and_says_so(tmp_path: Path) -> None:
    stub = tmp_path / "stub"
    stub.mkdir()
    (stub / "viser.py").write_text("raise ModuleNotFoundError(\"No module named 'viser'\", name='viser')\n")
    with _launched(tmp_path, "--seconds", "1", path=stub) as (process, _):
        _, err = process.communicate(timeout=90)
    assert process.returncode == 0, err
    assert "viewer is not shown: viser: is not installed; it belongs to the extra web" in " ".join(err.split())


@contextlib.contextmanager
def _launched(folder: Path, *arguments: str, path: Path | None = None) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """`rigpose launch --viewer web` on a drawn recording, at a pace that leaves the browser a core."""
    from capture.drawn import draw_recording

    draw_recording(folder / "drawn", frames=30)
    with tempfile.TemporaryDirectory(prefix="rp") as run:
        environment = {**os.environ, "RIGPOSE_RUN": run}
        if path is not None:
            environment["PYTHONPATH"] = str(path)
        command = [
            sys.executable, "-m", "nodes", "launch", "--data", str(folder / "drawn"),
            "--record-to", str(folder / "kept"), "--viewer", "web", "--rate", "10", "--seconds", "120", *arguments,
        ]  # fmt: skip
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment
        )
        try:
            yield process, Path(run)
        finally:
            process.kill()
            process.communicate()


def _link(process: subprocess.Popen[str]) -> str:
    assert process.stderr is not None
    for line in process.stderr:
        if found := re.search(r"in your browser: (http://\S+)", line):
            return found[1]
    raise AssertionError("no link was printed")


def _until(condition: Any, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def _until_drawn(tab: Any) -> np.ndarray:
    """The picture, once both sides of the body are in it."""
    end = time.monotonic() + 30
    while True:
        picture = tab.picture()
        if min(mass(picture, "left")[0], mass(picture, "right")[0]) > 60:
            return picture
        assert time.monotonic() < end, (mass(picture, "left"), mass(picture, "right"))
        time.sleep(0.2)


def _until_moved(tab: Any, first: np.ndarray) -> float:
    """How far the limbs of a side have moved since a picture, in px, once they have."""
    end = time.monotonic() + 20
    while True:
        picture = tab.picture()
        moved = [np.linalg.norm(mass(picture, side)[1:] - mass(first, side)[1:]) for side in ("left", "right")]
        if min(mass(picture, side)[0] for side in ("left", "right")) > 60 and max(moved) > 1.0:
            return float(max(moved))
        assert time.monotonic() < end, moved
        time.sleep(0.1)
