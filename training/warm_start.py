"""Weights for a beginning: those of an exported network, of the same joints or of others."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from engine.models.algebraic import Algebraic
from engine.models.volumetric import Volumetric
from rigpose.errors import ConfigError, MissingError

_OF_VOLUMES = ("lift.", "volume.", "log_gain", "log_sigma", "log_power", "log_doubt")
"""What a volumetric network has and an algebraic one lacks."""
_ANSWER = ("network.answer.weight", "network.answer.bias")
"""Of these the first rows are the joints' maps; the others are read by the confidences, whatever joint they are of."""
_OF_JOINTS = ("head.log_temperature", "head.joint_bias")
_DOCUMENT = "rigpose.model"


class Beginning(NamedTuple):
    """What a network begins with.

    Attributes:
        weights: Its state dict.
        origin: Where they are from, in a few words.
    """

    weights: dict[str, torch.Tensor]
    origin: str


def beginning(path: Path, model: nn.Module, joints: Sequence[str]) -> Beginning:
    """A beginning from an ONNX file that `training.export` wrote, of a network with these joints or with others.

    Of one with the same joints all weights are taken over. Of another one all is taken but what belongs to its
    joints, which stays as the model has it: features that were learned on one animal are a better beginning for
    another than random ones.

    Args:
        path: The file.
        model: What begins.
        joints: Names of its joints.

    Raises:
        MissingError: onnx is not installed.
        ConfigError: The file is missing, or is of another kind of network; the first weight that differs is named.
    """
    found, theirs = _read(path)
    if (
        theirs is None
        or list(theirs) == list(joints)
        or not isinstance(model, Algebraic)
        or isinstance(model, Volumetric)
    ):
        return Beginning(_state(path, found, model, {}), f"the weights of {path.name}")
    own: dict[str, Callable[[torch.Tensor, np.ndarray], torch.Tensor]] = {
        **dict.fromkeys(_OF_JOINTS, lambda mine, _: mine.clone()),
        **dict.fromkeys(_ANSWER, lambda mine, other: _context(mine, other, model.joints, len(theirs))),
    }
    return Beginning(_state(path, found, model, own), f"the features of {path.name}")


def weights_of(path: Path, model: nn.Module) -> dict[str, torch.Tensor]:
    """The state dict for a model, from an ONNX file that `training.export` wrote, of the same joints.

    A volumetric network may begin with the file of an algebraic one: what that lacks stays as the model has it.

    Raises:
        MissingError: onnx is not installed.
        ConfigError: The file is missing, or is not of this model; the first weight that differs is named.
    """
    return _state(path, _read(path)[0], model, {})


def _read(path: Path) -> tuple[dict[str, Any], list[str] | None]:
    """Weights by name, and the joints that the file's document names; ``None`` = it has no document."""
    try:
        import onnx
    except ImportError:
        raise MissingError("--init", "needs onnx", "pip install onnx") from None
    try:
        proto = onnx.load(path)
    except FileNotFoundError:
        raise ConfigError(path, "no such file", "check the path") from None
    except Exception as error:  # protobuf's classes differ by version
        raise ConfigError(path, f"cannot be read as ONNX: {error}", "give a file that training.export wrote") from None
    said = {entry.key: entry.value for entry in proto.metadata_props}
    joints = None
    if _DOCUMENT in said:
        try:
            joints = [str(name) for name in json.loads(said[_DOCUMENT])["skeleton"]["joints"]]
        except (ValueError, KeyError, TypeError):
            raise ConfigError(path, "has a model document that cannot be read", "export it again") from None
    return {weight.name: weight for weight in proto.graph.initializer}, joints


def _state(
    path: Path,
    found: dict[str, Any],
    model: nn.Module,
    own: dict[str, Callable[[torch.Tensor, np.ndarray], torch.Tensor]],
) -> dict[str, torch.Tensor]:
    """The model's state with the weights that were found; ``own`` says by name what is made otherwise."""
    from onnx import numpy_helper

    state = {}
    parts = _OF_VOLUMES if isinstance(model, Volumetric) else ()
    kept = tuple(part for part in parts if not any(name.startswith(part) for name in found))
    for name, value in model.state_dict().items():
        if name.startswith(kept):
            state[name] = value
            continue
        if name.endswith("num_batches_tracked"):
            state[name] = torch.zeros_like(value)
            continue
        if name not in found:
            raise ConfigError(path, f"has no weight {name}", "give an export of the same kind of network")
        weight = np.array(numpy_helper.to_array(found[name]))
        if name in own:
            state[name] = own[name](value, weight)
            continue
        if weight.shape != tuple(value.shape):
            raise ConfigError(
                path,
                f"has {name} of shape {list(weight.shape)}, the config's network {list(value.shape)}",
                "give an export of the same config",
            )
        state[name] = torch.from_numpy(weight).to(value.dtype)
    return state


def _context(mine: torch.Tensor, other: np.ndarray, joints: int, theirs: int) -> torch.Tensor:
    """The model's own maps of joints, and behind them the file's context where it has as much: `Head` tells if not."""
    made = mine.clone()
    context = torch.from_numpy(other[theirs:]).to(mine.dtype)
    if made[joints:].shape == context.shape:
        made[joints:] = context
    return made
