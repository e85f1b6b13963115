"""aniposelib's calibration as a child process of `benchmarks.calibration`; runs in .venv-peers.

Reads one JSON line ``{"task": "detect" | "solve", ...}`` at a time. ``detect``: its own detector on the pictures
named, kept in an npz; ``solve``: `CameraGroup.calibrate_rows` from scratch on what that npz holds, as its users call
it, with cameras, observations and their residuals written to another.
"""

import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from benchmarks._peer_loop import answer_all


def pictures(camera: dict[str, Any], cv2: Any) -> Iterator[tuple[int, np.ndarray]]:
    """(moment, picture) of one camera: ``files`` one a moment, or one ``video`` read through."""
    moments = camera["moments"]
    if "video" in camera:
        wanted = dict(zip(camera["indices"], moments, strict=True))
        video = cv2.VideoCapture(camera["video"])
        index = 0
        while True:
            read, picture = video.read()
            if not read:
                return
            if index in wanted:
                yield wanted[index], picture
            index += 1
    for moment, file in zip(moments, camera["files"], strict=True):
        yield moment, cv2.imread(file)


def make_board(board: dict[str, Any]) -> Any:
    """The board as aniposelib has it."""
    from aniposelib.boards import CharucoBoard, Checkerboard  # type: ignore[import-not-found]

    if board["kind"] == "chessboard":
        return Checkerboard(board["columns"], board["rows"], square_length=board["square_mm"])
    return CharucoBoard(
        board["columns"],
        board["rows"],
        square_length=board["square_mm"],
        marker_length=board["marker_mm"],
        marker_bits=4,
        dict_size=board["dict_size"],
    )


def detect(question: dict[str, Any]) -> dict[str, Any]:
    """Find the board in all pictures and keep what was found."""
    import cv2

    board = make_board(question["board"])
    arrays, boards, spent, looked = {}, [], 0.0, 0
    for number, camera in enumerate(question["cameras"]):
        moments, filled = [], []
        for moment, picture in pictures(camera, cv2):
            if question["board"].get("inverted"):
                picture = cv2.bitwise_not(picture)
            begin = time.perf_counter()
            corners, ids = board.detect_image(picture)
            spent += time.perf_counter() - begin
            looked += 1
            if corners is not None and len(corners) > 0:
                moments.append(moment)
                filled.append(board.fill_points(corners, ids).reshape(-1, 2))
        arrays[f"moments{number}"] = np.array(moments, dtype=np.int64)
        arrays[f"px{number}"] = np.array(filled).reshape(len(moments), -1, 2)
        boards.append(len(moments))
    np.savez(question["kept"], allow_pickle=False, **arrays)
    return {"ms_a_picture": 1000 * spent / max(looked, 1), "boards": boards}


def rows_of(kept: Mapping[str, np.ndarray], n_cameras: int) -> list[list[dict[str, Any]]]:
    """What was kept, as `calibrate_rows` takes it."""
    every = []
    for number in range(n_cameras):
        rows = []
        for moment, px in zip(kept[f"moments{number}"], kept[f"px{number}"], strict=True):
            ids = np.flatnonzero(np.isfinite(px[:, 0]))
            corners = px[ids].reshape(-1, 1, 2).astype(np.float32)
            rows.append(
                {"framenum": (0, int(moment)), "corners": corners, "ids": ids.reshape(-1, 1), "filled": px[:, None]}
            )
        every.append(rows)
    return every


def solve(question: dict[str, Any]) -> dict[str, Any]:
    """Calibrate from scratch and measure."""
    from aniposelib.boards import extract_points, merge_rows
    from aniposelib.cameras import CameraGroup  # type: ignore[import-not-found]

    board = make_board(question["board"])
    names = [camera["name"] for camera in question["cameras"]]
    with np.load(question["kept"], allow_pickle=False) as kept:
        rows = rows_of(kept, len(names))
    # It resamples by numpy's global generator.
    np.random.seed(question.get("seed", 0))
    group = CameraGroup.from_names(names)
    for camera, asked in zip(group.cameras, question["cameras"], strict=True):
        camera.set_size(tuple(asked["size"]))
    begin = time.perf_counter()
    group.calibrate_rows(rows, board, verbose=False)
    spent = time.perf_counter() - begin
    for camera_rows, camera in zip(rows, group.cameras, strict=True):
        board.estimate_pose_rows(camera, camera_rows)
    kept_rows = [[row for row in camera_rows if row["ids"].size >= 8] for camera_rows in rows]
    px, _ = extract_points(merge_rows(kept_rows), board, min_cameras=2)
    points = group.triangulate(px)
    residual = group.reprojection_error(points, px, mean=False)
    np.savez(question["out"], allow_pickle=False, px=px, points=points, residual=residual)
    cameras = [
        {
            "name": camera.get_name(),
            "size": [int(n) for n in camera.get_size()],
            "K": np.asarray(camera.get_camera_matrix(), dtype=float).tolist(),
            "dist": np.asarray(camera.get_distortions(), dtype=float).ravel().tolist(),
            "rvec": np.asarray(camera.get_rotation(), dtype=float).ravel().tolist(),
            "t": np.asarray(camera.get_translation(), dtype=float).ravel().tolist(),
        }
        for camera in group.cameras
    ]
    return {"seconds": spent, "cameras": cameras}


def main() -> None:
    """Answer questions until there are no more."""
    tasks = {"detect": detect, "solve": solve}
    answer_all("aniposelib", lambda question: tasks[question["task"]](question))


if __name__ == "__main__":
    main()
