"""Samples of real pictures: a data set says what was seen when, here it becomes crops with their truth.

A shot is a moment of one subject: what its joints' places were, and the pictures of the cameras that were there. What
is random in a sample follows from the run's seed and its order alone, as with the virtual rig's samples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from jaxtyping import Bool, Float, Int

from calib.camera import Camera
from calib.rig import Rig, RigArrays
from rigpose.skeleton import Skeleton
from training.config import AugmentSection, CropSection
from training.crops import crop_matrix, mirrored, patch, relit, sides_changed, to_crop, turned
from training.datasets.index import Index, Key
from training.datasets.kept import Kept
from training.datasets.pictures import cut, on_pixels, undistorted, without_lens
from training.datasets.precalculated import Precalculated
from training.datasets.stills import Still
from training.samples import Sample

_SAMPLE, _SHUFFLE, _VIEWS = 3, 4, 5


@dataclass(frozen=True, slots=True)
class View:
    """What one camera has of a shot.

    Attributes:
        camera: Its calibration; the same object in all shots that it took with it.
        picture: The file, or a picture of a recording.
        box: (left, top, right, bottom) of the subject in px, edges: the first pixel reaches from -0.5 to 0.5.
            ``None`` = the box of the joints.
        undistort: Whether the picture is to be freed of the lens first.
        points: (J, 2) px that a person set, NaN = not labelled; ``None`` = where the joints' places are seen.
        hidden: (J,) whether something is known to be in front of the joint; ``None`` = of none.
    """

    camera: Camera
    picture: Path | Still
    box: tuple[float, float, float, float] | None = None
    undistort: bool = False
    points: Float[np.ndarray, "J 2"] | None = None
    hidden: Bool[np.ndarray, " J"] | None = None


@dataclass(frozen=True, slots=True)
class Shot:
    """A moment of one subject.

    Attributes:
        position_mm: (J, 3); NaN = not known.
        views: In the order of the rig; a camera that has nothing is not there.
    """

    position_mm: Float[np.ndarray, "J 3"]
    views: tuple[View, ...]


class Shots(Protocol):
    """A data set, or a part of it.

    Attributes:
        name: For errors.
        skeleton: Its joints.
        index: Its N moments.
        counts: (N,) how many views the shot of each has.
    """

    name: str
    skeleton: Skeleton
    index: Index
    counts: Int[np.ndarray, " N"]

    def shot(self, key: Key) -> Shot:
        """What is known of a moment that is in the index."""

    def n_views(self, key: Key) -> int:
        """How many views its shot has, without making it."""

    def reported(self, key: Key) -> tuple[str, str]:
        """Subject and action that its errors are reported under."""

    def sequence(self, key: Key) -> str:
        """The take that it is from: what lies in one take is not independent."""


class ShotOrder(NamedTuple):
    """What identifies a sample.

    Attributes:
        epoch: Number of the epoch.
        number: Of the sample in it.
        key: The moment that it shows.
        views: How many of its views, drawn from all; 0 = all.
        size: Side of the crops in px.
    """

    epoch: int
    number: int
    key: Key
    views: int
    size: int


class ShotSamples:
    """Samples of a data set; a map-style dataset whose keys are orders.

    Args:
        shots: The data set.
        crop: How crops lie about the boxes.
        augment: What is done to them; ``None`` leaves them as they are, upright too.
        seed: Of the run.
        poses: Poses that say where a volumetric network lays its cube; without them the true root says it.
        kept_bytes: Memory for pictures that come again, in each process.
    """

    def __init__(
        self,
        shots: Shots,
        crop: CropSection,
        augment: AugmentSection | None,
        seed: int,
        poses: Precalculated | None = None,
        kept_bytes: int = 0,
    ) -> None:
        self.shots, self.crop, self.augment, self.seed = shots, crop, augment, seed
        self._read = Kept(kept_bytes)
        self._poses = poses
        self._root = tuple(shots.skeleton.root) if poses is None else poses.root_of(shots.skeleton)

    def __getitem__(self, order: ShotOrder) -> Sample:
        """Read one sample.

        Raises:
            ConfigError: A picture is missing or damaged.
        """
        rng = np.random.default_rng(np.random.SeedSequence([self.seed, _SAMPLE, order.epoch, order.number]))
        shot = self.shots.shot(order.key)
        views = shot.views
        if 0 < order.views < len(views):
            views = tuple(views[i] for i in np.sort(rng.choice(len(views), order.views, replace=False)))
        crops, matrices, points, hidden, cameras = [], [], [], [], []
        mirror = self.augment is not None and self.crop.mirror > 0 and rng.random() < self.crop.mirror
        names = sides_changed(len(shot.position_mm), self.shots.skeleton.left_right if mirror else ())
        for view in views:
            camera, picture = view.camera, self._read(view.picture, view.camera)
            if view.undistort:
                assert view.points is None, "labelled points are those of the picture as it is"
                picture, camera = undistorted(picture, camera), _pinhole(camera)
            seen = camera.project(shot.position_mm) if view.points is None else view.points
            about = seen if view.box is None else np.array(view.box, dtype=float).reshape(2, 2)
            matrix = crop_matrix(about, (picture.shape[1], picture.shape[0]), order.size, self.crop, rng)
            if self.augment is not None:
                matrix = turned(matrix, order.size, self.crop, rng)
            matrix = on_pixels(matrix, order.size)
            crop = cut(picture, matrix, order.size)
            if mirror:
                crop, matrix = mirrored(crop, matrix)
            px = to_crop(seen, matrix)[names]
            covered = np.zeros(len(px), dtype=bool) if view.hidden is None else view.hidden[names]
            if self.augment is not None:
                covered |= patch(crop, px, self.augment, rng)
                crop = relit(crop, self.augment, rng)
            crops.append(crop)
            matrices.append(matrix)
            points.append(px)
            hidden.append(covered)
            cameras.append(camera)
        return Sample(
            np.stack(crops),
            np.stack(matrices).astype(np.float32),
            np.stack(points).astype(np.float32),
            np.stack(hidden),
            shot.position_mm[names].astype(np.float32),
            *_arrays(tuple(cameras), _distance(tuple(view.camera for view in shot.views))),
            base_mm=self._base_mm(order.key, shot.position_mm[names]).astype(np.float32),
            key=order.key,
        )

    def _base_mm(self, key: Key, position: Float[np.ndarray, "J 3"]) -> Float[np.ndarray, " 3"]:
        if self._poses is not None:
            return self._poses.base_mm(key, self._root)
        # A root of several joints is known where all of them are.
        return position[list(self._root)].mean(axis=0)


@lru_cache(maxsize=256)
def _pinhole(camera: Camera) -> Camera:
    return without_lens(camera)


@lru_cache(maxsize=256)
def _distance(cameras: tuple[Camera, ...]) -> float:
    return Rig(cameras).working[1]


@lru_cache(maxsize=4096)
def _arrays(cameras: tuple[Camera, ...], distance_mm: float) -> RigArrays:
    # A single camera does not know how far it looks; all of them together do.
    return Rig(cameras, {"working_distance_mm": distance_mm}).arrays().astype(np.float32)


class ShotSampler:
    """Batches of orders from a step on, without end; a batch sampler for torch's DataLoader.

    All moments of a batch have as many views, so that none is thrown away; each step then shows as many of them as
    are drawn for it. An epoch shows every moment once, in another order; where a batch is not filled by those with so
    many views, the first of them come again.

    Args:
        shots: The data set.
        views: Fewest and most views of a sample; ``None`` = all that there are.
        seed: Of the run.
        first_step: The step that the first batch is for.
        batch_size: Samples in a step.
        size_at: Side of the crops for a step, asked when its batch is ordered.
    """

    def __init__(
        self,
        shots: Shots,
        views: tuple[int, int] | None,
        seed: int,
        first_step: int,
        batch_size: int,
        size_at: Callable[[int], int],
    ) -> None:
        self._shots, self._views, self._seed = shots, views, seed
        self._first_step, self._batch_size, self._size_at = first_step, batch_size, size_at
        self._groups = [np.flatnonzero(shots.counts == count) for count in np.unique(shots.counts)]
        self._in_epoch = sum(-(-len(group) // batch_size) for group in self._groups)
        self._shuffled: tuple[int, np.ndarray] | None = None

    def __iter__(self) -> Iterator[list[ShotOrder]]:
        step = self._first_step
        while True:
            yield self.batch(step, self._size_at(step))
            step += 1

    def batch(self, step: int, size: int) -> list[ShotOrder]:
        """The orders of one step."""
        epoch, place = divmod(step, self._in_epoch)
        rows = self._epoch(epoch)[place]
        count = int(self._shots.counts[rows[0]])
        if self._views is not None:
            least, most = (min(limit, count) for limit in self._views)
            rng = np.random.default_rng(np.random.SeedSequence([self._seed, _VIEWS, step]))
            count = int(rng.integers(least, most + 1))
        keys = [self._shots.index[int(row)] for row in rows]
        first = place * self._batch_size
        return [ShotOrder(epoch, first + slot, key, count, size) for slot, key in enumerate(keys)]

    def _epoch(self, epoch: int) -> Int[np.ndarray, "batches size"]:
        """Rows of the index, batch by batch."""
        if self._shuffled is None or self._shuffled[0] != epoch:
            rng = np.random.default_rng(np.random.SeedSequence([self._seed, _SHUFFLE, epoch]))
            # np.resize begins again with the first where there are not enough.
            filled = [
                np.resize(rng.permutation(group), (-(-len(group) // self._batch_size), self._batch_size))
                for group in self._groups
            ]
            self._shuffled = epoch, rng.permutation(np.concatenate(filled))
        return self._shuffled[1]


def in_order(shots: Shots, keys: Sequence[Key], batch_size: int, size: int) -> Iterator[list[ShotOrder]]:
    """Batches of these moments with all their views, each once and in order, for validation.

    A batch ends early where the next moment has another number of views: which views are looked at never depends on
    the neighbours in a batch. What is random in a sample depends on its row in the index, not on which others are asked
    for: processes may share the keys out.
    """
    batch: list[ShotOrder] = []
    for key in keys:
        number = shots.index.row(key)
        assert number is not None
        if batch and (len(batch) == batch_size or shots.n_views(key) != shots.n_views(batch[0].key)):
            yield batch
            batch = []
        batch.append(ShotOrder(0, number, key, 0, size))
    if batch:
        yield batch


def picture_files(shots: Shots) -> Iterator[Path]:
    """All files that its shots need, for `training.datasets.pictures.check_pictures`."""
    pictures = (view.picture for key in shots.index for view in shots.shot(key).views)
    return (picture.file if isinstance(picture, Still) else picture for picture in pictures)
