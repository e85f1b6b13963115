"""The way of the public code of learnable triangulation, from frames to points, with which the GPU's is compared.

Crops are cut by OpenCV on the CPU, go to the GPU as they are made, the network runs in eager fp32 with torch's own
defaults, and each joint is triangulated by an SVD of its own, in a loop.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from engine.crop import Crop
from engine.models.algebraic import to_image


class Reference:
    """The reference's way.

    Args:
        module: The network.
        size: Side of the crops in px.
        device: Where the network runs.
    """

    def __init__(self, module: nn.Module, size: int, device: torch.device) -> None:
        self.size, self.device = size, device
        self._sees: Any = getattr(module, "model", module).to(device)

    def __call__(
        self, images: Sequence[np.ndarray], crops: Sequence[Crop], rig: Mapping[str, np.ndarray]
    ) -> np.ndarray:
        """Points (J, 3) of one frame set, on the host."""
        matrices = [crop.matrix((self.size, self.size)) for crop in crops]
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        cut = [cv2.warpAffine(i, m, (self.size, self.size), flags=flags) for i, m in zip(images, matrices, strict=True)]
        pictures = [c if c.ndim == 3 else cv2.cvtColor(c, cv2.COLOR_GRAY2BGR) for c in cut]
        with torch.no_grad():
            seen = self._sees.see(torch.from_numpy(np.stack(pictures)).to(self.device))
            points = to_image(seen.points, torch.from_numpy(np.stack(matrices)).float().to(self.device))
            answer: np.ndarray = self._triangulated(points, seen.confidence, rig).cpu().numpy()
            return answer

    def _triangulated(self, points: Tensor, confidence: Tensor, rig: Mapping[str, Any]) -> Tensor:
        """One SVD a joint."""
        projections = torch.from_numpy(rig["K"] @ rig["Rt"]).to(self.device)
        found = []
        for joint in range(points.shape[1]):
            rows = []
            for view in range(points.shape[0]):
                x, y = points[view, joint]
                weight = confidence[view, joint]
                rows.append(weight * (x * projections[view, 2] - projections[view, 0]))
                rows.append(weight * (y * projections[view, 2] - projections[view, 1]))
            _, _, vectors = torch.linalg.svd(torch.nan_to_num(torch.stack(rows)))
            found.append(vectors[-1, :3] / vectors[-1, 3])
        return torch.stack(found)
