"""Weights for a beginning: those of an exported network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from engine.models.volumetric import Volumetric
from rigpose.errors import ConfigError, MissingError

_OF_VOLUMES = ("lift.", "volume.", "log_gain")
"""What a volumetric network has and an algebraic one lacks."""


def weights_of(path: Path, model: nn.Module) -> dict[str, torch.Tensor]:
    """The state dict for a model, from an ONNX file that `training.export` wrote.

    A volumetric network may begin with the file of an algebraic one: what that lacks stays as the model has it.

    Raises:
        MissingError: onnx is not installed.
        ConfigError: The file is missing, or is not of this model; the first weight that differs is named.
    """
    try:
        import onnx
        from onnx import numpy_helper
    except ImportError:
        raise MissingError("--init", "needs onnx", "pip install onnx") from None
    try:
        proto = onnx.load(path)
    except FileNotFoundError:
        raise ConfigError(path, "no such file", "check the path") from None
    except Exception as error:  # protobuf's classes differ by version
        raise ConfigError(path, f"cannot be read as ONNX: {error}", "give a file that training.export wrote") from None
    found = {weight.name: weight for weight in proto.graph.initializer}
    state = {}
    own = _OF_VOLUMES if isinstance(model, Volumetric) and "lift.weight" not in found else ()
    for name, value in model.state_dict().items():
        if name.startswith(own):
            state[name] = value
            continue
        if name.endswith("num_batches_tracked"):
            state[name] = torch.zeros_like(value)
            continue
        if name not in found:
            raise ConfigError(path, f"has no weight {name}", "give an export of the same kind of network")
        if tuple(found[name].dims) != tuple(value.shape):
            raise ConfigError(
                path,
                f"has {name} of shape {list(found[name].dims)}, the config's network {list(value.shape)}",
                "give an export of the same config",
            )
        state[name] = torch.from_numpy(np.array(numpy_helper.to_array(found[name]))).to(value.dtype)
    return state
