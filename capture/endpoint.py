"""Addresses of sockets: what may be bound, and that nobody else is bound there already.

Until keys are set nothing leaves this host: only ``ipc://``, ``inproc://`` and loopback ``tcp://``
are bound. ZeroMQ takes an ipc address away from a living process without a word, so every ipc
address that is bound is held by a lock file beside it; the file of a dead process is taken over.
"""

from __future__ import annotations

import ipaddress
import os
import socket as sockets
import time
from pathlib import Path

import zmq

from rigpose.errors import ConfigError

MAX_IPC_PATH = 107
_TCP_BUFFER = 256 * 1024
_CLOSING_S = 0.5


class BoundEndpoint:
    """An address held by a socket of this process, until released.

    Attributes:
        endpoint: The address that others connect to (wildcards resolved).
    """

    def __init__(self, socket: zmq.Socket, endpoint: str) -> None:
        """Bind ``socket`` to ``endpoint``.

        Raises:
            ConfigError: Not an address of this host, malformed, or in use.
        """
        check_bindable(endpoint)
        self._lock = _lock_ipc(endpoint)
        try:
            socket.bind(endpoint)
        except zmq.ZMQError as error:
            self.release()
            if error.errno == zmq.EADDRINUSE:
                raise ConfigError(
                    endpoint, "is in use by another process", "stop it or choose another address"
                ) from None
            raise ConfigError(
                endpoint, f"cannot be bound: {error.strerror}", "check the address and the folder's permissions"
            ) from None
        self.endpoint = socket.getsockopt_string(zmq.LAST_ENDPOINT) if "*" in endpoint else endpoint

    def release(self) -> None:
        """Let go of the lock; the socket is closed by its owner."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def check_bindable(endpoint: str) -> None:
    """Refuse to bind an address that other hosts can reach.

    Raises:
        ConfigError: Not ``ipc://``, ``inproc://`` or loopback ``tcp://``.
    """
    scheme, _, rest = endpoint.partition("://")
    if scheme == "inproc" and rest:
        return
    if scheme == "ipc" and rest:
        if len(os.fsencode(rest)) > MAX_IPC_PATH:
            raise ConfigError(
                endpoint,
                f"path is longer than the {MAX_IPC_PATH} bytes of a socket's name",
                "choose a shorter run directory",
            )
        return
    if scheme == "tcp" and _is_loopback(rest):
        return
    raise ConfigError(
        endpoint, "would be open to other hosts, and no keys are set", "bind ipc://PATH or tcp://127.0.0.1:PORT"
    )


def tune(socket: zmq.Socket, endpoint: str, hwm: int) -> None:
    """The options that all data sockets share; to be set before binding or connecting.

    Args:
        socket: The socket.
        endpoint: Kernel buffers are bounded for tcp, where they would hold many frames.
        hwm: Messages that each side may queue, per connection.
    """
    socket.set(zmq.SNDHWM, hwm)
    socket.set(zmq.RCVHWM, hwm)
    socket.set(zmq.LINGER, 0)
    if endpoint.startswith("tcp://"):
        socket.set(zmq.SNDBUF, _TCP_BUFFER)
        socket.set(zmq.RCVBUF, _TCP_BUFFER)


def connect(socket: zmq.Socket, endpoint: str) -> None:
    """Connect, now or as soon as the other side is there.

    Raises:
        ConfigError: The address is malformed.
    """
    try:
        socket.connect(endpoint)
    except zmq.ZMQError as error:
        raise ConfigError(
            endpoint, f"is not an address to connect to: {error.strerror}", "for example ipc:///run/user/1000/frames"
        ) from None


def _is_loopback(address: str) -> bool:
    host = address.rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _lock_ipc(endpoint: str) -> int | None:
    scheme, _, name = endpoint.partition("://")
    if scheme != "ipc" or name.startswith(("@", "*")):
        return None
    import fcntl

    path = Path(name)
    taken = ConfigError(
        endpoint, "is in use by another process", "stop it (rigpose status shows it) or choose another run directory"
    )
    try:
        descriptor = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError(
            endpoint, f"cannot be bound: {error.strerror}", "check the folder and its permissions"
        ) from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise taken from None
    # Someone who does not know our lock; or a socket closed just now, which ZeroMQ ends in its own time.
    end = time.monotonic() + _CLOSING_S
    while _is_listening(name):
        if time.monotonic() > end:
            os.close(descriptor)
            raise taken
        time.sleep(0.01)
    return descriptor


def _is_listening(path: str) -> bool:
    with sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM) as probe:
        probe.settimeout(0.5)
        try:
            probe.connect(path)
        except OSError:
            return False
        return True
