"""Small videos and images on disk, whose pictures say which they are by their brightness."""

from __future__ import annotations

from pathlib import Path

import av
import cv2
import numpy as np

from nodes.calibrate.film import Film, ReelReader


def image(path: Path, level: int = 0, size: tuple[int, int] = (64, 48)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full((size[1], size[0]), level, np.uint8))
    return path


def video(path: Path, n: int, rate: int = 10, first: int = 0) -> Path:
    """A video whose frame k is as bright as 8 (first + k)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"crf": "1"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for k in range(n):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64), 8 * (first + k), np.uint8), format="gray")
            container.mux(stream.encode(frame.reformat(format="yuv420p")))
        container.mux(stream.encode(None))
    return path


def level(film: Film, camera: int, moment: int) -> float:
    reader = ReelReader(film.reels[camera])
    picture = reader.read(int(film.index[camera, moment]))
    reader.close()
    assert picture is not None
    return float(picture.mean())
