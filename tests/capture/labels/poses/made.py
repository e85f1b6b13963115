"""Files of 3D poses, made to the layouts that the programs write."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import savemat

from calib.rig import Rig
from capture.labels import read_poses3d
from tests.calib.formats.rigs import BARREL, rig_of
from tests.calib.scenes import fly_rig

AROUND = np.array([120.0, -310.0, 77.0])
"""What `rig_of`'s cameras look at."""


def read(path: Path, **more: Any) -> Any:
    """`read_poses3d`, of which a test knows whether there are cameras."""
    return read_poses3d(path, **more)


def seen(rig: Rig, position: np.ndarray) -> np.ndarray:
    """(T, V, J, 2) px."""
    return np.stack([camera.project(position) for camera in rig.cameras], axis=1)


def walk(n: int, joints: int, size_mm: float = 60.0, seed: int = 0, around: np.ndarray = AROUND) -> np.ndarray:
    """(T, J, 3) mm: joints that wander about a place."""
    rng = np.random.default_rng(seed)
    return around + rng.normal(0, size_mm, (joints, 3)) + rng.normal(0, size_mm / 10, (n, joints, 3)).cumsum(axis=0)


def barrels(n: int = 3) -> Rig:
    """A ring of cameras with barrel distortion."""
    return rig_of(*[BARREL] * n)


FLY_COXAE = [side * 19 + leg * 5 for side in (0, 1) for leg in range(3)]


def fly(n: int = 4, left_first: bool = True) -> np.ndarray:
    """(T, 38, 3) mm: a fly that looks along x, on its legs; its first 19 joints are those of one side."""
    rng = np.random.default_rng(1)
    one = np.zeros((2, 19, 3))
    for leg in range(3):
        for joint in range(5):
            one[:, leg * 5 + joint] = 1.0 - leg, 0.3 + 0.3 * joint, -0.4 * joint
    one[:, 15] = 1.5, 0.1, 0.3
    for stripe in range(3):
        one[:, 16 + stripe] = -0.8 - 0.4 * stripe, 0.3, 0.2
    one[1, :, 1] *= -1
    sides = one if left_first else one[::-1]
    return sides.reshape(38, 3) + rng.normal(0, 0.02, (n, 38, 3))


def deepfly3d(path: Path, points: np.ndarray, pixels: bool = False, protocol: int = 4, **more: Any) -> Rig:
    """df3d_result.pkl of a fly that cameras 0 to 2 see from one side, 4 to 6, mirrored, from the other."""
    rig = fly_rig()
    px = np.moveaxis(seen(rig, points), 1, 0).copy()
    points2d = px if pixels else px[..., ::-1] / np.array([480.0, 960.0])
    for i in range(7):
        for side, mine in ((0, i < 3), (1, i > 3)):
            if not mine:
                unseen = (0, 1) if i > 3 and not pixels else (0, 0)
                points2d[i, :, side * 19 : (side + 1) * 19] = unseen
    found: dict[Any, Any] = {
        i: {"R": c.R, "tvec": c.t, "intr": c.K, "distort": np.zeros(5)} for i, c in enumerate(rig.cameras)
    }
    found |= {"points2d": points2d, "points3d": points * 1.3, "points3d_wo_procrustes": points}
    path.write_bytes(pickle.dumps({**found, **more}, protocol=protocol))
    return rig


def matlab_camera(camera: Any, radial: int = 3) -> dict[str, Any]:
    """K, r, t transposed and from 1, as MATLAB has them."""
    K = camera.K.T.copy()
    K[2, :2] += 1
    k1, k2, p1, p2, k3 = np.pad(camera.dist, (0, 5 - len(camera.dist)))
    r = camera.R.T
    return {"K": K, "RDistort": [[k1, k2, k3][:radial]], "TDistort": [[p1, p2]], "r": r, "t": camera.t[None]}


