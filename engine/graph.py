"""One graph: crops in, 2D, confidences and confidence-weighted 3D out.

A network with its model document becomes one ONNX graph: preprocessing, the network, the decoding of
its output, and the geometry, so that every runtime computes the same and one call answers for all
views. Composing needs onnx only: the heads were exported once (`engine.export_heads`).

Named tensors in it: ``net_input``, what the network sees (all views along its first axis), and
``head_in``, all that it answers, as one float32 tensor. A runtime of low precision applies it between
these two; what follows is always float32.

Where a network's batch is fixed at one, `engine.batching` says what of it can take all views at once;
the rest is put in once for each view, with shared weights.
"""

from __future__ import annotations

import hashlib
import importlib.resources
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
import onnx
from onnx import helper, numpy_helper, version_converter

from engine import batching
from engine.document import METADATA_KEY, LocatedModel, ModelDocument
from engine.fitting import ONNX_TYPES, network_inputs, signature
from rigpose.errors import ConfigError

log = logging.getLogger(__name__)

NET_INPUT = "net_input"
HEAD_IN = "head_in"
OUTPUTS = ("points2d", "confidence", "points3d", "residual_px")
MIN_OPSET = 17
MIN_IR = 8
_BGR_TO_GRAY = np.array([[0.114], [0.587], [0.299]], dtype=np.float32)
# Since opset 18 these take their axes as an input.
_REDUCTIONS = ("ReduceMax", "ReduceMin", "ReduceMean", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceSumSquare")


@dataclass(frozen=True)
class Graph:
    """A graph that follows the contract, ready for a runtime.

    Attributes:
        proto_bytes: The serialised ONNX model.
        graph_hash: First 16 hex digits of the sha256 of these bytes.
        document: The model's own.
        n_views: V.
        batch: B; ``None`` = any.
        input_names: ``crops`` and what else it takes.
        output_names: ``points2d``, ``confidence``, ``points3d`` and ``residual_px``.
        precision: Of the network in it: ``fp32``, ``fp16`` or ``int8``; the geometry is always fp32.
    """

    proto_bytes: bytes
    graph_hash: str
    document: ModelDocument
    n_views: int
    batch: int | None
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]
    precision: str = "fp32"

    @property
    def joints(self) -> int:
        """J."""
        return len(self.document.skeleton.joints)

    @property
    def crop_shape(self) -> tuple[int, int, int]:
        """(H, W, 3) of a crop."""
        width, height = self.document.input.size
        return height, width, 3


def compose(located: LocatedModel, n_views: int, batch: int | None = 1) -> Graph:
    """Make a network and the heads one graph.

    Args:
        located: The network and its document.
        n_views: Number of cameras, in rig order along axis V.
        batch: Number of subjects (or frame sets) in a call; ``None`` = any, for networks whose batch
            is free.

    Raises:
        ConfigError: The network cannot be run on so many pictures, or its opset cannot be joined.
    """
    if n_views < 1 or (batch is not None and batch < 1):
        raise ConfigError(
            located.path, f"cannot be composed for {n_views} views and batch {batch}", "give at least one of each"
        )
    if located.document.output.kind == "graph":
        return _as_it_is(located, n_views)
    network = _joinable(located)
    composer = _Composer(located, network, n_views, batch)
    composer.preprocess()
    composer.network_nodes()
    composer.decode()
    composer.geometry()
    return _finished(composer.model(), located, n_views, batch)


def _finished(proto: onnx.ModelProto, located: LocatedModel, n_views: int, batch: int | None) -> Graph:
    data = proto.SerializeToString(deterministic=True)
    names = tuple(value.name for value in proto.graph.input), tuple(value.name for value in proto.graph.output)
    graph_hash = hashlib.sha256(data).hexdigest()[:16]
    return Graph(data, graph_hash, located.document, n_views, batch, *names, precision(located.proto))


def precision(proto: onnx.ModelProto) -> str:
    """In what numbers a network's convolutions and products are computed: ``fp32``, ``fp16`` or ``int8``."""
    if any("Quantize" in node.op_type or "QLinear" in node.op_type for node in _all_nodes(proto.graph.node)):
        return "int8"
    sizes = {dtype: 0 for dtype in (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16)}
    for weight in proto.graph.initializer:
        if weight.data_type in sizes:
            sizes[weight.data_type] += int(np.prod(weight.dims, dtype=np.int64))
    return "fp16" if sizes[onnx.TensorProto.FLOAT16] > sizes[onnx.TensorProto.FLOAT] else "fp32"


