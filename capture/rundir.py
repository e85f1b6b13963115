"""The run directory: where the processes of one rig on one host find each other.

A folder that only its owner may enter, holding ``run.json`` (session, endpoints, the rig's clock), the
resolved config, one log a node, and on Linux and macOS the sockets themselves.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs
import psutil

from rigpose.errors import ConfigError, RigposeError
from rigpose.files import write_json

try:
    import fcntl
except ImportError:  # not a Unix
    fcntl = None  # type: ignore[assignment]

ENDPOINTS = ("poses", "record", "control", "preview", "truth")
KEPT_RUNS = 50
_SESSION_ID = re.compile(r"\d{8}T\d{6}-[0-9a-f]{6}")
_NODE_CHARACTERS = 16
_LONGEST_SOCKET_PATH = 103
"""What a socket's path may have on every Unix (Linux allows 107 bytes, macOS 103)."""


def new_session_id() -> str:
    """A session id that sorts by time and does not repeat."""
    return f"{time.strftime('%Y%m%dT%H%M%S')}-{secrets.token_hex(3)}"


def base_folder() -> Path:
    """Where run directories live: ``RIGPOSE_RUN``, else the user's runtime folder."""
    if override := os.environ.get("RIGPOSE_RUN"):
        return Path(override)
    if sys.platform != "linux" or os.environ.get("XDG_RUNTIME_DIR"):
        runtime = Path(platformdirs.user_runtime_dir("rigpose"))
        if len(str(runtime)) < _LONGEST_SOCKET_PATH - 55 and os.access(runtime.parent, os.W_OK):
            return runtime
    return Path(tempfile.gettempdir()) / f"rigpose-{os.getuid() if hasattr(os, 'getuid') else 'user'}"


def _file_name(node: str) -> str:
    """A node's name as a short file name; names that do not fit are replaced by a digest."""
    if len(node) <= _NODE_CHARACTERS and re.fullmatch(r"[A-Za-z0-9_.-]+", node):
        return node
    return hashlib.sha256(node.encode()).hexdigest()[:_NODE_CHARACTERS]


def _is_alive(pid: int) -> bool:
    """Whether a process runs. One that has ended and whose parent has not asked for its exit code is dead."""
    if pid <= 0:
        return False
    try:
        return psutil.Process(pid).status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:
        # It is there, though nobody may look at it.
        return True


