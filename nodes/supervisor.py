"""Starting, watching and stopping the processes of a rig.

A node is ready at its first ``running`` heartbeat, not when its process exists. A node that dies is
started again after a pause that doubles; one that says that its input is wrong is not, because it
would say so again. No process outlives its supervisor: each is told when the parent dies, and is the
leader of a group of its own that is ended as a whole.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import rigpose
from engine.config import RestartSection
from rigpose.errors import ExitCode
from rigpose.parent import PARENT_VARIABLE

log = logging.getLogger(__name__)

FINAL_CODES = (ExitCode.USAGE, ExitCode.BAD_VERDICT)
KILL_WAIT_S = 3.0
KILL_LOADING_S = 1.0


@dataclass
class Node:
    """One process that launch keeps running.

    Attributes:
        name: Unique in the rig.
        kind: ``camera``, ``engine``, ``recorder`` or ``viewer``.
        arguments: Of ``python``, from ``-m`` on.
        essential: Whether the run ends when it cannot be kept alive.
        restartable: Whether it is started again when it dies.
        process: The one that runs, or the last one.
        exit_code: Of the last process that ended.
        deaths: How often one ended unexpectedly.
        served: Whether one has ever run: what it needs was there then.
        expected_to_end: Whether it was asked to stop.
        finished: Set when it runs no more and will not be started again.
    """

    name: str
    kind: str
    arguments: tuple[str, ...]
    essential: bool = True
    restartable: bool = True
    process: asyncio.subprocess.Process | None = None
    exit_code: int | None = None
    deaths: int = 0
    served: bool = False
    expected_to_end: bool = False
    finished: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def alive(self) -> bool:
        """Whether its process runs now."""
        return self.process is not None and self.process.returncode is None


class Supervisor:
    """Keeps nodes alive by a policy.

    Args:
        folder: The run directory, which gets each node's output.
        restart: The policy.
        died: Called with a node and its exit code each time that one ends unexpectedly.
        failed: Called with a node when it is given up.
    """

    def __init__(
        self,
        folder: Path,
        restart: RestartSection,
        died: Callable[[Node, int, float | None], None],
        failed: Callable[[Node], None],
    ) -> None:
        self._folder = folder
        self._restart = restart
        self._died = died
        self._failed = failed
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.nodes: dict[str, Node] = {}

    def start(self, node: Node) -> None:
        """Start a node and keep it running from now on."""
        self.nodes[node.name] = node
        self._tasks[node.name] = asyncio.create_task(self._keep(node), name=f"keep {node.name}")

    async def _keep(self, node: Node) -> None:
        pause_s = self._restart.backoff_s
        try:
            while True:
                started_s = time.monotonic()
                code = await self._run(node)
                node.exit_code = code
                if node.expected_to_end or code == ExitCode.OK:
                    return
                node.deaths += 1
                final = (
                    code in FINAL_CODES
                    or not node.restartable
                    or self._restart.policy == "never"
                    or (code == ExitCode.MISSING and not node.served)
                )
                if time.monotonic() - started_s > self._restart.reset_s:
                    pause_s = self._restart.backoff_s
                self._died(node, code, None if final else pause_s)
                if final:
                    self._failed(node)
                    return
                await asyncio.sleep(pause_s)
                if node.expected_to_end:
                    return
                pause_s = min(2 * pause_s, self._restart.backoff_max_s)
        finally:
            node.finished.set()

    async def _run(self, node: Node) -> int:
        """Run a node's process to its end; its exit code."""
        try:
            node.process = await self._spawn(node)
        except OSError as error:
            log.error("%s cannot be started: %s", node.name, error)
            return int(ExitCode.FAILED)
        return await node.process.wait()

    async def _spawn(self, node: Node) -> asyncio.subprocess.Process:
        # -P: a folder of the user's that is called like one of our packages must not take its place.
        root = str(Path(rigpose.__file__).resolve().parent.parent)
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")]).rstrip(":"),
            PARENT_VARIABLE: str(os.getpid()),
        }
        with (self._folder / f"{node.name}.out").open("ab") as output:
            return await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",
                *node.arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment,
                start_new_session=True,
            )

    async def end(self, node: Node, wait_s: float) -> None:
        """Wait for a node that was asked to stop; after ``wait_s`` (0 = at once) it is ended with its whole group."""
        node.expected_to_end = True
        if node.alive and not await self._finished(node, wait_s):
            if wait_s > 0:
                log.warning("%s did not stop within %.0f s", node.name, wait_s)
            # One that is still loading has nothing to lose, but a recorder may have begun its session.
            kill_s = KILL_WAIT_S if wait_s > 0 or node.kind == "recorder" else KILL_LOADING_S
            for sign in (signal.SIGTERM, signal.SIGKILL):
                self._signal(node, sign)
                if await self._finished(node, kill_s):
                    break
        task = self._tasks.get(node.name)
        if task is not None and not node.alive:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _finished(self, node: Node, wait_s: float) -> bool:
        try:
            await asyncio.wait_for(node.finished.wait(), wait_s)
        except TimeoutError:
            return False
        return True

    def kill_all(self) -> None:
        """The last resort: nothing that was started stays behind."""
        for node in self.nodes.values():
            if node.alive:
                self._signal(node, signal.SIGKILL)

    @staticmethod
    def _signal(node: Node, sign: signal.Signals) -> None:
        if node.process is not None:
            try:
                os.killpg(node.process.pid, sign)
            except ProcessLookupError:
                pass

    def last_words(self, node: Node) -> str:
        """The last line that a node wrote before it ended: its error, as a user should read it."""
        try:
            lines = (self._folder / f"{node.name}.out").read_text(errors="replace").strip().splitlines()
        except OSError:
            return ""
        return lines[-1].removeprefix("rigpose: error: ") if lines else self._last_log(node)

    def _last_log(self, node: Node) -> str:
        try:
            lines = (self._folder / f"{node.name}.jsonl").read_text(errors="replace").strip().splitlines()
            return str(json.loads(lines[-1])["message"]) if lines else ""
        except (OSError, ValueError, KeyError):
            return ""
