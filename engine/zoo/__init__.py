"""The models that rigpose ships, and documents for networks that it knows by their bytes."""

from __future__ import annotations

from pathlib import Path

from rigpose.errors import ConfigError

FOLDER = Path(__file__).parent


def names() -> tuple[str, ...]:
    """Names that ``--model`` takes instead of a file."""
    return tuple(sorted(file.stem for file in FOLDER.glob("*.onnx")))


def path(name: str) -> Path:
    """The ONNX file of a zoo name.

    Raises:
        ConfigError: There is no such name; the remedy lists those that exist.
    """
    file = FOLDER / f"{name}.onnx"
    if name not in names():
        raise ConfigError(
            f"--model {name}", "is neither a file nor a model of the zoo", f"the zoo has: {', '.join(names())}"
        )
    return file


def known(sha256: str) -> Path | None:
    """The document of a network that is known by the sha256 of its file, if there is one."""
    file = FOLDER / "known" / f"{sha256}.yaml"
    return file if file.is_file() else None
