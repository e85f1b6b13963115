"""Data sets in a run's config, and from there to their shots.

What reads them is loaded when one is opened: a config is read without any of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from rigpose.config import Config, FilePath
from rigpose.errors import ConfigError
from training.datasets.protocols import (
    Human36MBoxes,
    Human36MPictures,
    PanopticBoxes,
    ProtocolName,
    RecordedPoints,
    Split,
)

if TYPE_CHECKING:
    from training.datasets.precalculated import Precalculated
    from training.datasets.shots import Shots


class ShotsSection(Config):
    """What all data sets of real pictures have.

    Attributes:
        views: Fewest and most views of a training sample, another number for each step; all by default.
        precalculated_train: Poses that say where the volumetric cuboid is, see `training.datasets.precalculated`.
        precalculated_val: The same of the validation's moments.
        kept_mb: Memory in each process that makes samples, for pictures that come again.
    """

    views: tuple[int, int] | None = None
    precalculated_train: FilePath | None = None
    precalculated_val: FilePath | None = None
    kept_mb: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _views_are_a_range(self) -> ShotsSection:
        if self.views is not None and not 1 <= self.views[0] <= self.views[1]:
            raise ValueError("views are the fewest and the most: two numbers from 1 on, the smaller one first")
        return self


class Human36MSection(ShotsSection):
    """Human3.6M, see `training.datasets.human36m.Human36M`.

    Attributes:
        kind: This data set.
        labels: ``human36m-multiview-labels-*.npy`` or ``labels.npz``.
        root: The folder of subjects.
        pictures: ``raw``, ``undistort`` or ``undistorted``.
        boxes: Of the label file, or about the joints.
        with_damaged: Whether the shifted takes of S9 count.
        retain_every: Of the validation's moments, every so manieth.
        cameras: Names; empty = all.
    """

    kind: Literal["human36m"]
    labels: FilePath
    root: FilePath
    pictures: Human36MPictures = "raw"
    boxes: Human36MBoxes = "labels"
    with_damaged: bool = False
    retain_every: int = Field(1, ge=1)
    cameras: tuple[str, ...] = ()

    def shots(self, split: Split) -> Shots:
        """The data set's part.

        Raises:
            ConfigError: It cannot be read, or holds nothing of that part.
        """
        from training.datasets.human36m import Human36M, read_labels

        return Human36M(
            read_labels(self.labels),
            self.root,
            split,
            pictures=self.pictures,
            boxes=self.boxes,
            with_damaged=self.with_damaged,
            retain_every=self.retain_every,
            cameras=self.cameras,
        )


class PanopticSection(ShotsSection):
    """CMU Panoptic, see `training.datasets.panoptic.Panoptic`.

    Attributes:
        kind: This data set.
        root: The folder that `training.prepare` made.
        protocol: Sequences, frames, cameras and joints.
        train_sequences: Only these of the protocol's; empty = all.
        val_sequences: The same for validation.
        train_cameras: Others than the protocol's.
        val_cameras: The same for validation.
        boxes: About the joints, or of a detector.
        min_confidence: Below it a joint is not known.
        inside: Share of a body's known joints that a picture must show.
    """

    kind: Literal["panoptic"]
    root: FilePath
    protocol: ProtocolName = "learnable_triangulation"
    train_sequences: tuple[str, ...] = ()
    val_sequences: tuple[str, ...] = ()
    train_cameras: tuple[str, ...] = ()
    val_cameras: tuple[str, ...] = ()
    boxes: PanopticBoxes = "joints"
    min_confidence: float = Field(0.1, ge=0, lt=1)
    inside: float = Field(0.5, ge=0, le=1)

    def shots(self, split: Split) -> Shots:
        """The data set's part.

        Raises:
            ConfigError: It cannot be read, or holds nothing of that part.
        """
        from training.datasets.panoptic import Panoptic

        return Panoptic(
            self.root,
            split,
            protocol=self.protocol,
            sequences=self.train_sequences if split == "train" else self.val_sequences,
            cameras=self.train_cameras if split == "train" else self.val_cameras,
            boxes=self.boxes,
            min_confidence=self.min_confidence,
            inside=self.inside,
        )


class LabelsSection(ShotsSection):
    """A lab's own labels, see `training.datasets.labelled.Labelled`.

    Attributes:
        kind: This data set.
        root: The folder that ``python -m training.prepare labels`` made.
        share: Of the moments that are held out where the labels do not say it.
    """

    kind: Literal["labels"]
    root: FilePath
    share: float = Field(0.1, ge=0, le=0.5)
    kept_mb: int = Field(512, ge=0)

    def shots(self, split: Split) -> Shots:
        """The data set's part.

        Raises:
            ConfigError: It cannot be read, or holds nothing of that part.
        """
        from training.datasets.labelled import Labelled

        return Labelled(self.root, split, share=self.share)


class RecordedSection(ShotsSection):
    """Recorded sessions of ours, see `training.datasets.recorded.Recorded`.

    Attributes:
        kind: This data set.
        root: A session's folder, or one of such folders.
        val_sessions: Names of those that are validated on; none = about ``share`` of them, of a lone one blocks.
        share: Of the sessions, or of a lone session's time, that is validated on.
        block_s: Longest block of a lone session that is validated on.
        gap_s: What is nearer to such a block counts for neither part.
        every_s: Least time between two moments of a subject.
        points: What is learned in 2D: where the recorded joints are seen, or what the network saw of them.
        skeleton: Needed where sessions have several.
        max_residual_px: Mean residual of a joint that counts as truth, as all below.
        min_views: That it was made from.
        min_confidence: Of it.
        min_joints: Share of a subject's joints that count, else the moment does not.
        inside: Share of these joints that a picture shows, else the view does not count.
    """

    kind: Literal["recorded"]
    root: FilePath
    val_sessions: tuple[str, ...] = ()
    share: float = Field(0.1, ge=0, le=0.5)
    block_s: float = Field(10.0, gt=0)
    gap_s: float = Field(1.0, ge=0)
    every_s: float = Field(0.2, ge=0)
    points: RecordedPoints = "reprojected"
    skeleton: str = ""
    max_residual_px: float = Field(5.0, gt=0)
    min_views: int = Field(3, ge=2)
    min_confidence: float = Field(0.5, ge=0, le=1)
    min_joints: float = Field(0.5, gt=0, le=1)
    inside: float = Field(0.5, ge=0, le=1)

    def shots(self, split: Split) -> Shots:
        """The data set's part.

        Raises:
            RigposeError: It cannot be read, or holds nothing of that part.
        """
        from training.datasets.recorded import Held, Recorded
        from training.datasets.takes import Quality

        return Recorded(
            self.root,
            split,
            quality=Quality(self.max_residual_px, self.min_views, self.min_confidence, self.min_joints, self.inside),
            held=Held(self.val_sessions, self.share, self.block_s, self.gap_s),
            every_s=self.every_s,
            points=self.points,
            skeleton=self.skeleton,
        )


AnySection = Human36MSection | PanopticSection | LabelsSection | RecordedSection
DatasetSection = Annotated[AnySection, Field(discriminator="kind")]
"""A data set in a config, told by its ``kind``."""


def opened(section: AnySection, split: Split) -> tuple[Shots, Precalculated | None]:
    """A data set's part and the poses that were calculated before for it, both checked.

    Raises:
        ConfigError: A picture is missing, or a moment among the poses.
    """
    from training.datasets.pictures import check_pictures
    from training.datasets.precalculated import read_precalculated
    from training.datasets.shots import picture_files

    shots = section.shots(split)
    file = section.precalculated_train if split == "train" else section.precalculated_val
    poses = None
    if file is not None:
        poses = read_precalculated(file)
        poses.root_of(shots.skeleton)
        poses.require(shots.index)
    if not section.root.is_dir():
        raise ConfigError(section.root, "no such folder", "give the folder of the pictures")
    check_pictures(picture_files(shots))
    return shots, poses
