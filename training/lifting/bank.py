"""Poses on the device: the whole data set at once, so that a step waits for nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from calib.rig import Rig
from capture.labels.poses3d import Poses3D
from engine.lifter_document import RootSet, one_root, parents_of
from rigpose.errors import ConfigError
from rigpose.skeleton import Skeleton


def roots_of(skeleton: Skeleton, wanted: dict[str, tuple[str, ...]] | str) -> tuple[RootSet, ...]:
    """The root sets that a config names.

    Args:
        skeleton: The joints.
        wanted: See `training.lifting.config.NetworkSection.roots`.

    Raises:
        ConfigError: It names a joint that does not exist, or the skeleton has no limbs of that kind.
    """
    if wanted == "legs":
        return _limbs(skeleton)
    if not wanted:
        return one_root(skeleton)
    assert isinstance(wanted, dict)
    place = {name: index for index, name in enumerate(skeleton.joints)}
    for name in (*wanted, *(joint for joints in wanted.values() for joint in joints)):
        if name not in place:
            raise ConfigError("network.roots", f"{skeleton.name} has no joint {name}", f"it has {', '.join(place)}")
    return tuple(RootSet(root=place[root], joints=tuple(place[j] for j in joints)) for root, joints in wanted.items())


def _limbs(skeleton: Skeleton) -> tuple[RootSet, ...]:
    """Chains that hang together: the first joint of each, in the skeleton's order, is its root."""
    n = len(skeleton.joints)
    group = list(range(n))
    for a, b in skeleton.edges:
        low, high = sorted((group[a], group[b]))
        group = [low if g == high else g for g in group]
    sets = [(first, tuple(j for j in range(n) if group[j] == first and j != first)) for first in dict.fromkeys(group)]
    if len(sets) < 2 or not all(joints for _, joints in sets):
        raise ConfigError(
            "network.roots", f"{skeleton.name} is not made of several limbs", "name the roots and their joints"
        )
    return tuple(RootSet(root=root, joints=joints) for root, joints in sets)


@dataclass(frozen=True)
class Tree:
    """The bones of a skeleton, roots first.

    Attributes:
        order: Joints that have a parent, each behind its parent.
        parents: (J,) index of each joint's parent; -1 for none. A loose joint hangs on its root.
        mirrored: (J,) each joint's partner on the other side.
        pairs: (J,) a number that a bone and its partner share.
        below: (J, J) whether the second joint hangs on the first, or is it.
    """

    order: tuple[int, ...]
    parents: tuple[int, ...]
    mirrored: tuple[int, ...]
    pairs: tuple[int, ...]
    below: np.ndarray

    @staticmethod
    def of(skeleton: Skeleton, roots: Sequence[RootSet]) -> Tree:
        """Of a skeleton and its roots."""
        n = len(skeleton.joints)
        parents = list(parents_of(skeleton, roots))
        for entry in roots:
            for joint in entry.joints:
                if parents[joint] < 0:
                    parents[joint] = entry.root
        order: list[int] = []
        waiting = [joint for joint in range(n) if parents[joint] >= 0]
        done = {joint for joint in range(n) if parents[joint] < 0}
        while waiting:
            joint = next(j for j in waiting if parents[j] in done)
            order.append(joint)
            done.add(joint)
            waiting.remove(joint)
        mirrored = list(range(n))
        for left, right in skeleton.left_right:
            mirrored[left], mirrored[right] = right, left
        below = np.eye(n, dtype=bool)
        for joint in order:
            below[:, joint] |= below[:, parents[joint]]
        pairs = tuple(min(joint, mirrored[joint]) for joint in range(n))
        return Tree(tuple(order), tuple(parents), tuple(mirrored), pairs, below)


class Bank:
    """Poses of one part of the data on a device.

    Args:
        poses: What it holds; joints without a position stay NaN.
        window: Frames in a sample.
        device: Where.

    Attributes:
        position: (N, J, 3) mm about each pose's ``middle``, so that float32 loses nothing.
        middle: (N, 3) mm, the mean of each pose's joints.
        rows: (N, T) which poses a sample is made of, the newest last; -1 = there was none.
        rig: Cameras of the poses, where they have some.
        points2d: (N, V, J, 2) raw px as recorded, where they were.
        confidence: (N, V, J) of those.
    """

    def __init__(self, poses: Poses3D, window: int, device: torch.device) -> None:
        self.poses, self.window, self.device = poses, window, device
        self.skeleton = poses.skeleton
        with np.errstate(invalid="ignore"):
            there = poses.there[..., None]
            count = np.maximum(there.sum(axis=1), 1)
            middle = np.where(there, poses.position_mm, 0.0).sum(axis=1) / count
        self.position = _on(poses.position_mm - middle[:, None], device)
        self.middle = _on(middle, device)
        self.rows = torch.as_tensor(windows(poses, window), device=device)
        self.rig: Rig | None = poses.rig
        self.points2d = None if poses.points2d is None else _on(poses.points2d, device)
        confidence = poses.confidence
        if poses.points2d is not None and confidence is None:
            confidence = np.isfinite(poses.points2d).all(axis=-1).astype(float)
        self.confidence = None if confidence is None else _on(confidence, device)

    def __len__(self) -> int:
        return len(self.position)


def _on(array: np.ndarray, device: torch.device) -> Tensor:
    return torch.as_tensor(np.ascontiguousarray(array), dtype=torch.float32, device=device)


def windows(poses: Poses3D, window: int) -> Int[np.ndarray, "N T"]:
    """For each pose the rows of the frames up to it; -1 where the recording has none.

    Frames follow each other by the most frequent step of the data's frame numbers.
    """
    n = len(poses)
    rows = np.full((n, window), -1)
    rows[:, -1] = np.arange(n)
    if window == 1 or n == 0:
        return rows
    keys = list(zip(poses.subject.tolist(), poses.frame.tolist(), strict=True))
    place = {key: row for row, key in enumerate(keys)}
    steps = [b[1] - a[1] for a, b in zip(keys, keys[1:], strict=False) if a[0] == b[0] and b[1] > a[1]]
    step = int(np.bincount(steps).argmax()) if steps else 1
    for row, (subject, frame) in enumerate(keys):
        for back in range(1, window):
            rows[row, window - 1 - back] = place.get((subject, frame - back * step), -1)
    return rows
