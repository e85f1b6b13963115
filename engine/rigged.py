"""A graph for one rig: for its number of cameras, or with the cameras themselves in it.

Graphs of ours take any number of cameras, which some programs (TensorRT's builder among them) want to know before they
run, and the cameras as inputs, which a program that has but one rig need not carry along. The engine always gives the
rig itself, so that a calibration cannot be one thing in the graph and another in the poses; it refuses a graph with
cameras in it.
"""

from __future__ import annotations

import json
from typing import Any

import onnx
from onnx import numpy_helper

from calib.rig import Rig

RIG_KEY = "rigpose.rig"
"""Metadata: calibration and names of the cameras, in the order of V."""
CAMERAS = ("K", "dist", "fisheye", "Rt", "world")
_VIEWS = "V"


def for_views(proto: onnx.ModelProto, count: int) -> onnx.ModelProto:
    """The graph for so many cameras; one that is for any number is fixed to these."""
    fixed = onnx.ModelProto()
    fixed.CopyFrom(proto)
    for value in (*fixed.graph.input, *fixed.graph.output):
        for side in value.type.tensor_type.shape.dim:
            if side.dim_param == _VIEWS:
                side.dim_value = count
    return fixed


def with_cameras(proto: onnx.ModelProto, rig: Rig) -> onnx.ModelProto:
    """The graph with a rig's cameras as constants instead of inputs."""
    fixed = for_views(proto, len(rig))
    arrays: dict[str, Any] = rig.arrays().astype("float32")._asdict()
    kept = [value for value in fixed.graph.input if value.name not in CAMERAS]
    del fixed.graph.input[:]
    fixed.graph.input.extend(kept)
    fixed.graph.initializer.extend(numpy_helper.from_array(arrays[name], name) for name in CAMERAS)
    return fixed


def signed(proto: onnx.ModelProto, rig: Rig, *, fixed: bool) -> None:
    """Write in the metadata for which rig a graph was made, instead of what it said before."""
    others = [entry for entry in proto.metadata_props if entry.key != RIG_KEY]
    del proto.metadata_props[:]
    proto.metadata_props.extend(others)
    said = {"calibration_id": rig.calibration_id, "cameras": list(rig.names), "fixed": fixed}
    proto.metadata_props.add(key=RIG_KEY, value=json.dumps(said))


def rig_of(proto: onnx.ModelProto) -> dict[str, Any] | None:
    """For which rig a graph was made: ``calibration_id``, ``cameras`` and whether they are ``fixed`` in it."""
    found = next((entry.value for entry in proto.metadata_props if entry.key == RIG_KEY), None)
    return None if found is None else dict(json.loads(found))
