"""3D poses that another model found before: where a volumetric network lays its cuboid.

They are found by subject, action and frame, never by their place in a file: two programs that leave out other frames
still mean the same moment.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from rigpose.errors import ConfigError
from rigpose.skeleton import Skeleton
from training.datasets.arrays import read_arrays, texts, write_arrays
from training.datasets.index import Index, Key, describe

SCHEMA = 1
_REMEDY = "calculate it for the same data set and split, with the same frames left out"


class Precalculated:
    """Poses by their moment.

    Args:
        index: Whose.
        joints: Names of the J axis.
        position_mm: (N, J, 3) in the order of the index; NaN = not found.
        where: What an error names.
    """

    def __init__(
        self, index: Index, joints: Sequence[str], position_mm: Float[np.ndarray, "N J 3"], where: object
    ) -> None:
        self.index, self.joints, self.position_mm, self.where = index, tuple(joints), position_mm, where

    def require(self, keys: Iterable[Key]) -> None:
        """See that all these moments are there: once, before a run begins.

        Raises:
            ConfigError: Some are not; it names them.
        """
        wanted = list(keys)
        missing = [key for key in wanted if self.index.row(key) is None]
        if missing:
            what = f"lacks {len(missing)} of {len(wanted)} frames: {describe(missing)}"
            raise ConfigError(self.where, what, _REMEDY)

    def __getitem__(self, key: Key) -> Float[np.ndarray, "J 3"]:
        row = self.index.row(key)
        if row is None:
            raise ConfigError(self.where, f"lacks {describe([key])}", _REMEDY)
        return self.position_mm[row]

    def root_of(self, skeleton: Skeleton) -> tuple[int, ...]:
        """Which of its joints are the root of a skeleton.

        Raises:
            ConfigError: It has them not.
        """
        names = [skeleton.joints[joint] for joint in skeleton.root]
        lacking = [name for name in names if name not in self.joints]
        if lacking:
            remedy = f"give poses of {skeleton.name}"
            raise ConfigError(self.where, f"has no joint {lacking[0]}, the root of {skeleton.name}", remedy)
        return tuple(self.joints.index(name) for name in names)

    def base_mm(self, key: Key, root: tuple[int, ...]) -> Float[np.ndarray, " 3"]:
        """The root at a moment, see `root_of`; NaN where it was not found."""
        return self[key][list(root)].mean(axis=0)


def read_precalculated(path: Path) -> Precalculated:
    """The poses in a file that `write_precalculated` made.

    Raises:
        ConfigError: It is no such file, or holds a moment twice.
    """
    if path.suffix.lower() in (".pkl", ".pickle"):
        what = "keeps poses by their place in a list, which fits only the list that it was made with"
        raise ConfigError(path, what, "python -m training.prepare results puts keys to them")
    names = ("schema", "subjects", "actions", "joints", "subject", "action", "frame", "position_mm")
    found = read_arrays(path, names, "a file of precalculated poses")
    position, joints = found["position_mm"], texts(found["joints"])
    if int(found["schema"]) != SCHEMA:
        raise ConfigError(path, f"has schema {int(found['schema'])}, this program reads {SCHEMA}", "calculate it again")
    rows = {found[key].shape for key in ("subject", "action", "frame")}
    if rows != {position.shape[:1]} or position.shape[1:] != (len(joints), 3):
        raise ConfigError(path, "holds arrays that do not fit each other", "calculate it again")
    try:
        index = Index(
            texts(found["subjects"]), texts(found["actions"]), found["subject"], found["action"], found["frame"]
        )
    except ValueError as error:
        raise ConfigError(path, str(error), "calculate it again") from None
    return Precalculated(index, joints, position, path)


def write_precalculated(
    path: Path, keys: Iterable[Key], joints: Sequence[str], position_mm: Float[np.ndarray, "N J 3"]
) -> None:
    """Write poses with their moments; the file is whole or not there.

    Args:
        path: An ``.npz``.
        keys: Of the N poses, each once.
        joints: Names of the J axis.
        position_mm: The poses.

    Raises:
        ConfigError: A moment stands there twice, or numbers of keys and poses differ.
    """
    try:
        index = Index.of(keys)
    except ValueError as error:
        raise ConfigError(path, str(error), "give each moment once") from None
    if position_mm.shape != (len(index), len(joints), 3):
        what = f"{len(index)} moments and {len(joints)} joints, and poses of shape {list(position_mm.shape)}"
        raise ConfigError(path, what, "give one pose for each moment")
    write_arrays(
        path,
        schema=np.array(SCHEMA),
        subjects=np.array(index.subjects, dtype=np.str_),
        actions=np.array(index.actions, dtype=np.str_),
        joints=np.array(joints, dtype=np.str_),
        subject=index.subject.astype(np.int32),
        action=index.action.astype(np.int32),
        frame=index.frame,
        position_mm=position_mm.astype(np.float32),
    )
