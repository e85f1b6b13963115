"""DANNCE's predictions, ``save_data_AVG.mat`` and ``save_data_MAX.mat``.

``pred`` is (T, 3, J), of the social variant (T, animals, 3, J), in mm; ``sampleID`` (T,) tells the moments. They hold
no cameras, no names of joints and no rate.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from calib.formats import mat
from capture.labels.poses.reading import MOST_BYTES, How, in_order, made, mat_names
from capture.labels.poses.skeletons import skeleton_beside
from capture.labels.poses3d import Poses3D
from rigpose.errors import ConfigError

TITLE = "DANNCE"


def recognises(path: Path) -> bool:
    """A .mat file with pred and sampleID."""
    return {"pred", "sampleID"} <= mat_names(path)


def read(path: Path, how: How) -> Poses3D:
    """The poses of a file; of several animals one after the other.

    Raises:
        ConfigError: ``pred`` has other axes.
        MissingError: It is a MATLAB 7.3 file and h5py is not installed.
    """
    document = mat.load(path, MOST_BYTES)
    pred = np.asarray(document["pred"])
    if pred.dtype.kind not in "fiu" or pred.ndim not in (3, 4) or pred.shape[-2] != 3:
        what = f"pred has shape {list(pred.shape)}, not frames x 3 x joints or frames x animals x 3 x joints"
        raise ConfigError(path, what, "give save_data_AVG.mat as DANNCE wrote it")
    mm = how.millimetres(how.units or "mm", path)
    pred = pred.astype(np.float64) if pred.ndim == 4 else pred.astype(np.float64)[:, None]
    n, animals, _, joints = pred.shape
    samples = np.ravel(np.asarray(document["sampleID"]))
    if len(samples) != n or samples.dtype.kind not in "iuf":
        raise ConfigError(
            path, f"sampleID has {len(samples)} numbers for {n} frames", "give the file as DANNCE wrote it"
        )
    frame, order = in_order(samples.astype(np.int64), f"{path}, sampleID")
    name = how.subject or path.parent.name or path.stem
    names = [name] if animals == 1 else [f"{name}_{animal}" for animal in range(animals)]
    return made(
        path,
        skeleton=skeleton_beside(path, joints, how),
        position_mm=pred[order].transpose(1, 0, 3, 2).reshape(-1, joints, 3) * mm,
        rig=how.rig,
        subject=np.repeat(np.array(names), n),
        frame=np.tile(frame, animals),
        rate_hz=how.rate(None, path),
        source=TITLE,
        notes=("moments are numbered by sampleID",),
    )
