"""Training of a lifter a pose at a time, as the public code does it.

Each sample is drawn, turned, projected, made noisy and z-scored by itself with numpy and scipy, and a batch is put
together of them. What batches on the device are held against.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from engine.models.lifter import Lifter


class PoseByPose:
    """Samples of poses seen by cameras anywhere, for a ``liftpose`` network with one root.

    Args:
        position_mm: (N, J, 3) world.
        lifter: Whose statistics are used.
        noise_px: Of the keypoints.
        focal_px: Of the cameras.
        distance_mm: Of the cameras.
        seed: Of all.
    """

    def __init__(
        self,
        position_mm: np.ndarray,
        lifter: Lifter,
        noise_px: float,
        focal_px: float,
        distance_mm: tuple[float, float],
        seed: int = 0,
    ) -> None:
        self.position = position_mm
        self.noise, self.focal, self.distance = noise_px, focal_px, distance_mm
        self.lifted, self.root = lifter.lifted.numpy(), lifter.root.numpy()
        self.stat = [getattr(lifter, name).numpy() for name in ("mean2d", "std2d", "mean3d", "std3d")]
        self.rng = np.random.default_rng(seed)

    def __len__(self) -> int:
        return len(self.position)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        """One sample: z-scores of the points and of the pose."""
        rng = self.rng
        pose = self.position[index]
        pose = pose - pose.mean(axis=0)
        angles = rng.uniform([0, -5, -10], [360, 55, 10])
        R = Rotation.from_euler("zxy", [angles[0], angles[1] - 90, angles[2]], degrees=True).as_matrix()
        seen = pose @ R.T + [0, 0, rng.uniform(*self.distance)]
        points = seen[:, :2] / seen[:, 2:] + rng.normal(0, self.noise / self.focal, (len(pose), 2))
        points = points - points.mean(axis=0)
        points = points / np.sqrt((points**2).sum(axis=1).mean())
        mean2d, std2d, mean3d, std3d = self.stat
        x = (points[self.lifted] - points[self.root] - mean2d) / std2d
        y = (seen[self.lifted] - seen[self.root] - mean3d) / std3d
        return torch.from_numpy(x.astype(np.float32).ravel()), torch.from_numpy(y.astype(np.float32))

    def batches(self, size: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """An epoch of batches, one sample after the other."""
        order = self.rng.permutation(len(self))
        for first in range(0, len(order) - size + 1, size):
            items = [self[int(index)] for index in order[first : first + size]]
            x, y = (torch.stack(part) for part in zip(*items, strict=True))
            yield x, y


def step(lifter: Lifter, optimiser: torch.optim.Optimizer, x: torch.Tensor, y: torch.Tensor) -> float:
    """One step of the published training."""
    scores, _ = lifter.scores(x[:, None])
    loss = ((scores - y) ** 2).mean()
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(lifter.parameters(), 1.0)
    optimiser.step()
    return float(loss.detach())
