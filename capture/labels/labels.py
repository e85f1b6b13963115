"""Keypoints that people labelled in pictures, the same values whatever program they come from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, UInt8

from rigpose.skeleton import Skeleton


@dataclass(frozen=True, slots=True)
class Picture:
    """Where a labelled picture is.

    Attributes:
        stated: How the labels name its file, with ``/`` between folders.
        path: The file on this machine; ``None`` = it was not found.
        index: Which frame of a video; ``None`` = the file is one picture.
        dataset: Which dataset of an HDF5 file holds the video's labelled frames; ``None`` = it is no HDF5 file.
        size: (width, height) that the labels state; ``None`` = they do not.
        offset_px: Where its first pixel lies in what the camera sees; not (0, 0) where the film was cut to a region.
    """

    stated: str
    path: Path | None = None
    index: int | None = None
    dataset: str | None = None
    size: tuple[int, int] | None = None
    offset_px: tuple[int, int] = (0, 0)

    @property
    def name(self) -> str:
        """For a line on a screen."""
        return self.stated if self.index is None else f"{self.stated}, frame {self.index}"


@dataclass(frozen=True, slots=True)
class LabelledFrame:
    """One picture with what was labelled in it, I subjects of J joints each.

    Attributes:
        picture: Where it is.
        points: (I, J, 2) px of the picture, (0, 0) is the centre of its first pixel; NaN = not labelled.
        hidden: (I, J) labelled although something is in front of it; all ``False`` where a format cannot say it.
        confidence: (I, J) 1 for a point that a person set, a network's score for one that it set, 0 for NaN.
        boxes: (I, 4) left, top, right, bottom px, as the file has them or as the points make them.
        subjects: Who each is (an individual, a track); empty = not said.
        by_network: (I,) a network set its points and nobody is known to have looked at them.
        camera: Which camera saw it; empty = not known, and all frames are then of one.
        moment: Equal in all frames of one instant, whatever camera they are of.
        split: ``train``, ``val`` or ``test``; ``None`` = not said.
        labeller: Who labelled it; ``None`` = not said.
    """

    picture: Picture
    points: Float[np.ndarray, "I J 2"]
    hidden: Bool[np.ndarray, "I J"]
    confidence: Float[np.ndarray, "I J"]
    boxes: Float[np.ndarray, "I 4"]
    subjects: tuple[str, ...]
    by_network: Bool[np.ndarray, " I"]
    camera: str = ""
    moment: str = ""
    split: str | None = None
    labeller: str | None = None

    def __post_init__(self) -> None:
        n, joints = self.points.shape[:2]
        shapes = self.hidden.shape, self.confidence.shape, self.boxes.shape, self.by_network.shape, len(self.subjects)
        if self.points.shape != (n, joints, 2) or shapes != ((n, joints), (n, joints), (n, 4), (n,), n):
            raise ValueError(f"points {self.points.shape} do not go with {shapes}")

    @property
    def labelled(self) -> np.ndarray:
        """(I, J) where there is a point."""
        return np.isfinite(self.points).all(axis=-1)


def frame_of(
    picture: Picture,
    points: np.ndarray,
    *,
    hidden: np.ndarray | None = None,
    confidence: np.ndarray | None = None,
    boxes: np.ndarray | None = None,
    subjects: Sequence[str] | None = None,
    by_network: np.ndarray | bool = False,
    camera: str = "",
    split: str | None = None,
    labeller: str | None = None,
) -> LabelledFrame:
    """A frame whose left-out values follow from its points; half a point is none, a subject without any is left out.

    Args:
        picture: Where it is.
        points: (I, J, 2) px.
        hidden: (I, J).
        confidence: (I, J); ``None`` = a person set all of them.
        boxes: (I, 4); rows of NaN, and ``None``, are made of the points.
        subjects: Names.
        by_network: (I,), or one value for all.
        camera: Its name.
        split: As in `LabelledFrame`.
        labeller: As in `LabelledFrame`.
    """
    points = np.array(points, dtype=np.float64)
    there = np.isfinite(points).all(axis=-1)
    points[~there] = np.nan
    made = np.full((len(points), 4), np.nan) if boxes is None else np.array(boxes, dtype=np.float64)
    for row in np.flatnonzero(~np.isfinite(made).all(axis=-1) & there.any(axis=-1)):
        known = points[row, there[row]]
        made[row] = *known.min(axis=0), *known.max(axis=0)
    keep = there.any(axis=-1)
    names = ("",) * len(points) if subjects is None else tuple(subjects)
    sure = np.ones(there.shape) if confidence is None else np.asarray(confidence, dtype=np.float64)
    return LabelledFrame(
        picture,
        points[keep],
        (np.zeros(there.shape, dtype=bool) if hidden is None else np.asarray(hidden, dtype=bool) & there)[keep],
        np.where(there, np.nan_to_num(sure), 0.0)[keep],
        made[keep],
        tuple(name for name, kept in zip(names, keep, strict=True) if kept),
        np.broadcast_to(np.asarray(by_network, dtype=bool), (len(points),))[keep],
        camera=camera,
        split=split,
        labeller=labeller,
    )


@dataclass(frozen=True, slots=True)
class Labels:
    """All that a file or folder of labels holds.

    Attributes:
        format: The program or format: ``DeepLabCut``.
        files: What was read.
        skeleton: The joints, in the order of the J axis.
        frames: Pictures with at least one labelled point.
        unlabelled: How many further pictures the labels name, in which nothing is labelled.
        says_hidden: Whether the format tells hidden joints from others.
        gives_boxes: Whether boxes are from the file; else the points made them.
        notes: What a user has to know about how they were read.
    """

    format: str
    files: tuple[Path, ...]
    skeleton: Skeleton
    frames: tuple[LabelledFrame, ...]
    unlabelled: int = 0
    says_hidden: bool = False
    gives_boxes: bool = False
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def cameras(self) -> tuple[str, ...]:
        """Names of the cameras, in the order in which they come."""
        return tuple(dict.fromkeys(frame.camera for frame in self.frames))

    @property
    def missing(self) -> tuple[str, ...]:
        """Files, as the labels name them, that were not found on this machine."""
        return tuple(dict.fromkeys(frame.picture.stated for frame in self.frames if frame.picture.path is None))

    def moments(self) -> dict[str, dict[str, LabelledFrame]]:
        """The frames of each instant by camera; an instant that only one camera's labels know has one frame."""
        found: dict[str, dict[str, LabelledFrame]] = defaultdict(dict)
        for frame in self.frames:
            found[frame.moment][frame.camera] = frame
        return dict(found)

    def images(
        self, frames: Sequence[LabelledFrame] | None = None
    ) -> Iterator[tuple[LabelledFrame, UInt8[np.ndarray, "H W 3"] | None]]:
        """Frames with their BGR pictures, read when they are asked for; ``None`` where one is missing or damaged.

        They come in the order of their files, so that a video is decoded once.

        Args:
            frames: Which; default: all.

        Raises:
            ConfigError: A picture has another size than the labels are for.
            MissingError: The pictures lie in a file that needs an extra.
        """
        from capture.labels.pictures import PictureReader

        def place(frame: LabelledFrame) -> tuple[str, str, int]:
            return str(frame.picture.path), frame.picture.dataset or "", frame.picture.index or 0

        with PictureReader() as reader:
            for frame in sorted(self.frames if frames is None else frames, key=place):
                yield frame, reader.read(frame.picture)
