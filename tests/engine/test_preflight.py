"""What can be known of a run before its processes start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

from calib.rig import Rig, write_rig
from engine.config import SystemConfig, load_system
from engine.preflight import DEFAULT_RATE, check_sizes, complete_rate, judge_rig, load_rig, locate_model
from rigpose.errors import ConfigError
from tests.calib.scenes import ring

SIZE = (64, 48)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rig = ring(3)
    write_rig(rig, tmp_path / "rig.toml")
    for name, size in (("a", SIZE), ("b", SIZE), ("wide", (80, 48))):
        (tmp_path / name).mkdir()
        cv2.imwrite(str(tmp_path / name / "0.png"), np.zeros((size[1], size[0], 3), np.uint8))
    return tmp_path


def system(folder: Path, sources: dict[str, dict[str, Any]], **changes: Any) -> SystemConfig:
    cameras = {name: {"source": source} for name, source in sources.items()}
    document = {"version": 1, "rig": {"file": "rig.toml"}, "cameras": cameras, **changes}
    file = folder / "rig.yaml"
    file.write_text(yaml.safe_dump(document, sort_keys=False))
    return load_system(file)


def pictures(folder: str, rate: float | None = None) -> dict[str, Any]:
    return {"kind": "video", "file": f"{folder}/*.png", **({"rate": rate} if rate else {})}


def test_the_rig_has_the_cameras_of_the_sources_in_their_order(folder: Path) -> None:
    rig = load_rig(system(folder, {"cam2": pictures("a"), "cam0": pictures("b")}, rig={"file": "rig.toml"}))
    assert rig.names == ("cam2", "cam0")


def test_a_camera_that_the_rig_does_not_know_is_named(folder: Path) -> None:
    with pytest.raises(ConfigError, match="cam7.*it knows cam0"):
        load_rig(system(folder, {"cam0": pictures("a"), "cam7": pictures("b")}))


def test_one_camera_is_refused_where_two_are_needed(folder: Path) -> None:
    config = system(folder, {"cam0": pictures("a")})
    with pytest.raises(ConfigError, match=r"min_views: is 2, and there is only cam0.*add a camera"):
        judge_rig(config, load_rig(config))
    config = system(folder, {"cam0": pictures("a")}, engine={"min_views": 1})
    judge_rig(config, load_rig(config))


@pytest.mark.parametrize(
    ("rates", "expected"), [((25.0, 25.0), 25.0), ((25.0, None), 25.0), ((None, None), DEFAULT_RATE)]
)
def test_the_rate_is_the_one_that_the_sources_share(
    rates: tuple[float | None, float | None], expected: float, folder: Path
) -> None:
    config = system(folder, {"cam0": pictures("a", rates[0]), "cam1": pictures("b", rates[1])})
    assert complete_rate(config, "rig.yaml").rate == expected


def test_sources_of_different_rates_ask_for_one(folder: Path) -> None:
    config = system(folder, {"cam0": pictures("a", 25), "cam1": pictures("b", 30)})
    with pytest.raises(ConfigError, match="cam0 plays at 25 and cam1 at 30"):
        complete_rate(config, "rig.yaml")
    assert complete_rate(config.model_copy(update={"rate": 10.0}), "rig.yaml").rate == 10


def test_pictures_that_do_not_fit_the_calibration_are_named_with_both_sizes(folder: Path) -> None:
    config = system(folder, {"cam0": pictures("a"), "cam1": pictures("wide")})
    rig = load_rig(config)
    fitting = Rig(tuple(type(c)(**{**vars_of(c), "size": SIZE}) for c in rig.cameras))
    with pytest.raises(ConfigError, match=r"cam1.*80x48.*64x48.*letterbox"):
        check_sizes(config, fitting, "rig.yaml")


def vars_of(camera: Any) -> dict[str, Any]:
    return {name: getattr(camera, name) for name in ("name", "size", "K", "dist", "rvec", "t", "fisheye")}


def test_a_network_for_drawn_pictures_is_refused_on_a_camera_and_not_on_a_file(folder: Path) -> None:
    drawn = {"engine": {"model": "discs"}}
    assert locate_model(system(folder, {"cam0": pictures("a")}, **drawn), "rig.yaml").document.domain == "synthetic"
    real = system(folder, {"cam0": pictures("a"), "cam1": {"kind": "webcam", "device": 9}}, **drawn)
    with pytest.raises(ConfigError, match="--force"):
        locate_model(real, "rig.yaml")
    assert locate_model(real.model_copy(update={"force": True}), "rig.yaml").document.id


def test_a_virtual_rig_is_known_from_its_scenario(tmp_path: Path) -> None:
    scenario = Path(__file__).parents[2] / "training" / "scenarios" / "demo.yaml"
    source = {"kind": "virtual", "scenario": str(scenario)}
    file = tmp_path / "rig.yaml"
    document = {"version": 1, "rig": {"scenario": str(scenario)}, "cameras": {"cam2": {"source": source}}}
    file.write_text(yaml.safe_dump(document))
    rig = load_rig(load_system(file), file)
    assert rig.names == ("cam2",) and rig.metadata["world"] == "floor" and rig["cam2"].size == (320, 240)


@pytest.mark.parametrize("rig", [{}, {"file": "a.toml", "scenario": "b.yaml"}])
def test_a_rig_comes_from_a_file_or_from_a_scenario(tmp_path: Path, rig: dict[str, str]) -> None:
    file = tmp_path / "rig.yaml"
    cameras = {"a": {"source": {"kind": "video", "file": "a.mp4"}}}
    file.write_text(yaml.safe_dump({"version": 1, "rig": rig, "cameras": cameras}))
    with pytest.raises(ConfigError, match="rig.*file or scenario"):
        load_system(file)


def test_package_stands_for_the_place_of_rigpose_itself(tmp_path: Path) -> None:
    file = tmp_path / "rig.yaml"
    scenario = "${package}/training/scenarios/demo.yaml"
    cameras = {"cam1": {"source": {"kind": "virtual", "scenario": scenario}}}
    file.write_text(yaml.safe_dump({"version": 1, "rig": {"scenario": scenario}, "cameras": cameras}))
    assert load_system(file).rig.origin.is_file()
