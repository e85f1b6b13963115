"""The running average of a model's weights, which generalises better than the last of them."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn


class Average:
    """An exponential moving average of a model's weights and batch statistics.

    Args:
        model: What is averaged.
        decay: Share of the average that is kept at each step; less in the first steps.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self._decay = decay
        self._kept = self._floats(self.model)

    @staticmethod
    def _floats(model: nn.Module) -> list[torch.Tensor]:
        return [value for value in model.state_dict().values() if value.dtype.is_floating_point]

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Take in the weights after a step."""
        decay = min(self._decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self._kept, self._floats(model), 1 - decay)

    def state_dict(self) -> dict[str, Any]:
        """Of the averaged model."""
        return self.model.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Of the averaged model."""
        self.model.load_state_dict(state)
