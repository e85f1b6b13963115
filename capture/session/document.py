"""``session.json``: what a session is, written before anything is recorded."""

from __future__ import annotations

import json
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rigpose import __version__
from rigpose.errors import ConfigError
from rigpose.files import write_json
from rigpose.skeleton import Skeleton

SCHEMA = 1
DOCUMENT_NAME = "session.json"
LOG_NAME = "session.mcap"
RECOVERED_NAME = "session.recovered.mcap"
SUMMARY_NAME = "summary.json"
_VERSIONED = ("numpy", "opencv-python", "onnxruntime", "pyzmq", "msgpack", "mcap", "av")


class SessionInfo(BaseModel):
    """The document of a session; keys that a reader does not know are ignored.

    Attributes:
        schema_: Version of this document.
        session_id: The run that was recorded.
        started: ISO 8601 with time zone.
        monotonic_ns: The monotonic clock at the start.
        utc_ns: UTC at the same moment; ``log_time`` in the log is ``monotonic + utc_ns - monotonic_ns``.
        config: The whole config of the run, as resolved.
        rig: The cameras that poses belong to, with their ``calibration_id``.
        model: The model document.
        skeletons: Those that subjects may have.
        versions: Of rigpose, Python and what it computes with.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    schema_: int = Field(SCHEMA, alias="schema")
    session_id: str = ""
    started: str = ""
    monotonic_ns: int = 0
    utc_ns: int = 0
    config: dict[str, Any] = {}
    rig: dict[str, Any] | None = None
    model: dict[str, Any] | None = None
    skeletons: tuple[Skeleton, ...] = ()
    versions: dict[str, str] = {}
    host: str = ""
    subject: str = ""
    experimenter: str = ""
    protocol: str = ""
    notes: str = ""

    def write(self, folder: Path) -> None:
        """Write ``session.json``, whole or not at all, and have the disk keep it."""
        write_json(folder / DOCUMENT_NAME, self.model_dump(by_alias=True, mode="python"), default=_plain, durable=True)


def read_info(folder: Path) -> SessionInfo:
    """The document of a session.

    Raises:
        ConfigError: No session there, one of a newer version, or a broken one.
    """
    path = folder / DOCUMENT_NAME
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        what = "no such folder" if not folder.exists() else f"is not a session: it has no {DOCUMENT_NAME}"
        raise ConfigError(folder, what, "name a folder that rigpose recorded") from None
    except (OSError, ValueError) as error:
        raise ConfigError(path, f"cannot be read: {error}", "restore it from a copy") from None
    schema = document.get("schema") if isinstance(document, dict) else None
    if not isinstance(schema, int) or schema < 1:
        raise ConfigError(path, "is not a session document: it has no schema", "name a folder that rigpose recorded")
    if schema > SCHEMA:
        raise ConfigError(path, f"has schema {schema}, this program reads up to {SCHEMA}", "use a newer rigpose")
    try:
        return SessionInfo.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ConfigError(path, f"key {key}: {first['msg']}", "restore it from a copy") from None


def _plain(value: object) -> object:
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, BaseModel):
        return value.model_dump(by_alias=True, mode="json")
    return str(value)


def versions() -> dict[str, str]:
    """Versions of rigpose, Python and of the packages that results depend on."""
    found = {"rigpose": __version__, "python": platform.python_version(), "platform": platform.platform()}
    for package in _VERSIONED:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
