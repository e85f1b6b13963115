"""Published weights: read safely, loaded strictly, recognised by the names and shapes of their tensors."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rigpose.errors import ConfigError

MANIFESTS = ("human36m_alg", "human36m_vol_softmax", "pose_resnet_human36m")
"""Published files whose tensors are known."""
_PREFIXES = ("module.", "backbone.")
_FINAL = ("final_layer.weight", "final_layer.bias")
_TRUNK = ("conv1.", "bn1.", "layer1.", "layer2.", "layer3.", "layer4.")
_COUNTED = "num_batches_tracked"


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a published file holds.

    Attributes:
        name: Of the file, without what its authors added to it.
        model: Class in `engine.models` that it is loaded into.
        arguments: Of the class.
        shapes: Of its tensors, by key.
    """

    name: str
    model: str
    arguments: dict[str, Any]
    shapes: dict[str, tuple[int, ...]]


@cache
def manifest(name: str) -> Manifest:
    """One of `MANIFESTS`."""
    packed = resources.files("engine.models").joinpath("manifests", f"{name}.json.gz").read_bytes()
    document = json.loads(gzip.decompress(packed))
    shapes = {key: tuple(shape) for key, shape in document["tensors"].items()}
    return Manifest(name, document["model"], document["arguments"], shapes)


def recognise(state: Mapping[str, Tensor]) -> Manifest | None:
    """Which published file these weights have the keys and shapes of."""
    found = _shapes(state)
    return next((known for known in map(manifest, MANIFESTS) if _counted_out(known.shapes) == found), None)


def _shapes(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return _counted_out({key: tuple(value.shape) for key, value in state.items()})


def _counted_out(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    # Files of before torch 0.4.1 do not count batches, and nothing depends on it.
    return {key: shape for key, shape in shapes.items() if not key.endswith(_COUNTED)}


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """The tensors in a file that ``torch.save`` wrote, of any version of torch.

    A ``state_dict`` around them is taken off, and so is the ``module.`` in front of keys that DistributedDataParallel
    leaves; of a checkpoint of ours, the averaged weights are meant. Nothing but tensors is unpickled.

    Raises:
        ConfigError: The file is missing, is of another kind, or would run code.
    """
    path = Path(path)
    try:
        document = torch.load(path, map_location="cpu", weights_only=True)
    except (FileNotFoundError, IsADirectoryError):
        raise ConfigError(path, "no such file", "give a file of weights (.pth, .pt)") from None
    except Exception as error:  # torch raises pickle's and zipfile's classes
        line = str(error).strip().partition("\n")[0]
        raise ConfigError(path, f"cannot be read as weights: {line}", "give what torch.save wrote") from None
    for around in ("state_dict", "average"):
        if isinstance(document, Mapping) and isinstance(document.get(around), Mapping):
            document = document[around]
    if not isinstance(document, Mapping) or not document:
        raise ConfigError(path, "holds no state dict", "save model.state_dict()")
    state = {}
    for key, value in document.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise ConfigError(path, f"holds {key}, which is no tensor", "save model.state_dict() and nothing more")
        state[key.removeprefix("module.")] = value
    return state


def load(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Put weights into a model: all of them, and no others.

    Raises:
        ConfigError: They are of another model; it names what they are of, where that is known.
    """
    own = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    missing = [key for key in _counted_out(own) if key not in state]
    unknown = [key for key in state if key not in own]
    other = [key for key in _counted_out(own) if key in state and tuple(state[key].shape) != own[key]]
    if missing or unknown or other:
        parts = []
        if missing:
            parts.append(f"lack {_first(missing)}")
        if unknown:
            parts.append(f"have {_first(unknown)} too many")
        if other:
            key = other[0]
            parts.append(f"have {key} of shape {list(state[key].shape)}, the model {list(own[key])}")
        raise ConfigError("weights", f"they {' and '.join(parts)}", _remedy(recognise(state)))
    model.load_state_dict(state, strict=False)


def _first(keys: Sequence[str]) -> str:
    return keys[0] if len(keys) == 1 else f"{keys[0]} and {len(keys) - 1} more"


def _remedy(known: Manifest | None) -> str:
    if known is None:
        return "build the model that they are of"
    arguments = ", ".join(f"{key}={value!r}" for key, value in known.arguments.items())
    return f"they are {known.name}, for {known.model}({arguments})"


def load_backbone(backbone: nn.Module, state: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Begin a pose ResNet with the weights of another one, or of a network that classifies.

    The published backbone answers with 33 heatmaps, of which the first 17 are the joints of Human3.6M: of more
    heatmaps than the model has, the first are taken. What a state dict has besides (a head for confidences, the
    last layer of a classifier) is left out.

    Args:
        backbone: A `engine.models.pose_resnet.PoseResNet`.
        state: With or without ``backbone.`` in front of its keys.

    Returns:
        Tensors of the model that the file does not have: they stay as they were.

    Raises:
        ConfigError: The file lacks a layer on the way down, or has it in another shape.
    """
    state = {_bare(key): value for key, value in state.items()}
    own = backbone.state_dict()
    taken, left = {}, []
    for key, value in own.items():
        if key.endswith(_COUNTED):
            continue
        found = state.get(key)
        if found is None:
            if key.startswith(_TRUNK):
                raise ConfigError("weights", f"they lack {key}", "give those of a pose ResNet of as many layers")
            left.append(key)
        elif key in _FINAL and found.shape[1:] == value.shape[1:]:
            count = min(len(found), len(value))
            taken[key] = torch.cat([found[:count].to(value), value[count:]])
        elif found.shape != value.shape:
            raise ConfigError(
                "weights",
                f"they have {key} of shape {list(found.shape)}, the model {list(value.shape)}",
                "give those of a pose ResNet of as many layers",
            )
        else:
            taken[key] = found
    backbone.load_state_dict(taken, strict=False)
    return tuple(left)


def _bare(key: str) -> str:
    for prefix in _PREFIXES:
        key = key.removeprefix(prefix)
    return key