def label3d(path: Path, rig: Rig, position: np.ndarray, frames: np.ndarray, **changed: Any) -> Path:
    """A file of Label3D; ``changed`` goes into the labels of the last camera."""
    n = len(rig)
    params, labels, names = np.empty((n, 1), object), np.empty((n, 1), object), np.empty((1, n), object)
    for i, camera in enumerate(rig.cameras):
        px = camera.project(position) + 1
        node = {"data_2d": px.reshape(len(px), -1), "data_3d": position.reshape(len(position), -1)}
        node |= {"data_frame": frames[None], "data_sampleID": 10 * frames[None] + 1}
        labels[i, 0] = node | (changed if i == n - 1 else {})
        params[i, 0] = matlab_camera(camera)
        names[0, i] = camera.name
    savemat(path, {"params": params, "labelData": labels, "camnames": names}, do_compression=True)
    return path


def cells(*values: Any) -> np.ndarray:
    """A row of MATLAB's cells."""
    row = np.empty((1, len(values)), object)
    for index, value in enumerate(values):
        row[0, index] = value
    return row


def captured(root: Path, session: str, rig: Rig, position: np.ndarray, samples: np.ndarray) -> Path:
    """A recording of CAPTURE; the last camera lacks the first moment."""
    data, calibration = root / f"data_3d_e{session}", root / f"calibration_e{session}"
    data.mkdir(parents=True)
    calibration.mkdir()
    for i, camera in enumerate(rig.cameras):
        rows = slice(1, None) if i == len(rig) - 1 else slice(None)
        px = camera.project(position[rows]) + 1
        savemat(
            data / f"{session}_cam{i + 1}_data.mat",
            {
                "data_2d": px.reshape(len(px), -1),
                "data_3d": position[rows].reshape(len(px), -1),
                "data_sampleID": samples[rows, None],
                "data_frame": np.arange(len(px))[:, None],
            },
        )
        savemat(calibration / f"hires_cam{i + 1}_params_rRDistort.mat", matlab_camera(camera))
    return root


def radial_pair() -> Rig:
    """Cameras as OpenMonkeyStudio has them: principal point in the middle, two radial terms."""
    cameras = []
    base = rig_of((-0.35, 0.11, 0, 0), (-0.34, 0.11, 0, 0))
    for name, camera in zip(("18064162", "18260132"), base.cameras, strict=True):
        K = camera.K.copy()
        K[:2, 2] = 639.5, 511.5
        cameras.append(replace(camera, name=name, K=K, size=(1280, 1024)))
    return Rig(tuple(cameras))


def openmonkey(root: Path, position_m: np.ndarray, frames: np.ndarray) -> tuple[Path, Rig]:
    """Batch9a and the labels beside it; positions in metres. The second camera's last frame is not labelled."""
    rig = radial_pair()
    folder = root / "Batch9a"
    folder.mkdir(parents=True)

    def rows(matrix: np.ndarray) -> str:
        return "".join(" ".join(f"{value!r}" for value in row.tolist()) + " \n" for row in np.atleast_2d(matrix))

    places, lenses = "NumCams 2\nNumFrames 2\nNumP 2\n", ""
    for camera in rig.cameras:
        K = camera.K.copy()
        K[:2, 2] += 0.5
        places += f"0 {camera.name} \n{rows(camera.center_mm / 1000)}{rows(camera.R)}"
        lenses += f"0 {camera.name} \n{rows(K)}{rows(camera.dist[:2])}"
    (folder / "camera.txt").write_text(places)
    (folder / "intrinsic.txt").write_text(lenses)
    coords = np.concatenate([np.column_stack([np.full(13, f), p]) for f, p in zip(frames, position_m, strict=True)])
    savemat(folder / "coords_3D.mat", {"coords": coords})
    px = seen(rig, position_m * 1000)
    crop, names, data = [], [], []
    for t, frame in enumerate(frames):
        for v, camera in enumerate(rig.cameras):
            left, top = 100 + 10 * t, 50 + v
            crop += [[frame, int(camera.name), left, top, 381, 382]] * 2
            if (t, v) == (len(frames) - 1, 1):
                continue
            names.append(f"batch9a_{frame:09d}_{camera.name}.jpg")
            data.append([0, 0, 382, 381, *(px[t, v] - (left, top))[:, ::-1].ravel()])
    savemat(folder / "crop_para.mat", {"crop": np.array(crop)})
    names.append("batch9_000000007_18064162.jpg")
    data.append([0] * 30)
    column = np.empty((len(names), 1), object)
    column[:, 0] = names
    savemat(root / "Data.mat", {"T": {"name": column, "data": np.array(data, float)}})
    return folder, rig


