"""A config file becomes a checked value, or one line that says what to mend."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Discriminator, Tag

from rigpose.config import Config, FilePath, load
from rigpose.errors import ConfigError, ExitCode


class Inner(Config):
    threads: int = 1
    file: FilePath = Path("a")


class Outer(Config):
    version: int
    inner: Inner = Inner()
    items: dict[str, Inner] = {}


def write(folder: Path, text: str) -> Path:
    file = folder / "rig.yaml"
    file.write_text(text)
    return file


def test_paths_are_relative_to_the_file_and_variables_are_put_in(tmp_path: Path) -> None:
    file = write(tmp_path, "version: 1\ninner: {file: b/c}\nitems: {x: {file: '${data}/d'}}")
    config = load(file, Outer, variables={"data": "/recordings"})
    assert config.inner.file == tmp_path / "b/c"
    assert config.items["x"].file == Path("/recordings/d")


def test_a_path_upwards_is_told_plainly(tmp_path: Path) -> None:
    (tmp_path / "examples").mkdir()
    config = load(write(tmp_path / "examples", "version: 1\ninner: {file: ../b/c}"), Outer)
    assert str(config.inner.file) == str(tmp_path / "b/c")


def test_set_replaces_and_adds_keys(tmp_path: Path) -> None:
    config = load(write(tmp_path, "version: 1"), Outer, assignments=["inner.threads=3", "items.x.threads=4"])
    assert (config.inner.threads, config.items["x"].threads) == (3, 4)


@pytest.mark.parametrize(
    ("text", "assignments", "words"),
    [
        ("version: 1\ninner: {treads: 2}", [], ["inner.treads", "threads"]),
        ("version: 1\nitems: {x: {treads: 2}}", [], ["items.x.treads", "threads"]),
        ("version: 1\ninner: {threads: many}", [], ["inner.threads", "integer"]),
        ("version: 2", [], ["version", "write version: 1"]),
        ("inner: {}", [], ["version"]),
        ("version: 1\n  inner: {", [], ["line 2", "YAML"]),
        ("version: 1\nitems:\n  x: {}\n  x: {}", [], ["line 4", "key x", "twice"]),
        ("- 1", [], ["mapping"]),
        ("version: 1\ninner: {file: '${data}/x'}", [], ["${data}", "--data"]),
        ("version: 1", ["inner.threads"], ["--set inner.threads", "a.b=value"]),
        ("version: 1", ["version.x=1"], ["plain value"]),
    ],
)
def test_an_error_is_one_line_with_file_key_and_remedy(
    tmp_path: Path, text: str, assignments: list[str], words: list[str]
) -> None:
    file = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load(file, Outer, assignments=assignments)
    line = str(caught.value)
    assert "\n" not in line and caught.value.remedy
    assert caught.value.exit_code == ExitCode.USAGE
    for word in words:
        assert word in line


def test_a_key_may_replace_one_that_was_merged_in(tmp_path: Path) -> None:
    text = "version: 1\nitems:\n  x: &x {threads: 2, file: b}\n  y: {<<: *x, threads: 3}"
    config = load(write(tmp_path, text), Outer)
    assert config.items["y"] == Inner(threads=3, file=tmp_path / "b")


@pytest.mark.parametrize(("content", "word"), [(None, "directory"), (b"\xff\xfe\x00", "not text")])
def test_what_is_no_text_file_is_named(tmp_path: Path, content: bytes | None, word: str) -> None:
    file = tmp_path / "rig.yaml"
    file.mkdir() if content is None else file.write_bytes(content)
    with pytest.raises(ConfigError, match=word) as caught:
        load(file, Outer)
    assert str(caught.value).startswith(f"{file}: ") and caught.value.remedy and "Errno" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="absent.yaml: no such file"):
        load(tmp_path / "absent.yaml", Outer)


def test_a_config_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Inner().threads = 2  # type: ignore[misc]


class Round(Config):
    kind: Literal["round"]
    radius: float = 1


class Square(Config):
    kind: Literal["square"]
    side: float = 1


class Drawn(Config):
    version: int
    shape: Annotated[
        Annotated[Round, Tag("[round]")] | Annotated[Square, Tag("[square]")],
        Discriminator(lambda section: f"[{section['kind']}]"),
    ]


def test_an_unknown_key_of_one_of_several_kinds_names_that_kinds_keys(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"key shape.side: is not a key.*allowed are: kind, radius\)"):
        load(write(tmp_path, "version: 1\nshape: {kind: round, side: 2}"), Drawn)
    with pytest.raises(ConfigError, match=r"key shape.radius: is not a key.*allowed are: kind, side\)"):
        load(write(tmp_path, "version: 1\nshape: {kind: square, radius: 2}"), Drawn)
