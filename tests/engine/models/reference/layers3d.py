"""3D layers by definition, in float64 numpy; names of parameters as in the published files."""

from __future__ import annotations

import numpy as np


def convolution(x, weight, bias, padding):
    """(C, S, S, S) by (O, C, k, k, k)."""
    k = weight.shape[2]
    x = np.pad(x, ((0, 0), *[(padding, padding)] * 3))
    sides = [side - k + 1 for side in x.shape[1:]]
    y = np.zeros((len(weight), *sides))
    for i, j, l in np.ndindex(k, k, k):  # noqa: E741
        part = x[:, i : i + sides[0], j : j + sides[1], l : l + sides[2]]
        y += np.einsum("oc,cxyz->oxyz", weight[:, :, i, j, l], part)
    return y + bias[:, None, None, None]


def doubled(x, weight, bias):
    """Transposed convolution of kernel and stride 2: (C, S, S, S) by (C, O, 2, 2, 2)."""
    y = np.zeros((weight.shape[1], *(2 * side for side in x.shape[1:])))
    for i, j, l in np.ndindex(2, 2, 2):  # noqa: E741
        y[:, i::2, j::2, l::2] = np.einsum("co,cxyz->oxyz", weight[:, :, i, j, l], x)
    return y + bias[:, None, None, None]


def normalised(x, state, name):
    scale = state[f"{name}.weight"] / np.sqrt(state[f"{name}.running_var"] + 1e-5)
    shape = (-1, 1, 1, 1)
    return (x - state[f"{name}.running_mean"].reshape(shape)) * scale.reshape(shape) + state[f"{name}.bias"].reshape(
        shape
    )


def halved(x):
    c, s, t, u = x.shape
    return x.reshape(c, s // 2, 2, t // 2, 2, u // 2, 2).max(axis=(2, 4, 6))


def relu(x):
    return np.maximum(x, 0)


def layer(x, state, name, padding):
    return convolution(x, state[f"{name}.weight"], state[f"{name}.bias"], padding)


def block(x, state, name):
    kernel = state[f"{name}.block.0.weight"].shape[2]
    return relu(normalised(layer(x, state, f"{name}.block.0", kernel // 2), state, f"{name}.block.1"))


def residual(x, state, name):
    y = relu(normalised(layer(x, state, f"{name}.res_branch.0", 1), state, f"{name}.res_branch.1"))
    y = normalised(layer(y, state, f"{name}.res_branch.3", 1), state, f"{name}.res_branch.4")
    if f"{name}.skip_con.0.weight" in state:
        x = normalised(layer(x, state, f"{name}.skip_con.0", 0), state, f"{name}.skip_con.1")
    return relu(y + x)


def upsampled(x, state, name):
    y = doubled(x, state[f"{name}.block.0.weight"], state[f"{name}.block.0.bias"])
    return relu(normalised(y, state, f"{name}.block.1"))


def v2v(x, state, levels, prefix=""):
    """(inputs, S, S, S) to (joints, S, S, S); a part that has no parameters in the state is not there."""

    def blocks(x, name):
        """One block under its name, or several numbered under it, or none."""
        if f"{name}.res_branch.0.weight" in state:
            return residual(x, state, name)
        index = 0
        while f"{name}.{index}.res_branch.0.weight" in state:
            x, index = residual(x, state, f"{name}.{index}"), index + 1
        return x

    front, middle, back = f"{prefix}front_layers", f"{prefix}encoder_decoder", f"{prefix}back_layers"
    if f"{prefix}squeeze.block.0.weight" in state:
        x = block(x, state, f"{prefix}squeeze")
    x = block(x, state, f"{front}.0")
    for index in (1, 2, 3):
        if f"{front}.{index}.res_branch.0.weight" in state:
            x = residual(x, state, f"{front}.{index}")
    across = []
    for level in range(1, levels + 1):
        across.append(blocks(x, f"{middle}.skip_res{level}"))
        x = residual(halved(x), state, f"{middle}.encoder_res{level}")
    x = residual(x, state, f"{middle}.mid_res")
    for level in range(levels, 0, -1):
        x = blocks(x, f"{middle}.decoder_res{level}")
        x = upsampled(x, state, f"{middle}.decoder_upsample{level}") + across.pop()
    if f"{back}.0.res_branch.0.weight" in state:
        x = residual(x, state, f"{back}.0")
        x = block(block(x, state, f"{back}.1"), state, f"{back}.2")
    return layer(x, state, f"{prefix}output_layer", 0)
