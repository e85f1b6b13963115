"""Other bodies: bones keep what they must keep."""

from __future__ import annotations

import numpy as np
import torch

from tests.training.lifting.made import CPU, SKELETON, TREE, bank, generator
from training.lifting.bodies import Bodies, bone_lengths, rebuilt
from training.lifting.config import BodySection

PARENTS = [max(parent, 0) for parent in TREE.parents]
BONES = [1, 2, 4, 5]


def lengths(position):
    return (position[..., BONES, :] - position[..., [TREE.parents[b] for b in BONES], :]).norm(dim=-1)


def positions(n=8, window=3):
    made = bank(window, n=20)
    return made.position[made.rows[-n:]]


def changed(seed=1, **keys):
    made = bank(1, n=20)
    section = BodySection(**keys)
    return Bodies(section, TREE, bone_lengths(made.position, TREE.parents)).change(positions(), generator(seed))


def test_nothing_changes_with_factors_of_one():
    position = positions()
    assert torch.allclose(rebuilt(position, TREE, torch.ones(8, 6)), position, atol=1e-4)


def test_bones_get_factors_that_are_the_same_on_both_sides_and_in_all_frames():
    factor = lengths(changed(bones=0.2)) / lengths(positions())
    assert torch.allclose(factor, factor[:, :1].expand_as(factor), atol=1e-4)
    assert torch.allclose(factor[..., :2], factor[..., 2:], atol=1e-4)
    assert factor.std() > 0.05


def test_bends_keep_lengths_and_roots():
    position = positions()
    bent = changed(bend_deg=20)
    assert torch.allclose(lengths(bent), lengths(position), rtol=1e-4)
    assert torch.equal(bent[:, :, [0, 3]], position[:, :, [0, 3]])
    assert (bent - position)[:, :, [2, 5]].norm(dim=-1).mean() > 20


def test_a_template_brings_bones_to_their_mean_lengths():
    position = positions() * torch.linspace(0.5, 2, 8)[:, None, None, None]
    made = bank(1, n=20)
    mean = bone_lengths(made.position, TREE.parents)
    brought = Bodies(BodySection(template=True), TREE, mean).change(position, generator())
    assert torch.allclose(lengths(brought), mean[BONES].expand(8, 3, 4), rtol=1e-4)


def test_a_mirrored_body_has_its_sides_exchanged():
    position = positions()
    mirrored = changed(mirror=1.0)
    sides = torch.tensor(TREE.mirrored)
    assert torch.allclose(mirrored[..., 1:], position[:, :, sides, 1:])
    assert torch.allclose(mirrored[..., 0], -position[:, :, sides, 0])


def test_the_scale_lies_in_its_range():
    factor = lengths(changed(scale=(0.9, 1.2))) / lengths(positions())
    assert 0.9 - 1e-4 <= factor.min() < 1 < factor.max() <= 1.2 + 1e-4


def test_missing_joints_stay_missing_and_leave_the_others_alone():
    position = positions()
    position[:, :, 4] = torch.nan
    made = Bodies(BodySection(bones=0.1), TREE, torch.ones(6)).change(position, generator())
    assert made[:, :, 4:].isnan().all() and torch.isfinite(made[:, :, :4]).all()


def test_bone_lengths_leave_out_what_is_not_known():
    made = bank(1, n=20).position.clone()
    whole = bone_lengths(made, TREE.parents)
    made[3, 2] = torch.nan
    assert torch.allclose(bone_lengths(made, TREE.parents), whole, rtol=0.01)
    assert whole[[0, 3]].tolist() == [0.0, 0.0]
    assert np.allclose(whole[BONES][:2], whole[BONES][2:], rtol=1e-3) and SKELETON and CPU.type == "cpu"
