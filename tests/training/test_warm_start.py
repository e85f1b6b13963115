"""A beginning is another network: all of it where the joints are the same, its features where they are not."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
import torch
from onnx import helper, numpy_helper

from engine.models.algebraic import Algebraic
from rigpose.errors import ConfigError
from training.warm_start import beginning

THEIRS = ("nose", "tail", "paw")
OURS = ("head", "wing", "leg", "foot", "tip")
SIZES = {"channels": [4, 4, 6, 8, 8], "blocks": [1, 1, 1, 1], "neck": 8, "features": 8}
OF_JOINTS = ("head.log_temperature", "head.joint_bias")
ANSWER = ("network.answer.weight", "network.answer.bias")


def model(joints: int, seed: int, context: int = 4, **sizes: object) -> Algebraic:
    torch.manual_seed(seed)
    made = Algebraic(joints, context=context, backbone=SIZES | sizes)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter)
    return made


def written(path: Path, of: Algebraic, joints: tuple[str, ...]) -> Path:
    """An ONNX file with its weights and the names of its joints, which is all that a beginning reads."""
    weights = [numpy_helper.from_array(value.numpy(), name) for name, value in of.state_dict().items()]
    proto = helper.make_model(helper.make_graph([], "weights", [], [], weights))
    proto.metadata_props.add(key="rigpose.model", value=json.dumps({"skeleton": {"joints": list(joints)}}))
    onnx.save(proto, path)
    return path


@pytest.fixture
def theirs(tmp_path: Path) -> tuple[Algebraic, Path]:
    made = model(len(THEIRS), seed=1)
    return made, written(tmp_path / "theirs.onnx", made, THEIRS)


def test_of_the_same_joints_all_weights_are_taken_over(theirs: tuple[Algebraic, Path]) -> None:
    began = beginning(theirs[1], model(len(THEIRS), seed=2), THEIRS)
    assert began.origin == "the weights of theirs.onnx"
    for name, value in theirs[0].state_dict().items():
        if not name.endswith("num_batches_tracked"):
            assert torch.equal(began.weights[name], value), name


def test_of_other_joints_the_features_are_and_the_answer_is_new(theirs: tuple[Algebraic, Path]) -> None:
    mine = model(len(OURS), seed=2)
    began = beginning(theirs[1], mine, OURS)
    assert began.origin == "the features of theirs.onnx"
    own, other = mine.state_dict(), theirs[0].state_dict()
    for name, value in began.weights.items():
        if name in OF_JOINTS:
            assert torch.equal(value, own[name]), name
        elif name in ANSWER:
            assert torch.equal(value[: len(OURS)], own[name][: len(OURS)]), name
            assert torch.equal(value[len(OURS) :], other[name][len(THEIRS) :]), name
        elif not name.endswith("num_batches_tracked"):
            assert torch.equal(value, other[name]), name
    mine.load_state_dict(began.weights)


def test_the_same_number_of_other_joints_are_other_joints(theirs: tuple[Algebraic, Path]) -> None:
    mine = model(len(THEIRS), seed=2)
    began = beginning(theirs[1], mine, ("head", "wing", "leg"))
    assert torch.equal(began.weights["head.joint_bias"], mine.state_dict()["head.joint_bias"])


def test_another_context_is_refused(theirs: tuple[Algebraic, Path]) -> None:
    with pytest.raises(ConfigError, match=r"has head\.read\.weight of shape"):
        beginning(theirs[1], model(len(OURS), seed=2, context=2), OURS)


def test_another_backbone_is_refused_by_its_first_weight(theirs: tuple[Algebraic, Path]) -> None:
    with pytest.raises(ConfigError, match=r"has network\.backbone.* of shape"):
        beginning(theirs[1], model(len(OURS), seed=2, neck=16), OURS)


def test_a_file_that_is_none_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        beginning(tmp_path / "x.onnx", model(3, seed=0), THEIRS)
    proto = helper.make_model(helper.make_graph([], "weights", [], []))
    proto.metadata_props.add(key="rigpose.model", value="{")
    onnx.save(proto, tmp_path / "y.onnx")
    with pytest.raises(ConfigError, match="document that cannot be read"):
        beginning(tmp_path / "y.onnx", model(3, seed=0), THEIRS)
