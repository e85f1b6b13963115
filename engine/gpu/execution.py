"""A plan that runs on tensors of torch: their memory, their stream."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from engine.gpu.trt_api import TensorRt, logger_of
from rigpose.errors import RigposeError

_TYPES = {
    "FLOAT": torch.float32, "HALF": torch.float16, "BF16": torch.bfloat16, "INT32": torch.int32, "INT64": torch.int64,
    "INT8": torch.int8, "UINT8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip


class Execution:
    """One context of one plan; addresses are set once, since a captured graph cannot change them.

    Args:
        trt: The module.
        plan: That was tried in a process of its own (`engine.gpu.trial`).
        where: What to name in errors.
        device: Of the tensors.

    Raises:
        RigposeError: The plan is not read, or wants something else than its network.
    """

    def __init__(self, trt: TensorRt, plan: bytes, where: str, device: torch.device) -> None:
        self._where, self._logger = where, logger_of(trt)
        self._runtime = trt.Runtime(self._logger)
        engine = self._runtime.deserialize_cuda_engine(plan)
        if engine is None:
            raise self._failed("the plan is not read")
        self._engine = engine
        context = engine.create_execution_context()
        if context is None:
            raise self._failed("the plan gets no context")
        self._context = context
        self._device = device
        names = [self._engine.get_tensor_name(index) for index in range(self._engine.num_io_tensors)]
        inputs = trt.TensorIOMode.INPUT
        self.inputs = tuple(name for name in names if self._engine.get_tensor_mode(name) == inputs)
        self.outputs = tuple(name for name in names if name not in self.inputs)
        self._memory = {name: self._tensor(name) for name in names}

    def _tensor(self, name: str) -> Tensor:
        shape = tuple(self._context.get_tensor_shape(name))
        if any(side < 0 for side in shape):
            raise self._failed(f"the plan leaves the size of {name} open")
        kind = str(self._engine.get_tensor_dtype(name)).rpartition(".")[2]
        tensor = torch.empty(shape, dtype=_TYPES[kind], device=self._device)
        if name in self.inputs and not self._context.set_input_shape(name, shape):
            raise self._failed(f"the plan refuses the size {list(shape)} of {name}")
        if not self._context.set_tensor_address(name, tensor.data_ptr()):
            raise self._failed(f"the plan refuses the memory of {name}")
        return tensor

    def __call__(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Enqueue on the current stream; nothing waits. What is returned is written again by the next call.

        Raises:
            RigposeError: TensorRT refuses it.
        """
        for name in self.inputs:
            self._memory[name].copy_(inputs[name], non_blocking=True)
        if not self._context.execute_async_v3(self._stream()):
            raise self._failed("the plan does not run")
        return {name: self._memory[name] for name in self.outputs}

    def _stream(self) -> int:
        return torch.cuda.current_stream(self._device).cuda_stream if self._device.type == "cuda" else 0

    def _failed(self, what: str) -> RigposeError:
        said: Any = self._logger.said.take()
        return RigposeError(self._where, f"{what}: {said or 'TensorRT says no more'}", "rigpose build makes it again")
