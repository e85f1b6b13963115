"""The running rig in a browser: a page on this machine, opened by the link that is printed and by nothing else.

From another machine it is reached through a tunnel: ``ssh -L 8790:127.0.0.1:8790 RIG``.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import numpy as np

from capture.control import NodeControl, leave, new_epoch
from capture.rundir import RunDirectory
from engine.arguments import run_parser
from nodes.feed import Feed
from nodes.scene import shown_share
from nodes.status import read_status
from nodes.web_gate import LINK, close_server, load_viser, open_server, without_token
from nodes.web_page import Figures, Page
from rigpose.errors import ConfigError, ExitCode
from rigpose.logs import log_to
from rigpose.parent import end_with_parent
from rigpose.pose import HOW, PoseSet
from rigpose.program import run

log = logging.getLogger(__name__)

FRAME_S = 1 / 30
UNSEEN_S = 0.5
PANEL_S = 0.25
STATUS_S = 1.0
STALE_S = 0.5
GOOD_SHARE = 0.7
MAX_PORT = 65535


class Web:
    """The page of the running rig: always the newest pose, moved in place, for any number of browsers.

    Args:
        run_dir: Where the sockets are.
        port: Of the page; ``None`` = a free one.
        supervised: Whether a launch process listens on the control endpoint; it prints the link then.
    """

    def __init__(self, run_dir: RunDirectory, port: int | None = None, *, supervised: bool) -> None:
        self._run_dir = run_dir
        self._port = port
        self._supervised = supervised
        self._feed: Feed | None = None
        self._server: Any = None
        self._calibration = ""
        self._skeletons: object = None
        self._skipped: int | None = None
        self._ended = False
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
        feed, server = self._feed, self._server
        return {
            "poses": feed.received if feed else 0,
            "rejected": feed.rejected if feed else 0,
            "pages": len(server.get_clients()) if server else 0,
        }

    def main(self) -> int:
        """Show until the node is told to stop or the rig has ended."""
        self._server, url = open_server(self._port)
        try:
            page = Page(self._server)
            with self.control as control, Feed(self._run_dir) as feed:
                self._feed = feed
                log.info("the view is open at %s", without_token(url))
                if self._supervised:
                    control.event(LINK, f"the view is open at {without_token(url)}", url=url)
                else:
                    print(f"rigpose: the rig in your browser: {url}", flush=True)
                control.running()
                self._turns(feed, page)
                page.say(self._figures(feed))
        finally:
            close_server(self._server)
        return int(ExitCode.OK)

    def _turns(self, feed: Feed, page: Page) -> None:
        stop = self.control.stop_requested
        next_frame = next_panel = next_status = 0.0
        stale = False
        while not stop.is_set():
            feed.hear(min(max(next_frame - time.monotonic(), 0.0), FRAME_S))
            now = time.monotonic()
            if now < next_frame:
                continue
            # Nobody looks: only what the next one who opens the page sees first.
            next_frame = now + (FRAME_S if self._server.get_clients() else UNSEEN_S)
            fresh, stale = not stale, feed.age_s > STALE_S
            if feed.pose is not None and (fresh or not stale):
                self._show(feed, page, feed.pose, stale)
            if now >= next_status:
                next_status = now + STATUS_S
                self._look_around()
                if self._ended:
                    log.info("the rig has ended")
                    return
            if now >= next_panel:
                next_panel = now + PANEL_S
                page.say(self._figures(feed))

    def _show(self, feed: Feed, page: Page, pose: PoseSet, stale: bool) -> None:
        if feed.rig is None:
            return
        known = page.scene is not None and feed.calibration == self._calibration and feed.skeletons is self._skeletons
        if not known or (not page.has_subject and shown_share(pose) >= GOOD_SHARE):
            self._calibration, self._skeletons = feed.calibration, feed.skeletons
            page.set_scene(feed.rig, feed.skeletons, pose)
        else:
            page.show(pose, stale=stale)

    def _look_around(self) -> None:
        self._ended = not self._supervised and not self._run_dir.is_running
        status = read_status(self._run_dir)
        if status is not None:
            cameras = status["summary"]["cameras"].values()
            self._skipped = sum(sum(camera["skipped"].values()) for camera in cameras)

    def _figures(self, feed: Feed) -> Figures:
        figures = figures_of(feed, self._skipped)
        if self._ended or self.control.stop_requested.is_set():
            figures.state, figures.good = "the rig has ended", None
        return figures


def figures_of(feed: Feed, skipped: int | None) -> Figures:
    """What the panel says of the newest pose.

    Args:
        feed: What was heard.
        skipped: Frames that were skipped so far, where somebody counts them.
    """
    figures = Figures(title=feed.name or "rigpose")
    pose = feed.pose
    if pose is None:
        return figures
    live = feed.age_s <= STALE_S
    subjects = [subject for subject in pose.subjects if subject.state != "lost"]
    if not live:
        figures.state, figures.good = f"no pose for {feed.age_s:.0f} s", False
    elif subjects:
        figures.state, figures.good = ", ".join(subject.state for subject in subjects), True
    elif pose.status == "incomplete":
        figures.state, figures.good = "too few cameras", False
    else:
        figures.state = "nobody is seen"
    stages = pose.stamps.stages_ms()
    seen = len(pose.cameras) - len(pose.missing)
    row = figures.rows.append
    row(("sets a second", f"{feed.rate:.1f}" if live and feed.rate else "-"))
    if "exposed_to_published" in stages:
        row(("exposure to pose", f"{stages['exposed_to_published']:.0f} ms"))
    row(("frame to pose", f"{stages['received_to_published']:.0f} ms"))
    row(("sets", f"{pose.set_index + 1}"))
    row(("frames skipped", "-" if skipped is None else f"{skipped}"))
    row(("cameras", f"{seen} of {len(pose.cameras)}"))
    if subjects:
        measured = sum(int(subject.measured.sum()) for subject in subjects)
        row(("joints solved", f"{measured} of {sum(len(subject.position_mm) for subject in subjects)}"))
        lifted = sum(int((np.asarray(subject.how) == HOW.index("lifted")).sum()) for subject in subjects)
        if lifted:
            row(("of these from one view", f"{lifted}"))
        residual = np.concatenate([np.asarray(subject.residual_px, float).ravel() for subject in subjects])
        if np.isfinite(residual).any():
            row(("residual, median", f"{np.nanmedian(residual):.1f} px"))
    if feed.mpjpe_mm is not None and live:
        row(("error to the truth", f"{feed.mpjpe_mm:.1f} mm"))
    row(("model", pose.model))
    row(("runtime", f"{pose.runtime} {pose.precision}"))
    if pose.missing:
        figures.notes.append(f"without {', '.join(pose.missing)}")
    if pose.verdict != "good":
        figures.notes.append(f"the rig file is {pose.verdict}")
    return figures


def view_web(run_dir: Path | None = None, port: int | None = None) -> int:
    """Show the running rig in a browser; the body of `rigpose view --web`.

    Raises:
        RigposeError: No rig runs here, viser is not installed, or the port is in use.
    """
    load_viser()
    return Web(RunDirectory.open(run_dir) if run_dir else RunDirectory.latest(), port, supervised=False).main()


def _port(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= MAX_PORT:
        raise ConfigError(f"--port {text}", "is not the number of a port", f"give one from 1024 to {MAX_PORT}")
    return int(text)


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = run_parser(
        "python -m nodes.web",
        "Show the poses of the running rig in a browser on this machine.",
        "python -m nodes.web --port 8790",
    )
    parser.add_argument("--port", help="of the page; by default a free one")
    options = parser.parse_args(arguments)
    port = None if options.port is None else _port(options.port)
    if not options.supervised:
        return view_web(options.run_dir, port)
    run_dir = RunDirectory.open(options.run_dir)
    log_to(run_dir.path, "viewer", console=False)
    web = Web(run_dir, port, supervised=True)
    end_with_parent(web.control.stop_requested.set)
    try:
        return web.main()
    finally:
        leave()


if __name__ == "__main__":
    run(main)
