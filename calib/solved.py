"""A rig as it stands when it was solved, before anybody wrote about it."""

from __future__ import annotations

from dataclasses import dataclass

from calib.bundle import Free
from calib.camera import Camera
from calib.covisibility import Covisibility
from calib.held_out import Trial
from calib.intrinsics import Intrinsics
from calib.observations import BoardViews
from calib.sight import BoardPoses, Sight
from calib.solution import Solution
from calib.suspicions import Late, Suspicions


@dataclass(frozen=True, eq=False)
class Lenses:
    """The cameras' lenses before the rig is solved.

    Attributes:
        cameras: V cameras, wherever they stand.
        found: What their own views said; ``None`` = given.
    """

    cameras: tuple[Camera, ...]
    found: tuple[Intrinsics | None, ...]


@dataclass(frozen=True, slots=True)
class Rival:
    """Another solution, with a board's mirrored poses.

    Attributes:
        cameras: Names of those that stand elsewhere in it.
        turned_deg: By how much at most.
        worse: By how much its squared residuals exceed those of the solution, in squared deviations of a coordinate.
    """

    cameras: tuple[str, ...]
    turned_deg: float
    worse: float


@dataclass(frozen=True, slots=True)
class LensDoubt:
    """What the views say about the lens of a camera that was given.

    Attributes:
        camera: Its name.
        given: fx, fy, cx, cy.
        seen: The same, as the views of it alone want them.
        deviation: Standard deviations of ``seen``.
        gain: Share of the squared residuals that is gone with them.
    """

    camera: str
    given: tuple[float, float, float, float]
    seen: tuple[float, float, float, float]
    deviation: tuple[float, float, float, float]
    gain: float


@dataclass(frozen=True, eq=False)
class Solved:
    """All that is known when the solution stands.

    Attributes:
        views: What it was solved from.
        lenses: Before.
        sight: Of the views, with the lenses as solved.
        poses: Of the board before each camera alone.
        graph: Of common views.
        solution: Cameras and boards.
        free: What was free of each camera.
        joint: Whether lenses were freed with the rig.
        trial: Blocks of moments judged by rigs that did not see them.
        suspicions: What else would explain the residuals.
        rivals: Other solutions that were tried.
        doubts: About given lenses.
        carried: By what the views of cameras were carried to a common time before; ``None`` = they were not.
    """

    views: BoardViews
    lenses: Lenses
    sight: Sight
    poses: BoardPoses
    graph: Covisibility
    solution: Solution
    free: tuple[Free, ...]
    joint: bool
    trial: Trial | None
    suspicions: Suspicions
    rivals: tuple[Rival, ...]
    doubts: tuple[LensDoubt, ...]
    carried: Late | None = None
