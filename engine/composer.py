"""The composer: collects the nodes of a graph that follows the contract."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import helper, numpy_helper

from engine import batching
from engine.document import METADATA_KEY, LocatedModel
from engine.fitting import ONNX_TYPES, network_inputs, signature
from engine.names import Names, PieceNames
from engine.opsets import head_for, opset_of
from rigpose.errors import ConfigError

NET_INPUT = "net_input"
HEAD_IN = "head_in"
OUTPUTS = ("points2d", "confidence", "points3d", "residual_px")
_MIN_IR = 8
_MAX_BYTES = 2_000_000_000
_BGR_TO_GRAY = np.array([[0.114], [0.587], [0.299]], dtype=np.float32)


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


class Composer:
    """Collects the nodes of one graph; each method adds a part and leaves names for the next."""

    def __init__(self, located: LocatedModel, network: onnx.ModelProto, n_views: int, batch: int | None) -> None:
        self.located, self.network = located, network
        self.document = located.document
        self.n_views, self.batch = n_views, batch
        self.pictures = None if batch is None else batch * n_views
        self.joints = len(self.document.skeleton.joints)
        self.opset = opset_of(network)
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
        """A constant of whole numbers."""
        return self.constant(name, np.array(sides, dtype=np.int64))

    def add(self, op: str, inputs: list[str], output: str, **attributes: object) -> str:
        """A node with one output, by which it is named."""
        self.nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        return output

    def rename_last(self, name: str) -> None:
        """Give the last node's output another name; nothing may read it yet."""
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
        once = Names(weights, "net/", "net/", {self.document.input.name: NET_INPUT})
        shared = {name for i, node in enumerate(graph.node) if i not in self.plan.each for name in node.output}
        count = self.pictures or 0
        each = [
            PieceNames(once, index, shared, self.plan.batched, self.piece)
            for index in range(count if self.plan.each else 0)
        ]
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
        self.graft(head_for(name, self.opset), "decode/", inputs)

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
        self.graft(head_for("geometry", self.opset), "geometry/", bound)

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
        names = Names(self.add_weights(graph, prefix), prefix, prefix, bound)
        self.nodes.extend(names.renamed(node) for node in graph.node)

    def model(self) -> onnx.ModelProto:
        """All that was collected."""
        if sum(len(weight.raw_data) for weight in self.weights.values()) > _MAX_BYTES:
            raise ConfigError(
                self.located.path, "has more than 2 GB of weights, which one graph cannot hold", "use a smaller one"
            )
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
            ir_version=max(self.network.ir_version, _MIN_IR),
            functions=list(self.network.functions),
        )
        helper.set_model_props(model, {METADATA_KEY: self.document.to_json()})
        return model
