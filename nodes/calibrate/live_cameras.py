"""The camera nodes of a rig without its engine: started for a calibration, heard like the engine hears them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import rigpose
from capture.control import ControlServer, NodeReport
from capture.frame import FrameSet
from capture.rundir import RunDirectory, new_session_id
from capture.sync import Synchroniser
from engine.account import FrameAccount
from engine.config import SystemConfig, load_system, write_config
from engine.intake import Intake
from engine.preflight import complete_rate
from rigpose.config import read_yaml
from rigpose.errors import RigposeError
from rigpose.parent import PARENT_VARIABLE
from rigpose.stamps import now_ns

READY_S = 60.0
START_AHEAD_S = 0.3
STOP_S = 5.0


def load_cameras(path: Path, data: Path | None = None) -> SystemConfig:
    """The cameras of a rig's YAML file; its rig file need not exist yet, nor be named.

    Raises:
        ConfigError: As `engine.config.load_system`.
    """
    assignments = ["mode=live", "loop=0"]
    if not isinstance(read_yaml(path).get("rig"), dict):
        assignments.append('rig={"file": "rig.toml"}')
    return complete_rate(load_system(path, data=data, assignments=assignments), path)


class LiveCameras:
    """Camera nodes as processes of their own; a context manager that leaves none behind.

    Args:
        config: Names the nodes; complete with a rate.
        run_dir: A folder of the caller's choice for sockets and logs.

    Attributes:
        events: What the intake said: cameras that are silent or back.
    """

    def __init__(self, config: SystemConfig, run_dir: Path | None = None) -> None:
        assert config.rate is not None
        self.config = config
        self.events: list[str] = []
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._reports: dict[str, NodeReport] = {}
        self._started = False
        self._run_dir = RunDirectory.create(new_session_id(), nodes=config.cameras, path=run_dir)
        period_ns = round(1e9 / config.rate)
        self._sync = Synchroniser(config.camera_names, period_ns, deadline_ns=None)
        account = FrameAccount(config.camera_names)
        self._intake = Intake(config, self._run_dir, self._sync, account, self._tell)
        try:
            self._server = ControlServer(self._run_dir.endpoint("control"), self._run_dir.session_id)
        except BaseException:
            self._intake.close()
            raise

    def _tell(self, name: str, text: str = "", **_: Any) -> None:
        self.events.append(text or name)

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _start(self) -> None:
        file = self._run_dir.path / "config.yaml"
        write_config(
            self.config.model_copy(update={"record": self.config.record.model_copy(update={"enabled": False})}), file
        )
        root = str(Path(rigpose.__file__).resolve().parent.parent)
        path = os.pathsep.join([root, os.environ.get("PYTHONPATH", "")]).rstrip(":")
        environment = {**os.environ, "PYTHONPATH": path, PARENT_VARIABLE: str(os.getpid())}
        for name in self.config.cameras:
            command = [sys.executable, "-P", "-m", "nodes.camera", str(file), "--run-dir", str(self._run_dir.path)]
            with (self._run_dir.path / f"{name}.out").open("ab") as output:
                self._processes[name] = subprocess.Popen(
                    [*command, "--supervised", "--name", name],
                    stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment, start_new_session=True,
                )  # fmt: skip
        deadline = time.monotonic() + READY_S
        while not all(self._state(name) == "ready" for name in self._processes):
            self._turn()
            if time.monotonic() > deadline:
                late = [name for name in self._processes if self._state(name) != "ready"]
                raise RigposeError(f"camera {late[0]}", f"was not ready within {READY_S:.0f} s", "see its device")
            time.sleep(0.02)
        start_ns = now_ns() + round(START_AHEAD_S * 1e9)
        self._started = True
        for report in self._reports.values():
            self._server.start(report, start_ns)

    def _state(self, name: str) -> str:
        return self._reports[name].state if name in self._reports else "starting"

    def _turn(self) -> None:
        """Hear the nodes; one that died ends the calibration with its own words."""
        for _, report, _ in self._server.receive():
            self._reports[report.node] = report
        for name, process in self._processes.items():
            code = process.poll()
            if code is not None and not (code == 0 and self._started):
                raise RigposeError(f"camera {name}", self._last_words(name) or f"ended with exit code {code}")

    def _last_words(self, name: str) -> str:
        try:
            lines = (self._run_dir.path / f"{name}.out").read_text(errors="replace").strip().splitlines()
        except OSError:
            return ""
        return lines[-1].removeprefix("rigpose: error: ") if lines else ""

    @property
    def ended(self) -> bool:
        """Whether no camera sends any more."""
        return self._intake.all_ended

    def sets(self, wait_s: float) -> Iterator[FrameSet]:
        """The frame sets that are ready, waiting at most so long for the first frame.

        Raises:
            RigposeError: A camera failed.
        """
        self._turn()
        for frame in self._intake.receive(wait_s):
            self._sync.add(frame)
        yield from self._sync.take(now_ns())

    def close(self) -> None:
        """Ask the nodes to end, and end those that do not."""
        for report in self._reports.values():
            self._server.stop(report)
        deadline = time.monotonic() + STOP_S
        for sign in (None, signal.SIGTERM, signal.SIGKILL):
            for process in self._processes.values():
                if sign is not None and process.poll() is None:
                    process.send_signal(sign)
            while time.monotonic() < deadline and any(p.poll() is None for p in self._processes.values()):
                # A node that came up late hears of the end only now, and none may wait for room at our side.
                for _, report, _ in self._server.receive():
                    self._server.stop(report)
                for _ in self._intake.receive(0.02):
                    pass
            deadline = time.monotonic() + 2.0
        for process in self._processes.values():
            process.wait()
        self._processes.clear()
        self._intake.close()
        self._server.close()
        self._run_dir.remove()