def _free_tcp_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class RunDirectory:
    """One run of one rig on this host.

    Attributes:
        path: The folder.
        info: The content of ``run.json``.
    """

    path: Path
    info: dict[str, Any]

    @classmethod
    def create(cls, session_id: str, nodes: Iterable[str] = (), path: Path | None = None) -> RunDirectory:
        """Make a run directory with mode 0700 and endpoints for every socket.

        Args:
            session_id: The session that the run belongs to.
            nodes: Names of the camera nodes; each gets an address of its own for its frames, so that a
                lossless engine can let one camera wait and go on reading another.
            path: A folder of the caller's choice; default is one below ``base_folder()``.

        Raises:
            ConfigError: The folder cannot be made, is another user's or another run's, or its path is too
                long for a socket.
        """
        if path is None:
            base = base_folder()
            _make_private(base)
            _forget_old_runs(base)
            path = base / session_id
        path = path.absolute()
        _make_private(path)
        if (owner := _owner(path)) is not None:
            raise ConfigError(path, f"is the run directory of process {owner}", "end that one or choose another folder")
        if os.name == "posix" and sys.platform != "cygwin":
            if len(os.fsencode(str(path / f"frames-{'x' * _NODE_CHARACTERS}.sock"))) > _LONGEST_SOCKET_PATH:
                raise ConfigError(path, "is too long a path for sockets", "give a shorter --run-dir or set RIGPOSE_RUN")
            endpoints = {name: f"ipc://{path / name}.sock" for name in ENDPOINTS}
            frames = {node: f"ipc://{path / f'frames-{_file_name(node)}'}.sock" for node in nodes}
        else:
            endpoints = {name: f"tcp://127.0.0.1:{_free_tcp_port()}" for name in ENDPOINTS}
            frames = {node: f"tcp://127.0.0.1:{_free_tcp_port()}" for node in nodes}
        info = {
            "schema": 1,
            "session_id": session_id,
            "pid": os.getpid(),
            "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "endpoints": endpoints,
            "frames": frames,
        }
        run = cls(path, info)
        run._write()
        return run

    @classmethod
    def open(cls, path: Path) -> RunDirectory:
        """The run directory that some process made.

        Raises:
            ConfigError: There is no readable ``run.json``.
        """
        file = path / "run.json"
        try:
            info = json.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ConfigError(file, "no such file", "start the rig first: rigpose launch CONFIG") from None
        except (OSError, ValueError) as error:
            raise ConfigError(file, f"cannot be read: {error}", "start the rig again") from None
        if not isinstance(info, dict) or info.get("schema") != 1 or "endpoints" not in info:
            raise ConfigError(file, "is not a run file of this version", "start the rig again")
        return cls(path.absolute(), info)

    @classmethod
    def latest(cls) -> RunDirectory:
        """The newest run on this host whose first process lives.

        Raises:
            RigposeError: No rig runs here.
        """
        base = base_folder()
        found: list[tuple[float, Path]] = []
        for file in base.glob("*/run.json"):
            try:
                found.append((file.stat().st_mtime, file.parent))
            except OSError:
                continue
        for _, path in sorted(found, reverse=True):
            try:
                run = cls.open(path)
            except ConfigError:
                continue
            if run.is_running:
                return run
        raise RigposeError("rigpose", "no rig is running on this machine", "start one: rigpose launch CONFIG")

    @property
    def is_running(self) -> bool:
        """Whether the process that made the run is alive."""
        return _is_alive(int(self.info.get("pid", -1)))

    @property
    def session_id(self) -> str:
        """The session that the run belongs to."""
        return str(self.info["session_id"])

    def endpoint(self, name: str) -> str:
        """The address of one of ``ENDPOINTS``."""
        return str(self.info["endpoints"][name])

    def frames_endpoint(self, node: str) -> str:
        """The address at which the engine takes a camera node's frames.

        Raises:
            ConfigError: The run knows no such node.
        """
        frames = self.info.get("frames", {})
        if node not in frames:
            raise ConfigError(self.path, f"has no camera node {node}", f"its nodes are {', '.join(frames)}")
        return str(frames[node])

    @contextmanager
    def claimed(self, node: str) -> Iterator[None]:
        """Be the one process of a name in this run while the block lasts, however the process ends.

        Two camera nodes of one name would mix their frames, and each would take the other for one that was
        started again. Where the system has no such locks nothing is refused.

        Raises:
            RigposeError: Another process is it.
        """
        if fcntl is None:
            yield
            return
        file = self.path / f"{_file_name(node)}.pid"
        with file.open("a+", encoding="ascii") as held:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                held.seek(0)
                who = f" (process {pid})" if (pid := held.read().strip()) else ""
                raise RigposeError(f"node {node}", f"runs already in {self.path}{who}", "end that one first") from None
            held.truncate(0)
            held.write(str(os.getpid()))
            held.flush()
            yield

    def update(self, **values: Any) -> RunDirectory:
        """Add values to ``run.json``, whole or not at all, and give the new state back."""
        run = RunDirectory(self.path, {**self.info, **values})
        run._write()
        return run

    def reload(self) -> RunDirectory:
        """What ``run.json`` says now."""
        return RunDirectory.open(self.path)

    def remove(self) -> None:
        """Take the sockets away; logs and config stay, of the last ``KEPT_RUNS`` runs."""
        for file in (*self.path.glob("*.sock*"), *self.path.glob("*.pid")):
            file.unlink(missing_ok=True)
        (self.path / "run.json").unlink(missing_ok=True)

    def _write(self) -> None:
        write_json(self.path / "run.json", self.info)


def _forget_old_runs(base: Path) -> None:
    """Remove all but the newest runs that have ended: the runtime folder is often memory."""
    runs = sorted(path for path in base.iterdir() if _SESSION_ID.fullmatch(path.name) and path.is_dir())
    for path in runs[:-KEPT_RUNS]:
        try:
            alive = RunDirectory.open(path).is_running
        except ConfigError:
            alive = False
        if not alive:
            shutil.rmtree(path, ignore_errors=True)


def _owner(path: Path) -> int | None:
    """The other process whose run lives in a folder."""
    try:
        run = RunDirectory.open(path)
    except ConfigError:
        return None
    pid = int(run.info.get("pid", -1))
    return pid if run.is_running and pid != os.getpid() else None


def _make_private(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.stat()
        if hasattr(os, "getuid") and status.st_uid != os.getuid():
            raise ConfigError(folder, "belongs to another user", "set RIGPOSE_RUN to a folder of your own")
        if status.st_mode & 0o077:
            folder.chmod(0o700)
    except OSError as error:
        raise ConfigError(folder, f"cannot be used as a run directory: {error.strerror}", "set RIGPOSE_RUN") from None
