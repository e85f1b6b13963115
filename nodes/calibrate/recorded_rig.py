"""Cameras as they were calibrated, and as the pictures need them, which may be of another size (``fit``)."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from calib.document import rig_from_document
from calib.fit import fit_camera
from calib.rig import Rig
from capture.rundir import RunDirectory
from capture.session import SessionReader
from engine.config import load_system
from engine.preflight import load_rig
from rigpose.errors import ConfigError, RigposeError

log = logging.getLogger(__name__)

MOST_STAMPS = 5000
"""Frames of a session that are looked at for the cameras' picture sizes: a camera that starts later is rare."""

Sizes = dict[str, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class RecordedRig:
    """The cameras of a recording or of a rig that runs.

    Attributes:
        pictures: For the pictures that came: what their keypoints belong to.
        calibration: As calibrated, with the sizes and lenses of the rig file; the same where nothing was done to them.
    """

    pictures: Rig
    calibration: Rig

    def fitted(self, rig: Rig) -> Rig:
        """Another calibration of these cameras, for the same pictures; a camera that had other sizes stays as it is."""
        cameras = []
        for camera in rig.cameras:
            if camera.name in self.calibration.names and camera.size == self.calibration[camera.name].size:
                old, new = self.calibration[camera.name], self.pictures[camera.name]
                if old.size != new.size:
                    scale = new.K[[0, 1], [0, 1]] / old.K[[0, 1], [0, 1]]
                    offset = new.K[:2, 2] + 0.5 - scale * (old.K[:2, 2] + 0.5)
                    how = [[float(scale[0]), 0.0, float(offset[0])], [0.0, float(scale[1]), float(offset[1])]]
                    camera = fit_camera(camera, new.size, how)
            cameras.append(camera)
        return rig.with_cameras(cameras)


def rig_of_session(session: SessionReader) -> RecordedRig | None:
    """The cameras of a session; ``None`` where it holds none.

    ``session.json`` keeps the rig file's cameras. What the engine made of them, once it had seen pictures, is in its
    messages; where these lack, the cameras are fitted as the engine would.

    Raises:
        ConfigError: The pictures are of another size, and nothing says how they belong to the rig.
    """
    if session.info.rig is None:
        return None
    stored = session.rig()
    sizes = _sizes(session, stored.names)
    told = _told(session, stored)
    if told is not None and _fits(told, sizes):
        return RecordedRig(told, stored)
    if _fits(stored, sizes):
        return RecordedRig(stored, stored)
    try:
        cameras = [
            fit_camera(camera, sizes[camera.name], _fit_of(session.info.config, camera.name))
            if camera.name in sizes
            else camera
            for camera in stored.cameras
        ]
    except ConfigError as error:
        raise ConfigError(session.path, f"{error.where}: {error.what}", "give --rig FILE for these pictures") from None
    return RecordedRig(stored.with_cameras(cameras), stored)


def rig_of_run(run: RunDirectory, pictures: Rig, calibration_id: str) -> RecordedRig:
    """The cameras of a rig that runs.

    Args:
        run: Of the rig.
        pictures: What its engine says of the cameras, once it had seen pictures.
        calibration_id: Of the rig file that it was started with.
    """
    try:
        config_file = run.path / "config.yaml"
        calibration = load_rig(load_system(config_file), config_file)
    except RigposeError as error:
        log.info("the rig file of %s cannot be read: %s", run.path, error)
        return RecordedRig(pictures, pictures)
    # A file that was changed since is not what runs.
    same = calibration.calibration_id == calibration_id and set(calibration.names) == set(pictures.names)
    return RecordedRig(pictures, calibration if same else pictures)


def _sizes(session: SessionReader, names: tuple[str, ...]) -> Sizes:
    sizes: Sizes = {}
    for stamp in islice(session.stamps(), MOST_STAMPS):
        if stamp.get("size") is not None:
            sizes.setdefault(str(stamp["camera"]), (int(stamp["size"][0]), int(stamp["size"][1])))
        if set(names) <= set(sizes):
            break
    return sizes


def _told(session: SessionReader, stored: Rig) -> Rig | None:
    """The cameras in the engine's last message."""
    last: dict[str, Any] | None = None
    for message in session.meta():
        if message.get("rig") and message.get("calibration_id") in (stored.calibration_id, None):
            last = message["rig"]
    rig = None if last is None else rig_from_document(last, session.path)
    return rig if rig is not None and set(rig.names) == set(stored.names) else None


def _fits(rig: Rig, sizes: Sizes) -> bool:
    return all(
        min(camera.size) == 0 or sizes.get(camera.name, camera.size) == tuple(camera.size) for camera in rig.cameras
    )


def _fit_of(config: Mapping[str, Any], name: str) -> Any:
    """The ``fit`` of a camera in a rig's config; a node may give several cameras, as views of its picture."""
    sections = config.get("cameras") or {}
    for node, section in sections.items():
        if name in (section.get("views") or {node: None}):
            return section.get("fit")
    return None
