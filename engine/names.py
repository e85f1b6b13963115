"""Names: how the values of one graph are called inside another."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import onnx


def all_nodes(nodes: Iterable[onnx.NodeProto]) -> Iterable[onnx.NodeProto]:
    """Nodes and those of the graphs inside them."""
    for node in nodes:
        yield node
        for inner in inner_graphs(node):
            yield from all_nodes(inner.node)


def inner_graphs(node: onnx.NodeProto) -> Iterable[onnx.GraphProto]:
    """The branches of an If, the body of a Loop."""
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            yield attribute.g
        elif attribute.type == onnx.AttributeProto.GRAPHS:
            yield from attribute.graphs


class Names:
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
        """A copy of a node under its names here."""
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copy.name = self.prefix + node.name if node.name else ""
        copy.input[:] = [self[name] for name in node.input]
        copy.output[:] = [self[name] for name in node.output]
        for inner in inner_graphs(copy):
            self._rename_inner(inner)
        return copy

    def _rename_inner(self, graph: onnx.GraphProto) -> None:
        """The branches of If and Loop see the outer names; their own get the same prefix."""
        for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
            value.name = self[value.name]
        nodes = [self.renamed(node) for node in graph.node]
        del graph.node[:]
        graph.node.extend(nodes)


class PieceNames(Names):
    """The names of the nodes that stand once for each picture."""

    def __init__(
        self, once: Names, index: int, shared: set[str], batched: set[str], piece: Callable[[str, int], str]
    ) -> None:
        """Names of picture ``index``.

        Args:
            once: Names of the nodes that stand once.
            index: Number of the picture.
            shared: Values that those nodes give, for all pictures.
            batched: Of these, and of the inputs, what has the pictures along its first axis.
            piece: The name of one picture's part of such a value.
        """
        super().__init__(once.weights, once.weight_prefix, f"{once.prefix}{index}/", once.bound)
        self.once, self.index, self.shared, self.batched, self.piece = once, index, shared, batched, piece

    def __getitem__(self, name: str) -> str:
        if name in self.batched:
            return self.piece(self.once[name], self.index)
        if name in self.shared:
            return self.once[name]
        return super().__getitem__(name)
