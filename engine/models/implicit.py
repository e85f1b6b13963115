"""Gradients of what was found by iteration, from the equation that the answer fulfils instead of from the iteration.

The implicit function theorem: a ray is where its lens brings it, whatever steps found it, and a null vector is that of
its matrix. What is kept and done on the way back is a fraction of the way there, and nothing in it can overflow.
"""

from __future__ import annotations

from typing import Any

import torch
from array_api_compat import array_namespace
from jaxtyping import Float
from torch import Tensor

from calib import lens
from calib.triangulate import RIDGE, null_vector


def rays(
    points: Float[Tensor, "N J 2"], K: Float[Tensor, "N 3 3"], dist: Float[Tensor, "N 14"], fisheye: Float[Tensor, " N"]
) -> Float[Tensor, "N J 2"]:
    """`calib.lens.undistort`; gradients go to the points, and 0 to those without a ray."""
    found: Tensor = _Rays.apply(points, K, dist, fisheye)  # type: ignore[no-untyped-call]
    return found


def smallest(_: Any, gram: Float[Tensor, "*n 4 4"]) -> Float[Tensor, "*n 4"]:
    """`calib.triangulate.null_vector`, as it is called there, of length one."""
    found: Tensor = _Smallest.apply(gram)  # type: ignore[no-untyped-call]
    return found


class _Rays(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, points: Tensor, K: Tensor, dist: Tensor, fisheye: Tensor) -> Tensor:
        found = lens.undistort(points, K, dist, fisheye)
        ctx.save_for_backward(found, K, dist, fisheye)
        return found

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:  # type: ignore[override]
        found, K, dist, fisheye = ctx.saved_tensors
        known = torch.isfinite(found).all(dim=-1, keepdim=True)
        with torch.enable_grad():
            ray = torch.where(known, found, 0.0).detach().requires_grad_()
            px = lens.distort(ray, K, dist, fisheye)
            (of_x,) = torch.autograd.grad(px[..., 0].sum(), ray, retain_graph=True)
            (of_y,) = torch.autograd.grad(px[..., 1].sum(), ray)
        # The transposed inverse of the lens' 2x2 derivative, times the gradient.
        (a, b), (c, d), (x, y) = of_x.unbind(-1), of_y.unbind(-1), grad.unbind(-1)
        back = torch.stack([d * x - c * y, a * y - b * x], dim=-1) / (a * d - b * c)[..., None]
        return torch.where(known, back, 0.0), None, None, None


class _Smallest(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gram: Tensor) -> Tensor:
        vector = null_vector(array_namespace(gram), gram)
        vector = vector / torch.linalg.vector_norm(vector, dim=-1, keepdim=True)
        ctx.save_for_backward(gram, vector)
        return vector

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        gram, vector = ctx.saved_tensors
        column = vector[..., None]
        least = (vector * (gram @ column)[..., 0]).sum(dim=-1)[..., None, None]
        across = grad - vector * (vector * grad).sum(dim=-1, keepdim=True)
        # On what is across the vector this is gram - least, along it it is one: it can be inverted but where the second
        # smallest eigenvalue is the smallest as well, and then the ridge bounds the answer.
        eye = torch.eye(4, dtype=gram.dtype, device=gram.device)
        shifted = gram - (least - RIDGE) * eye + column * vector[..., None, :]
        turned, _ = torch.linalg.solve_ex(shifted, across)
        turned = turned - vector * (vector * turned).sum(dim=-1, keepdim=True)
        outer = turned[..., None] * vector[..., None, :]
        return -0.5 * (outer + outer.transpose(-1, -2))
