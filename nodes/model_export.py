"""`rigpose models export`: any network of ours, or a foreign one with our geometry, as one graph in one file."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from calib.rig import Rig, read_rig
from engine.composer import contract_inputs
from engine.document import METADATA_KEY, ModelDocument, find_model
from engine.graph import BASE_INPUTS, compose
from engine.rigged import CAMERAS, for_views, signed, with_cameras
from rigpose.errors import ConfigError, MissingError, RigposeError

TORCH_FILES = (".pt", ".pth", ".tar", ".ckpt")
_VOLUMETRIC, _ALGEBRAIC = "volumetric", "algebraic"


@dataclass(frozen=True)
class _Made:
    """A graph, what it is, and the network in PyTorch where there is one."""

    proto: Any
    document: ModelDocument
    model: Any
    why_none: str = ""


def export_model(
    source: str,
    output: Path | None = None,
    *,
    rig_file: Path | None = None,
    units: str | None = None,
    cameras: int | None = None,
    fix_rig: bool = False,
    kind: str | None = None,
    layers: int | None = None,
    joints: int | None = None,
    aggregation: str | None = None,
    size: int | None = None,
) -> int:
    """Write a model as one graph with the rig's cameras as inputs.

    Args:
        source: A checkpoint of training, published weights, a zoo name, an ONNX or the YAML beside one.
        output: The file; by default named as the model, in this folder.
        rig_file: The rig that the graph is for.
        units: Of a rig file that does not say them.
        cameras: How many, where no rig is given.
        fix_rig: Put the rig's cameras into the graph.
        kind: Of published weights, and so on as in `training.exchange.Asked`.
        layers: As above.
        joints: As above.
        aggregation: As above.
        size: Side of the crops in px, of a checkpoint or published weights.

    Raises:
        ConfigError: The model or the rig cannot be used, or they do not go together.
        MissingError: What the model needs is not installed.
        RigposeError: ONNX Runtime answers something else than PyTorch; nothing is written then.
    """
    rig = _rig(rig_file, units, cameras, fix_rig)
    count = len(rig) if rig is not None else cameras
    said = {"kind": kind, "layers": layers, "joints": joints, "aggregation": aggregation, "size": size}
    made = _from_weights(Path(source), said) if _is_torch(source) else _from_graph(source, said, count)
    volumetric = BASE_INPUTS[0] in {value.name for value in made.proto.graph.input}
    if count == 1 and not volumetric:
        raise ConfigError("--cameras" if rig is None else str(rig_file), "is one camera", "one alone sees no depth")
    if rig is not None and made.model is not None:
        _check_lenses(made.model, rig)
    said_difference = _checked(made, volumetric)
    proto = made.proto if count is None else for_views(made.proto, count)
    if rig is not None and fix_rig:
        proto = with_cameras(proto, rig)
    if rig is not None:
        signed(proto, rig, fixed=fix_rig)
    _run(proto, made.document, count or 2, rig, volumetric)
    target = output or Path(f"{made.document.id}.onnx")
    megabytes = _write(proto, target)
    what = _VOLUMETRIC if volumetric else _ALGEBRAIC
    print(
        f"wrote {target}: {made.document.id}, {what}, {len(made.document.skeleton.joints)} joints, {megabytes:.1f} MB"
    )
    print(f"  cameras  {_cameras(count, rig, rig_file, fix_rig)}")
    print(f"  checked  {said_difference}")
    if not fix_rig:
        print(f"use it: rigpose launch CONFIG --model {target}")
    return 0


def _is_torch(source: str) -> bool:
    return Path(source).suffix.lower() in TORCH_FILES


def _rig(rig_file: Path | None, units: str | None, cameras: int | None, fix_rig: bool) -> Rig | None:
    if rig_file is not None and cameras is not None:
        raise ConfigError("--cameras", "is known from the rig", "give --rig or --cameras")
    if rig_file is None:
        if fix_rig:
            raise ConfigError("--fix-rig", "needs a rig", "give --rig RIG.toml")
        return None
    return read_rig(rig_file, units)


def _from_weights(path: Path, said: dict[str, Any]) -> _Made:
    if not path.is_file():
        raise ConfigError(path, "no such file", "give a checkpoint.pt or a file of weights")
    exchange = _exchange()
    network = exchange.read(path, exchange.Asked(**said))
    entry = next(entry for entry in network.proto.metadata_props if entry.key == METADATA_KEY)
    return _Made(network.proto, ModelDocument.model_validate_json(entry.value), network.model)


def _exchange() -> Any:
    try:
        import torch  # noqa: F401

        from training import exchange
    except ImportError as error:
        raise MissingError("rigpose models export", f"needs {error.name}", "pip install 'rigpose[train]'") from None
    return exchange


def _from_graph(source: str, said: dict[str, Any], count: int | None) -> _Made:
    for name, value in said.items():
        if value is not None:
            raise ConfigError(f"--{name}", "is for weights (.pt, .pth)", "a network in ONNX says it itself")
    located = find_model(source)
    document = located.document
    if document.output.kind == "graph":
        compose(located, count or 2)  # whether it is one, and for so many cameras
        proto = onnx.ModelProto()
        proto.CopyFrom(located.proto)
        _describe(proto, document)
        try:
            model = _exchange().rebuilt(located.path, proto)
        except MissingError as error:
            return _Made(proto, document, None, f"not held against PyTorch: {error.what}")
        return _Made(proto, document, model, "it does not say from which PyTorch network it is")
    if count is None:
        raise ConfigError(source, "is composed for a number of cameras", "give --rig RIG.toml or --cameras N")
    whole = document.model_dump(mode="json", by_alias=True, exclude_none=True, exclude={"sha256"})
    crops = {"name": "crops", "layout": "NHWC", "dtype": "uint8", "size": list(document.input.size), "colour": "BGR"}
    output = {"kind": "graph", "min_score": document.output.min_score}
    described = ModelDocument.model_validate(whole | {"input": crops, "output": output})
    proto = onnx.load_from_string(compose(located, count).proto_bytes)
    _describe(proto, described)
    return _Made(proto, described, None, "its network is foreign, there is none in PyTorch")


def _describe(proto: Any, document: ModelDocument) -> None:
    """Put a document into a graph's metadata, in the place of another."""
    others = [entry for entry in proto.metadata_props if entry.key != METADATA_KEY]
    del proto.metadata_props[:]
    proto.metadata_props.extend(others)
    proto.metadata_props.add(key=METADATA_KEY, value=document.to_json())


