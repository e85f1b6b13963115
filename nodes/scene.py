"""What the viewer draws, as plain arrays: bodies, cameras, floor, and from where to look at them.

Nothing here knows Open3D, so that another view can draw the same scene. Everything is in mm of the rig's
world; sizes follow from the subject and the rig, so that a fly and a person look alike.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from calib.camera import Camera
from calib.rig import Rig
from nodes.shapes import Lines, Mesh, join, spheres, tubes
from rigpose.pose import LIFTED, PoseSet, SubjectPose
from rigpose.skeleton import Skeleton

BACKGROUND = (0.055, 0.063, 0.082)
SIDE_COLOURS = {"left": (0.29, 0.72, 1.0), "right": (1.0, 0.52, 0.33), "middle": (0.93, 0.94, 0.96)}
CAMERA_COLOUR = (1.0, 0.80, 0.36)
MISSING_COLOUR = (0.75, 0.18, 0.20)
GREY = (0.42, 0.45, 0.50)
GRID_COLOUR = (0.17, 0.19, 0.23)
GRID_MAJOR_COLOUR = (0.28, 0.31, 0.37)
AXIS_COLOURS = ((0.92, 0.30, 0.30), (0.38, 0.80, 0.38), (0.36, 0.52, 0.98))

FARTHEST, NEARER = 6.0, 3.5
"""Cameras farther from the subject than so many of its sizes are drawn nearer, in the same directions: a
fly in a rig a hundred times its size would be a dot otherwise."""
THINNEST = 0.5
"""Diagonal over depth below which a frustum is drawn wider: a long lens could not be seen."""


def shown_mm(subject: SubjectPose) -> tuple[Float[np.ndarray, "J 3"], np.ndarray]:
    """Where to draw each joint, and which of them are predictions; NaN = not at all.

    The filtered position where there is one, else the measured, else the prediction. A lost subject is
    not drawn.
    """
    measured = np.asarray(subject.position_mm, float)
    n = len(measured)
    if subject.state == "lost":
        return np.full((n, 3), np.nan), np.zeros(n, bool)
    known = np.isfinite(measured).all(axis=-1)
    shown = measured
    if subject.filtered_mm is not None:
        filtered = np.asarray(subject.filtered_mm, float)
        shown = np.where((known & np.isfinite(filtered).all(axis=-1))[:, None], filtered, shown)
    predicted = np.zeros(n, bool)
    if subject.predicted_mm is not None:
        guess = np.asarray(subject.predicted_mm, float)
        predicted = ~known & np.isfinite(guess).all(axis=-1)
        shown = np.where(predicted[:, None], guess, shown)
    return shown, predicted


@dataclass(frozen=True, slots=True)
class Look:
    """How one subject is drawn.

    Attributes:
        points_mm: (J, 3) where each joint is drawn; NaN = not at all.
        colours: (J, 3) 0..1.
        joint_mm: (J,) radius of each joint.
        bones: (B, 2) indices of joints.
        bone_colours: (B, 3) 0..1.
        bone_mm: (B,) radius of each bone.
    """

    points_mm: Float[np.ndarray, "J 3"]
    colours: Float[np.ndarray, "J 3"]
    joint_mm: Float[np.ndarray, " J"]
    bones: np.ndarray
    bone_colours: Float[np.ndarray, "B 3"]
    bone_mm: Float[np.ndarray, " B"]


def look(subject: SubjectPose | None, skeleton: Skeleton, size_mm: float, stale: bool = False) -> Look:
    """Bones and joints of one subject, coloured by side.

    Joints got from one view are paler, predicted ones thin and grey, and a stale pose is all grey.

    Args:
        subject: Whom; ``None`` = nobody, every joint is NaN.
        skeleton: Its joints and bones.
        size_mm: The subject's extent; thickness follows from it.
        stale: Whether the pose is old.
    """
    n = len(skeleton.joints)
    points, predicted = np.full((n, 3), np.nan), np.zeros(n, bool)
    lifted = np.zeros(n, bool)
    if subject is not None and len(subject.position_mm) == n:
        points, predicted = shown_mm(subject)
        lifted = np.asarray(subject.how) == LIFTED
    colours = np.array([SIDE_COLOURS[side] for side in skeleton.sides])
    colours[lifted] = 0.55 * colours[lifted] + 0.45 * np.array(GREY)
    colours[predicted | stale] = GREY
    thickness = np.where(predicted, 0.4, 1.0)
    edges = np.array(skeleton.edges, int).reshape(-1, 2)
    return Look(
        points_mm=points,
        colours=colours,
        joint_mm=0.018 * size_mm * thickness,
        bones=edges,
        bone_colours=bone_colours(skeleton, colours),
        bone_mm=0.0125 * size_mm * thickness[edges].min(axis=1),
    )


def body(
    subject: SubjectPose | None, skeleton: Skeleton, size_mm: float, hidden: np.ndarray, stale: bool = False
) -> Mesh:
    """One subject as a mesh, see ``look``; its vertices depend on the skeleton alone.

    Args:
        subject: Whom; ``None`` hides the mesh.
        skeleton: Its joints and bones.
        size_mm: The subject's extent.
        hidden: (3,) where what is not seen is put away.
        stale: Whether the pose is old.
    """
    it = look(subject, skeleton, size_mm, stale)
    joints = spheres(it.points_mm, it.joint_mm, it.colours, hidden)
    if not len(it.bones):
        return joints
    starts, ends = it.points_mm[it.bones[:, 0]], it.points_mm[it.bones[:, 1]]
    return join((tubes(starts, ends, it.bone_mm, it.bone_colours, hidden), joints))


def bone_colours(skeleton: Skeleton, joint_colours: np.ndarray) -> np.ndarray:
    """(B, 3): a bone is left or right where one of its ends is and the other is not of the other side."""
    colours = []
    for a, b in skeleton.edges:
        sides = skeleton.sides[a], skeleton.sides[b]
        if sides[0] == sides[1]:
            colours.append((joint_colours[a] + joint_colours[b]) / 2)
        elif "middle" in sides:
            colours.append(joint_colours[b if sides[0] == "middle" else a])
        else:
            colours.append(np.array(SIDE_COLOURS["middle"]))
    return np.array(colours).reshape(-1, 3)


def extent_mm(points: Float[np.ndarray, "N 3"]) -> float:
    """The largest side of the box around the points that are there; 0 without any."""
    there = points[np.isfinite(points).all(axis=-1)]
    return float(np.ptp(there, axis=0).max()) if len(there) else 0.0


def frustum(camera: Camera, depth_mm: float, center_mm: Float[np.ndarray, " 3"] | None = None) -> np.ndarray:
    """(6, 3) mm: the camera's centre, the corners of its picture at a depth, and a mark above its upper edge.

    Corners run from the picture's first pixel along its upper edge; lens distortion is left out.
    """
    width, height = camera.size if min(camera.size) > 0 else (2 * camera.K[0, 2], 2 * camera.K[1, 2])
    pixels = np.array([[0, 0, 1], [width, 0, 1], [width, height, 1], [0, height, 1], [width / 2, -0.14 * height, 1]])
    rays = (pixels - [0.5, 0.5, 0]) @ np.linalg.inv(camera.K).T
    center = camera.center_mm if center_mm is None else center_mm
    return np.concatenate([center[None], center + depth_mm * rays @ camera.R])


FRUSTUM_EDGES = np.array([[0, 1], [0, 2], [0, 3], [0, 4], [1, 2], [2, 3], [3, 4], [4, 1], [1, 5], [5, 2]])


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What stands still: cameras, floor and axes.

    Attributes:
        cameras: Names, in rig order.
        corners_mm: (V, 6, 3) see ``frustum``.
        radius_mm: Of the bars that cameras are drawn with.
        drawn_nearer: Whether cameras stand nearer here than in truth.
        floor: The grid on the floor; ``None`` where the world has none.
        step_mm: Side of a square of the grid.
        up: (3,) the world's up.
        center_mm: (3,) where the subject is, or the rig looks.
        size_mm: The subject's extent, or a guess from the rig.
        axes: The world's axes at its origin; ``None`` where that lies outside of the scene.
    """

    cameras: tuple[str, ...]
    corners_mm: Float[np.ndarray, "V 6 3"]
    radius_mm: float
    drawn_nearer: bool
    floor: Lines | None
    step_mm: float
    up: Float[np.ndarray, " 3"]
    center_mm: Float[np.ndarray, " 3"]
    size_mm: float
    axes: Mesh | None

    def frusta(self, missing: Sequence[str] = ()) -> Mesh:
        """All cameras; those that a set lacks are red."""
        colours = np.array([MISSING_COLOUR if name in missing else CAMERA_COLOUR for name in self.cameras])
        a, b = self.corners_mm[:, FRUSTUM_EDGES[:, 0]], self.corners_mm[:, FRUSTUM_EDGES[:, 1]]
        each = np.repeat(colours, len(FRUSTUM_EDGES), axis=0)
        bars = tubes(a.reshape(-1, 3), b.reshape(-1, 3), self.radius_mm, each, self.center_mm)
        balls = spheres(self.corners_mm[:, 0], 3 * self.radius_mm, colours, self.center_mm)
        return join((bars, balls))


