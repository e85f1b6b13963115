"""The Open3D view: the running rig, a recorded session, or one picture of it without a display.

The only module that imports Open3D, and only when it draws. It uses the legacy ``Visualizer``: one code
path for a window and for no display at all, bounded memory however long it runs, no Vulkan.
"""

from __future__ import annotations

import argparse
import logging
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from calib.rig import Rig
from capture.control import NodeControl, new_epoch
from capture.rundir import RunDirectory
from capture.session import SessionReader
from engine.arguments import run_parser
from nodes import picture
from nodes.canvas import DRAWING_LIBRARIES, Canvas, load_open3d
from nodes.display import has_display
from nodes.feed import Feed
from nodes.playback import GOOD_SHARE, Pace, choose, play, set_time_ns
from nodes.scene import shown_share
from rigpose.errors import ConfigError, ExitCode, MissingError
from rigpose.extras import is_there, missing
from rigpose.logs import log_to
from rigpose.parent import end_with_parent
from rigpose.pose import PoseSet
from rigpose.program import run

log = logging.getLogger(__name__)

SIZE = (1280, 960)
STALE_S = 0.5
DRAW_LIMIT_S = 120
APT = f"on Debian and Ubuntu: apt-get install libusb-1.0-0 {DRAWING_LIBRARIES}"


def view(
    source: Path | None = None,
    *,
    png: Path | None = None,
    set_index: int | None = None,
    time_s: float | None = None,
    size: tuple[int, int] = SIZE,
    run_dir: Path | None = None,
) -> int:
    """Show a recorded session, or the running rig.

    Args:
        source: A session's folder; ``None`` = the running rig.
        png: Draw one set of the session into this file, without a display.
        set_index: Which set; by default one in the middle with a good pose.
        time_s: Or the set at this time from the first one's exposure.
        size: Of the picture or window, px.
        run_dir: Of the running rig; by default the latest.

    Raises:
        RigposeError: No such session or set, no display, or Open3D cannot draw.
    """
    if not is_there("open3d"):
        raise missing("open3d") or MissingError("open3d", "is not installed")
    if png is not None:
        if source is None:
            raise ConfigError("--png", "draws a recorded session", "name its folder: rigpose view SESSION --png FILE")
        return draw(source, png, set_index, time_s, size)
    if not has_display():
        raise MissingError(
            "rigpose view",
            "there is no display for a window",
            "draw a picture of a session: rigpose view SESSION --png FILE",
        )
    if source is not None:
        return play(SessionReader(source), set_index, time_s, size)
    return Live(RunDirectory.open(run_dir) if run_dir else RunDirectory.latest(), size, supervised=False).main()


def draw(
    source: Path, png: Path, set_index: int | None = None, time_s: float | None = None, size: tuple[int, int] = SIZE
) -> int:
    """Draw one set of a session into a PNG file; a process of its own does it.

    A graphics library that is missing ends a process without a word; then this says one.

    Raises:
        RigposeError: No such session or set, the file cannot be written, or this machine cannot draw.
    """
    reader = SessionReader(source)
    reader.rig()
    index = choose(reader, set_index, time_s)
    if png.suffix.lower() != ".png":
        raise ConfigError(png, "is no name of a PNG file", "give it the ending .png")
    if not png.absolute().parent.is_dir():
        raise ConfigError(png, "its folder does not exist", "make it first")
    arguments = [str(reader.path), "--png", str(png), "--set-index", str(index), "--size", f"{size[0]}x{size[1]}"]
    png.unlink(missing_ok=True)
    problem = _off_screen(arguments)
    if problem or not png.exists():
        raise MissingError("open3d", f"this machine cannot draw: {problem or 'no picture came'}", APT)
    print(f"set {index} of {reader.n_sets} drawn into {png}")
    return int(ExitCode.OK)


def problem_of_drawing() -> str:
    """Why this machine cannot draw off screen; "" = it can. Tried in a process of its own."""
    return _off_screen(["--probe"])


def _off_screen(arguments: list[str]) -> str:
    """Draw in a child process; why that failed, or ""."""
    # Without a display Open3D draws off screen; with one it would open a window on somebody's screen.
    headless = {key: value for key, value in os.environ.items() if key not in ("DISPLAY", "WAYLAND_DISPLAY")}
    environments = [headless] if sys.platform.startswith("linux") else []
    if has_display():
        environments.append(dict(os.environ))
    problem = "there is no display"
    for environment in environments:
        code, problem = _draw_in_child(arguments, environment)
        if code == ExitCode.OK:
            return ""
    return problem


def _draw_in_child(arguments: list[str], environment: dict[str, str]) -> tuple[int, str]:
    command = [sys.executable, "-m", "nodes.viewer", *arguments, "--here"]
    # The packages may lie in a source tree that only this process was started in; what is there wins.
    root = str(Path(__file__).resolve().parent.parent)
    paths = os.pathsep.join(part for part in (environment.get("PYTHONPATH", ""), root) if part)
    try:
        child = subprocess.run(
            command, env={**environment, "PYTHONPATH": paths}, capture_output=True, text=True, timeout=DRAW_LIMIT_S
        )
    except subprocess.TimeoutExpired:
        return int(ExitCode.FAILED), f"it took more than {DRAW_LIMIT_S} s"
    lines = [line for line in (child.stderr + child.stdout).splitlines() if line.strip()]
    last = lines[-1].removeprefix("rigpose: error: ") if lines else "it says no more"
    if child.returncode < 0:
        return child.returncode, f"the drawing process died of signal {-child.returncode}: {last}"
    return child.returncode, last


