"""Work on tensors of fixed sizes: captured once in a CUDA graph and replayed; on a CPU the same calls, one by one.

Host and device buffers keep their addresses. Uploads, the work and downloads are all in the graph, so that a frame set
costs one launch and waits for the GPU once, at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

Work = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]
WARMUPS = 3
"""Runs before the capture: libraries choose their algorithms and take their memory in them."""


class Captured:
    """Work with host arrays as its inputs and outputs.

    Args:
        work: From the device's tensors to its outputs; it may not wait, nor ask for a value.
        example: Inputs of the sizes that all later ones have.
        device: Where it runs.
        stream: On which everything happens; a new one where left out.
        given: Inputs of the work that are on the device already and stay at their addresses.
    """

    def __init__(
        self,
        work: Work,
        example: Mapping[str, np.ndarray],
        device: torch.device,
        *,
        stream: torch.cuda.Stream | None = None,
        given: Mapping[str, Tensor] | None = None,
    ) -> None:
        self.device, self._work = device, work
        self._given = dict(given or {})
        on_gpu = device.type == "cuda"
        self._host_in = {
            name: _host(torch.from_numpy(np.ascontiguousarray(array)), on_gpu) for name, array in example.items()
        }
        self._device_in = {name: tensor.to(device) for name, tensor in self._host_in.items()}
        self._graph: torch.cuda.CUDAGraph | None = None
        self._stream = stream
        self._host_out: dict[str, Tensor] = {}
        if on_gpu:
            self._capture()

    def _capture(self) -> None:
        self._stream = self._stream or torch.cuda.Stream(self.device)
        self._stream.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(self._stream), torch.no_grad():
            for _ in range(WARMUPS):
                outputs = self._work({**self._given, **self._device_in})
            self._host_out = {
                name: torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True) for name, tensor in outputs.items()
            }
        self._stream.synchronize()
        self._done = torch.cuda.Event()
        self._graph = torch.cuda.CUDAGraph()
        # Of this thread alone: another may lock pages or begin an upload meanwhile, which would end any other capture.
        with (
            torch.no_grad(),
            torch.cuda.graph(self._graph, stream=self._stream, capture_error_mode="thread_local"),
        ):
            self._whole()

    def _whole(self) -> None:
        for name, tensor in self._device_in.items():
            tensor.copy_(self._host_in[name], non_blocking=True)
        for name, tensor in self._work({**self._given, **self._device_in}).items():
            self._host_out[name].copy_(tensor, non_blocking=True)

    def start(self, inputs: Mapping[str, np.ndarray]) -> None:
        """Begin with one frame set; nothing waits on a GPU. `finish` must come before the next."""
        for name, host in self._host_in.items():
            host.numpy()[...] = inputs[name]
        if self._graph is None:
            with torch.no_grad():
                self._host_out = self._work({**self._given, **self._host_in})
            return
        assert self._stream is not None
        with torch.cuda.stream(self._stream):
            self._graph.replay()
            self._done.record(self._stream)

    def finish(self) -> dict[str, np.ndarray]:
        """Wait for the answer; its arrays are the caller's."""
        if self._graph is not None:
            self._done.synchronize()
        return {name: tensor.numpy().copy() for name, tensor in self._host_out.items()}

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Answer one frame set."""
        self.start(inputs)
        return self.finish()


def _host(tensor: Tensor, pinned: bool) -> Tensor:
    return tensor.pin_memory() if pinned else tensor.clone()
