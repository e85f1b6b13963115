"""`rigpose build`: what is made, what is accepted, and what is refused in one line."""

from __future__ import annotations

import numpy as np
import pytest
from typer.testing import CliRunner

from engine import precision, quantised
from engine.document import find_model
from engine.drift import drift
from engine.gpu.driver import driver
from engine.graph import compose
from engine.runtimes.onnx import OnnxRuntime
from nodes import build as module
from nodes.build import build
from nodes.cli import app
from rigpose.errors import ConfigError, MissingError, VerdictError
from tests.engine import networks, reference
from tests.engine.test_graph import scene


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch):
    folder = tmp_path / "state"
    monkeypatch.setattr(precision, "state_folder", lambda: folder)
    monkeypatch.setattr(quantised, "state_folder", lambda: folder)
    return folder


@pytest.fixture
def model(tmp_path, monkeypatch):
    """A small network and the pictures that a rig of three cameras would give it."""
    located = networks.model(tmp_path, "heatmap", batch="N", output={"min_score": 0.0})
    rig, crops, affine = scene(located, 3)
    rng = np.random.default_rng(0)
    sets = [reference.feeds(rig, rng.permutation(crops.ravel()).reshape(crops.shape), affine) for _ in range(16)]

    class System:
        camera_names = ("a", "b", "c")
        name = "rig"

    monkeypatch.setattr(module, "_system", lambda *_: System())
    monkeypatch.setattr(module, "graph_inputs", lambda *_: list(sets))
    return located


def made(model):
    return compose(model, 3)


def test_tensorrt_without_a_gpu_is_one_line_and_code_3():
    if driver().gpus:
        pytest.skip("here is a GPU")
    result = CliRunner().invoke(app, ["build", "mannequin17_occluded", "--cameras", "4"])
    assert result.exit_code == 3
    assert result.output.count("\n") == 1
    assert "runtime tensorrt: cannot be used here: no NVIDIA driver" in result.output


def test_what_needs_pictures_asks_for_the_rig(tmp_path):
    for options in ({"precision": "int8"}, {"precision": "fp32", "check": True}):
        with pytest.raises(ConfigError, match="give the rig that it is for: --for CONFIG"):
            build("mannequin17_occluded", runtime="onnx", **options)
    with pytest.raises(ConfigError, match="a plan is for a number of cameras"):
        build("mannequin17_occluded", runtime="onnx", precision="fp32")


def test_int8_is_made_from_one_half_and_checked_on_the_other(model, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(module, "LIMIT_MM", 1e9)
    rig = tmp_path / "rig.yaml"
    assert build(str(model.path), runtime="onnx", precision="int8", config=rig, check=True) == 0
    said = capsys.readouterr().out
    assert "int8 from 8 frame sets" in said and "checked on 8 frame sets" in said
    assert quantised.path_of(made(model)).is_file()
    # Accepted, so that it is used where nobody names a precision, and fp32 where somebody does.
    assert OnnxRuntime(made(model)).precision == "int8"
    assert OnnxRuntime(made(model), precision="fp32").precision == "fp32"


def test_what_drifts_too_far_is_refused_and_not_remembered(model, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LIMIT_MM", 1e-6)
    with pytest.raises(VerdictError, match=r"on onnx in int8: .*, and the limit is 1e-06 mm") as caught:
        build(str(model.path), runtime="onnx", precision="int8", config=tmp_path / "rig.yaml", check=True)
    assert caught.value.exit_code == 4
    assert OnnxRuntime(made(model)).precision == "fp32"


def test_fp32_of_another_runtime_is_near(model, tmp_path, capsys):
    pytest.importorskip("openvino")
    assert build(str(model.path), runtime="openvino", precision="fp32", config=tmp_path / "rig.yaml", check=True) == 0
    assert "accepted on this machine: openvino runs small-heatmap in fp32" in capsys.readouterr().out


def answer(points3d, confidence=1.0, points2d=None):
    points3d = np.asarray(points3d, float)[None]
    joints = points3d.shape[1]
    seen = np.full((1, 3, joints), confidence)
    return {
        "points3d": points3d, "confidence": seen,
        "points2d": np.zeros((1, 3, joints, 2)) if points2d is None else points2d,
    }  # fmt: skip


class TestDrift:
    def test_distances_are_of_what_two_views_see(self):
        here, there = answer([[0, 0, 0], [1, 1, 1]]), answer([[3, 4, 0], [1, 1, 1]])
        here["confidence"][0, :2, 1] = 0.1
        found = drift([here], [there], 0.3, [np.ones((1, 3))])
        np.testing.assert_allclose(found.mm, [5.0])
        assert found.px.size == 4 and found.p99_mm == 5.0
        assert found.figures()["points"] == 1

    def test_a_camera_that_is_absent_sees_nothing(self):
        found = drift([answer([[0, 0, 0]])], [answer([[1, 0, 0]])], 0.3, [np.array([[1, 0, 0]])])
        assert found.mm.size == 0 and found.p99_mm == np.inf

    def test_a_point_that_the_other_loses_is_worse_than_any_distance(self):
        found = drift([answer([[0, 0, 0], [0, 0, 0]])], [answer([[0, 0, 0], [np.nan] * 3])], 0.3, [np.ones((1, 3))])
        assert (found.lost, found.p99_mm) == (1, np.inf)


def test_a_model_that_is_not_there_is_one_line():
    with pytest.raises((ConfigError, MissingError)):
        build("no_such_model", runtime="onnx", precision="fp32", cameras=2)


def test_a_shipped_model_is_found_by_name():
    assert build("discs", runtime="onnx", precision="fp32", cameras=2) == 0
    assert find_model("discs").document.id