def columns_of(joints: Any, coords: Any, animals: Any = ("",)) -> list[tuple[str, ...]]:
    """Names of DeepLabCut's columns."""
    middle = [(animal, joint) if animal else (joint,) for animal in animals for joint in joints]
    return [("net", *part, coord) for part in middle for coord in coords]


def dlc_csv(path: Path, columns: list[tuple[str, ...]], frames: Any, cells: np.ndarray) -> Path:
    """A table of DeepLabCut: rows of names, then a row a frame; NaN is an empty cell."""
    levels = (
        ("scorer", "individuals", "bodyparts", "coords") if len(columns[0]) == 4 else ("scorer", "bodyparts", "coords")
    )
    lines = [",".join((level, *(column[i] for column in columns))) for i, level in enumerate(levels)]
    for frame, row in zip(frames, cells, strict=True):
        lines.append(",".join((str(frame), *("" if np.isnan(cell) else repr(float(cell)) for cell in row))))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path


def dlc_hdf5(path: Path, columns: list[tuple[str, ...]], frames: Any, cells: np.ndarray, kind: str = "table") -> Path:
    """The same as pandas writes it: with format="table", or fixed."""
    import h5py

    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        group = file.create_group("df_with_missing")
        if kind == "table":
            group.attrs["pandas_type"] = np.bytes_("frame_table")
            group.attrs["non_index_axes"] = np.bytes_(pickle.dumps([(1, columns)], protocol=0))
            record = np.zeros(len(cells), [("index", "<i8"), ("values_block_0", "<f8", (len(columns),))])
            record["index"], record["values_block_0"] = frames, cells
            group.create_dataset("table", data=record)
        else:
            group.attrs["pandas_type"] = np.bytes_("frame")
            group.attrs["axis0_nlevels"] = len(columns[0])
            for level in range(len(columns[0])):
                names = sorted({column[level] for column in columns})
                group.create_dataset(f"axis0_level{level}", data=np.array(names, dtype="S"))
                codes = [names.index(column[level]) for column in columns]
                group.create_dataset(f"axis0_label{level}", data=np.array(codes, dtype=np.int8))
            group.create_dataset("axis1", data=np.asarray(frames))
            group.create_dataset("block0_values", data=cells)
    return path


def anipose_csv(path: Path, joints: Any, position: np.ndarray, matrix: Any = None, centre: Any = None) -> Path:
    """anipose's pose-3d table, of positions in its own frame where there is one: X M^T - centre."""
    matrix = np.eye(3) if matrix is None else matrix
    centre = np.zeros(3) if centre is None else np.asarray(centre)
    there = position @ matrix.T - centre
    head = [f"{joint}_{what}" for joint in joints for what in ("x", "y", "z", "error", "ncams", "score")]
    head += [f"M_{i}{j}" for i in range(3) for j in range(3)] + [f"center_{i}" for i in range(3)] + ["fnum"]
    lines = [",".join(head)]
    for number, row in enumerate(there):
        cells = [cell for joint in row for cell in (*joint, 1.5, 3.0, 0.9)]
        cells = [*cells, *matrix.ravel(), *centre, number]
        lines.append(",".join("" if np.isnan(cell) else repr(float(cell)) for cell in cells))
    path.write_text("\n".join(lines) + "\n")
    return path


def analysis(path: Path, joints: Any, points: np.ndarray, scores: np.ndarray, tracks: Any = ("track_0",)) -> Path:
    """SLEAP's export of tracks; points (T, A, J, 2), scores (T, A, J)."""
    import h5py

    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file["tracks"] = points.transpose(1, 3, 2, 0)
        file["point_scores"] = scores.transpose(1, 2, 0)
        file["node_names"] = np.array(joints, dtype="S")
        file["track_names"] = np.array(tracks, dtype="S")
        file["edge_inds"] = np.array([[0, 1]], dtype=np.int32)
    return path
