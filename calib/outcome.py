"""What a calibration came to: the rig, what supports it, what speaks against it, and the verdict.

Everything that a report shows stands here as plain numbers; `Outcome.document` gives them as JSON.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from calib.document import rig_document
from calib.quality import Finding
from calib.rig import Rig

Grade = Literal["good", "suspect", "unverified", "bad"]


@dataclass(frozen=True, slots=True)
class Spread:
    """How large residuals are, px: lengths of the 2D residual.

    Attributes:
        count: Observations that were used.
        rms_px: Root of the mean square length.
        median_px: Median.
        p95_px: 95th percentile.
        rejected: Observations that were seen and not used.
    """

    count: int
    rms_px: float
    median_px: float
    p95_px: float
    rejected: int = 0

    @property
    def rejected_share(self) -> float:
        """Rejected over seen, 0 to 1."""
        return self.rejected / max(self.count + self.rejected, 1)


def spread_of(residual_px: np.ndarray, used: np.ndarray) -> Spread:
    """The spread of residuals (..., 2), of those ``used`` (...); seen and not used = rejected."""
    length = np.linalg.norm(residual_px, axis=-1)
    seen = np.isfinite(length)
    kept = length[used & seen]
    rejected = int((seen & ~used).sum())
    if not len(kept):
        return Spread(0, float("nan"), float("nan"), float("nan"), rejected)
    median, p95 = np.percentile(kept, [50, 95])
    return Spread(len(kept), float(np.sqrt((kept**2).mean())), float(median), float(p95), rejected)


@dataclass(frozen=True, slots=True)
class CameraOutcome:
    """One camera's part.

    Attributes:
        name: Its name.
        views: Moments at which its view was used.
        spread: Of the residuals of the whole rig's solution.
        own_rms_px: Residual of a usual view when the board may lie where this camera alone likes it best: what the
            corners and the lens model leave. The whole rig's residual can hardly be below it.
        held_out_rms_px: Residual at moments that the solution did not see.
        predicted_rms_px: Distance from where the *other* cameras say that the points should be, at held-out moments.
        focal_px: fx, fy.
        focal_deviation_px: Standard deviations; zero where the intrinsics were given and held.
        position_mm: Where it stands.
        position_deviation_mm: (3,) standard deviations along the axes of the world; zero for the first camera.
        rotation_deviation_deg: (3,) about its own axes; zero for the first camera.
        covered: Share of the cells of its picture that hold points.
        coverage: (rows, columns) counts of points.
        distance_mm: Nearest and furthest point of the board from it, along its axis.
        intrinsics: ``given``, ``from its own views`` or ``with the rig``.
        focal_observable: Whether the views fix its focal length; ``None`` = it was given.
    """

    name: str
    views: int
    spread: Spread
    own_rms_px: float
    held_out_rms_px: float
    predicted_rms_px: float
    focal_px: tuple[float, float]
    focal_deviation_px: tuple[float, float]
    position_mm: tuple[float, float, float]
    position_deviation_mm: tuple[float, float, float]
    rotation_deviation_deg: tuple[float, float, float]
    covered: float
    coverage: Int[np.ndarray, "rows columns"]
    distance_mm: tuple[float, float]
    intrinsics: str
    focal_observable: bool | None


@dataclass(frozen=True, slots=True)
class FrameOutcome:
    """One moment's part.

    Attributes:
        frame: Its number.
        spread: Of its residuals.
        camera_rms_px: (V,) rms of each camera's used residuals; NaN = the camera did not see the board.
    """

    frame: int
    spread: Spread
    camera_rms_px: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Rigidity:
    """Distances between the board's points as triangulated, against the true ones.

    Each point that at least two cameras saw is triangulated from them alone, knowing nothing of the board; then all
    pairs of points of a moment are compared.

    Attributes:
        rms_mm: Root of the mean square error of the distances, all moments pooled.
        median_mm: Median absolute error.
        relative: rms over the rms of the true distances.
        scale: Mean ratio of measured to true distance, minus one.
        pairs: How many distances.
    """

    rms_mm: float
    median_mm: float
    relative: float
    scale: float
    pairs: int


@dataclass(frozen=True, slots=True)
class HeldOut:
    """How well rigs that did not see a moment explain it.

    The moments are parted into contiguous blocks; each block is judged by a rig that was solved without it.

    Attributes:
        spread: Residuals with only the board's pose fitted to the block.
        predicted: Distances from where the other cameras alone say that the points should be.
        blocks: Into how many the moments were parted; 0 = there were too few.
        rigidity: From those rigs.
    """

    spread: Spread
    predicted: Spread
    blocks: int
    rigidity: Rigidity | None


@dataclass(frozen=True, slots=True)
class Tape:
    """A distance between two cameras to hold a tape measure against."""

    cameras: tuple[str, str]
    distance_mm: float
    deviation_mm: float

    def __str__(self) -> str:
        return (
            f"{self.cameras[0]} to {self.cameras[1]}: {self.distance_mm:.0f} mm +- {max(self.deviation_mm, 0.05):.1f}"
        )


@dataclass(frozen=True, slots=True)
class Offset:
    """How late a camera exposes against the others, estimated from the board's motion.

    Attributes:
        camera: Its name.
        frames: In frames (or in seconds where ``unit`` says so); positive = it shows what the others saw earlier.
        deviation: Standard deviation.
        unit: ``frames`` or ``s``.
    """

    camera: str
    frames: float
    deviation: float
    unit: str = "frames"


@dataclass(frozen=True, slots=True)
class Residuals:
    """Residuals for plots: all, or a random part of them, as columns of equal length.

    Attributes:
        camera: (M,) index of the camera.
        frame: (M,) number of the moment.
        point: (M,) number of the board's point.
        px: (M, 2) where it was seen.
        residual_px: (M, 2) seen minus projected.
        used: (M,) False = rejected.
    """

    camera: Int[np.ndarray, " M"]
    frame: Int[np.ndarray, " M"]
    point: Int[np.ndarray, " M"]
    px: Float[np.ndarray, "M 2"]
    residual_px: Float[np.ndarray, "M 2"]
    used: Bool[np.ndarray, " M"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """A calibration, judged.

    Attributes:
        rig: The cameras in mm, the first one's frame as the world; ``None`` where none could be solved.
        verdict: ``good``; ``suspect`` = usable, with a reason to look; ``unverified`` = nothing speaks against it, but
            nothing that was not fitted speaks for it; ``bad`` = do not use.
        reasons: Why, the worst first; ``note`` does not change the verdict.
        cameras: Per camera, in order.
        frames: Per moment.
        spread: Residuals of the solution.
        held_out: Of moments that it did not see.
        rigidity: Distances on the board.
        tape: Two camera distances (one with two cameras) for a tape measure: a wrong square size shows nowhere else.
        offsets: Time offsets of the cameras where the board moved enough to tell.
        shared: (V, V) number of moments that two cameras saw together.
        missing: Links that lack, in words: which pair to film next.
        board: Its short text.
        board_poses: (F, 6) rvec and t (mm) of the board in the world at each moment of ``frames``.
        residuals: For plots.
        seconds: How long each step took, by its name; ``solve`` is what leads to the rig, ``judge`` the rest.
    """

    rig: Rig | None
    verdict: Grade
    reasons: tuple[Finding, ...]
    cameras: tuple[CameraOutcome, ...] = ()
    frames: tuple[FrameOutcome, ...] = ()
    spread: Spread | None = None
    held_out: HeldOut | None = None
    rigidity: Rigidity | None = None
    tape: tuple[Tape, ...] = ()
    offsets: tuple[Offset, ...] = ()
    shared: Int[np.ndarray, "V V"] | None = None
    missing: tuple[str, ...] = ()
    board: str = ""
    board_poses: Float[np.ndarray, "F 6"] | None = None
    residuals: Residuals | None = None
    seconds: dict[str, float] = field(default_factory=dict)

    def document(self, *, residuals: bool = False) -> dict[str, Any]:
        """All of it as plain values for JSON (NaN becomes ``None``); the residuals' columns only if asked for."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("rig", "residuals")}
        document: dict[str, Any] = {key: _plain(value) for key, value in values.items()}
        document["rig"] = None if self.rig is None else rig_document(self.rig)
        if residuals and self.residuals is not None:
            document["residuals"] = _plain(self.residuals)
        return document

    def __str__(self) -> str:
        return "; ".join([self.verdict, *map(str, self.reasons)])


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "__dataclass_fields__"):
        plain = {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
        if isinstance(value, Spread):
            plain["rejected_share"] = value.rejected_share
        return plain
    return value
