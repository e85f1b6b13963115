"""A graph for one rig: its number of cameras, the cameras in it, and what it says of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from engine import zoo
from engine.rigged import CAMERAS, for_views, rig_of, signed, with_cameras
from tests.calib.scenes import ring


@pytest.fixture
def proto() -> Any:
    return onnx.load(zoo.path("mannequin17"))


def sides(proto: Any) -> dict[str, list[int | str]]:
    values = (*proto.graph.input, *proto.graph.output)
    return {v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in values}


def test_it_is_for_so_many_cameras_and_the_first_stays_as_it_was(proto: Any) -> None:
    assert sides(proto)["K"] == ["V", 3, 3]
    fixed = sides(for_views(proto, 5))
    assert fixed["K"] == [5, 3, 3] and fixed["crops"][:2] == ["B", 5] and fixed["residual_px"] == ["B", 5, 17]
    assert fixed["points3d"] == ["B", 17, 3] and sides(proto)["K"] == ["V", 3, 3]
    onnx.checker.check_model(for_views(proto, 5), full_check=True)


def test_cameras_become_constants(proto: Any) -> None:
    rig = ring(3)
    fixed = with_cameras(proto, rig)
    onnx.checker.check_model(fixed, full_check=True)
    assert list(sides(fixed))[:3] == ["crops", "crop_to_image", "view_weight"] and not set(CAMERAS) & set(sides(fixed))
    found = {weight.name: numpy_helper.to_array(weight) for weight in fixed.graph.initializer}
    for name in CAMERAS:
        np.testing.assert_array_equal(found[name], getattr(rig.arrays(), name).astype(np.float32))


def test_it_says_for_which_rig_it_was_made_last(proto: Any) -> None:
    assert rig_of(proto) is None
    kept = len(proto.metadata_props)
    for rig, fixed in ((ring(3), False), (ring(4), True)):
        signed(proto, rig, fixed=fixed)
        assert rig_of(proto) == {"calibration_id": rig.calibration_id, "cameras": list(rig.names), "fixed": fixed}
    assert len(proto.metadata_props) == kept + 1
