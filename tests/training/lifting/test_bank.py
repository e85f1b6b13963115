"""Poses on the device: roots, bones, windows."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from capture.virtual.skeletons import FLY38, HUMAN36M17
from rigpose.errors import ConfigError
from tests.training.lifting.made import ONE_TREE, SKELETON, TREE, bank, poses
from training.lifting.bank import roots_of, windows


class TestRoots:
    def test_by_default_there_is_one(self):
        assert [entry.root for entry in roots_of(HUMAN36M17, {})] == [6]

    def test_legs_are_chains_that_hang_together(self):
        found = roots_of(SKELETON, "legs")
        assert [(entry.root, entry.joints) for entry in found] == [(0, (1, 2)), (3, (4, 5))]

    def test_a_body_of_one_piece_has_no_legs(self):
        with pytest.raises(ConfigError, match="not made of several limbs"):
            roots_of(HUMAN36M17, "legs")
        with pytest.raises(ConfigError, match="not made of several limbs"):
            roots_of(FLY38, "legs")  # its antennae are loose joints

    def test_names_are_looked_up(self):
        found = roots_of(SKELETON, {"left_knee": ("left_coxa", "left_tip"), "right_tip": ("right_knee", "right_coxa")})
        assert [entry.root for entry in found] == [1, 5]
        with pytest.raises(ConfigError, match="has no joint tail"):
            roots_of(SKELETON, {"tail": ()})


class TestTree:
    def test_parents_come_before_their_children(self):
        for tree in (TREE, ONE_TREE):
            done = {joint for joint, parent in enumerate(tree.parents) if parent < 0}
            for joint in tree.order:
                assert tree.parents[joint] in done
                done.add(joint)
            assert done == set(range(6))

    def test_a_loose_joint_hangs_on_its_root(self):
        assert TREE.parents == (-1, 0, 1, -1, 3, 4)
        # With one root the other leg's first joint is tied to nothing but that.
        assert ONE_TREE.parents[3] == 0

    def test_knows_what_hangs_on_a_joint(self):
        assert np.flatnonzero(TREE.below[1]).tolist() == [1, 2]
        assert np.flatnonzero(TREE.below[3]).tolist() == [3, 4, 5]


class TestBank:
    def test_keeps_the_poses_whatever_the_worlds_origin(self):
        made = poses(5)
        far = bank(1, n=5)
        shifted = made.position_mm + [1e6, -2e6, 3e5]
        assert torch.allclose(
            far.position, torch.tensor(shifted - shifted.mean(axis=1, keepdims=True)).float(), atol=1e-3
        )

    def test_windows_end_with_the_newest_frame_and_cross_no_gap(self):
        made = poses(6, animals=2)
        rows = windows(made, 3)
        assert rows[0].tolist() == [-1, -1, 0] and rows[5].tolist() == [3, 4, 5]
        assert rows[6].tolist() == [-1, -1, 6], "another animal"
        kept = made.take(np.array([0, 1, 3, 4, 5]))
        assert windows(kept, 3)[2].tolist() == [1, -1, 2], "a frame that is not there is no frame"

    def test_windows_follow_the_datas_own_step(self):
        made = poses(12).take(slice(0, None, 4))
        assert windows(made, 2)[1].tolist() == [0, 1]
