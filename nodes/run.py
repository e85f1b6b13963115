"""One run of a rig: its processes start in order, are kept alive, stop in reverse, and are accounted for."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from capture.control import ControlServer, NodeReport
from capture.rundir import RunDirectory
from engine.config import SystemConfig, write_config
from nodes.diary import Diary
from nodes.display import has_display
from nodes.ledger import note_heard, summarise
from nodes.listener import Listener
from nodes.supervisor import Node, Supervisor
from nodes.web_gate import LINK
from rigpose.errors import ExitCode
from rigpose.extras import is_there
from rigpose.files import write_json
from rigpose.stamps import now_ns
from rigpose.summary import Summary

log = logging.getLogger(__name__)

TURN_S = 0.02
STATUS_S = 1.0
START_AHEAD_S = 0.3
READY_S = 120.0
ALL_ENDED_S = 5.0
"""What a live engine gets to end by itself when no camera is left; one that was started again behind their last
words never hears them."""
STOP_S = {"camera": 5.0, "engine": 8.0, "truth": 2.0, "viewer": 2.0, "recorder": 30.0}
STOP_ORDER = (("camera",), ("engine", "truth", "viewer"), ("recorder",))
"""Kinds of nodes that end together, each for those behind it to hear its last word."""
CLOCKED = ("camera", "truth")
"""Kinds of nodes that wait for the rig's first tick."""


@dataclass
class Outcome:
    """Why the run ends."""

    code: int = int(ExitCode.OK)
    errors: list[str] = field(default_factory=list)
    interrupted: bool = False


