"""What a graph is fed: held against its declared inputs, and black pictures to warm up with."""

from __future__ import annotations

import os
from collections.abc import Mapping

import numpy as np
import onnx
from onnx import helper

from engine.graph import Graph
from rigpose.errors import RigposeError

VIEWS, BATCH = "V", "B"
_Shape = tuple[int | str, ...]


def available_threads() -> int:
    """Cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on Linux
        return os.cpu_count() or 1


class Feeds:
    """The inputs of one graph.

    Args:
        graph: Whose.
        proto: The same, read; parsed from it where left out.
    """

    def __init__(self, graph: Graph, proto: onnx.ModelProto | None = None) -> None:
        proto = onnx.load_from_string(graph.proto_bytes) if proto is None else proto
        self.views = graph.n_views
        self.wanted: dict[str, tuple[np.dtype, _Shape]] = {}
        for value in proto.graph.input:
            if value.name not in graph.input_names:
                continue  # old files list their weights among the inputs as well
            tensor = value.type.tensor_type
            shape = tuple(dim.dim_value or dim.dim_param for dim in tensor.shape.dim)
            shape = tuple(graph.n_views if side == VIEWS else side for side in shape)
            self.wanted[value.name] = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.elem_type)), shape

    def check(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """What of the inputs the graph takes. Arrays of another dtype are not converted: that would copy pictures.

        Raises:
            RigposeError: One is missing or does not have the graph's shape.
        """
        for name, (dtype, shape) in self.wanted.items():
            array = inputs.get(name)
            if array is None:
                raise RigposeError(f"graph input {name}", "is missing", f"the graph takes {', '.join(self.wanted)}")
            fits = array.shape == shape or (
                len(array.shape) == len(shape)
                and all(isinstance(want, str) or want == side for want, side in zip(shape, array.shape, strict=True))
            )
            if not fits or array.dtype != dtype:
                wanted = ", ".join("any" if isinstance(side, str) else str(side) for side in shape)
                raise RigposeError(
                    f"graph input {name}",
                    f"has shape {list(array.shape)} and dtype {array.dtype}",
                    f"the graph takes [{wanted}] {dtype}",
                )
        return {name: inputs[name] for name in self.wanted}

    def shapes(self, batch: int = 1) -> dict[str, tuple[int, ...]]:
        """Shapes of all inputs for so many frame sets."""
        return {
            name: tuple(batch if isinstance(side, str) else side for side in shape)
            for name, (_, shape) in self.wanted.items()
        }

    def blank(self, batch: int = 1) -> dict[str, np.ndarray]:
        """Black pictures of absent cameras: nothing in them needs a rig."""
        return {name: np.zeros(shape, self.wanted[name][0]) for name, shape in self.shapes(batch).items()}


def size_of(inputs: Mapping[str, np.ndarray]) -> tuple[tuple[int, ...], ...]:
    """The shapes of inputs, as a key."""
    return tuple(array.shape for array in inputs.values())
