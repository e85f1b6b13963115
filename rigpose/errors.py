"""Errors as part of the interface: one line that says where, what and what to do about it."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What a rigpose process answers to its caller."""

    OK = 0
    FAILED = 1
    USAGE = 2
    MISSING = 3
    BAD_VERDICT = 4
    INTERRUPTED = 130


class RigposeError(Exception):
    """A failure that a user can act on.

    Args:
        where: The file, key, node or socket that the failure belongs to.
        what: What is wrong there, in one sentence without a full stop.
        remedy: What the user can do about it.
    """

    exit_code = ExitCode.FAILED

    def __init__(self, where: object, what: str, remedy: str = "") -> None:
        self.where = str(where)
        self.what = " ".join(what.split())
        self.remedy = " ".join(remedy.split())
        super().__init__(str(self))

    def __str__(self) -> str:
        line = f"{self.where}: {self.what}" if self.where else self.what
        return f"{line} ({self.remedy})" if self.remedy else line

    def __reduce__(self) -> tuple[type, tuple[str, str, str]]:
        return type(self), (self.where, self.what, self.remedy)


class ConfigError(RigposeError):
    """The user's input (a file, a key, an option) cannot be used as it is."""

    exit_code = ExitCode.USAGE


class MissingError(RigposeError):
    """An extra, a library or a device that this machine does not have."""

    exit_code = ExitCode.MISSING


class VerdictError(RigposeError):
    """Something was judged and found bad (a rig file, a plan, a recording)."""

    exit_code = ExitCode.BAD_VERDICT


class ProtocolError(RigposeError):
    """A message that does not follow the contract; the receiver counts it and goes on."""