def up_of(rig: Rig) -> Float[np.ndarray, " 3"]:
    """Up in the rig's world: z where its origin lies on a floor, else what the cameras' pictures call up."""
    if rig.metadata.get("world") == "floor":
        return np.array([0.0, 0.0, 1.0])
    up = -np.stack([camera.R[1] for camera in rig.cameras]).mean(axis=0)
    length = float(np.linalg.norm(up))
    return up / length if length > 0.1 else np.array([0.0, 0.0, 1.0])


def surroundings(rig: Rig, points_mm: Float[np.ndarray, "N 3"]) -> Surroundings:
    """The still part of a scene.

    Args:
        rig: Its cameras.
        points_mm: Joints of one or several sets; without any, the scene is about where the rig looks.
    """
    there = points_mm[np.isfinite(points_mm).all(axis=-1)]
    point, distance = rig.working
    up = up_of(rig)
    size = extent_mm(there) or 0.35 * distance
    center = (there.min(axis=0) + there.max(axis=0)) / 2 if len(there) else point
    centers = np.stack([camera.center_mm for camera in rig.cameras])
    offsets = centers - center
    away = np.linalg.norm(offsets, axis=-1, keepdims=True)
    nearer = bool((away > FARTHEST * size).any())
    if nearer:
        centers = center + offsets * (NEARER * size / away.max())
        away = np.linalg.norm(centers - center, axis=-1, keepdims=True)
    depth = 0.14 * float(np.median(away))
    corners = []
    for camera, at in zip(rig.cameras, centers, strict=True):
        shape = frustum(camera, depth, at)
        share = float(np.linalg.norm(shape[1] - shape[3])) / depth
        corners.append(shape if share > THINNEST else frustum(_wider(camera, share / THINNEST), depth, at))
    corners_mm = np.stack(corners)
    reach = float(np.linalg.norm(corners_mm.reshape(-1, 3) - center, axis=-1).max())
    step = nice_step(max(size, 0.35 * reach) / 4)
    on_floor = rig.metadata.get("world") == "floor"
    origin_is_near = float(np.linalg.norm(center)) < 1.5 * reach
    return Surroundings(
        cameras=rig.names,
        corners_mm=corners_mm,
        radius_mm=0.0028 * float(np.median(away)),
        drawn_nearer=nearer,
        floor=floor_grid(np.concatenate([centers, there, center[None]]), step) if on_floor else None,
        step_mm=step,
        up=up,
        center_mm=center,
        size_mm=size,
        axes=world_axes(step, 0.012 * step) if origin_is_near else None,
    )


