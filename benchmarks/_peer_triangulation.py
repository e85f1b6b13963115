"""aniposelib's triangulation as a child process of `benchmarks.triangulation`; runs in .venv-peers.

Reads the work from an npz, then one JSON line ``{"method", "case", "start", "stop"}`` at a time; answers
the ms of each frame and writes the points to the file named in ``out``.
"""

import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from benchmarks._peer_loop import answer_all, quiet


def cameras_of(work: Mapping[str, np.ndarray]) -> Any:
    """The rig as aniposelib has it."""
    from aniposelib.cameras import Camera, CameraGroup  # type: ignore[import-not-found]

    return CameraGroup(
        [
            Camera(matrix=K, dist=dist, size=(1280, 1024), rvec=rvec, tvec=t, name=str(i))
            for i, (K, dist, rvec, t) in enumerate(zip(work["K"], work["dist"], work["rvec"], work["t"], strict=True))
        ]
    )


def timed(question: dict[str, Any], call: Callable[[np.ndarray], np.ndarray], frames: np.ndarray) -> dict[str, Any]:
    """Triangulate the frames asked for, one at a time, and keep the points."""
    call(frames[question["start"]])
    times, points = [], []
    for index in range(question["start"], question["stop"]):
        begin = time.perf_counter_ns()
        found = call(frames[index])
        points.append(np.asarray(found))
        times.append((time.perf_counter_ns() - begin) / 1e6)
    np.save(question["out"], np.stack(points))
    return {"ms": times}


def main() -> None:
    """Answer questions until there are no more."""
    work = np.load(sys.argv[1])
    with quiet():
        group = cameras_of(work)
    calls = {
        "triangulate": lambda px: group.triangulate(px, undistort=True),
        "triangulate_ransac": lambda px: group.triangulate_ransac(px, undistort=True, min_cams=2)[0],
    }
    answer_all("aniposelib", lambda question: timed(question, calls[question["method"]], work[question["case"]]))


if __name__ == "__main__":
    main()
