"""Recordings that can be played without a camera."""

from __future__ import annotations

from pathlib import Path

import platformdirs
import pytest

from engine.config import load_system
from engine.preflight import check_sizes, complete_rate, load_rig
from nodes import recordings


def test_one_is_drawn_once_kept_and_is_what_launch_plays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(recordings, "DRAWN_FRAMES", 6)
    monkeypatch.setattr(platformdirs, "user_cache_dir", lambda name: str(tmp_path / name))
    play = recordings.drawn_recording()
    assert "drawing" in capsys.readouterr().out
    config = complete_rate(load_system(play.config, data=play.data), play.config)
    check_sizes(config, load_rig(config), play.config)
    assert recordings.drawn_recording() == play
    assert capsys.readouterr().out == "", "drawn once"
    assert [path.name for path in play.data.parent.iterdir()] == [play.data.name], "nothing else is left behind"


def test_the_real_one_is_played_only_where_it_and_its_network_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RIGPOSE_DATA", raising=False)
    assert recordings.real_recording() is None
    monkeypatch.setenv("RIGPOSE_DATA", str(tmp_path))
    monkeypatch.setenv("RIGPOSE_MODELS", str(tmp_path))
    assert recordings.real_recording() is None
    (tmp_path / "human4-balance").mkdir()
    (tmp_path / "movenet_lightning_coco17.onnx").touch()
    play = recordings.real_recording()
    assert play is not None and play.config.is_file() and play.model is not None and play.rate == recordings.REAL_RATE