def _wider(camera: Camera, factor: float) -> Camera:
    """The camera with a focal length so many times as long (for drawing only)."""
    K = camera.K.copy()
    K[[0, 1], [0, 1]] *= factor
    # Around the picture's middle: a principal point far outside would throw the frustum aside.
    K[:2, 2] = (np.array(camera.size) - 1) / 2
    return dataclasses.replace(camera, K=K)


def nice_step(about: float) -> float:
    """1, 2 or 5 times a power of ten, near a length."""
    if not about > 0:
        return 1.0
    power = 10.0 ** np.floor(np.log10(about))
    return float(min((1, 2, 5, 10), key=lambda factor: abs(np.log(factor * power / about))) * power)


def floor_grid(points_mm: Float[np.ndarray, "N 3"], step_mm: float, most: int = 60) -> Lines:
    """A grid at z = 0 below all points, every fifth line brighter."""
    low = np.floor(points_mm[:, :2].min(axis=0) / step_mm) - 1
    high = np.ceil(points_mm[:, :2].max(axis=0) / step_mm) + 1
    middle = np.round((low + high) / 2)
    low, high = np.maximum(low, middle - most), np.minimum(high, middle + most)
    points, colours = [], []
    for axis in (0, 1):
        for index in np.arange(low[axis], high[axis] + 1):
            ends = np.zeros((2, 3))
            ends[:, axis] = index
            ends[:, 1 - axis] = low[1 - axis], high[1 - axis]
            points.append(ends * step_mm)
            colours.append(GRID_MAJOR_COLOUR if index % 5 == 0 else GRID_COLOUR)
    segments = np.arange(2 * len(colours)).reshape(-1, 2)
    return Lines(np.concatenate(points), segments.astype(np.int32), np.array(colours))


def world_axes(length_mm: float, radius_mm: float) -> Mesh:
    """The world's axes from its origin: x red, y green, z blue."""
    ends = np.eye(3) * length_mm
    return join(
        (
            tubes(np.zeros((3, 3)), ends, radius_mm, np.array(AXIS_COLOURS), np.zeros(3)),
            spheres(ends, 2.2 * radius_mm, np.array(AXIS_COLOURS), np.zeros(3)),
        )
    )


def subjects_of(pose: PoseSet, skeletons: dict[str, Skeleton]) -> list[tuple[SubjectPose, Skeleton]]:
    """The subjects of a set whose skeletons are known."""
    return [(subject, skeletons[subject.skeleton]) for subject in pose.subjects if subject.skeleton in skeletons]


def joints_of(poses: Iterable[PoseSet]) -> Float[np.ndarray, "N 3"]:
    """All joints that would be drawn, of all subjects of several sets."""
    found = [shown_mm(subject)[0] for pose in poses for subject in pose.subjects]
    return np.concatenate(found) if found else np.zeros((0, 3))


def shown_share(pose: PoseSet) -> float:
    """Share of joints that are measured in the best subject of a set; 0 without one."""
    shares = [float(subject.measured.mean()) for subject in pose.subjects if subject.state != "lost"]
    return max(shares, default=0.0)
