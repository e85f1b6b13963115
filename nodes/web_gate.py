"""The door of the browser page: it opens to whoever has the whole link, and to nobody else.

viser serves a page and its WebSocket to everyone who reaches the port, and on a shared machine that is
every user of it. Here each request, page and WebSocket alike, must begin with a random token as the first
part of its path; no cookie is kept, which a server on another port of this machine could read. viser offers
no place for such a check, so it is put in where viser opens its port, and before the link is told to
anybody the door is tried: a request without the token has to be refused.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import io
import logging
import secrets
import socket
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from rigpose.errors import ConfigError, MissingError, RigposeError
from rigpose.extras import missing

LINK = "link"
"""The event by which launch gets the link; its data are for the user's terminal and for no log."""
HOST = "127.0.0.1"
PORT = 8790
PORTS = 50
REFUSED = "This page opens with the whole link that rigpose printed, not without its last part.\n"
TRY_S = 5.0


def load_viser() -> Any:
    """Viser.

    Raises:
        MissingError: It is not installed.
    """
    try:
        return importlib.import_module("viser")
    except ModuleNotFoundError as error:
        raise missing(error.name or "viser") or missing("viser") or MissingError("viser", str(error)) from None


class Gate:
    """Lets a request through whose path begins with the token, and takes the token away from it.

    Args:
        token: The secret.

    Attributes:
        armed: Whether a server asks this gate.
        refused: Requests that came without the token.
    """

    def __init__(self, token: str) -> None:
        self._token = token
        self.armed = False
        self.refused = 0

    def inner_path(self, path: str) -> str | None:
        """The path behind the token, ``None`` for a request without it."""
        first, _, rest = path.partition("?")[0].removeprefix("/").partition("/")
        if not secrets.compare_digest(first.encode(), self._token.encode()):
            return None
        return "/" + rest

    def around(self, process: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        """A ``process_request`` of the websockets package that asks the gate before ``process``."""

        def guarded(connection: Any, request: Any) -> Any:
            inner = self.inner_path(request.path)
            if inner is None:
                self.refused += 1
                return connection.respond(HTTPStatus.FORBIDDEN, REFUSED)
            response = process(connection, dataclasses.replace(request, path=inner))
            if response is not None:
                # The link must not travel on to where the page's links lead, nor stay in a cache.
                response.headers["Referrer-Policy"] = "no-referrer"
                response.headers["Cache-Control"] = "no-store"
                response.headers["X-Frame-Options"] = "DENY"
            return response

        return guarded

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """Every WebSocket server that is opened inside asks this gate first."""
        server: Any = importlib.import_module("websockets.asyncio.server")
        plain = server.serve

        def serve(*args: Any, process_request: Callable[[Any, Any], Any], **options: Any) -> Any:
            self.armed = True
            return plain(*args, process_request=self.around(process_request), **options)

        server.serve = serve
        try:
            yield
        finally:
            server.serve = plain


def open_server(port: int | None = None, title: str = "rigpose") -> tuple[Any, str]:
    """Open the page on this machine.

    Args:
        port: Of the page; ``None`` = the first free one from ``PORT`` on.
        title: Of its panel.

    Returns:
        The viser server, and the link that opens its page.

    Raises:
        MissingError: viser is not installed.
        ConfigError: The port is in use.
        RigposeError: The page would open without its token.
    """
    viser = load_viser()
    # Refused requests are no news for the log, and at its finest level it would hold the link.
    logging.getLogger("websockets").setLevel(logging.CRITICAL)

    class Server(viser.ViserServer):  # type: ignore[misc, name-defined]
        def request_share_url(self, *_: Any, **__: Any) -> None:
            """Never: whoever looks must not be able to lead the rig's data out of the house."""

    token = secrets.token_urlsafe(24)
    gate = Gate(token)
    wanted = free_port(port)
    with gate.installed(), contextlib.redirect_stdout(io.StringIO()):
        server = Server(host=HOST, port=wanted, label=title, verbose=False)
    bound = server.get_port()
    try:
        if not gate.armed or _status(bound, "/") != HTTPStatus.FORBIDDEN or gate.refused == 0:
            raise RigposeError(
                "viser",
                "this version opens its page without asking for the token, so it is not started",
                "install another version of viser",
            )
        if port is not None and bound != port:
            raise _in_use(port)
    except BaseException:
        close_server(server)
        raise
    return server, f"http://{HOST}:{bound}/{token}/"


def close_server(server: Any) -> None:
    """Close the page."""
    with contextlib.redirect_stdout(io.StringIO()):
        server.stop()


def free_port(port: int | None) -> int:
    """The port, or the first free one.

    Raises:
        ConfigError: It is in use, or none of ``PORTS`` is free.
    """
    for candidate in [port] if port is not None else range(PORT, PORT + PORTS):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, candidate))
            except (OSError, OverflowError):
                continue
            return candidate
    raise _in_use(port)


def _in_use(port: int | None) -> ConfigError:
    which = f"port {port}" if port is not None else f"ports {PORT} to {PORT + PORTS - 1}"
    return ConfigError(which, "cannot be opened on this machine: in use or not allowed", "give another --port")


def _status(port: int, path: str) -> int:
    """What a plain request is answered."""
    request = f"GET {path} HTTP/1.1\r\nHost: {HOST}:{port}\r\nConnection: close\r\n\r\n"
    with socket.create_connection((HOST, port), TRY_S) as connection:
        connection.sendall(request.encode())
        answer = connection.makefile("rb").readline(200).split()
    return int(answer[1]) if len(answer) > 1 else 0


def without_token(url: str) -> str:
    """A link as it may stand in a log."""
    return f"http://{urlsplit(url).netloc}"
