"""The recorder keeps what reaches it, says what did not, and ends in its own order."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from calib.document import rig_document
from capture.message import encode_frame
from capture.pose_wire import META, POSES, PosePublisher, RecordSender
from capture.rundir import RunDirectory
from capture.session import SessionReader, SessionWriter
from nodes.recorder import EVENT, HEALTH, Keeper, record
from rigpose import codec
from rigpose.errors import RigposeError
from tests.calib.scenes import ring
from tests.capture.poses import COCO17, payload, picture, pose_set, stride, subject

SESSION = "session"


def meta(seq: int = 0) -> bytes:
    return codec.pack(
        {
            **codec.header(SESSION, "engine", "engine-epoch", seq),
            "type": "meta",
            "name": "bench",
            "skeletons": {COCO17.name: COCO17.model_dump(mode="json")},
            "model": {"id": "stick"},
            "rig": rig_document(ring(4)),
        }
    )


def from_launch(seq: int, **body) -> bytes:
    return codec.pack({**codec.header(SESSION, "launch", "launch-epoch", seq), **body})


def frame_parts(camera: str, seq: int, **values) -> list:
    header, image = encode_frame(picture(camera, seq, **values), SESSION, camera, f"{camera}-epoch", seq)
    return [header] if image is None else [header, image.tobytes()]


@pytest.fixture
def keeper(tmp_path):
    with SessionWriter(tmp_path, "rig") as writer:
        yield Keeper(writer, SESSION)


class TestKeeper:
    def test_poses_meta_frames_events_and_health_each_find_their_channel(self, keeper):
        keeper.keep([META, meta()])
        keeper.keep([POSES, payload(pose_set(0, (subject(stride(0)),)))])
        keeper.keep(frame_parts("cam0", 0))
        keeper.keep([EVENT, from_launch(0, event="lamp", source="launch", at_ns=5)])
        keeper.keep([HEALTH, from_launch(1, about="cam0", counters={"seen": 1})])
        keeper.writer.close()
        reader = SessionReader(keeper.writer.path)
        assert reader.n_sets == 1 and reader.skeletons() == {"coco17": COCO17} and len(reader.rig()) == 4
        assert [stamp["camera"] for stamp in reader.stamps()] == ["cam0"]
        assert next(event for event in reader.events() if event["name"] == "lamp")["t_ns"] == 5
        assert [entry["node"] for entry in reader.health()] == ["cam0"]
        assert keeper.rejected == 0 and keeper.messages == 5

    def test_a_header_alone_is_a_frame_whose_picture_is_in_a_file(self, keeper):
        keeper.keep(frame_parts("cam0", 0, image=None, video=("/data/cam0.mp4", 7)))
        keeper.writer.close()
        (stamp,) = SessionReader(keeper.writer.path).stamps()
        assert (stamp["video_file"], stamp["video_frame_index"]) == ("/data/cam0.mp4", 7)
        assert "points" not in stamp

    def test_what_never_came_is_counted_by_node_and_stands_in_the_session(self, keeper, caplog):
        for seq in (0, 1, 4):
            keeper.keep([POSES, payload(pose_set(seq))])
        for seq in (1, 2):
            keeper.keep(frame_parts("cam2", seq))
        recording = keeper.writer.close()
        assert recording["lost"] == 3 and recording["lost_by"] == {"engine": 2, "cam2": 1}
        reader = SessionReader(keeper.writer.path)
        lost = [event["data"] for event in reader.events() if event["name"] == "record_lost"]
        assert lost == [{"node": "engine", "messages": 2}, {"node": "cam2", "messages": 1}]
        assert reader.recording()["lost"] == 3
        assert "2 messages of engine never reached the recorder" in caplog.text

    def test_a_camera_that_says_its_last_number_shows_what_is_missing_at_the_end(self, keeper):
        keeper.keep(frame_parts("cam0", 0))
        header = codec.header(SESSION, "cam0", "cam0-epoch", 1)
        keeper.keep([codec.pack({**header, "type": "end", "camera": "cam0", "last_seq": 3, "counters": (4, 0, 4, 0)})])
        assert keeper.rejected == 0 and keeper.writer.gaps.by_node() == {"cam0": 3}

    @pytest.mark.parametrize(
        "parts",
        [
            [b"poses", b"nonsense"],
            [b"poses", codec.pack({"v": 1})],
            [b"event", codec.pack({"name": "no time"})],
            [b"\xc1"],
            [b"", b""],
            [codec.pack({**codec.header(SESSION, "c", "e", 0), "type": "frame"})],
            frame_parts("cam0", 0)[:1] + [b"too short"],
            [codec.pack({**codec.header("another", "c", "e", 0), "type": "frame"})],
        ],
    )
    def test_what_is_no_message_is_counted_and_the_recording_goes_on(self, keeper, parts):
        keeper.keep(parts)
        keeper.keep([POSES, payload(pose_set(0))])
        assert keeper.rejected == 1 and keeper.writer.counts["poses"] == 1

    def test_falling_behind_is_an_alarm_once_an_episode(self, keeper):
        now = time.monotonic_ns()
        for seq, age_s in enumerate((0.1, 2.0, 3.0, 0.1, 2.0)):
            keeper.keep(frame_parts("cam0", seq, host_ns=now - round(age_s * 1e9), image=None, video=("a.mp4", seq)))
        assert keeper.alarms == 2

    def test_with_a_full_disk_the_queue_goes_on_being_emptied(self, tmp_path):
        left = [10**10]
        with SessionWriter(tmp_path, "rig", free_space=lambda _: left[0]) as writer:
            keeper = Keeper(writer, SESSION)
            left[0] = 0
            deadline = time.monotonic() + 5
            while not writer.stopped and time.monotonic() < deadline:
                time.sleep(0.02)
            for seq in range(50):
                keeper.keep([POSES, payload(pose_set(seq))])
                keeper.keep(frame_parts("cam0", seq))
            counted = keeper.counted()
        assert counted["messages"] == 100 and counted["recording"]["closed"] is False
        assert writer.refused["poses"] == 50 and writer.refused["stamps"] == 50
        assert "disk" in counted["recording"]["stopped"]


@pytest.fixture
def run_dir(short_folder):
    made = RunDirectory.create(SESSION, ["cam0", "cam1"], short_folder / "run")
    yield made
    made.remove()


@pytest.fixture
def recorder(run_dir, tmp_path):
    """The recorder as its own process, in a run directory that nobody supervises."""
    config = tmp_path / "rig.yaml"
    config.write_text(
        textwrap.dedent(
            f"""
            version: 1
            name: bench
            rig: {{file: rig.toml}}
            cameras:
              cam0: {{source: {{kind: webcam}}}}
            record: {{to: {tmp_path / "recordings"}}}
            session: {{subject: M7, protocol: open field}}
            """
        )
    )
    command = [sys.executable, "-m", "nodes.recorder", str(config), "--run-dir", str(run_dir.path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    yield process
    process.kill()
    process.communicate()


def send(sender: RecordSender, parts: list) -> None:
    assert sender.send(parts, wait_s=20), "the recorder does not listen"


def session_of(tmp_path: Path) -> Path:
    (path,) = (tmp_path / "recordings").iterdir()
    return path


@pytest.mark.process
class TestProcess:
    def test_told_to_stop_it_first_empties_its_queue(self, recorder, run_dir, tmp_path):
        with RecordSender(run_dir.endpoint("record")) as sender:
            send(sender, [META, meta()])
            for seq in range(40):
                send(sender, frame_parts("cam0", seq, size=(320, 240)))
                send(sender, [POSES, payload(pose_set(seq, (subject(stride(seq)),)))])
            recorder.send_signal(signal.SIGTERM)
            out, _ = recorder.communicate(timeout=20)
        assert recorder.returncode == 0, out
        reader = SessionReader(session_of(tmp_path))
        assert reader.closed and reader.n_sets == 40
        assert [stamp["video_frame_index"] for stamp in reader.stamps()] == list(range(40))
        assert reader.info.subject == "M7" and reader.info.config["name"] == "bench"
        assert reader.info.rig is not None, "told by the engine: the config's rig file does not exist"
        assert "session begins without its rig" in out

    def test_killed_it_leaves_what_it_had(self, recorder, run_dir, tmp_path):
        with RecordSender(run_dir.endpoint("record")) as sender:
            for seq in range(100):
                send(sender, [POSES, payload(pose_set(seq))])
            deadline = time.monotonic() + 10
            while time.monotonic() < deadline and SessionReader(session_of(tmp_path)).n_sets < 100:
                time.sleep(0.05)
            os.kill(recorder.pid, signal.SIGKILL)
            recorder.wait()
        reader = SessionReader(session_of(tmp_path))
        assert not reader.closed and [pose.set_index for pose in reader.poses()] == list(range(100))


RECORD = "import sys; from pathlib import Path; from nodes.recorder import record; from rigpose.program import run; {}"


@pytest.mark.process
class TestRecordFromAnotherTerminal:
    def start(self, run_dir, tmp_path, seconds) -> subprocess.Popen:
        call = f"run(lambda: record(Path({str(run_dir.path)!r}), Path({str(tmp_path / 'recordings')!r}), {seconds}))"
        return subprocess.Popen(
            [sys.executable, "-c", RECORD.format(call)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def publish(self, run_dir, process, until) -> int:
        """Publish poses at about 100 Hz until the process has done what it should; how many were published."""
        with PosePublisher(run_dir.endpoint("poses")) as publisher:
            deadline = time.monotonic() + 30
            seq = 0
            while not until(seq) and process.poll() is None and time.monotonic() < deadline:
                if seq % 20 == 0:
                    publisher.send(META, meta(seq))
                publisher.send(POSES, payload(pose_set(seq, (subject(stride(seq / 10)),))))
                seq += 1
                time.sleep(0.01)
        return seq

    def test_ctrl_c_ends_it_cleanly(self, run_dir, tmp_path):
        process = self.start(run_dir, tmp_path, None)

        def enough(seq: int) -> bool:
            sessions = list((tmp_path / "recordings").glob("*/session.mcap"))
            return bool(sessions) and SessionReader(sessions[0].parent).n_sets >= 20

        self.publish(run_dir, process, enough)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=20)
        assert process.returncode == 0, out
        reader = SessionReader(session_of(tmp_path))
        indices = [pose.set_index for pose in reader.poses()]
        assert reader.closed and len(indices) >= 20
        assert indices == list(range(indices[0], indices[0] + len(indices))), (
            "no set between the first and the last lost"
        )
        assert reader.recording()["lost"] == 0 and reader.skeletons() == {"coco17": COCO17} and len(reader.rig()) == 4
        assert "_bench" in reader.path.name and f"{len(indices)} poses" in out

    def test_it_ends_after_the_seconds_given(self, run_dir, tmp_path):
        process = self.start(run_dir, tmp_path, 1.0)
        self.publish(run_dir, process, lambda _: False)
        out, _ = process.communicate(timeout=20)
        assert process.returncode == 0, out
        reader = SessionReader(session_of(tmp_path))
        first, last = reader.pose(0), reader.pose(-1)
        assert reader.closed and 0.4 <= (last.set_index - first.set_index) * 0.0105 <= 3

    def test_an_engine_that_says_nothing_is_an_error(self, run_dir, tmp_path, monkeypatch):
        monkeypatch.setattr("nodes.recorder.META_WAIT_S", 0.2)
        with pytest.raises(RigposeError, match=r"engine says nothing \(see: rigpose status\)"):
            record(run_dir.path, tmp_path / "recordings")
        assert not (tmp_path / "recordings").exists()
