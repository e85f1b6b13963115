"""Human3.6M's cameras: ``camera-parameters.json`` (intrinsics, extrinsics by subject), millimetres.

The label file of "learnable triangulation" (``human36m-multiview-labels-*.npy``) has the same numbers
for each subject and camera, pickled with two million joints; it is read without running anything in it.

The data set's tangential terms are its own: ``x (p1 y + p2 x) + p2 r2``, where OpenCV has twice
the first term. With OpenCV's thin prism they are still exact: p / 2 as tangential and p / 2 as
prism coefficients. Taking the five numbers for OpenCV's is off by up to 1.4 px in the corners.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from calib import lens
from calib.camera import Camera
from calib.formats import holding, pickles, text
from calib.formats.found import Found, Reading, sized
from calib.formats.rotations import numbers, rvec_of
from rigpose.errors import ConfigError

TITLE = "Human3.6M"
HOLDS = holding.Holds(title=TITLE, dist=(12,), unit="mm", size=False)
SIZES = {"54138969": (1000, 1002), "55011271": (1000, 1000), "58860488": (1000, 1000), "60457274": (1000, 1002)}
"""Of the data set's four cameras; its files do not hold them."""

MOST_LABEL_BYTES = 2**30
_SUBJECT = "S1"


def recognises(path: Path) -> bool:
    """JSON with this layout's keys, or the pickled labels."""
    if path.suffix.lower() == ".npy":
        return "camera_names" in text.peek(path)
    head = text.peek(path) if path.suffix.lower() == ".json" else ""
    return '"intrinsics"' in head and '"calibration_matrix"' in head


def read_path(path: Path, how: Reading) -> Found:
    """The cameras as they stood for one subject.

    Raises:
        ConfigError: Several subjects are there and none is picked, or a camera cannot be.
    """
    document = _of_labels(path) if path.suffix.lower() == ".npy" else text.read_json(path)
    try:
        inside, outside = document["intrinsics"], document["extrinsics"]
        subjects = list(outside)
        inside.items()
    except (KeyError, TypeError, AttributeError):
        raise ConfigError(path, "lacks intrinsics or extrinsics", "give camera-parameters.json") from None
    subject = how.pick or (subjects[0] if len(subjects) == 1 else None)
    if subject not in subjects:
        said = f"knows no subject {subject}" if subject else "holds the cameras of several subjects"
        raise ConfigError(path, said, f"--pick one of {', '.join(subjects)}")
    mm = how.millimetres("mm", str(path))
    cameras = []
    for name, node in inside.items():
        where = f"{path}, camera {name}"
        pose = outside[subject].get(name)
        if pose is None:
            raise ConfigError(where, f"has no extrinsics for {subject}", "--pick another subject")
        dist = numbers(node.get("distortion"), where, "distortion", (5,))
        cameras.append(
            Camera(
                name=str(name),
                size=SIZES.get(str(name), (0, 0)),
                K=numbers(node.get("calibration_matrix"), where, "calibration_matrix", (3, 3)),
                dist=to_opencv(dist),
                rvec=rvec_of(pose.get("R"), where),
                t=numbers(pose.get("t"), where, "t", (3,)) * mm,
            )
        )
    found, notes = sized(cameras, how, TITLE)
    return Found(found, {"subject": subject, "world": "floor"}, notes)


def _of_labels(path: Path) -> dict[str, Any]:
    """The label file's cameras in the JSON file's layout."""
    found = pickles.load_npy(path, MOST_LABEL_BYTES)
    try:
        table = found["cameras"]
        subjects, names = ([str(name) for name in found[key]] for key in ("subject_names", "camera_names"))
        if table.shape != (len(subjects), len(names)) or not {"R", "t", "K", "dist"} <= set(table.dtype.names):
            raise ValueError
    except (KeyError, TypeError, ValueError, AttributeError):
        raise ConfigError(
            path, "holds no cameras by subject and camera", "give human36m-multiview-labels-*.npy"
        ) from None
    inside = {
        n: {"calibration_matrix": table["K"][0, i], "distortion": table["dist"][0, i]} for i, n in enumerate(names)
    }
    outside = {
        subject: {n: {"R": table["R"][s, i], "t": table["t"][s, i]} for i, n in enumerate(names)}
        for s, subject in enumerate(subjects)
    }
    return {"intrinsics": inside, "extrinsics": outside}


def to_opencv(dist: np.ndarray) -> np.ndarray:
    """(12,) OpenCV coefficients of Human3.6M's k1, k2, p1, p2, k3."""
    k1, k2, p1, p2, k3 = dist
    found = np.zeros(12)
    found[:5] = k1, k2, p1 / 2, p2 / 2, k3
    found[8], found[10] = p2 / 2, p1 / 2
    return found if found[[8, 10]].any() else found[:5]


def of_opencv(camera: Camera) -> np.ndarray:
    """k1, k2, p1, p2, k3 of a camera whose lens has that form.

    Raises:
        ConfigError: It has not: OpenCV's own tangential terms, a rational lens, a fisheye.
    """
    dist = lens.pad(holding.coefficients(camera, HOLDS))
    k1, k2, p1, p2, k3 = dist[:5]
    rest = dist.copy()
    rest[:5] = rest[[8, 10]] = 0
    if rest.any() or abs(dist[8] - p2) > 1e-12 or abs(dist[10] - p1) > 1e-12:
        what = "has a lens that Human3.6M's model cannot hold (its tangential terms are not OpenCV's)"
        raise ConfigError(f"camera {camera.name}", what, "write it as rigpose, opencv or panoptic")
    return np.array([k1, k2, 2 * p1, 2 * p2, k3])


def write_path(cameras: tuple[Camera, ...], metadata: dict[str, Any], path: Path) -> tuple[str, ...]:
    """The JSON layout with one subject.

    Raises:
        ConfigError: The file exists, or a lens does not fit.
    """
    subject = str(metadata.get("subject", _SUBJECT))
    inside = {
        camera.name: {"calibration_matrix": camera.K.tolist(), "distortion": of_opencv(camera).tolist()}
        for camera in cameras
    }
    outside = {camera.name: {"R": camera.R.tolist(), "t": camera.t[:, None].tolist()} for camera in cameras}
    document = {"intrinsics": inside, "extrinsics": {subject: outside}}
    holding.write_new(path, json.dumps(document, indent=2) + "\n")
    unknown = [camera for camera in cameras if SIZES.get(camera.name) != camera.size]
    known = {key: value for key, value in metadata.items() if key not in ("subject", "world")}
    if "world" in metadata and metadata["world"] != "floor":
        known["world"] = metadata["world"]
    notes = holding.dropped(cameras, known, HOLDS)
    return notes if unknown else tuple(note for note in notes if "picture sizes" not in note)
