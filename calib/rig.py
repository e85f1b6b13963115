"""A rig: its cameras in order, what is known about them, and the arrays that the solvers use."""

from __future__ import annotations

import hashlib
import logging
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from calib import formats, lens
from calib.camera import Camera
from calib.formats import rigpose_toml
from calib.formats.text import read_toml
from rigpose.errors import ConfigError

_log = logging.getLogger(__name__)

PARALLEL = 3e-4
"""Below this least eigenvalue (sine squared of half the angle of a pair, about 2 degrees) optical
axes count as parallel: the point nearest to all of them then lies anywhere."""
DEFAULT_DISTANCE_MM = 1000.0


class RigArrays(NamedTuple):
    """A rig as arrays of one kind (numpy or torch), in the rig-normalised world.

    The normalised world has its origin at the point nearest to all optical axes and its unit is the
    mean distance of the cameras from it, so that float32 suffices wherever the world's own origin
    lies. It is computed once a rig, in float64.

    Attributes:
        K: (V, 3, 3) px.
        dist: (V, 14), see `calib.lens`.
        fisheye: (V,) 1 or 0.
        Rt: (V, 3, 4) from the normalised world to each camera, in units.
        world: (4,) origin x, y, z in mm and the unit in mm: ``mm = origin + unit * normalised``.
    """

    K: Any
    dist: Any
    fisheye: Any
    Rt: Any
    world: Any

    def astype(self, dtype: Any) -> RigArrays:
        """The same with numpy arrays of another dtype."""
        return RigArrays(*(np.asarray(array, dtype=dtype) for array in self))


def nearest_to_axes(cameras: tuple[Camera, ...]) -> np.ndarray | None:
    """The point (3,) mm nearest to all optical axes; ``None`` for one camera or (nearly) parallel axes."""
    centers = np.stack([camera.center_mm for camera in cameras])
    axes = np.stack([camera.axis for camera in cameras])
    across = np.eye(3) - axes[:, :, None] * axes[:, None, :]
    total = across.mean(axis=0)
    if len(cameras) < 2 or np.linalg.eigvalsh(total)[0] <= PARALLEL:
        return None
    # About the mean of the cameras, so that a far world origin costs no digits.
    middle = centers.mean(axis=0)
    offsets = np.einsum("vij,vj->i", across, centers - middle) / len(cameras)
    return middle + np.linalg.solve(total, offsets)


def working_point(cameras: tuple[Camera, ...], distance_mm: float | None = None) -> tuple[np.ndarray, float]:
    """Where a rig looks: the point nearest to all optical axes and the cameras' mean distance from it.

    With one camera, with (nearly) parallel axes and where that point would lie behind the cameras it
    is a point on the mean axis at the working distance.

    Args:
        cameras: At least one.
        distance_mm: Working distance for those cases; else ten times the largest baseline, or 1 m.

    Returns:
        The point (3,) in mm, and the mean distance in mm.
    """
    centers = np.stack([camera.center_mm for camera in cameras])
    axes = np.stack([camera.axis for camera in cameras])
    point = nearest_to_axes(cameras)
    if point is not None and np.median(((point - centers) * axes).sum(axis=-1)) > 0:
        distance = float(np.linalg.norm(point - centers, axis=-1).mean())
        if distance > 0:
            return point, distance
    if distance_mm is None:
        baseline = float(np.linalg.norm(centers[:, None] - centers[None], axis=-1).max())
        distance_mm = 10 * baseline if baseline > 0 else DEFAULT_DISTANCE_MM
    mean_axis = axes.mean(axis=0)
    length = float(np.linalg.norm(mean_axis))
    mean_axis = mean_axis / length if length > 1e-3 else axes[0]
    return centers.mean(axis=0) + distance_mm * mean_axis, distance_mm


