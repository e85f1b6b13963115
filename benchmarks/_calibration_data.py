"""The recordings that calibration is held against: their pictures, boards, given cameras and keypoints.

The boards are looked for once; what was found is kept in a temporary folder, so that runs do not detect again.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from calib.boards import Board, read_board
from calib.camera import Camera
from calib.observations import BoardViews
from calib.rig import Rig, read_rig
from nodes.calibrate.detecting import CACHE_VARIABLE, cache_folder, detect_film
from nodes.calibrate.film import Film
from nodes.calibrate.pictures import find_film


def data_folder() -> Path | None:
    """The folder of real recordings."""
    value = os.environ.get("RIGPOSE_DATA", "")
    return Path(value).resolve() if value else None


def keep_in_temporary_folder() -> None:
    """Let detections be kept where they hurt nobody, unless the user said where."""
    os.environ.setdefault(CACHE_VARIABLE, str(Path(tempfile.gettempdir()) / "rigpose-benchmarks"))


@dataclass(frozen=True, eq=False)
class BoardSet:
    """Pictures of a board, and what was found in them.

    Attributes:
        name: Of the data set.
        film: Its pictures.
        board: What was shown.
    """

    name: str
    film: Film
    board: Board

    @cached_property
    def views(self) -> BoardViews:
        """What our detector finds in them."""
        return detect_film(self.film, self.board, quiet=True)

    def question(self) -> dict[str, Any]:
        """The same pictures and board for a peer."""
        cameras = []
        for v, reel in enumerate(self.film.reels):
            there = np.flatnonzero(self.film.index[v] >= 0)
            camera: dict[str, Any] = {"name": reel.camera, "size": list(reel.size)}
            camera["moments"] = [int(n) for n in self.film.numbers[there]]
            indices = [int(i) for i in self.film.index[v, there]]
            if reel.is_video:
                camera |= {"video": str(reel.files[0]), "indices": indices}
            else:
                camera["files"] = [str(reel.files[i]) for i in indices]
            cameras.append(camera)
        board = self.board
        size = int(board.dictionary.rpartition("_")[2]) if board.dictionary else 0
        asked = {"kind": board.kind, "columns": board.columns, "rows": board.rows, "square_mm": board.square_mm}
        asked |= {"marker_mm": board.marker_mm, "dict_size": size, "inverted": board.inverted}
        return {"board": asked, "cameras": cameras}

    def kept(self) -> Path:
        """Where a peer keeps what it found in these pictures."""
        script = Path(__file__).with_name("_peer_calibration.py").read_bytes()
        digest = hashlib.sha256(script + json.dumps(self.question()).encode()).hexdigest()[:32]
        folder = cache_folder().parent / "peers"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{digest}.npz"


def webcams(data: Path) -> tuple[BoardSet, Rig]:
    """Four webcams and an inverted ChArUco board; the intrinsics that were calibrated apart, and caliscope's rig."""
    folder = data / "charuco4-webcams"
    film = find_film(folder / "calibration" / "extrinsic")
    found = BoardSet("charuco4-webcams", film, read_board(folder / "charuco.toml"))
    rig = read_rig(folder / "camera_array.toml", units="m")
    names = film.cameras
    return found, rig.with_cameras(replace(c, name=n) for c, n in zip(rig.cameras, names, strict=True))


def mouse(data: Path) -> BoardSet:
    """Four cameras with strong lenses around an arena, stills of a ChArUco board."""
    folder = data / "mouse4-sleap"
    film = find_film(str(folder / "{camera}" / "calibration_images" / "*.jpg"))
    return BoardSet("mouse4-sleap", film, read_board(folder / "board.toml"))


def stereo(data: Path) -> BoardSet:
    """A stereo pair and a chessboard."""
    return BoardSet("stereo-checkerboard", find_film(data / "stereo-checkerboard"), read_board("chessboard:9x6:30"))


def balance(data: Path) -> BoardSet:
    """A few stills of a chessboard for each camera, each alone: intrinsics only."""
    pictures = data / "human4-balance" / "calibration" / "intrinsics" / "int_{camera}_img"
    return BoardSet("human4-balance", find_film(str(pictures)), read_board("chessboard:4x7:60"))


def matlab_focal(data: Path) -> dict[str, tuple[float, float]]:
    """Focal lengths of the stereo pair by the MATLAB toolbox."""
    from scipy.io import loadmat

    focal = {}
    for name in ("left", "right"):
        values = loadmat(data / "stereo-checkerboard" / f"Calib_Results_{name}.mat")["fc"].ravel()
        focal[name] = (float(values[0]), float(values[1]))
    return focal


def mouse_keypoints(data: Path, names: Sequence[str]) -> np.ndarray:
    """(V, T, J, 2) proofread keypoints of the mouse, raw px."""
    import h5py

    views = []
    for name in names:
        with h5py.File(data / "mouse4-sleap" / name / f"minimal_{name}_proofread.analysis.h5") as file:
            views.append(np.asarray(file["tracks"], dtype=np.float64)[0].transpose(2, 1, 0))
    return np.stack(views)


def camera_of(answer: dict[str, Any]) -> Camera:
    """A peer's camera."""
    return Camera(
        name=answer["name"],
        size=tuple(answer["size"]),
        K=np.array(answer["K"]),
        dist=np.array(answer["dist"]),
        rvec=np.array(answer["rvec"]),
        t=np.array(answer["t"]),
    )
