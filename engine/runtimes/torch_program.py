"""An ONNX graph as a fixed list of torch calls.

Why not a library: the one that was kept, onnx2torch, has had no release since 2024, and a graph that computes its
shapes as tensors makes the processor wait for the GPU in the middle of a frame and cannot be captured in a CUDA
graph. Why not our own networks, built again from weights: every graph that ONNX Runtime runs should run here, a
foreign one too, and be comparable number by number. So the graph is run once, operator by operator, for given sizes
of its inputs: what does not depend on the pictures is computed then, by onnx's own reference operators, and stays a
constant; what does becomes a call. The list has no branches and asks for no value, so that it is the same in eager
mode on a CPU, where it can be tested, and in a CUDA graph, where it runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from torch import Tensor

from engine.opsets import opset_of
from engine.runtimes.torch_operators import OPERATORS, PARAMETERS, TYPES
from engine.runtimes.torch_site import Site
from rigpose.errors import ConfigError

_IR = 8
Value: TypeAlias = np.ndarray | Tensor


@dataclass(frozen=True, slots=True)
class _Step:
    """One call: its inputs are names of tensors, or constants already on the device."""

    call: Callable[..., Any]
    inputs: tuple[str | Tensor | None, ...]
    outputs: tuple[str, ...]
    done_with: tuple[str, ...]


class Program:
    """A graph, or a part of one, for inputs of fixed sizes.

    Args:
        proto: The graph.
        example: Inputs of the sizes that all later ones have, on the device where it shall run.
        channels_last: Keep the channels of pictures together in memory, which tensor cores want.

    Raises:
        ConfigError: It has an operator that is not known here, or one whose sizes depend on the pictures.
    """

    def __init__(self, proto: onnx.ModelProto, example: Mapping[str, Tensor], *, channels_last: bool = False) -> None:
        self.outputs = tuple(value.name for value in proto.graph.output)
        self.device = next(iter(example.values())).device
        self._last = channels_last
        self._constants: dict[int, Tensor] = {}
        self._kept: list[np.ndarray] = []  # keys of `_constants` are identities
        self._fixed: dict[str, Tensor] = {}
        self._steps: list[_Step] = []
        self._opset = opset_of(proto)
        with torch.no_grad():
            self._trace(proto, example)

    def __call__(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The graph's outputs; in a CUDA graph's capture nothing here waits."""
        values: dict[str, Tensor] = {**self._fixed, **inputs}
        with torch.no_grad():
            for step in self._steps:
                got = step.call(*(values[x] if isinstance(x, str) else x for x in step.inputs))
                if len(step.outputs) == 1:
                    values[step.outputs[0]] = got
                else:
                    values.update(zip(step.outputs, got, strict=False))
                for name in step.done_with:
                    del values[name]
        return {name: values[name] for name in self.outputs}

    def _trace(self, proto: onnx.ModelProto, example: Mapping[str, Tensor]) -> None:
        values: dict[str, Value] = {w.name: numpy_helper.to_array(w) for w in proto.graph.initializer}
        values |= example
        for node in proto.graph.node:
            made = self._node(node, values)
            values.update(zip(node.output, made, strict=False))
        for name in self.outputs:
            if isinstance(values[name], np.ndarray):
                self._fixed[name] = self._tensor(values[name])
        self._forget(example)

    def _node(self, node: onnx.NodeProto, values: Mapping[str, Value]) -> Sequence[Value]:
        inputs = [values[name] if name else None for name in node.input]
        tensors = [value for value in inputs if isinstance(value, Tensor)]
        if node.op_type == "Shape" and tensors:
            attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
            shape = tuple(tensors[0].shape)[attributes.get("start", 0) : attributes.get("end")]
            return [np.array(shape, np.int64)]
        if node.op_type == "Size" and tensors:
            return [np.array(tensors[0].numel(), np.int64)]
        if not tensors:
            return self._on_host(node, values)
        return self._on_device(node, inputs)

    def _on_host(self, node: onnx.NodeProto, values: Mapping[str, Value]) -> Sequence[np.ndarray]:
        names = [name for name in dict.fromkeys(node.input) if name]
        graph = helper.make_graph(
            [node], "one", [helper.make_empty_tensor_value_info(name) for name in names],
            [helper.make_empty_tensor_value_info(name) for name in node.output if name],
        )  # fmt: skip
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self._opset)], ir_version=_IR)
        given = {name: values[name] for name in names}
        try:
            answers = ReferenceEvaluator(model).run(None, given)
        except (RuntimeError, NotImplementedError):  # the reference knows some operators of newer opsets alone
            answers = _by_onnx_runtime(model, given)
        found = iter(answers)
        return [np.asarray(next(found)) if name else np.zeros(0) for name in node.output]

    def _on_device(self, node: onnx.NodeProto, inputs: Sequence[Value | None]) -> Sequence[Tensor]:
        make = OPERATORS.get(node.op_type) if node.domain in ("", "ai.onnx") else None
        if make is None:
            raise ConfigError(
                "runtime torch",
                f"knows no operator {node.op_type} of {node.domain or 'ONNX'}",
                "use the runtime onnx, which runs every graph",
            )
        parameters = PARAMETERS.get(node.op_type, ())
        site = Site(
            node.op_type,
            {a.name: helper.get_attribute_value(a) for a in node.attribute},
            {place: value for place, value in enumerate(inputs) if isinstance(value, np.ndarray)},
            tuple(() if value is None else tuple(value.shape) for value in inputs),
            len(node.output),
            self._opset,
            self._tensor,
        )
        if any(place < len(inputs) and inputs[place] is None for place in parameters):
            # Left out in the middle: the operator is told that there is nothing.
            site.constants.update({p: np.zeros(0) for p in parameters if p < len(inputs) and inputs[p] is None})
            if node.op_type == "Slice":
                raise ConfigError("runtime torch", "Slice without axes but with steps", "use the runtime onnx")
        call = make(site)
        given: list[str | Tensor | None] = []
        live: list[Tensor | None] = []
        for place, value in enumerate(inputs):
            if place in parameters:
                if isinstance(value, Tensor):
                    site.known(place)  # says that it must be constant
                continue
            tensor = self._tensor(value) if isinstance(value, np.ndarray) else value
            live.append(tensor)
            given.append(node.input[place] if isinstance(value, Tensor) else tensor)
        got = call(*live)
        self._steps.append(_Step(call, tuple(given), tuple(node.output), ()))
        return [got] if isinstance(got, Tensor) else list(got)

    def _tensor(self, array: Any) -> Tensor:
        """A constant on the device, made once."""
        if id(array) not in self._constants:
            self._kept.append(array)
            if array.dtype.name == "bfloat16":
                tensor = torch.from_numpy(array.astype(np.float32)).to(torch.bfloat16)
            else:
                tensor = torch.from_numpy(np.array(array, order="C"))
            tensor = tensor.to(self.device)
            if self._last and tensor.ndim == 4:
                tensor = tensor.contiguous(memory_format=torch.channels_last)
            self._constants[id(array)] = tensor
        return self._constants[id(array)]

    def _forget(self, example: Mapping[str, Tensor]) -> None:
        """Let each value go behind the last call that reads it, so that its memory is used again."""
        kept = {*self.outputs, *example, *self._fixed}
        last: dict[str, int] = {}
        for index, step in enumerate(self._steps):
            for name in (*step.outputs, *(x for x in step.inputs if isinstance(x, str))):
                if name:
                    last[name] = index
        for index, step in enumerate(self._steps):
            done = tuple(name for name, where in last.items() if where == index and name not in kept)
            self._steps[index] = _Step(step.call, step.inputs, step.outputs, done)


def _by_onnx_runtime(model: onnx.ModelProto, given: Mapping[str, Value]) -> Sequence[Any]:
    import onnxruntime

    for value in model.graph.input:
        dtype = helper.np_dtype_to_tensor_dtype(given[value.name].dtype)
        value.CopyFrom(helper.make_tensor_value_info(value.name, dtype, given[value.name].shape))
    typed = onnx.shape_inference.infer_shapes(model)
    session = onnxruntime.InferenceSession(typed.SerializeToString(), providers=["CPUExecutionProvider"])
    answers: Sequence[Any] = session.run(None, dict(given))
    return answers


def on(device: torch.device | str, inputs: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    """Arrays as tensors."""
    return {name: torch.from_numpy(np.ascontiguousarray(array)).to(device) for name, array in inputs.items()}


__all__ = ["TYPES", "Program", "on"]
