"""Bodies and postures that the data do not have: bones of other lengths, limbs bent further, mirrored bodies.

All of a batch at once. A joint whose parent is missing is missing as well, where bones are changed.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from training.lifting.bank import Tree
from training.lifting.config import BodySection
from training.lifting.views import rotation


class Bodies:
    """Changes poses.

    Args:
        section: How.
        tree: The skeleton's.
        lengths_mm: (J,) mean length of the bone that ends in each joint, for ``template``.
    """

    def __init__(self, section: BodySection, tree: Tree, lengths_mm: Float[Tensor, " J"]) -> None:
        self.section, self.tree = section, tree
        device = lengths_mm.device
        self._lengths = lengths_mm
        self._mirrored = torch.tensor(tree.mirrored, device=device)
        self._pairs = torch.tensor(tree.pairs, device=device)

    def change(self, position: Float[Tensor, "B T J 3"], generator: torch.Generator) -> Float[Tensor, "B T J 3"]:
        """Each sample's body in another shape, the same in all frames of its window."""
        s = self.section
        n, joints = position.shape[0], position.shape[2]
        device = position.device

        def chance(share: float) -> Tensor:
            return torch.rand(n, generator=generator, device=device) < share

        if s.mirror:
            # Along any axis: a camera from anywhere sees the same as with any other.
            other = position.index_select(2, self._mirrored) * torch.tensor([-1.0, 1.0, 1.0], device=device)
            position = torch.where(chance(s.mirror)[:, None, None, None], other, position)
        if s.template or s.bones or s.bend_deg:
            factor = torch.ones(n, joints, device=device)
            if s.bones:
                own = torch.randn(n, joints, generator=generator, device=device)
                factor = (s.bones * own[:, self._pairs]).exp()
            turn = None
            if s.bend_deg:
                angle = torch.deg2rad(torch.tensor(s.bend_deg))
                turn = rotation(angle * torch.randn(n, joints, 3, generator=generator, device=device))
            position = rebuilt(position, self.tree, factor, turn, self._lengths if s.template else None)
        low, high = s.scale
        if low != high or low != 1:
            position = position * (low + (high - low) * torch.rand(n, 1, 1, 1, generator=generator, device=device))
        return position


def rebuilt(
    position: Float[Tensor, "B T J 3"],
    tree: Tree,
    factor: Float[Tensor, "B J"],
    turn: Float[Tensor, "B J 3 3"] | None = None,
    lengths_mm: Float[Tensor, " J"] | None = None,
) -> Float[Tensor, "B T J 3"]:
    """Poses with other bones, built again from the roots on.

    Args:
        position: mm.
        tree: The skeleton's.
        factor: On the bone that ends in each joint.
        turn: Of each bone, and of all that hangs on it.
        lengths_mm: Lengths that bones are brought to first.
    """
    joints: list[Tensor] = list(position.unbind(dim=2))
    turned: dict[int, Tensor] = {}
    for joint in tree.order:
        parent = tree.parents[joint]
        bone = position[:, :, joint] - position[:, :, parent]
        if lengths_mm is not None:
            bone = bone * (lengths_mm[joint] / bone.norm(dim=-1, keepdim=True).clamp(min=1e-6))
        if turn is not None:
            above = turned.get(parent)
            turned[joint] = turn[:, joint] if above is None else torch.matmul(above, turn[:, joint])
            bone = torch.matmul(turned[joint][:, None], bone[..., None])[..., 0]
        joints[joint] = joints[parent] + factor[:, None, joint, None] * bone
    return torch.stack(joints, dim=2)


def bone_lengths(position: Float[Tensor, "N J 3"], parents: Sequence[int]) -> Float[Tensor, " J"]:
    """Mean length of the bone that ends in each joint; 0 where none does or it is never known."""
    at = torch.tensor([joint if parent < 0 else parent for joint, parent in enumerate(parents)], device=position.device)
    return (position - position[:, at]).norm(dim=-1).nanmean(dim=0).nan_to_num(0.0)