def contract_inputs(
    n_views: int, batch: int | None, height: int, width: int
) -> dict[str, tuple[int, tuple[int | str, ...]]]:
    """ONNX type and shape of each input of the contract."""
    b: int | str = "B" if batch is None else batch
    f32 = onnx.TensorProto.FLOAT
    return {
        "crops": (onnx.TensorProto.UINT8, (b, n_views, height, width, 3)),
        "crop_to_image": (f32, (b, n_views, 2, 3)),
        "view_weight": (f32, (b, n_views)),
        "K": (f32, (n_views, 3, 3)),
        "dist": (f32, (n_views, 14)),
        "fisheye": (f32, (n_views,)),
        "Rt": (f32, (n_views, 3, 4)),
        "world": (f32, (4,)),
    }


def _as_it_is(located: LocatedModel, n_views: int) -> Graph:
    inputs = network_inputs(located.proto)
    outputs = {value.name for value in located.proto.graph.output}
    width, height = located.document.input.size
    for name, (_, wanted) in contract_inputs(n_views, None, height, width).items():
        shape = signature(inputs[name])[1] if name in inputs else None
        if shape is None:
            raise ConfigError(located.path, f"says output kind graph, but has no input {name}", "export it again")
        fits = len(shape) == len(wanted) and all(
            a is None or isinstance(b, str) or a == b for a, b in zip(shape, wanted, strict=True)
        )
        if not fits:
            raise ConfigError(
                located.path,
                f"takes {name} of shape {list(shape)}, but {n_views} views need {list(wanted)}",
                "export it for this number of views",
            )
    for name in OUTPUTS:
        if name not in outputs:
            raise ConfigError(located.path, f"says output kind graph, but has no output {name}", "export it again")
    batch = signature(inputs["crops"])[1][0]
    data = located.path.read_bytes()
    graph_hash = hashlib.sha256(data).hexdigest()[:16]
    kind = precision(located.proto)
    return Graph(data, graph_hash, located.document, n_views, batch, tuple(inputs), OUTPUTS, kind)


