"""A rig as plain values, exact to the last bit: for messages, and for what is kept beside recorded poses.

A rig *file* is `calib.formats.rigpose_toml`; this is what programs tell each other.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from calib.camera import Camera
from calib.rig import Rig
from rigpose.errors import ConfigError


def _plain(value: object) -> object:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else str(value)


def rig_document(rig: Rig) -> dict[str, Any]:
    """A rig as plain values: cameras, metadata and calibration id; exact, for JSON and messages."""
    cameras = []
    for camera in rig.cameras:
        values = {field.name: getattr(camera, field.name) for field in dataclasses.fields(camera) if field.init}
        cameras.append({key: v.tolist() if isinstance(v, np.ndarray) else v for key, v in values.items()})
    plain_metadata = json.loads(json.dumps(rig.metadata, default=_plain))
    return {"calibration_id": rig.calibration_id, "cameras": cameras, "metadata": plain_metadata}


def rig_from_document(document: Mapping[str, Any], where: object = "rig") -> Rig:
    """The rig in a document that ``rig_document`` made; keys that are not known are ignored.

    Raises:
        ConfigError: The document is not that of a rig.
    """
    known = {field.name for field in dataclasses.fields(Camera) if field.init}
    try:
        cameras = tuple(
            Camera(**{key: value for key, value in camera.items() if key in known}) for camera in document["cameras"]
        )
        return Rig(cameras, dict(document.get("metadata", {})))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ConfigError(where, f"is not the document of a rig: {error}", "record the session again") from None
