"""Bringing one file here, from a web address or this machine: bounded, with its checksum, never half."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote, urlsplit, urlunsplit

from rigpose import __version__
from rigpose.errors import ConfigError, RigposeError

CHUNK = 1 << 20
TIMEOUT_S = 30.0
SCHEMES = ("http", "https", "file")


def is_address(source: str) -> bool:
    """Whether a source is a web address or ``file:`` and not a path."""
    return "://" in source


def local_path(source: str) -> Path | None:
    """The path that a source names on this machine, ``None`` for a web address.

    Raises:
        ConfigError: An address of another kind.
    """
    if not is_address(source):
        return Path(source).expanduser()
    parts = urlsplit(source)
    if parts.scheme not in SCHEMES:
        raise ConfigError(plain(source), f"{parts.scheme}: is not an address that is fetched", "give http(s) or a file")
    return Path(unquote(parts.path)) if parts.scheme == "file" else None


def plain(source: str) -> str:
    """A source as it may be shown and kept: without name, password and query, which often hold a secret."""
    if not is_address(source):
        return source
    parts = urlsplit(source)
    host = parts.hostname or ""
    return urlunsplit((parts.scheme, f"{host}:{parts.port}" if parts.port else host, parts.path, "", ""))


def fetch(source: str, target: Path, *, limit_bytes: int, show: bool = False) -> str:
    """Bring a file here.

    Args:
        source: An http(s) or file address, or a path.
        target: Is written; on an error nothing is left of it.
        limit_bytes: What it may have at most.
        show: Show the progress on a terminal.

    Returns:
        Its sha256, in hex.

    Raises:
        RigposeError: It cannot be had, is too large, or came incomplete.
    """
    try:
        with _opened(source) as (stream, total):
            _check_size(source, total or 0, limit_bytes)
            digest, got = hashlib.sha256(), 0
            with target.open("wb") as file, _progress(Path(plain(source)).name, total, show) as advance:
                while chunk := stream.read(CHUNK):
                    got += len(chunk)
                    _check_size(source, got, limit_bytes)
                    digest.update(chunk)
                    file.write(chunk)
                    advance(len(chunk))
                file.flush()
                os.fsync(file.fileno())
            if total is not None and got != total:
                raise RigposeError(plain(source), f"ended after {got} of {total} bytes", "try again")
        return digest.hexdigest()
    except BaseException as error:
        target.unlink(missing_ok=True)
        if isinstance(error, http.client.HTTPException | TimeoutError | ConnectionError):
            why = str(error) or type(error).__name__
            raise RigposeError(plain(source), f"the transfer broke off: {why}", "try again") from None
        raise


def _check_size(source: str, size: int, limit_bytes: int) -> None:
    if size > limit_bytes:
        raise ConfigError(
            plain(source), f"is larger than {limit_bytes / 1e6:.0f} MB", "check that it is the right file"
        )


@contextlib.contextmanager
def _opened(source: str) -> Iterator[tuple[IO[bytes] | http.client.HTTPResponse, int | None]]:
    path = local_path(source)
    if path is not None:
        try:
            stream = path.open("rb")
        except OSError as error:
            raise ConfigError(path, f"cannot be read: {error.strerror}", "check the path") from None
        with stream:
            yield stream, os.fstat(stream.fileno()).st_size
        return
    request = urllib.request.Request(
        source, headers={"User-Agent": f"rigpose/{__version__}", "Accept-Encoding": "identity"}
    )
    try:
        answer = _web().open(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        error.close()
        raise RigposeError(
            plain(source), f"the server answers {error.code} {error.reason}", "check the address"
        ) from None
    except urllib.error.URLError as error:
        reason = error.reason.strerror if isinstance(error.reason, OSError) else error.reason
        if isinstance(error.reason, ssl.SSLError):
            reason = f"its certificate is not accepted: {error.reason}"
        raise RigposeError(
            plain(source), f"cannot be reached: {reason or error.reason}", "check address and network"
        ) from None
    except ValueError as error:
        raise ConfigError(plain(source), f"is not an address: {error}", "give http(s)://HOST/FILE.onnx") from None
    with answer:
        length = answer.headers.get("Content-Length", "")
        yield answer, int(length) if length.isdigit() else None


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows to web addresses alone, and never from https to http."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        before, after = urlsplit(req.full_url).scheme, urlsplit(newurl).scheme
        if after != "https" and (after != "http" or before == "https"):
            raise RigposeError(
                plain(req.full_url), f"leads on to {plain(newurl)}, which is not safe", "give another address"
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _web() -> urllib.request.OpenerDirector:
    """Opens http and https, and none of the other addresses that urllib knows."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
        _SafeRedirects(),
    ):
        opener.add_handler(handler)
    return opener


@contextlib.contextmanager
def _progress(name: str, total: int | None, show: bool) -> Iterator[Any]:
    if not show:
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(name, total=total)
        yield lambda n: bar.advance(task, n)
