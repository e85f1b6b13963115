"""Label3D's and DANNCE's ``.mat`` with labels as poses; the cameras are those of `calib.formats.label3d`.

``labelData`` is a cell of one struct a camera with ``data_2d`` (T, 2J), ``data_3d`` (T, 3J) and ``data_frame``: mm,
pixels from 1, NaN = not labelled. Label3D exports the reprojection of its 3D labels as 2D ones, so these have no
error of their own. Joints have no names there: they come from a skeleton file of Label3D (``joint_names, joints_idx``)
that lies beside and has as many, or that the user names.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from calib.formats import label3d, mat
from calib.formats.found import Reading
from calib.rig import Rig
from capture.labels.poses.reading import MOST_BYTES, How, in_order, made, matlab_rows, matlab_struct
from capture.labels.poses.skeletons import skeleton_beside
from capture.labels.poses3d import Poses3D
from rigpose.errors import ConfigError

TITLE = "Label3D"


def recognises(path: Path) -> bool:
    """A .mat file with labelData and params."""
    from capture.labels.poses.reading import mat_names

    return {"labelData", "params"} <= mat_names(path)


def read(path: Path, how: How) -> Poses3D:
    """The labels of a file.

    Raises:
        ConfigError: It holds no labels, or those of its cameras do not go together.
        MissingError: It is a MATLAB 7.3 file and h5py is not installed.
    """
    how.own_cameras(path)
    mm = how.millimetres(how.units or "mm", path)
    found = label3d.read_path(path, Reading(units=how.units, size=how.size))
    cells = np.ravel(mat.load(path, MOST_BYTES)["labelData"])
    if len(cells) != len(found.cameras):
        what = f"has labels of {len(cells)} cameras and parameters of {len(found.cameras)}"
        raise ConfigError(path, what, "export it from Label3D again")
    nodes = [
        matlab_struct(cell, f"{path}, labelData of {camera.name}")
        for cell, camera in zip(cells, found.cameras, strict=True)
    ]
    deep = [matlab_rows(node.get("data_3d"), 3, f"{path}, data_3d") for node in nodes]
    flat = [matlab_rows(node.get("data_2d"), 2, f"{path}, data_2d") for node in nodes]
    n, joints = deep[0].shape[:2]
    for camera, points, px in zip(found.cameras, deep, flat, strict=True):
        if points.shape[:2] != (n, joints) or px.shape[:2] != (n, joints):
            what = (
                f"data_3d {list(points.shape)} and data_2d {list(px.shape)} are not of {n} frames and {joints} joints"
            )
            raise ConfigError(f"{path}, labelData of {camera.name}", what, "export it from Label3D again")
        if not np.allclose(points, deep[0], equal_nan=True):
            raise ConfigError(
                f"{path}, labelData of {camera.name}", "has other 3D labels than the first", "export it again"
            )
    frame, order = in_order(_frames(nodes[0], n, path), f"{path}, data_frame")
    notes = found.notes
    poses = made(
        path,
        skeleton=skeleton_beside(path, joints, how),
        position_mm=deep[0][order] * mm,
        rig=Rig(found.cameras, found.metadata),
        points2d=(np.stack(flat, axis=1) - label3d.ONE_BASED)[order],
        subject=np.full(n, how.subject or path.stem),
        frame=frame,
        rate_hz=how.rate(None, path),
        source=TITLE,
        notes=notes,
    )
    off = poses.reprojection_px()
    if off is not None and np.isfinite(off).any() and np.nanmax(off) < 0.01:
        note = (
            "its 2D points are the 3D ones reprojected, without an error of their own: add noise before judging by them"
        )
        poses = made(path, **{name: getattr(poses, name) for name in poses.__slots__} | {"notes": (*notes, note)})
    return poses


def _frames(node: dict[str, Any], n: int, path: Path) -> np.ndarray:
    for key in ("data_frame", "data_sampleID"):
        values = np.ravel(np.asarray(node.get(key, [])))
        if len(values) == n and values.dtype.kind in "iuf" and (values == np.round(values)).all():
            return values.astype(np.int64)
    raise ConfigError(path, f"labelData has no frame number for each of {n} frames", "export it from Label3D again")