class Run:
    """One run of a rig from its start to its summary.

    Args:
        config: Complete: every path absolute, rate and model set.
        run_dir: Made for this run.
        viewer: ``open3d`` (a window), ``web`` (a page in the browser), ``none``, or ``auto``: a window where
            there is a display, else a page; each only where its extra is installed.
        seconds: End after so long.
        say: Told what belongs into the user's terminal and into no log.
    """

    def __init__(
        self,
        config: SystemConfig,
        run_dir: RunDirectory,
        viewer: str,
        seconds: float | None,
        say: Callable[[str], None] | None = None,
    ) -> None:
        self.config = config
        self.run_dir = run_dir
        self.outcome = Outcome()
        self._seconds = seconds
        self._viewer = viewer
        self._say = say or (lambda _: None)
        self._config_file = run_dir.path / "config.yaml"
        write_config(config, self._config_file)
        self._server = ControlServer(run_dir.endpoint("control"), run_dir.session_id)
        virtual = any(section.source.get("kind") == "virtual" for section in config.cameras.values())
        self._has_truth = config.truth and virtual
        self._listener = Listener(run_dir, truth=self._has_truth)
        self._diary = Diary(run_dir, self._server.epoch, recorded=config.record.enabled)
        self._supervisor = Supervisor(run_dir.path, config.restart, self._died, self._failed)
        self._current: dict[str, NodeReport] = {}
        self._ending = asyncio.Event()
        self._start_ns: int | None = None
        self._began = time.time()
        self._restarts: dict[str, int] = {}

    # ------------------------------------------------------------------ the order of things

    async def run(self) -> Outcome:
        """Start everything, wait for the end, stop everything."""
        loop = asyncio.get_running_loop()
        signs = _ending_signals()
        for sign in signs:
            loop.add_signal_handler(sign, self._interrupt)
        listening = asyncio.create_task(self._listen())
        try:
            await self._start()
            if not self._ending.is_set():
                await self._until_the_end()
        finally:
            for sign in signs:
                loop.remove_signal_handler(sign)
                loop.add_signal_handler(sign, self._supervisor.kill_all)
            await self._stop()
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
            self._turn()
            self._supervisor.kill_all()
            self._server.close()
            self._listener.close()
            self._diary.close()
        return self.outcome

    async def _start(self) -> None:
        common = (str(self._config_file), "--run-dir", str(self.run_dir.path), "--supervised")
        lossless = self.config.mode == "lossless"
        if self.config.record.enabled:
            self._supervisor.start(
                Node("recorder", "recorder", ("-m", "nodes.recorder", *common), restartable=not lossless)
            )
            if not await self._ready("recorder", "running"):
                return
        self._supervisor.start(Node("engine", "engine", ("-m", "engine.serve", *common), restartable=not lossless))
        for name in self.config.cameras:
            arguments = ("-m", "nodes.camera", *common, "--name", name)
            # A lossless recording that misses a camera's frames is not one: then the run fails.
            self._supervisor.start(Node(name, "camera", arguments, restartable=not lossless))
        if self._has_truth:
            # Nobody but the ledger and the views listens to it, and no pose depends on it.
            truth = ("-m", "nodes.truth", *common)
            self._supervisor.start(Node("truth", "truth", truth, essential=False))
        self._start_viewer(_choice(self._viewer))
        if not await self._ready("engine", "running"):
            return
        for name in self.config.cameras:
            if not await self._ready(name, "ready"):
                return
        assert self.config.rate is not None
        self._start_ns = now_ns() + round(START_AHEAD_S * 1e9)
        self.run_dir = self.run_dir.update(
            clock={"start_ns": self._start_ns, "period_ns": round(1e9 / self.config.rate)}
        )
        for name in self.config.cameras:
            self._server.start(self._current[name], self._start_ns)
        log.info("%s: all nodes are ready", self.config.name)

    def _start_viewer(self, kind: str) -> None:
        if kind != "none":
            module = {"open3d": "nodes.viewer", "web": "nodes.web"}[kind]
            arguments = ("-m", module, "--run-dir", str(self.run_dir.path), "--supervised")
            # A window that its user closed stays closed; a page that died comes back with another link.
            self._supervisor.start(Node("viewer", "viewer", arguments, essential=False, restartable=kind == "web"))

    async def _ready(self, name: str, state: str) -> bool:
        deadline = time.monotonic() + READY_S
        while not self._ending.is_set():
            report = self._current.get(name)
            if report is not None and report.state == state:
                return True
            if time.monotonic() > deadline:
                self._fail(f"{name} was not ready within {READY_S:.0f} s (its output: {self.run_dir.path / name}.out)")
                return False
            await asyncio.sleep(TURN_S)
        return False

    async def _until_the_end(self) -> None:
        engine = self._supervisor.nodes["engine"]
        cameras = [self._supervisor.nodes[name] for name in self.config.cameras]
        until = None if self._seconds is None else time.monotonic() + START_AHEAD_S + self._seconds
        while not self._ending.is_set():
            report = self._current.get("engine")
            ended = engine.finished.is_set() or (report is not None and report.state in ("ending", "ended"))
            if ended or (until is not None and time.monotonic() >= until):
                return
            # Lossless, an engine may be long at what waits, but is never one that came late.
            if self.config.mode == "live" and all(node.finished.is_set() for node in cameras):
                left_s = time.monotonic() + ALL_ENDED_S
                until = left_s if until is None else min(until, left_s)
                cameras = [engine]
            await asyncio.sleep(TURN_S)

    async def _stop(self) -> None:
        self._ending.set()
        # Before the first tick no node has anything for another: all end at once.
        together = STOP_ORDER if self._start_ns is not None else (tuple(STOP_S),)
        for kinds in together:
            nodes = [node for node in self._supervisor.nodes.values() if node.kind in kinds]
            for node in nodes:
                node.expected_to_end = True
                report = self._current.get(node.name)
                # The engine ends by itself when all cameras have said their last word.
                if report is not None and node.alive:
                    self._server.stop(report)
            # One that is still loading cannot be told, and has nothing to lose: it gets the signal at once.
            waits = {node.name: STOP_S[node.kind] if node.name in self._current else 0.0 for node in nodes}
            await asyncio.gather(*(self._supervisor.end(node, waits[node.name]) for node in nodes))
            self._turn()

    # ------------------------------------------------------------------ what is heard

    async def _listen(self) -> None:
        next_status = 0.0
        try:
            while True:
                self._turn()
                if time.monotonic() >= next_status:
                    next_status = time.monotonic() + STATUS_S
                    self._write_status()
                    for node, report in self._current.items():
                        if report.kind != "recorder":  # it keeps its own
                            self._diary.health(node, report.counters)
                await asyncio.sleep(TURN_S)
        except Exception as error:
            # Deaf, launch could neither account nor start anything: the run ends, and says why.
            log.exception("launch failed")
            self._fail(f"launch failed: {type(error).__name__}: {error}")

    def _turn(self) -> None:
        for kind, report, message in self._server.receive():
            node = self._supervisor.nodes.get(report.node)
            if node is not None and node.alive and node.process is not None and node.process.pid == report.pid:
                self._current[report.node] = report  # else the last words of one that is dead already
                node.served |= report.state == "running"
                if node.expected_to_end and kind in ("hello", "heartbeat"):
                    self._server.stop(report)  # it was on its way up when the others were told
                    continue
            if report.kind == "engine":
                note_heard(report, self._server.reports)
            if kind == "event":
                text, data = str(message.get("text", "")), message.get("data")
                if message.get("event") == LINK and isinstance(data, dict):
                    self._say(f"the rig in your browser: {data.get('url')}")
                    data = None  # Whoever has the link is let in, so it is kept nowhere.
                self._diary.event(str(message.get("event")), text, report.node, int(message["at_ns"]), data)
            elif kind == "heartbeat" and report.kind in CLOCKED and report.state == "ready" and self._start_ns:
                self._server.start(report, self._start_ns)  # it came back: it joins at the current tick
        for epoch in self._listener.hear():
            self._engine_is_heard(epoch)
        if "recorder" in self._current:
            self._diary.hand_over()

    def _engine_is_heard(self, epoch: str) -> None:
        report = self._server.reports.get(epoch)
        if report is not None and report.state == "ready":
            self._server.start(report, now_ns())

    def _died(self, node: Node, code: int, restart_in_s: float | None) -> None:
        report = self._current.pop(node.name, None)
        how = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
        then = "" if restart_in_s is None else f"; starting it again in {restart_in_s:.1f} s"
        if restart_in_s is not None:
            self._restarts[node.name] = self._restarts.get(node.name, 0) + 1
        self._diary.event("node_died", f"{node.name} died ({how}){then}", "launch", now_ns())
        if report is not None:
            report.state = "died"

    def _failed(self, node: Node) -> None:
        words = self._supervisor.last_words(node) or f"ended with exit code {node.exit_code}"
        if not node.essential:
            log.warning("%s is not shown: %s", node.name, words)
            self._say(f"{node.name} is not shown: {words}")
            if self._viewer == "auto" and "nodes.viewer" in node.arguments and is_there("viser"):
                self._start_viewer("web")
            return
        code = node.exit_code if node.exit_code in tuple(ExitCode) else ExitCode.FAILED
        self._fail(f"{node.name}: {words}" if node.name not in words else words, int(code or ExitCode.FAILED))

    def _fail(self, error: str, code: int = int(ExitCode.FAILED)) -> None:
        self.outcome.errors.append(error)
        self.outcome.code = self.outcome.code or code
        self._ending.set()

    def _interrupt(self) -> None:
        self.outcome.interrupted = True
        self._ending.set()

    # ------------------------------------------------------------------ what is told

    def _write_status(self) -> None:
        try:
            write_json(self.run_dir.path / "status.json", self.status())
        except OSError as error:
            log.warning("%s: no status can be written: %s", self.run_dir.path, error.strerror)

    def status(self) -> dict[str, Any]:
        """What `rigpose status` shows."""
        summary = self.summary(final=False)
        nodes = {}
        for name, node in self._supervisor.nodes.items():
            report = self._current.get(name)
            state = report.state if report is not None else "starting"
            if not node.alive:
                state = "ended" if node.expected_to_end or node.exit_code == 0 else "dead"
            nodes[name] = {
                "kind": node.kind,
                "state": state,
                "pid": node.process.pid if node.process else None,
                "deaths": node.deaths,
                "silent_s": None if report is None else max(0.0, (now_ns() - report.last_ns) / 1e9),
            }
        return {
            "schema": 1,
            "session_id": self.run_dir.session_id,
            "name": self.config.name,
            "running_s": time.time() - self._began,
            "recent": self._listener.recent(),
            "nodes": nodes,
            "summary": summary.model_dump(mode="json", by_alias=True),
        }

    def summary(self, *, final: bool = True) -> Summary:
        """The account; ``final`` when everything has stopped, else without what is still under way."""
        nodes = {
            name: {"kind": node.kind, "deaths": node.deaths, "restarts": self._restarts.get(name, 0)}
            for name, node in self._supervisor.nodes.items()
        }
        return summarise(
            self._listener.poses,
            self._server.reports.values(),
            self.config.owners,
            final=final,
            session_id=self.run_dir.session_id,
            started=time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(self._began)),
            duration_s=time.time() - self._began,
            recording=self._recording(),
            mpjpe_mm=self._listener.truths.result(),
            nodes=nodes,
            notes=tuple(self.outcome.errors),
        )

    def _recording(self) -> dict[str, Any] | None:
        """What the recorder says of its session; ``earlier`` are those of recorders that died.

        ``not_taken`` are the messages of each node that no recorder took: it was dead, or did not keep up.
        """
        reports = list(self._server.reports.values())
        said = [report.counters["recording"] for report in reports if "recording" in report.counters]
        if not said:
            return None
        not_taken: Counter[str] = Counter()
        for report in reports:
            not_taken[report.node] += int(report.counters.get("record_lost", 0))
        return {**said[-1], "earlier": said[:-1], "not_taken": dict(+not_taken)}


def _choice(viewer: str) -> str:
    """What ``auto`` means on this machine."""
    if viewer != "auto":
        return viewer
    if has_display() and is_there("open3d"):
        return "open3d"
    return "web" if is_there("viser") else "none"


def _ending_signals() -> list[signal.Signals]:
    """Ctrl-C, a polite kill, and the loss of the terminal, where that is not ignored (nohup)."""
    signs = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signs.append(signal.SIGHUP)
    return signs
