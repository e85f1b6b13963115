"""What papers trained and judged on in CMU Panoptic: sequences, frames, cameras and joints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from rigpose.errors import ConfigError
from rigpose.skeleton import Skeleton

Split = Literal["train", "val"]
Human36MPictures = Literal["raw", "undistort", "undistorted"]
Human36MBoxes = Literal["labels", "joints"]
PanopticBoxes = Literal["joints", "detections"]
ProtocolName = Literal["learnable_triangulation", "voxelpose"]
RecordedPoints = Literal["reprojected", "seen"]

PANOPTIC19 = Skeleton(
    name="panoptic19",
    joints=(
        *("neck", "nose", "pelvis", "left_shoulder", "left_elbow", "left_wrist", "left_hip", "left_knee"),
        *("left_ankle", "right_shoulder", "right_elbow", "right_wrist", "right_hip", "right_knee", "right_ankle"),
        *("left_eye", "left_ear", "right_eye", "right_ear"),
    ),
    edges=(
        *((0, 1), (0, 2), (0, 3), (3, 4), (4, 5), (2, 6), (6, 7), (7, 8), (0, 9), (9, 10), (10, 11)),
        *((2, 12), (12, 13), (13, 14), (1, 15), (15, 16), (1, 17), (17, 18)),
    ),
    left_right=((3, 9), (4, 10), (5, 11), (6, 12), (7, 13), (8, 14), (15, 17), (16, 18)),
    root=(2,),
)
PANOPTIC15 = Skeleton(
    name="panoptic15",
    joints=PANOPTIC19.joints[:15],
    edges=tuple(edge for edge in PANOPTIC19.edges if max(edge) < 15),
    left_right=tuple(pair for pair in PANOPTIC19.left_right if max(pair) < 15),
    root=(2,),
)
"""What VoxelPose and its successors use: without eyes and ears."""

Ranges = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Part:
    """A split of a protocol.

    Attributes:
        sequences: Names, and the frames that count, from and before; none = all.
        cameras: Names.
        every: Of the sequence's labelled frames, every so manieth.
    """

    sequences: Mapping[str, Ranges]
    cameras: tuple[str, ...]
    every: int = 1


@dataclass(frozen=True, slots=True)
class Protocol:
    """What a paper trained and judged on."""

    skeleton: Skeleton
    parts: Mapping[str, Part]


def _hd(*numbers: int) -> tuple[str, ...]:
    return tuple(f"00_{number:02}" for number in numbers)


def _all(*names: str) -> dict[str, Ranges]:
    return {name: () for name in names}


PROTOCOLS: Mapping[str, Protocol] = {
    # One person at a time; frame ranges and cameras as the public CMU version of learnable triangulation has them.
    "learnable_triangulation": Protocol(
        PANOPTIC19,
        {
            "train": Part(
                {
                    "171026_pose1": ((380, 7300), (7900, 14500), (15400, 22400)),
                    "171026_pose2": ((1000, 7500), (8000, 14000)),
                    "171026_pose3": ((1000, 3000),),
                    "171204_pose1": (
                        *((300, 4100), (4800, 8900), (10000, 13600), (14000, 18200), (18500, 22900)),
                        (23500, 27600),
                    ),
                    "171204_pose2": (
                        *((350, 4300), (5000, 8800), (9600, 13600), (14300, 18500), (19600, 23500)),
                        *((24200, 28200), (28800, 32800), (33500, 37700)),
                    ),
                    "171204_pose3": ((500, 4400), (5400, 9000)),
                    "171204_pose4": (
                        *((500, 4300), (4900, 8800), (9400, 13200), (14200, 17800), (18700, 22500)),
                        *((23050, 27050), (28000, 31600)),
                    ),
                },
                _hd(0, 3, 7, 10, 15, 19),
            ),
            "val": Part(
                {
                    "171204_pose5": (
                        *((400, 4300), (5000, 8500), (9500, 13400), (14200, 18000), (19000, 22600)),
                        (23500, 27100),
                    ),
                    "171204_pose6": (*((1000, 4500), (5150, 9100), (9830, 13800), (14370, 18300), (19000, 22900)),),
                },
                _hd(2, 5, 13),
            ),
        },
    ),
    # Several people.
    "voxelpose": Protocol(
        PANOPTIC15,
        {
            "train": Part(
                _all(
                    *("160422_ultimatum1", "160224_haggling1", "160226_haggling1", "161202_haggling1", "160906_ian1"),
                    *("160906_ian2", "160906_ian3", "160906_band1", "160906_band2", "160906_band3"),
                ),
                _hd(3, 6, 12, 13, 23),
                every=3,
            ),
            "val": Part(
                _all("160906_pizza1", "160422_haggling1", "160906_ian5", "160906_band4"),
                _hd(3, 6, 12, 13, 23),
                every=12,
            ),
        },
    ),
}


def part_of(protocol: str, split: str, sequences: Sequence[str] = (), cameras: Sequence[str] = ()) -> Part:
    """A protocol's split, or what is asked of it.

    Raises:
        ConfigError: A sequence is asked for that the split has not.
    """
    part = PROTOCOLS[protocol].parts[split]
    unknown = [name for name in sequences if name not in part.sequences]
    if unknown:
        remedy = f"it has {', '.join(part.sequences)}"
        raise ConfigError(f"sequence {unknown[0]}", f"is not in {split} of {protocol}", remedy)
    kept = {name: ranges for name, ranges in part.sequences.items() if not sequences or name in sequences}
    return replace(part, sequences=kept, cameras=tuple(cameras) or part.cameras)
