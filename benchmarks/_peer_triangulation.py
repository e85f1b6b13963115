"""aniposelib's triangulation as a child process of `benchmarks.triangulation`; runs in .venv-peers.

Reads the work from an npz, then one JSON line ``{"method", "case", "start", "stop"}`` at a time; answers
the ms of each frame and writes the points to the file named in ``out``.
"""

import contextlib
import io
import json
import sys
import time
from importlib.metadata import version

import numpy as np


def main() -> None:
    answers = sys.stdout
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        from aniposelib.cameras import Camera, CameraGroup  # type: ignore[import-not-found]

        work = np.load(sys.argv[1])
        group = CameraGroup(
            [
                Camera(matrix=K, dist=dist, size=(1280, 1024), rvec=rvec, tvec=t, name=str(i))
                for i, (K, dist, rvec, t) in enumerate(
                    zip(work["K"], work["dist"], work["rvec"], work["t"], strict=True)
                )
            ]
        )
        calls = {
            "triangulate": lambda px: group.triangulate(px, undistort=True),
            "triangulate_ransac": lambda px: group.triangulate_ransac(px, undistort=True, min_cams=2)[0],
        }
        for line in sys.stdin:
            question = json.loads(line)
            try:
                call, frames = calls[question["method"]], work[question["case"]]
                call(frames[question["start"]])
                times, points = [], []
                for index in range(question["start"], question["stop"]):
                    begin = time.perf_counter_ns()
                    found = call(frames[index])
                    points.append(np.asarray(found))
                    times.append((time.perf_counter_ns() - begin) / 1e6)
                np.save(question["out"], np.stack(points))
                answer = {"ms": times, "version": version("aniposelib")}
            except Exception as error:  # noqa: BLE001 - the parent shows it
                answer = {"error": f"aniposelib: {type(error).__name__}: {error}"}
            answers.write(json.dumps(answer) + "\n")
            answers.flush()


if __name__ == "__main__":
    main()
