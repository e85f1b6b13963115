"""The rig as the pictures that really come need it: their size, region or device may not be the calibrated one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from calib.camera import Camera
from calib.fit import fit_camera
from calib.prepared import prepare
from calib.rig import Rig, RigArrays
from capture.frame import Frame
from engine.config import SystemConfig
from rigpose.errors import ConfigError


class _Shape(NamedTuple):
    """What of a camera's frames decides how its calibration applies."""

    size: tuple[int, int]
    roi_offset: tuple[int, int] | None
    binning: tuple[int, int] | None
    serial: str

    @classmethod
    def of(cls, frame: Frame, *, region: bool) -> _Shape:
        """A frame's shape; files and regions of pictures do not know the sensor, ``None`` = as calibrated."""
        if region or frame.video is not None:
            return cls(frame.size, None, None, frame.serial)
        return cls(frame.size, frame.roi_offset, frame.binning, frame.serial)


class Geometry:
    """The rig as the pictures that really come need it: cameras fitted to their size, ROI and binning.

    Args:
        rig: The calibration.
        config: Says how pictures of another size belong to it.
    """

    def __init__(self, rig: Rig, config: SystemConfig) -> None:
        self.calibration = rig
        self._config = config
        self._shapes: dict[str, _Shape] = {}
        self._apply(rig)

    def _apply(self, rig: Rig) -> None:
        self.rig = rig
        self.exact: RigArrays = rig.arrays()
        self.single: RigArrays = self.exact.astype(np.float32)

    def fit(self, frames: Sequence[Frame | None]) -> bool:
        """See which pictures came; whether the arrays have changed.

        Raises:
            ConfigError: A picture is not of the calibration's size, and the config does not say how it fits.
        """
        changed = False
        for frame in frames:
            if frame is None:
                continue
            shape = self._shape(frame)
            if self._shapes.get(frame.camera) != shape:
                self._check_serial(frame)
                self._shapes[frame.camera] = shape
                changed = True
        if changed:
            self._apply(
                self.calibration.with_cameras(
                    self._fitted(name, self._shapes[name]) if name in self._shapes else self.calibration[name]
                    for name in self.calibration.names
                )
            )
        return changed

    def misfits(self, frames: Sequence[Frame | None]) -> dict[str, ConfigError]:
        """Cameras whose pictures fitted before and do not now, and why; ``fit`` would raise that."""
        found = {}
        for frame in frames:
            if frame is None or frame.camera not in self._shapes:
                continue
            shape = self._shape(frame)
            if shape != self._shapes[frame.camera]:
                try:
                    self._check_serial(frame)
                    self._fitted(frame.camera, shape)
                except ConfigError as error:
                    found[frame.camera] = error
        return found

    def _shape(self, frame: Frame) -> _Shape:
        # A view that is a region of its source's picture was calibrated as that region.
        region = self._config.cameras[self._config.owners[frame.camera]].views is not None
        return _Shape.of(frame, region=region)

    def _check_serial(self, frame: Frame) -> None:
        calibrated = self.calibration[frame.camera].serial
        if calibrated and frame.serial and frame.serial != calibrated:
            raise ConfigError(
                f"camera {frame.camera}",
                f"is the device {frame.serial}, the rig was calibrated with {calibrated}",
                "exchange the cables, or calibrate again",
            )

    def _fitted(self, name: str, shape: _Shape) -> Camera:
        return fit_camera(
            self.calibration[name], shape.size, self._config.fit_of(name), shape.roi_offset, shape.binning
        )

    def project(self, position_mm: Float[np.ndarray, "J 3"]) -> Float[np.ndarray, "V J 2"]:
        """Raw image px of world points; NaN behind a camera."""
        rig = prepare(self.exact)
        return rig.project((position_mm.T - rig.origin) / rig.unit).transpose(1, 2, 0)
