"""A graph in three parts: before the network, the network, and behind it.

The parts meet at the two named tensors of the contract, ``net_input`` and ``head_in``. What a part needs besides and
can be computed again for nothing (sizes, mostly) is computed again in it, so that a part has no inputs but the graph's
own and what the network answers. Of some graphs more than ``head_in`` leaves the network: the features that a volume or
a published confidence is made of. Those values *pass* beside it, in float32 as well.

A runtime of low precision applies it to the network part alone; before and behind are float32 everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import onnx
from onnx import helper

from engine.composer import HEAD_IN, NET_INPUT
from engine.names import inner_graphs
from rigpose.errors import ConfigError


@dataclass(frozen=True)
class Parts:
    """A graph, cut.

    Attributes:
        before: ``crops`` to ``net_input``.
        network: ``net_input`` to `passing`.
        behind: The graph's inputs and `passing` to its outputs.
        passing: What leaves the network, ``head_in`` first.
    """

    before: onnx.ModelProto
    network: onnx.ModelProto
    behind: onnx.ModelProto
    passing: tuple[str, ...]

    def front(self, whole: onnx.ModelProto) -> onnx.ModelProto:
        """Before and network as one: ``crops`` to `passing`."""
        return extract(whole, self.passing)


def is_cut(proto: onnx.ModelProto) -> bool:
    """Whether a graph names both cuts."""
    made = {name for node in proto.graph.node for name in node.output}
    return NET_INPUT in made and HEAD_IN in made


def parts(proto: onnx.ModelProto, where: object = "graph") -> Parts:
    """Cut a graph.

    Raises:
        ConfigError: It does not name the cuts, so that nobody knows where its geometry begins.
    """
    if not is_cut(proto):
        raise ConfigError(
            where,
            f"does not name {NET_INPUT} and {HEAD_IN}, so that its geometry cannot be kept in fp32",
            "run it in fp32 (precision: fp32), or export it again with these names",
        )
    passing = _passing(proto)
    outputs = [value.name for value in proto.graph.output]
    return Parts(
        extract(proto, [NET_INPUT]), extract(proto, passing, [NET_INPUT]), extract(proto, outputs, passing), passing
    )


def joined(whole: onnx.ModelProto, cut: Parts, network: onnx.ModelProto) -> onnx.ModelProto:
    """A graph with another network between its cuts.

    Args:
        whole: The graph.
        cut: The same, cut.
        network: With the inputs and outputs of ``cut.network``.
    """
    result = onnx.ModelProto()
    result.CopyFrom(whole)
    replaced = {whole.graph.node[index].output[0] for index in network_nodes(whole)}
    first = [*cut.before.graph.node, *network.graph.node]
    made = {name for node in first for name in node.output}
    rest = [n for n in whole.graph.node if n.output[0] not in replaced and made.isdisjoint(n.output)]
    del result.graph.node[:]
    result.graph.node.extend([*first, *rest])
    read = {name for node in result.graph.node for name in _reads(node)}
    # A quantised weight is dequantised into the name that the weight had.
    read -= {name for node in result.graph.node for name in node.output}
    weights = {w.name: w for w in (*whole.graph.initializer, *network.graph.initializer) if w.name in read}
    del result.graph.initializer[:]
    result.graph.initializer.extend(weights.values())
    del result.graph.value_info[:]
    versions = {entry.domain: entry.version for entry in (*whole.opset_import, *network.opset_import)}
    del result.opset_import[:]
    result.opset_import.extend(helper.make_opsetid(domain, version) for domain, version in versions.items())
    return result


def network_nodes(proto: onnx.ModelProto) -> list[int]:
    """Places of the nodes between the cuts, in order."""
    found = _ancestors(proto, _passing(proto), {NET_INPUT})
    fed = _fed_by(proto, NET_INPUT)
    return [index for index in sorted(found) if index in fed]


def extract(proto: onnx.ModelProto, outputs: Sequence[str], given: Iterable[str] = ()) -> onnx.ModelProto:
    """The part of a model that computes some of its values.

    Args:
        proto: The model.
        outputs: What the part answers.
        given: Values that it is given instead of computing them.
    """
    given = list(given)
    keep = sorted(_ancestors(proto, outputs, set(given)))
    nodes = [proto.graph.node[index] for index in keep]
    read = {name for node in nodes for name in _reads(node)} | set(outputs)
    types = _types(proto)
    declared = [value for value in proto.graph.input if value.name in read]
    fed = [_value(name, types) for name in given if name in read and name not in {v.name for v in declared}]
    graph = helper.make_graph(
        nodes,
        proto.graph.name,
        [*declared, *fed],
        [_value(name, types) for name in outputs],
        [weight for weight in proto.graph.initializer if weight.name in read],
    )
    return helper.make_model(
        graph,
        producer_name="rigpose",
        opset_imports=list(proto.opset_import),
        ir_version=proto.ir_version,
        functions=list(proto.functions),
    )


def _passing(proto: onnx.ModelProto) -> tuple[str, ...]:
    network = _ancestors(proto, [HEAD_IN], {NET_INPUT}) & _fed_by(proto, NET_INPUT)
    made = {name for index in network for name in proto.graph.node[index].output}
    behind = _ancestors(proto, [value.name for value in proto.graph.output], {HEAD_IN}) - network
    beside = (name for index in sorted(behind) for name in _reads(proto.graph.node[index]) if name in made)
    return tuple(dict.fromkeys([HEAD_IN, *beside]))


def _reads(node: onnx.NodeProto) -> set[str]:
    """Values that a node reads, those of the graphs inside it among them."""
    names = {name for name in node.input if name}
    for graph in inner_graphs(node):
        own = {name for inner in graph.node for name in inner.output} | {value.name for value in graph.input}
        names |= {name for inner in graph.node for name in _reads(inner)} - own
        names |= {value.name for value in graph.output} - own
    return names


def _ancestors(proto: onnx.ModelProto, names: Iterable[str], given: set[str]) -> set[int]:
    """Places of the nodes that compute values, not going beyond those that are given."""
    maker = {name: index for index, node in enumerate(proto.graph.node) for name in node.output if name}
    found: set[int] = set()
    open_names = [name for name in names if name not in given]
    while open_names:
        index = maker.get(open_names.pop())
        if index is None or index in found:
            continue
        found.add(index)
        open_names.extend(name for name in _reads(proto.graph.node[index]) if name not in given)
    return found


def _fed_by(proto: onnx.ModelProto, name: str) -> set[int]:
    """Places of the nodes that depend on a value; nodes stand in an order in which they can run."""
    reached, found = {name}, set()
    for index, node in enumerate(proto.graph.node):
        if not reached.isdisjoint(_reads(node)):
            found.add(index)
            reached.update(node.output)
    return found


def _types(proto: onnx.ModelProto) -> dict[str, onnx.ValueInfoProto]:
    inferred = onnx.shape_inference.infer_shapes(proto, data_prop=True)
    return {value.name: value for value in (*inferred.graph.value_info, *inferred.graph.input, *inferred.graph.output)}


def _value(name: str, types: dict[str, onnx.ValueInfoProto]) -> onnx.ValueInfoProto:
    """What is declared of a value; float32 of unknown shape where inference knows nothing."""
    known = types.get(name)
    if known is not None and known.type.tensor_type.elem_type:
        return known
    return helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