def _opset(proto: onnx.ModelProto) -> int:
    return next((entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")), MIN_OPSET)


def _joinable(located: LocatedModel) -> onnx.ModelProto:
    """The network at opset 17 or later. One that is already there is not touched."""
    proto = located.proto
    opset = _opset(proto)
    if opset >= MIN_OPSET:
        return proto
    if all(_same_operator(node, opset) for node in _all_nodes(proto.graph.node)):
        raised = onnx.ModelProto()
        raised.CopyFrom(proto)
        for entry in raised.opset_import:
            if entry.domain in ("", "ai.onnx"):
                entry.version = MIN_OPSET
        return raised
    try:
        return version_converter.convert_version(proto, MIN_OPSET)
    except Exception as error:  # the converter raises RuntimeError and its own classes
        raise ConfigError(
            located.path,
            f"is of opset {opset}, which cannot be converted: {error}",
            f"export the network with opset {MIN_OPSET} or later",
        ) from None


def _same_operator(node: onnx.NodeProto, opset: int) -> bool:
    if node.domain not in ("", "ai.onnx"):
        return True
    try:
        then = onnx.defs.get_schema(node.op_type, opset).since_version
        return then == onnx.defs.get_schema(node.op_type, MIN_OPSET).since_version
    except onnx.defs.SchemaError:
        return False


def _all_nodes(nodes: Iterable[onnx.NodeProto]) -> Iterable[onnx.NodeProto]:
    for node in nodes:
        yield node
        for inner in _inner_graphs(node):
            yield from _all_nodes(inner.node)


def _inner_graphs(node: onnx.NodeProto) -> Iterable[onnx.GraphProto]:
    """The branches of an If, the body of a Loop."""
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            yield attribute.g
        elif attribute.type == onnx.AttributeProto.GRAPHS:
            yield from attribute.graphs


@cache
def head(name: str) -> onnx.ModelProto:
    """A committed head."""
    data = importlib.resources.files("engine").joinpath("heads", f"{name}.onnx").read_bytes()
    return onnx.ModelProto.FromString(data)


class _Composer:
    """Collects the nodes of one graph; each method adds a part and leaves names for the next."""

    def __init__(self, located: LocatedModel, network: onnx.ModelProto, n_views: int, batch: int | None) -> None:
        self.located, self.network = located, network
        self.document = located.document
        self.n_views, self.batch = n_views, batch
        self.pictures = None if batch is None else batch * n_views
        self.joints = len(self.document.skeleton.joints)
        self.opset = _opset(network)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: dict[str, onnx.TensorProto] = {}
        self.network_outputs: list[str] = []
        self.split: set[str] = set()
        self.plan = self._plan()

    def _plan(self) -> batching.Plan:
        """What of the network stands once for all pictures, and what once for each."""
        name = self.document.input.name
        fixed = signature(network_inputs(self.network)[name])[1][0]
        if fixed is None or fixed == self.pictures:
            return batching.Plan()
        if fixed != 1:
            raise ConfigError(
                self.located.path,
                f"takes {fixed} pictures at once, but there are {self.pictures or 'any number'}",
                "export it with a free batch, or a batch of one",
            )
        plan = batching.plan(self.network, name)
        if self.pictures is None and plan.each:
            raise ConfigError(self.located.path, "has its batch fixed at one", "compose it for a given batch")
        return plan

    def constant(self, name: str, value: np.ndarray | np.generic) -> str:
        """An initialiser; the same name is the same value."""
        self.weights.setdefault(name, numpy_helper.from_array(np.array(value, order="C"), name))
        return name

    def shape(self, name: str, *sides: int) -> str:
        return self.constant(name, np.array(sides, dtype=np.int64))

    def add(self, op: str, inputs: list[str], output: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        return output

    def rename_last(self, name: str) -> None:
        self.nodes[-1].output[0] = self.nodes[-1].name = name

    def preprocess(self) -> None:
        """``crops`` to ``net_input``."""
        spec = self.document.input
        width, height = spec.size
        free = -1 if self.pictures is None else self.pictures
        value = self.add("Reshape", ["crops", self.shape("pre/shape", free, height, width, 3)], "pre/pictures")
        is_float = False
        if spec.colour == "GRAY":
            value = self.add("Cast", [value], "pre/float", to=onnx.TensorProto.FLOAT)
            value = self.add("MatMul", [value, self.constant("pre/to_gray", _BGR_TO_GRAY)], "pre/gray")
            if spec.layout == "NCHW":
                value = self.add(
                    "Reshape", [value, self.shape("pre/planes_shape", free, 1, height, width)], "pre/planes"
                )
            is_float = True
        elif spec.layout == "NCHW" or spec.colour == "RGB":
            # Whole planes of bytes are moved: twenty times faster than turning the order in each pixel.
            value = self.add("Transpose", [value], "pre/planes", perm=[0, 3, 1, 2])
            if spec.colour == "RGB":
                order = self.constant("pre/order", np.array([2, 1, 0], dtype=np.int64))
                value = self.add("Gather", [value, order], "pre/rgb", axis=1)
            if spec.layout == "NHWC":
                value = self.add("Transpose", [value], "pre/pixels", perm=[0, 2, 3, 1])
        if not spec.is_raw or (is_float is False and spec.dtype in ("float32", "float16")):
            value = value if is_float else self.add("Cast", [value], "pre/float", to=onnx.TensorProto.FLOAT)
            is_float = True
        value = self._normalised(value)
        if spec.dtype == "float16" or (spec.dtype == "int32" and not is_float):
            self.add("Cast", [value], "pre/cast", to=ONNX_TYPES[spec.dtype])
        elif is_float and spec.dtype in ("uint8", "int32"):
            value = self.add("Round", [value], "pre/round")
            if spec.dtype == "uint8":
                zero, full = (self.constant(f"pre/{x}", np.float32(x)) for x in (0, 255))
                value = self.add("Clip", [value, zero, full], "pre/clip")
            self.add("Cast", [value], "pre/cast", to=ONNX_TYPES[spec.dtype])
        self.rename_last(NET_INPUT)

    def _normalised(self, value: str) -> str:
        """``(pixel * scale - mean) / std`` as one product and one sum."""
        spec = self.document.input
        if spec.is_raw:
            return value
        mean, std = (np.array(numbers, dtype=np.float64) for numbers in (spec.mean, spec.std))
        factor, offset = spec.scale / std + 0 * mean, -mean / std
        sides = (-1, 1, 1) if spec.layout == "NCHW" else (1, 1, -1)
        if (factor != 1).any():
            name = self.constant("pre/factor", factor.reshape(sides).astype(np.float32))
            value = self.add("Mul", [value, name], "pre/scaled")
        if offset.any():
            name = self.constant("pre/offset", offset.reshape(sides).astype(np.float32))
            value = self.add("Add", [value, name], "pre/normalised")
        return value

    def network_nodes(self) -> None:
        """``net_input`` to the network's own outputs."""
        graph = self.network.graph
        weights = self.add_weights(graph, "net/")
        once = _Names(weights, "net/", "net/", {self.document.input.name: NET_INPUT})
        count = self.pictures or 0
        each = [_PieceNames(self, once, index) for index in range(count if self.plan.each else 0)]
        for index, node in enumerate(graph.node):
            if index in self.plan.each:
                copies = [names.renamed(node) for names in each]  # may add a Split, which must stand before
                self.nodes.extend(copies)
                continue
            self.nodes.append(once.renamed(node))
            if index in self.plan.reshapes:
                self._keep_pictures(self.nodes[-1])
        made_each = {name for index in self.plan.each for name in graph.node[index].output}
        for output in self.document.output.name:
            if output in made_each:
                parts = [names[output] for names in each]
                self.network_outputs.append(self.add("Concat", parts, f"net/all/{output}", axis=0))
            else:
                self.network_outputs.append(once[output])

    def _keep_pictures(self, node: onnx.NodeProto) -> None:
        name = f"{node.input[1]}/pictures"
        if name not in self.weights:
            self.weights[name] = batching.keep_first_axis(self.weights[node.input[1]], name)
        node.input[1] = name

    def piece(self, value: str, index: int) -> str:
        """The part of a value that belongs to one picture."""
        count = self.pictures or 1
        if count == 1:
            return value
        pieces = [f"{value}/{i}" for i in range(count)]
        if value not in self.split:
            self.split.add(value)
            sizes = self.shape("net/one_each", *[1] * count)
            self.nodes.append(helper.make_node("Split", [value, sizes], pieces, name=f"{value}/split", axis=0))
        return pieces[index]

    def decode(self) -> None:
        """The network's outputs through ``head_in`` to ``crop_points`` and ``crop_confidence``."""
        spec = self.document.output
        getattr(self, f"_decode_{spec.kind}")()
        b = -1 if self.batch is None else self.batch
        shape = self.shape("decode/points_shape", b, self.n_views, self.joints, 2)
        self.add("Reshape", ["decode/crop_points", shape], "crop_points")
        shape = self.shape("decode/score_shape", b, self.n_views, self.joints)
        score = self.add("Reshape", ["decode/score", shape], "decode/scores")
        if spec.score == "logit" and spec.kind != "heatmap":
            self.add("Sigmoid", [score], "crop_confidence")
        else:
            zero, one = (self.constant(f"decode/{x}", np.float32(x)) for x in (0, 1))
            self.add("Clip", [score, zero, one], "crop_confidence")

    def _head(self, name: str, inputs: Mapping[str, str]) -> None:
        self.graft(_retargeted(name, self.opset), "decode/", inputs)

    def _scalar(self, name: str, value: float) -> str:
        return self.constant(f"decode/{name}", np.float32(value))

    def _cell(self) -> dict[str, str]:
        """Names of stride and shift: cell i lies at ``i * stride + shift``."""
        spec = self.document.output
        stride = spec.stride or 1.0
        corner = 0.5 if spec.counts_from_corner else 0.0
        anchored = spec.kind == "heatmap_offset" or spec.counts_from_corner
        shift = (stride / 2 if anchored else 0.0) - corner
        return {"stride": self._scalar("stride", stride), "shift": self._scalar("shift", shift)}

    def _float(self, value: str, index: int = 0) -> str:
        """A network output in float32."""
        name = self.document.output.name[index]
        output = next(item for item in self.network.graph.output if item.name == name)
        if output.type.tensor_type.elem_type == onnx.TensorProto.FLOAT:
            return value
        return self.add("Cast", [value], f"{value}/float", to=onnx.TensorProto.FLOAT)

    def _maps(self, index: int) -> str:
        value = self._float(self.network_outputs[index], index)
        if self.document.output_layout == "NCHW":
            return value
        return self.add("Transpose", [value], f"{value}/planes", perm=[0, 3, 1, 2])

    def _mark(self, value: str) -> None:
        """Give the one tensor that is the cut its name, without moving it where that is possible."""
        if self.nodes[-1].name == value:  # a node that this class added: nobody else reads it
            self.rename_last(HEAD_IN)
            return
        self.add("Identity", [value], HEAD_IN)

    def _decode_keypoints(self) -> None:
        spec = self.document.output
        declared = next(item for item in self.network.graph.output if item.name == spec.name[0])
        shape = signature(declared)[1]
        columns = (shape[-1] if shape else None) or 3
        value = self._float(self.network_outputs[0])
        free = -1 if self.pictures is None else self.pictures
        self.add("Reshape", [value, self.shape("decode/values_shape", free, self.joints, columns)], HEAD_IN)
        width, height = self.document.input.size
        across, down = (float(width), float(height)) if spec.unit == "unit" else (1.0, 1.0)
        matrix = np.zeros((columns, 3), dtype=np.float32)
        x, y = (0, 1) if spec.order == "xy" else (1, 0)
        matrix[x, 0], matrix[y, 1] = across, down
        corner = -0.5 if spec.counts_from_corner else 0.0
        bias = np.array([corner, corner, 0.0 if columns > 2 else 1.0], dtype=np.float32)
        if columns > 2:
            matrix[2, 2] = 1
        elif spec.score == "logit":
            raise ConfigError(
                self.located.origin, "key output.score: is logit, but the network gives no score", "remove it"
            )
        names = {"matrix": self.constant("decode/matrix", matrix), "bias": self.constant("decode/bias", bias)}
        self._head("keypoints", {"values": HEAD_IN} | names)

    def _decode_heatmap(self) -> None:
        self._mark(self._maps(0))
        maps = HEAD_IN
        if self.document.output.score == "logit":
            maps = self.add("Sigmoid", [maps], "decode/maps")
        self._head("heatmap", {"maps": maps} | self._cell())

    def _decode_heatmap_offset(self) -> None:
        self.add("Concat", [self._maps(0), self._maps(1)], HEAD_IN, axis=1)
        sizes = self.shape("decode/sizes", self.joints, 2 * self.joints)
        parts = ["decode/maps", "decode/offsets"]
        self.nodes.append(helper.make_node("Split", [HEAD_IN, sizes], parts, name="decode/split", axis=1))
        offset = {"offset_px": self._scalar("offset_px", self.document.output.offset_px)}
        self._head("heatmap_offset", {"maps": parts[0], "offsets": parts[1]} | self._cell() | offset)

    def _decode_simcc(self) -> None:
        self.add(
            "Concat", [self._float(self.network_outputs[0]), self._float(self.network_outputs[1], 1)], HEAD_IN, axis=2
        )
        stride = self.document.output.stride or 1.0
        sizes = self.shape("decode/sizes", *(round(side / stride) for side in self.document.input.size))
        parts = ["decode/x", "decode/y"]
        self.nodes.append(helper.make_node("Split", [HEAD_IN, sizes], parts, name="decode/split", axis=2))
        self._head("simcc", {"x": parts[0], "y": parts[1]} | self._cell())

    def geometry(self) -> None:
        """``crop_points`` and ``crop_confidence`` to the outputs of the contract."""
        kept = ("crop_points", "crop_confidence", "crop_to_image", "view_weight", "K", "dist", "fisheye", "Rt", "world")
        bound = {name: name for name in (*kept, *OUTPUTS)}
        bound["min_score"] = self.constant("geometry/min_score", np.float32(self.document.output.min_score))
        self.graft(_retargeted("geometry", self.opset), "geometry/", bound)

    def add_weights(self, graph: onnx.GraphProto, prefix: str) -> set[str]:
        """Add a graph's weights under a prefix; returns their own names."""
        if graph.sparse_initializer:
            raise ConfigError(self.located.path, "has sparse weights", "export it with dense weights")
        for weight in graph.initializer:
            copy = onnx.TensorProto()
            copy.CopyFrom(weight)
            copy.name = prefix + weight.name
            self.weights[copy.name] = copy
        return {weight.name for weight in graph.initializer}

    def graft(self, graph: onnx.GraphProto, prefix: str, bound: Mapping[str, str]) -> None:
        """Add a head's nodes and weights under a prefix."""
        names = _Names(self.add_weights(graph, prefix), prefix, prefix, bound)
        self.nodes.extend(names.renamed(node) for node in graph.node)

    def model(self) -> onnx.ModelProto:
        """All that was collected."""
        height, width = self.document.input.size[1], self.document.input.size[0]
        inputs = contract_inputs(self.n_views, self.batch, height, width)
        b: int | str = "B" if self.batch is None else self.batch
        v, j = self.n_views, self.joints
        outputs = zip(OUTPUTS, ((b, v, j, 2), (b, v, j), (b, j, 3), (b, v, j)), strict=True)
        graph = helper.make_graph(
            self.nodes,
            self.document.id,
            [helper.make_tensor_value_info(name, dtype, shape) for name, (dtype, shape) in inputs.items()],
            [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name, shape in outputs],
            list(self.weights.values()),
        )
        opsets = {entry.domain or "": entry.version for entry in self.network.opset_import if entry.domain != "ai.onnx"}
        opsets[""] = self.opset
        model = helper.make_model(
            graph,
            producer_name="rigpose",
            opset_imports=[helper.make_opsetid(domain, opsets[domain]) for domain in sorted(opsets)],
            ir_version=max(self.network.ir_version, MIN_IR),
            functions=list(self.network.functions),
        )
        helper.set_model_props(model, {METADATA_KEY: self.document.to_json()})
        return model


class _Names:
    """How the values of a grafted graph are called in the composed one."""

    def __init__(self, weights: set[str], weight_prefix: str, prefix: str, bound: Mapping[str, str]) -> None:
        self.weights, self.weight_prefix, self.prefix, self.bound = weights, weight_prefix, prefix, bound

    def __getitem__(self, name: str) -> str:
        if not name:
            return name  # an optional input that is left out
        if name in self.bound:
            return self.bound[name]
        return (self.weight_prefix if name in self.weights else self.prefix) + name

    def renamed(self, node: onnx.NodeProto) -> onnx.NodeProto:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copy.name = self.prefix + node.name if node.name else ""
        copy.input[:] = [self[name] for name in node.input]
        copy.output[:] = [self[name] for name in node.output]
        for inner in _inner_graphs(copy):
            self._rename_inner(inner)
        return copy

    def _rename_inner(self, graph: onnx.GraphProto) -> None:
        """The branches of If and Loop see the outer names; their own get the same prefix."""
        for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
            value.name = self[value.name]
        nodes = [self.renamed(node) for node in graph.node]
        del graph.node[:]
        graph.node.extend(nodes)


class _PieceNames(_Names):
    """The names of the nodes that stand once for each picture."""

    def __init__(self, composer: _Composer, once: _Names, index: int) -> None:
        super().__init__(once.weights, once.weight_prefix, f"{once.prefix}{index}/", once.bound)
        self.composer, self.once, self.index = composer, once, index
        graph, plan = composer.network.graph, composer.plan
        self.shared = {name for i, node in enumerate(graph.node) if i not in plan.each for name in node.output}
        self.batched = plan.batched

    def __getitem__(self, name: str) -> str:
        if name in self.batched:
            return self.composer.piece(self.once[name], self.index)
        if name in self.shared:
            return self.once[name]
        return super().__getitem__(name)


@cache
def _retargeted(name: str, opset: int) -> onnx.GraphProto:
    """A head for a graph of this opset.

    The heads are of opset 18. What they use did not change its meaning in later opsets; in 17 only
    the axes of reductions stand elsewhere.
    """
    graph = head(name).graph
    if opset >= 18:
        return graph
    copy = onnx.GraphProto()
    copy.CopyFrom(graph)
    values = {weight.name: numpy_helper.to_array(weight) for weight in copy.initializer}
    for node in copy.node:
        if node.op_type in _REDUCTIONS and len(node.input) > 1:
            axes = values[node.input[1]].tolist()
            del node.input[1:]
            node.attribute.append(helper.make_attribute("axes", axes))
    return copy
