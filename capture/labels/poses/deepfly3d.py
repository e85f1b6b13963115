"""DeepFly3D's results as poses: ``df3d_result*.pkl`` after its 3D step, or an npz of the same arrays.

Cameras and the marks of unseen joints are those of `calib.formats.deepfly3d`. The 38 joints are 19 on the side that
cameras 0 to 2 see and 19 on the other, on each three legs of five, the antenna and three stripes. Which side of the
fly comes first depends on how the cameras were ordered and is told by where the joints lie: legs hang below their
coxae, front legs stand before hind ones. ``points3d_wo_procrustes`` is what the cameras see; ``points3d`` may have
been fitted to a template fly and serves where a file has nothing else. Principal points, which the files have
swapped, go to the middle with a turn of the camera (`calib.convert.for_live_use`).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Float

from calib.convert import for_live_use
from calib.formats import deepfly3d
from calib.formats.found import Reading
from calib.rig import Rig
from capture.labels.poses.reading import How, absent_where_zero, fitting, made, positions
from capture.labels.poses3d import Poses3D
from capture.virtual.skeletons import FLY38, LEGS, N_LEG, SIDE
from rigpose.errors import ConfigError

TITLE = "DeepFly3D"
_DEEP = ("points3d_wo_procrustes", "points3d")
_FLAT = ("points2d", "points2d_rowcol01")


def recognises(path: Path) -> bool:
    """A pickle of cameras with DeepFly3D's keys, or an npz with cameras and its points."""
    from capture.labels.poses.npz import keys_of

    if path.suffix.lower() == ".npz":
        keys = set(keys_of(path))
        return {"K", "R", "t"} <= keys and bool(keys & set(_DEEP)) and bool(keys & set(_FLAT))
    return path.is_file() and deepfly3d.recognises(path)


def read(path: Path, how: How) -> Poses3D:
    """The poses of a result.

    Raises:
        ConfigError: It holds no cameras or no poses, wants more than numbers, or its arrays do not go together.
    """
    how.own_cameras(path)
    arrays = deepfly3d.arrays_of(path)
    found = deepfly3d.read_path(path, Reading(units=how.units, size=how.size))
    mm = how.millimetres(how.units or "mm", path)
    key = next((name for name in _DEEP if arrays.get(name) is not None), None)
    if key is None:
        raise ConfigError(path, "holds cameras and no 3D points", "give df3d_result.pkl after its 3D step")
    position = absent_where_zero(positions(arrays[key], path, key)) * mm
    n, joints = position.shape[:2]
    skeleton = fitting(FLY38 if how.skeleton is None else how.skeleton, joints, f"{path}, {key}")
    rig, notes = for_live_use(Rig(found.cameras, found.metadata))
    notes = tuple(note for note in found.notes if "looks swapped" not in note) + notes
    if key != _DEEP[0]:
        notes += ("its positions may have been fitted to a template fly, and then are not what the cameras see",)
    flat = next((arrays[name] for name in _FLAT if arrays.get(name) is not None), None)
    px = confidence = None
    if flat is not None:
        flat = np.asarray(flat, dtype=np.float64)
        if flat.shape != (len(rig), n, joints, 2):
            what = f"points2d has shape {list(flat.shape)}, not {[len(rig), n, joints, 2]} as its cameras and 3D points"
            raise ConfigError(path, what, "give the result of one run")
        px = np.moveaxis(deepfly3d.seen_px(flat, rig.cameras[0].size), 0, 1)
        sure = arrays.get("confidence")
        confidence = _confidence(px, arrays.get("heatmap_confidence") if sure is None else sure)
    if skeleton == FLY38 and _right_first(position):
        swap = np.roll(np.arange(joints), SIDE)
        position = position[:, swap]
        px = None if px is None else px[:, :, swap]
        confidence = None if confidence is None else confidence[:, :, swap]
        notes += ("the first 19 joints are of the fly's right side, by where they lie: they come behind the left ones",)
    return made(
        path,
        skeleton=skeleton,
        position_mm=position,
        rig=rig,
        points2d=px,
        confidence=confidence,
        subject=np.full(n, how.subject or path.stem),
        rate_hz=how.rate(None, path),
        source=TITLE,
        notes=notes,
    )


def _confidence(px: Float[np.ndarray, "T V J 2"], scores: np.ndarray | None) -> Float[np.ndarray, "T V J"] | None:
    """Its network's scores (V, T, 19, 1) are of the side that a camera sees, whichever that is."""
    if scores is None:
        return None
    scores = np.asarray(scores, dtype=np.float64)
    n, views, joints = px.shape[:3]
    if scores.size != views * n * SIDE or joints != 2 * SIDE:
        return None
    return np.tile(np.clip(np.moveaxis(scores.reshape(views, n, SIDE), 0, 1), 0, 1), 2)


def _right_first(position: Float[np.ndarray, "T 38 3"]) -> bool:
    """Whether the first 19 joints are those of the right side; where legs are missing that is not known."""
    seen = np.isfinite(position[..., 0]).any(axis=0)
    coxae = np.array([side * SIDE + leg * N_LEG for side in (0, 1) for leg in range(len(LEGS))])
    if not seen[coxae].all() or not seen[coxae + N_LEG - 1].all():
        return False
    middle = np.nanmedian(position[:, np.concatenate([coxae, coxae + N_LEG - 1])], axis=0)
    coxa, claw = middle[:6].reshape(2, 3, 3), middle[6:].reshape(2, 3, 3)
    ahead = coxa[:, 0].mean(axis=0) - coxa[:, 2].mean(axis=0)
    up = (coxa - claw).mean(axis=(0, 1))
    return bool(np.cross(up, ahead) @ (coxa[0] - coxa[1]).mean(axis=0) < 0)
