"""Wrong input to any command of `rigpose calibrate` is one line on stderr, an exit code, and nothing written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from benchmarks._rigs import make_rig
from calib.observations import load_views
from calib.rig import write_rig
from nodes.calibrate.keypoints import sightings
from nodes.cli import app
from rigpose.errors import ConfigError

BOARD = "charuco:7x5:60:45:4X4_250"


@pytest.fixture
def rig(tmp_path: Path) -> Path:
    write_rig(make_rig(1, 3), tmp_path / "rig.toml")
    return tmp_path / "rig.toml"


def whole(path: Path) -> bytes:
    np.savez_compressed(
        path, cameras=["a", "b"], px=np.arange(4000.0).reshape(2, 100, 10, 2), confidence=np.ones((2, 100, 10))
    )
    return path.read_bytes()


DAMAGE = {
    "nothing": lambda data: b"",
    "only its beginning": lambda data: data[:4] + bytes(100),
    "cut off": lambda data: data[: len(data) // 2],
    "some bytes changed": lambda data: data[:300] + bytes(40) + data[340:],
    "another way of packing": lambda data: data.replace(b"\x08\x00", b"\x63\x00"),
}


@pytest.mark.parametrize("how", DAMAGE)
def test_keypoints_that_are_damaged(how: str, tmp_path: Path) -> None:
    path = tmp_path / "keypoints.npz"
    path.write_bytes(DAMAGE[how](whole(path)))
    with pytest.raises(ConfigError) as told:
        sightings(path)
    assert str(path) in str(told.value) and "cameras (V names)" in str(told.value) and "\n" not in str(told.value)
    with pytest.raises(ConfigError, match="holds no board views"):
        load_views(path)


@pytest.mark.parametrize(
    "words",
    [
        ("refine", "BAD", "--rig", "RIG", "--to", "new.toml"),
        ("check", "RIG", "--keypoints", "BAD"),
        ("check", "RIG", "--boards", "BAD"),
        ("all", "BAD", "--board", BOARD, "--to", "new.toml"),
        ("intrinsics", "BAD", "--board", BOARD, "--to", "new.toml"),
        ("extrinsics", "BAD", "--board", BOARD, "--given", "RIG", "--to", "new.toml"),
        ("origin", "RIG", "--board", BOARD, "--pictures", "BAD", "--to", "new.toml"),
        ("origin", "RIG", "--points", "BAD", "--to", "new.toml"),
        ("convert", "BAD", "--to", "new.toml"),
        ("timing", "BAD"),
        ("doctor", "BAD", "--board", BOARD),
        ("drift", "BAD", "--rig", "RIG"),
    ],
    ids=lambda words: words[0],
)
@pytest.mark.parametrize("how", ["nothing", "only its beginning"])
def test_commands(words: tuple[str, ...], how: str, rig: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    bad = tmp_path / "bad.npz"
    bad.write_bytes(DAMAGE[how](whole(bad)))
    before = set(tmp_path.iterdir())
    named = {"BAD": str(bad), "RIG": str(rig)}
    result = CliRunner().invoke(app, ["calibrate", *(named.get(word, word) for word in words)])
    error = result.exception
    text = str(error) if isinstance(error, ConfigError) else result.stderr
    assert result.exit_code != 0 and "bad.npz" in text and "unexpected" not in text
    assert isinstance(error, ConfigError | SystemExit), repr(error)
    assert set(tmp_path.iterdir()) == before
