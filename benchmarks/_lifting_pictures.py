"""Pictures of the benchmark of lifting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from benchmarks._lifting_exams import Exam
from benchmarks._lifting_methods import BASELINES, Unit
from engine.lifter_document import root_of
from training.lifting.bank import roots_of
from training.lifting.pictures import draw_poses, draw_violins


class Pictures:
    """Draws into a folder, or nowhere.

    Args:
        folder: Where PNGs go; ``None`` = nothing is drawn.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def violin(self, name: str, units: Sequence[Unit], joints: Sequence[str]) -> None:
        """Errors of each joint, of the lifter and of ridge regression."""
        methods = ("lifter", BASELINES[2])
        errors = {m: np.concatenate([u.answers.errors_mm[m] for u in units]) for m in methods}
        self.violin_of(name, errors, joints)

    def violin_of(self, name: str, errors: Mapping[str, Float[np.ndarray, "n L"]], joints: Sequence[str]) -> None:
        """Errors of each joint, of one method or two."""
        if self.folder is None:
            return
        draw_violins(self.folder / f"lifting_{name}_joints.png", errors, joints, f"{name}: error of each joint, mm")

    def poses(self, name: str, unit: Unit, exam: Exam) -> None:
        """A few poses: lifted beside triangulated, as the camera sees them and from its side."""
        if self.folder is None:
            return
        skeleton, truth = exam.poses.skeleton, unit.answers.truth_mm
        roots = root_of(roots_of(skeleton, exam.roots), len(skeleton.joints))
        lifted = [joint for joint, root in enumerate(roots) if joint != root]
        whole = np.zeros((2, len(truth), len(roots), 3))
        whole[0][:, lifted], whole[1][:, lifted] = truth + unit.residual_mm, truth
        draw_poses(self.folder / f"lifting_{name}_poses.png", whole[0], whole[1], skeleton.edges, roots)