def _check_lenses(model: Any, rig: Rig) -> None:
    """A volumetric network as published looks through pictures without distortion, which a graph cannot refuse."""
    from engine.models.contract import VolumetricContract

    arrays = rig.arrays()
    if isinstance(model, VolumetricContract) and model.model.parity and (arrays.dist.any() or arrays.fisheye.any()):
        raise ConfigError(
            "--rig",
            "has lenses that distort, and a published volumetric network knows none",
            "undistort the pictures, or train one of ours",
        )


def _checked(made: _Made, volumetric: bool) -> str:
    """What ONNX Runtime and PyTorch say of each other."""
    if made.model is None:
        return f"it runs in ONNX Runtime; {made.why_none}"
    exchange = _exchange()
    difference = exchange.difference_mm(made.model, made.proto, made.document.input.size[0])
    bar = exchange.BAR_MM[volumetric]
    if not difference < exchange.WRONG_MM:
        raise RigposeError(
            f"graph of {made.document.id}",
            f"ONNX Runtime and PyTorch differ by {difference:.3g} mm",
            "report it; nothing was written",
        )
    met = f"bar {bar:g}" if difference < bar else f"more than the bar of {bar:g}, on pictures that it may not know"
    return f"ONNX Runtime and PyTorch differ by at most {difference:.2g} mm ({met})"


def _run(proto: Any, document: ModelDocument, count: int, rig: Rig | None, volumetric: bool) -> None:
    """Run the very file once, black pictures, with the rig where there is one."""
    try:
        import onnxruntime
    except ImportError:
        raise MissingError("checking a graph", "needs onnxruntime", "pip install onnxruntime") from None
    width, height = document.input.size
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
        feed: dict[str, np.ndarray] = {
            name: np.zeros([int(side) for side in shape], np.uint8 if name == "crops" else np.float32)
            for name, (_, shape) in contract_inputs(count, 1, height, width).items()
        }
        if rig is not None:
            feed |= {name: getattr(rig.arrays(), name).astype(np.float32) for name in CAMERAS}
        if volumetric:
            feed |= {BASE_INPUTS[0]: np.zeros((1, 3), np.float32), BASE_INPUTS[1]: np.ones(1, np.float32)}
        wanted = {value.name for value in session.get_inputs()}
        session.run(None, {name: array for name, array in feed.items() if name in wanted})
    except Exception as error:  # onnxruntime raises classes of its own for each kind of failure
        line = str(error).strip().partition("\n")[0]
        raise RigposeError(f"graph of {document.id}", f"ONNX Runtime cannot run it: {line}", "report it") from None


def _write(proto: Any, target: Path) -> float:
    """Whole or not at all; megabytes."""
    data = proto.SerializeToString(deterministic=True)
    try:
        with tempfile.NamedTemporaryFile(dir=target.parent, prefix=f".{target.name}.", delete=False) as file:
            file.write(data)
        try:
            Path(file.name).chmod(0o644)
            os.replace(file.name, target)
        except OSError:
            Path(file.name).unlink()
            raise
    except OSError as error:
        raise ConfigError(target, f"cannot be written: {error.strerror}", "check the folder and its rights") from None
    return len(data) / 1e6


def _cameras(count: int | None, rig: Rig | None, rig_file: Path | None, fix_rig: bool) -> str:
    if rig is None:
        return "any number, as inputs" if count is None else f"{count}, as inputs"
    names = f"{len(rig)} of {rig_file} ({', '.join(rig.names)}), calibration {rig.calibration_id}"
    return f"{names}, fixed in the graph: for programs of your own, rigpose gives its rig itself" if fix_rig else names
