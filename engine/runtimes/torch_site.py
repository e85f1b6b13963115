"""Where an operator stands in a graph: what is known of it before any picture has come."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from rigpose.errors import ConfigError


@dataclass(frozen=True)
class Site:
    """Where an operator stands.

    Attributes:
        op: Its name.
        attributes: Of the node.
        constants: Inputs that are known, by place; arrays on the host.
        shapes: Of all inputs.
        outputs: How many it has.
        opset: Of ONNX's operators.
        tensor: Makes a tensor of a constant on the device.
    """

    op: str
    attributes: dict[str, Any]
    constants: dict[int, np.ndarray]
    shapes: tuple[tuple[int, ...], ...]
    outputs: int
    opset: int
    tensor: Callable[[np.ndarray], Tensor]

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute."""
        return self.attributes.get(name, default)

    def known(self, place: int) -> np.ndarray | None:
        """A constant input; ``None`` = left out.

        Raises:
            ConfigError: It depends on the pictures.
        """
        if place in self.constants:
            return self.constants[place]
        if place < len(self.shapes):
            raise ConfigError("runtime torch", f"{self.op} with an input {place} that is not constant", "use onnx")
        return None

    def axes(self, place: int = 1) -> tuple[int, ...] | None:
        """Axes, which older opsets have as an attribute."""
        given = self.get("axes")
        found = self.known(place) if given is None else given
        return None if found is None else tuple(int(axis) for axis in np.atleast_1d(found))