@dataclass(frozen=True, eq=False)
class Rig:
    """Cameras in the order of the V axis, and the metadata of their calibration.

    Attributes:
        cameras: At least one; their names differ.
        metadata: ``units`` is always mm; ``world``, ``working_distance_mm``, ``parent``, quality and
            what else the file said.
    """

    cameras: tuple[Camera, ...]
    metadata: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "cameras", tuple(self.cameras))
        if not self.cameras:
            raise ConfigError("rig", "has no camera", "add at least one")
        twice = sorted({name for name in self.names if self.names.count(name) > 1})
        if twice:
            raise ConfigError("rig", f"camera name {twice[0]} stands there twice", "give each camera its own name")

    @property
    def names(self) -> tuple[str, ...]:
        """Camera names in order."""
        return tuple(camera.name for camera in self.cameras)

    def __len__(self) -> int:
        return len(self.cameras)

    def __getitem__(self, name: str) -> Camera:
        for camera in self.cameras:
            if camera.name == name:
                return camera
        raise ConfigError(f"camera {name}", "is not in the rig", f"the rig knows {', '.join(self.names)}")

    def with_cameras(self, cameras: Iterable[Camera]) -> Rig:
        """The same rig with other cameras (for another picture size, a subset, another order)."""
        return replace(self, cameras=tuple(cameras))

    def select(self, names: Iterable[str]) -> Rig:
        """The cameras of these names, in this order."""
        return self.with_cameras(self[name] for name in names)

    @cached_property
    def calibration_id(self) -> str:
        """First 16 hex digits of a sha256 over the camera parameters, never over bytes or metadata.

        Names, sizes, models, K, dist, rvec and t, rounded to 1e-9; trailing zero coefficients do not
        count, so that padding a lens does not make another calibration.
        """
        digest = hashlib.sha256()
        for camera in self.cameras:
            name = camera.name.encode()
            digest.update(struct.pack("<I", len(name)) + name)
            digest.update(struct.pack("<qq?", *camera.size, camera.fisheye))
            values = np.concatenate([camera.K.ravel(), lens.pad(camera.dist), camera.rvec, camera.t])
            # Adding zero turns -0.0 into 0.0.
            digest.update((np.round(values, 9) + 0.0).astype("<f8").tobytes())
        return digest.hexdigest()[:16]

    @cached_property
    def working(self) -> tuple[np.ndarray, float]:
        """`working_point` of the cameras: point (3,) mm and distance mm."""
        distance = self.metadata.get("working_distance_mm")
        return working_point(self.cameras, None if distance is None else float(distance))

    def arrays(self) -> RigArrays:
        """The rig for the solvers, float64; the same object each time.

        The solvers know no skew: a camera that has one is there with the nearest lens without it
        (`calib.skew`), and the log says how far that is off.
        """
        return self._arrays

    @cached_property
    def _arrays(self) -> RigArrays:
        origin, unit = self.working
        poses = []
        cameras = tuple(_without_skew(camera) for camera in self.cameras)
        for camera in cameras:
            # R (origin - center), not R origin + t: far origins cancel before they are rounded away.
            translation = camera.R @ (origin - camera.center_mm) / unit
            poses.append(np.concatenate([camera.R, translation[:, None]], axis=1))
        return RigArrays(
            K=np.stack([camera.K for camera in cameras]),
            dist=np.stack([lens.pad(camera.dist) for camera in cameras]),
            fisheye=np.array([float(camera.fisheye) for camera in cameras]),
            Rt=np.stack(poses),
            world=np.append(origin, unit),
        )


def _without_skew(camera: Camera) -> Camera:
    if not camera.skew:
        return camera
    from calib import skew  # here, for it needs scipy's optimiser and hardly any camera needs it

    nearest, off = skew.without_skew(camera)
    _log.warning(
        "%s: its skew of %.2g px is replaced by the nearest lens without: it %s", camera.name, camera.K[0, 1], off
    )
    return nearest


def read_rig(path: str | Path, units: str | None = None) -> Rig:
    """The rig in a file or folder of any format that rigpose knows (`calib.convert` tells more about it).

    Args:
        path: Our TOML, or a foreign file or folder (`calib.formats`).
        units: mm, cm or m where the file does not say it (only ours and edited ones do).

    Raises:
        ConfigError: It is missing, is no camera file, lacks units, or describes a camera that cannot be.
    """
    path = Path(path)
    if path.suffix.lower() != ".toml" and path.exists():
        from calib.convert import read_any  # here, for it needs this module

        imported = read_any(path, units=units)
        for note in imported.notes:
            _log.info("%s: %s", path, note)
        return imported.rig
    try:
        document = read_toml(path)
    except ConfigError as error:
        if error.what == "no such file":
            raise ConfigError(path, "no such rig file", "check the path") from None
        raise
    reader = formats.reader_of(document)
    if reader is None:
        raise ConfigError(
            path, "holds no cameras that rigpose can read", "give a rigpose, anipose, Pose2Sim or caliscope TOML"
        )
    return rig_of_document(document, reader, units, path)


def rig_of_document(document: dict[str, Any], reader: ModuleType, units: str | None, path: Path) -> Rig:
    """The rig in a parsed TOML document.

    Raises:
        ConfigError: It lacks units, or describes a camera that cannot be.
    """
    cameras, metadata = reader.read(document, units, str(path))
    try:
        rig = Rig(cameras, metadata)
    except ConfigError as error:
        raise ConfigError(path, f"{error.where} {error.what}", error.remedy) from None
    stated = metadata.get("calibration_id")
    if stated not in (None, rig.calibration_id):
        _log.warning(
            "%s: calibration_id %s is not that of its cameras, %s: it was edited", path, stated, rig.calibration_id
        )
    return rig


def write_rig(rig: Rig, path: str | Path) -> None:
    """Write our TOML; reading it gives the same rig to the last bit.

    Raises:
        ConfigError: The file exists (nothing is overwritten), the folder does not, or the metadata
            holds what TOML cannot.
    """
    import tomli_w  # here, for a training machine has a rig and never writes one

    path = Path(path)
    try:
        text = tomli_w.dumps(rigpose_toml.document_of(rig.cameras, rig.metadata, rig.calibration_id))
    except TypeError as error:
        raise ConfigError(path, f"metadata cannot be written as TOML: {error}") from None
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise ConfigError(path, "exists, and a rig file is never overwritten", "give another name") from None
    except OSError as error:
        raise ConfigError(path, f"cannot be written: {error.strerror}", "check the folder") from None
