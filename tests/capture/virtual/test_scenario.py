"""A scenario says what is wrong with it in one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from capture.virtual.scenario import generator, load_scenario
from rigpose.errors import ConfigError
from tests.capture.virtual.scenarios import scenario


def write(tmp_path: Path, **values) -> Path:
    document = {**scenario().model_dump(mode="json"), **values}
    path = tmp_path / "s.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


class TestLoading:
    def test_what_was_written_is_read(self, tmp_path: Path) -> None:
        assert load_scenario(write(tmp_path)) == scenario()

    def test_a_key_can_be_set(self, tmp_path: Path) -> None:
        assert load_scenario(write(tmp_path), ["motion.kinds=[waving]"]).motion.kinds == ("waving",)

    @pytest.mark.parametrize(
        ("values", "said"),
        [
            ({"version": 2}, "version"),
            ({"noise": [3, 1]}, "ends before it begins"),
            ({"noise": [-1, 1]}, "below 0"),
            ({"exposure_ms": [0, 1]}, "above 0"),
            ({"motion": {"kinds": ["grooming"]}}, "a mannequin can do: walking"),
            ({"motion": {"kinds": []}}, "motion.kinds"),
            ({"cameras": []}, "cameras is empty"),
            ({"faults": {"cam9": {}}}, "the cameras are cam1, cam2, cam3"),
            ({"subject": {"kind": "mouse"}}, "mannequin"),
            ({"subject": {"kind": "fly", "left_hue_deg": [0, 180]}}, "30 degrees apart"),
            ({"colour": 1}, "allowed are"),
        ],
    )
    def test_what_is_wrong_is_named(self, tmp_path: Path, values: dict, said: str) -> None:
        with pytest.raises(ConfigError, match=said) as error:
            load_scenario(write(tmp_path, **values))
        assert "s.yaml" in str(error.value)
        assert "\n" not in str(error.value)

    def test_a_camera_twice_is_refused(self, tmp_path: Path) -> None:
        camera = {"name": "a", "position_mm": [3000, 0, 900], "focal_px": 300}
        with pytest.raises(ConfigError, match="twice"):
            load_scenario(write(tmp_path, cameras=[camera, camera]))

    def test_another_number_of_views(self) -> None:
        assert scenario().with_views(6).camera_names == ("cam1", "cam2", "cam3", "cam4", "cam5", "cam6")


class TestGenerator:
    def test_a_stream_is_a_pure_function_of_seed_and_index(self) -> None:
        assert np.array_equal(generator(5, 1).uniform(size=4), generator(5, 1).uniform(size=4))

    @pytest.mark.parametrize(("seed", "index"), [(6, 1), (5, 2), ((5, 0), 1), ((5, 1, 2), 1)])
    def test_others_differ(self, seed: object, index: int) -> None:
        assert not np.array_equal(generator(5, 1).uniform(size=4), generator(seed, index).uniform(size=4))  # type: ignore[arg-type]
