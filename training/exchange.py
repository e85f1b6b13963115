"""From a file of weights to a graph: checkpoints of training, published weights, and graphs that were exported before.

A network is built again from what its file says, or from what its user says of it, becomes one graph
(`engine.models.graphs`) and is held against itself: ONNX Runtime must answer what PyTorch does.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from engine.models import graphs
from engine.models.algebraic import Algebraic
from engine.models.contract import VolumetricContract, contract, is_volumetric
from engine.models.published import PublishedAlgebraic, PublishedRansac, PublishedVolumetric
from engine.models.volume import Aggregation
from engine.models.volumetric import Volumetric
from engine.models.weights import load, read_weights, recognise
from rigpose.errors import ConfigError, MissingError
from rigpose.skeleton import Skeleton
from training.checkpoint import read_checkpoint
from training.datasets.protocols import PANOPTIC15, PANOPTIC19
from training.export import WEIGHTS, at_size, build, graph
from training.warm_start import weights_of

Kind = Literal["algebraic", "volumetric", "ransac"]
BAR_MM = {False: 0.01, True: 0.05}
"""What ONNX Runtime may differ by, of algebraic and of volumetric models."""
WRONG_MM = 1.0
"""From here on it is not rounding."""
PUBLISHED_SIZE = 384
_FINAL = "backbone.final_layer.weight"
_MARGIN = 1.3
_VIEWS = 4


@dataclass(frozen=True)
class Asked:
    """What a user says of published weights; what is left out is read from them, or is as published.

    Attributes:
        kind: Of network.
        layers: Of its backbone.
        joints: J.
        aggregation: Of a volumetric one: how its views' maps become one.
        size: Side of the crops in px; also of a checkpoint's network.
    """

    kind: Kind | None = None
    layers: int | None = None
    joints: int | None = None
    aggregation: Aggregation | None = None
    size: int | None = None


@dataclass(frozen=True)
class Network:
    """A network and its graph.

    Attributes:
        model: In PyTorch, with the inputs and outputs of the contract.
        proto: In ONNX, with its document.
        size: Side of the crops in px.
    """

    model: nn.Module
    proto: Any
    size: int


def read(path: Path, asked: Asked) -> Network:
    """The network in a file that ``torch.save`` wrote.

    Raises:
        ConfigError: The file cannot be read, or is of another network than is said of it.
        MissingError: onnx or onnxscript is not installed.
    """
    if not _is_checkpoint(path):
        model, document = published(path, asked)
        size = document["input"]["size"][0]
        proto = graphs.as_onnx(model, size)
        proto.metadata_props.add(key="rigpose.model", value=json.dumps(document))
        return Network(contract(model), proto, size)
    for name in ("kind", "layers", "joints", "aggregation"):
        if getattr(asked, name) is not None:
            raise ConfigError(f"--{name}", "is for published weights; a checkpoint says it itself", "leave it out")
    checkpoint = read_checkpoint(path)
    if asked.size is not None:
        checkpoint = at_size(checkpoint, asked.size)
    return Network(contract(build(checkpoint)), graph(checkpoint), checkpoint.config.size)


def _is_checkpoint(path: Path) -> bool:
    try:
        document = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # what is wrong with it, `read_weights` says
        return False
    return isinstance(document, Mapping) and {"schema", "config"} <= set(document)


def published(path: Path, asked: Asked) -> tuple[nn.Module, dict[str, Any]]:
    """The network of published weights, and its model document.

    Raises:
        ConfigError: The file cannot be read, or is of another network than is said of it.
    """
    state = read_weights(path)
    known = recognise(state)
    if known is not None and known.model == "PoseResNet":
        raise ConfigError(path, "is a backbone alone, which gives no poses", "train with it: training.train --init")
    kind = asked.kind or (None if known is None else "volumetric" if "Volumetric" in known.model else "algebraic")
    if kind is None:
        raise ConfigError(
            path, "are no published weights that are known", "give --kind, and --layers where they are not 152"
        )
    joints = asked.joints or (len(state[_FINAL]) if _FINAL in state else 17)
    layers = asked.layers or 152
    skeleton = _skeleton(joints)
    if kind == "ransac":
        contract(PublishedRansac(1, layers=18))  # says why not
    model: nn.Module
    if kind == "algebraic":
        judged = any(key.startswith("backbone.alg_confidences.") for key in state)
        model = PublishedAlgebraic(joints, layers=layers, confidences=judged, parity=True)
    else:
        judged = any(key.startswith("backbone.vol_confidences.") for key in state)
        way = asked.aggregation or ("conf_norm" if judged else "softmax")
        model = PublishedVolumetric(joints, root=skeleton.root, layers=layers, aggregation=way, parity=True)
    try:
        load(model, state)
    except ConfigError as error:
        raise ConfigError(path, f"holds other weights: {error.what}", error.remedy) from None
    model.eval()
    size = asked.size or PUBLISHED_SIZE
    document = {
        "schema": 1,
        "id": path.stem,
        "domain": "real",
        "licence": "that of the weights, as where they are from says",
        "source": f"published weights of learnable triangulation, {kind}, {path.name}",
        "skeleton": skeleton.model_dump(mode="json"),
        "input": {"name": "crops", "layout": "NHWC", "dtype": "uint8", "size": [size, size], "colour": "BGR"},
        # Its confidences weigh views against each other and say nothing by themselves.
        "output": {"kind": "graph", "min_score": 0.0},
        "crop": {"aspect": 1.0, "margin": _MARGIN, "padding": "constant"},
    }
    return model, document


def _skeleton(joints: int) -> Skeleton:
    from capture.virtual.skeletons import HUMAN36M17

    known = {len(skeleton.joints): skeleton for skeleton in (HUMAN36M17, PANOPTIC19, PANOPTIC15)}
    if joints in known:
        return known[joints]
    return Skeleton(name=f"joints{joints}", joints=tuple(f"joint_{index}" for index in range(joints)), root=(0,))


def rebuilt(path: Path, proto: Any) -> nn.Module | None:
    """The network that an ONNX file of ours was exported from; ``None`` = it does not say how it is built."""
    said = {entry.key: entry.value for entry in proto.metadata_props}
    if WEIGHTS not in said or "rigpose.model" not in said:
        return None
    arguments = json.loads(said[WEIGHTS])
    if "context" not in arguments:
        return None  # a published one: its weights bear other names
    if "side_mm" in arguments:
        model: nn.Module = Volumetric(root=json.loads(said["rigpose.model"])["skeleton"]["root"], **arguments)
    else:
        model = Algebraic(**arguments)
    model.load_state_dict(weights_of(path, model))
    return model.eval()


def difference_mm(model: nn.Module, proto: Any, size: int) -> float:
    """How far ONNX Runtime's joints lie from PyTorch's: the largest distance along an axis.

    Both see pictures that are drawn by the virtual rig, of a fly where the model is of one and else of a person, with
    all views, with one absent, and volumetric ones with a base given; joints that one has and the other not are
    infinitely far. Noise would not do: what a network sees in it is spread over the picture, and so is its rounding.

    Args:
        model: With the inputs of the contract.
        proto: Its graph, for any number of cameras or for so many.
        size: Side of the crops in px.

    Raises:
        MissingError: onnxruntime is not installed.
    """
    try:
        import onnxruntime
    except ImportError:
        raise MissingError("checking a graph", "needs onnxruntime", "pip install onnxruntime") from None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = graphs.inputs_of(model)
    views = next(value.shape[1] for value in session.get_inputs() if value.name == "crops")
    feed = _drawn(size, views if isinstance(views, int) else _VIEWS, _scenario(proto), is_volumetric(model))
    if isinstance(model, VolumetricContract) and model.model.parity:
        feed[names.index("dist")][:] = 0  # it refuses a lens that distorts
    largest = 0.0
    for case in ("all", "absent", *(["base"] if is_volumetric(model) else [])):
        seen = dict(zip(names, feed, strict=False))
        if case == "absent":
            seen["view_weight"] = seen["view_weight"].copy()
            seen["view_weight"][:, -1:] = 0
        if case == "base":
            seen["base_weight"] = np.ones(1, np.float32)
        with torch.no_grad():
            want = model(*(torch.from_numpy(seen[name]) for name in names)).points3d.numpy()
        got = session.run(["points3d"], seen)[0]
        if not np.array_equal(np.isnan(got), np.isnan(want)):
            return float("inf")
        largest = max(largest, float(np.nanmax(np.abs(got - want), initial=0.0)))
    return largest


def _scenario(proto: Any) -> str:
    said = next((entry.value for entry in proto.metadata_props if entry.key == "rigpose.model"), "{}")
    return "fly_unseen.yaml" if json.loads(said).get("skeleton", {}).get("name") == "fly38" else "demo.yaml"


def _drawn(size: int, views: int, scenario: str, volumetric: bool) -> list[np.ndarray]:
    """A frame set of the virtual rig, as inputs of the contract; the base is 100 mm off the subject's middle."""
    from capture.virtual.scenario import load_scenario
    from capture.virtual.world import World
    from training.config import DataSection
    from training.samples import draw

    path = Path(__file__).parent / "scenarios" / scenario
    world = World(load_scenario(path).with_views(views))
    rng = np.random.default_rng(0)
    sample = draw(
        world, 1.0, np.arange(views), size, DataSection(scenario=path, views=max(views, 2)), rng, augment=False
    )
    one = np.ones((1, views), np.float32)
    made = [sample.crops[None], sample.crop_to_image[None], one, sample.K, sample.dist, sample.fisheye, sample.Rt]
    made.append(sample.world)
    if volumetric:
        offset = 100 if scenario == "demo.yaml" else 0
        made += [sample.position_mm.mean(axis=0, keepdims=True) + np.float32(offset), np.zeros(1, np.float32)]
    return [np.array(array) for array in made]
