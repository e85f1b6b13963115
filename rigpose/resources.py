"""Files that travel with rigpose: in a wheel inside the package, in a source tree at its root."""

from __future__ import annotations

from pathlib import Path

from rigpose.errors import MissingError


def bundled(name: str) -> Path:
    """A file that is shipped with rigpose.

    Args:
        name: Its name at the root of the source tree.

    Raises:
        MissingError: The installation is not whole.
    """
    package = Path(__file__).resolve().parent
    for file in (package / name, package.parent / name):
        if file.is_file():
            return file
    raise MissingError(package / name, "does not exist", "install rigpose again")


def launch_file() -> Path:
    """The config that ``rigpose launch`` starts when it is given none."""
    return bundled("launch.yaml")