def draw_here(reader: SessionReader, png: Path, index: int, size: tuple[int, int]) -> None:
    """Draw in this process.

    Raises:
        RigposeError: Open3D cannot draw, or the file cannot be written.
    """
    pose = reader.pose(index)
    # Twice the size and averaged: smooth edges also where the graphics library has no anti-aliasing.
    scale = 2
    canvas = Canvas("rigpose", (size[0] * scale, size[1] * scale), visible=False)
    try:
        canvas.set_scene(reader.rig(), reader.skeletons(), pose, size=size)
        canvas.show(pose)
        pixels = canvas.capture()
    finally:
        canvas.close()
    assert canvas.scene is not None and canvas.eye is not None
    caption = picture.caption(reader, pose, index, set_time_ns(reader.pose(0)), set_time_ns(pose), canvas.scene)
    picture.write(png, pixels, size, canvas.scene, canvas.eye, pose, caption)


class Live:
    """The running rig in a window: always the newest pose; ends when the window is closed or the rig ends.

    It learns skeletons and cameras from the engine, which may come later, go and come back.

    Args:
        run_dir: Where the sockets are.
        size: Of the window, px.
        supervised: Whether a launch process listens on the control endpoint.
    """

    def __init__(self, run_dir: RunDirectory, size: tuple[int, int] = SIZE, *, supervised: bool) -> None:
        self._run_dir = run_dir
        self._size = size
        self._supervised = supervised
        self._canvas: Canvas | None = None
        self._feed: Feed | None = None
        self._calibration = ""
        self.control = NodeControl(
            run_dir.endpoint("control") if supervised else None,
            run_dir.session_id,
            "viewer",
            "viewer",
            new_epoch(),
            self.counted,
        )

    def counted(self) -> dict[str, Any]:
        """Counters for the control channel."""
        feed = self._feed
        return {"poses": feed.received if feed else 0, "rejected": feed.rejected if feed else 0}

    def main(self) -> int:
        """Show until the window is closed, the node is told to stop, or the rig has ended."""
        load_open3d()
        next_look = time.monotonic() + 1.0
        with self.control as control, Feed(self._run_dir) as feed:
            self._feed = feed
            control.running()
            try:
                pace = Pace()
                while not control.stop_requested.is_set():
                    feed.hear()
                    if not self._show(feed):
                        log.info("the window was closed")
                        break
                    if time.monotonic() >= next_look:
                        next_look = time.monotonic() + 1.0
                        if not self._supervised and not self._run_dir.is_running:
                            log.info("the rig has ended")
                            break
                    pace.wait()
            finally:
                if self._canvas is not None:
                    self._canvas.close()
        return int(ExitCode.OK)

    def _show(self, feed: Feed) -> bool:
        if feed.rig is not None and feed.pose is not None and self._is_ready(feed, feed.pose):
            self._set_scene(feed, feed.rig, feed.pose)
        if self._canvas is None:
            return True
        if feed.pose is not None:
            self._canvas.show(feed.pose, stale=feed.age_s > STALE_S)
            self._canvas.write(self._state(feed, feed.pose))
        return self._canvas.turn()

    def _state(self, feed: Feed, pose: PoseSet) -> list[str]:
        """What the corner of the window says."""
        if feed.age_s > STALE_S:
            return [f"no pose for {feed.age_s:.0f} s"]
        rate = f"{feed.rate:.1f} sets/s, " if feed.rate else ""
        lines = [f"{rate}{pose.stamps.stages_ms()['received_to_published']:.0f} ms from frame to pose"]
        return lines + picture.state(pose)

    def _is_ready(self, feed: Feed, pose: PoseSet) -> bool:
        """Whether a scene is to be made: the first one, one of another rig, or one that has its subject now."""
        if self._canvas is None or feed.calibration != self._calibration:
            return True
        return not self._canvas.has_subject and shown_share(pose) >= GOOD_SHARE

    def _set_scene(self, feed: Feed, rig: Rig, pose: PoseSet) -> None:
        if self._canvas is None:
            self._canvas = Canvas(f"rigpose - {feed.name or 'live'}", self._size, visible=True)
        self._canvas.set_scene(rig, feed.skeletons, pose)
        self._calibration = feed.calibration


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = run_parser(
        "python -m nodes.viewer",
        "Show the poses of the running rig, or of a recorded session.",
        "python -m nodes.viewer recordings/2026-03-01_140500_bench --png pose.png",
    )
    parser.add_argument("session", type=Path, nargs="?", help="a recorded session; by default the running rig")
    parser.add_argument("--png", type=Path, help="draw one picture, without a display")
    parser.add_argument("--set-index", type=int, help="which frame set")
    parser.add_argument("--time", type=float, dest="time_s", help="which moment, in s from the start")
    parser.add_argument("--size", default=f"{SIZE[0]}x{SIZE[1]}", help="of the window or picture, WxH px")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--probe", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    try:
        width, height = (int(side) for side in options.size.split("x"))
    except ValueError:
        raise ConfigError(f"--size {options.size}", "is not WxH", "for example --size 1280x960") from None
    if options.probe:
        Canvas("rigpose", (64, 64), visible=False).close()
        return int(ExitCode.OK)
    if options.here:
        reader = SessionReader(options.session)
        draw_here(reader, options.png, choose(reader, options.set_index, options.time_s), (width, height))
        return int(ExitCode.OK)
    if options.supervised:
        run_dir = RunDirectory.open(options.run_dir)
        log_to(run_dir.path, "viewer", console=False)
        live = Live(run_dir, (width, height), supervised=True)
        end_with_parent(live.control.stop_requested.set)
        return live.main()
    return view(
        options.session,
        png=options.png,
        set_index=options.set_index,
        time_s=options.time_s,
        size=(width, height),
        run_dir=options.run_dir,
    )


if __name__ == "__main__":
    run(main)
