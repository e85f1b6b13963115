"""Watches torch's calls for those that a CUDA graph cannot hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

# They ask the device for a value, have outputs whose size only the device knows, or bring an array of the host's.
REFUSED = {
    "_local_scalar_dense", "equal", "is_nonzero", "item", "lift_fresh", "masked_select", "nonzero", "repeat_interleave",
    "unique", "_unique2", "unique_consecutive", "unique_dim",
}  # fmt: skip


class Capturable(TorchDispatchMode):
    """What was called under it that could not be captured.

    Attributes:
        refused: Names of such operators.
        calls: Of all.
    """

    def __init__(self) -> None:
        super().__init__()
        self.refused: set[str] = set()
        self.calls = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """One call."""
        name = func.overloadpacket.__name__
        self.calls += 1
        if name in REFUSED or (name.startswith("index") and any(map(_is_mask, args))):
            self.refused.add(name)
        return func(*args, **(kwargs or {}))


def _is_mask(argument: Any) -> bool:
    """Whether an argument is a list of indices with a mask in it, whose true places have to be counted."""
    return isinstance(argument, list | tuple) and any(
        isinstance(value, torch.Tensor) and value.dtype == torch.bool for value in argument
    )
