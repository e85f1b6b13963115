"""Layers in float64 numpy, for any number of axes: (N, C, *axes) in, the same out. Slow and plain."""

from __future__ import annotations

from itertools import product

import numpy as np

EPSILON = 1e-5


def convolve(x, weight, bias=None, stride=1, padding=0):
    """Cross-correlation, kernel element by kernel element."""
    axes = x.ndim - 2
    kernel = weight.shape[2:]
    x = np.pad(x, [(0, 0), (0, 0)] + [(padding, padding)] * axes)
    sizes = [(x.shape[2 + a] - kernel[a]) // stride + 1 for a in range(axes)]
    out = np.zeros((len(x), len(weight), *sizes))
    for offset in product(*(range(k) for k in kernel)):
        window = tuple(slice(o, o + stride * (n - 1) + 1, stride) for o, n in zip(offset, sizes, strict=True))
        part = np.tensordot(weight[(slice(None), slice(None), *offset)], x[(slice(None), slice(None), *window)], (1, 1))
        out += np.moveaxis(part, 0, 1)
    return out if bias is None else out + bias.reshape(-1, *[1] * axes)


def convolve_transposed(x, weight, bias=None, stride=2, padding=0):
    """Each input cell spreads its kernel over the output."""
    axes = x.ndim - 2
    kernel = weight.shape[2:]
    sizes = [(x.shape[2 + a] - 1) * stride + kernel[a] for a in range(axes)]
    out = np.zeros((len(x), weight.shape[1], *sizes))
    for offset in product(*(range(k) for k in kernel)):
        window = tuple(slice(o, o + stride * (n - 1) + 1, stride) for o, n in zip(offset, x.shape[2:], strict=True))
        part = np.tensordot(weight[(slice(None), slice(None), *offset)], x, (0, 1))
        out[(slice(None), slice(None), *window)] += np.moveaxis(part, 0, 1)
    inner = tuple(slice(padding, n - padding) for n in sizes)
    out = out[(slice(None), slice(None), *inner)]
    return out if bias is None else out + bias.reshape(-1, *[1] * axes)


def pooled_max(x, kernel, stride, padding=0):
    """The largest of each window."""
    axes = x.ndim - 2
    x = np.pad(x, [(0, 0), (0, 0)] + [(padding, padding)] * axes, constant_values=-np.inf)
    sizes = [(x.shape[2 + a] - kernel) // stride + 1 for a in range(axes)]
    out = np.full((*x.shape[:2], *sizes), -np.inf)
    for offset in product(range(kernel), repeat=axes):
        window = tuple(slice(o, o + stride * (n - 1) + 1, stride) for o, n in zip(offset, sizes, strict=True))
        out = np.maximum(out, x[(slice(None), slice(None), *window)])
    return out


def relu(x):
    """Nothing below zero."""
    return np.maximum(x, 0)


def sigmoid(x):
    """0..1."""
    return 1 / (1 + np.exp(-x))


class Weights:
    """A state dict in float64 with a place in it: ``weights / "layer1" / "0"``."""

    def __init__(self, state, at=""):
        self.state, self.at = state, at

    def __truediv__(self, name):
        return Weights(self.state, f"{self.at}{name}.")

    def __contains__(self, name):
        return any(key.startswith(f"{self.at}{name}.") for key in self.state)

    def __call__(self, name):
        value = self.state.get(self.at + name)
        return None if value is None else np.asarray(value, np.float64)

    def convolve(self, x, stride=1, padding=0):
        """The convolution that stands here."""
        return convolve(x, self("weight"), self("bias"), stride, padding)

    def convolve_transposed(self, x, stride=2, padding=0):
        """The transposed convolution that stands here."""
        return convolve_transposed(x, self("weight"), self("bias"), stride, padding)

    def normalise(self, x):
        """The batch normalisation that stands here, by its running statistics."""
        scale = self("weight") / np.sqrt(self("running_var") + EPSILON)
        shift = self("bias") - self("running_mean") * scale
        shape = (-1, *[1] * (x.ndim - 2))
        return x * scale.reshape(shape) + shift.reshape(shape)

    def line(self, x):
        """The fully connected layer that stands here."""
        return x @ self("weight").T + self("bias")
