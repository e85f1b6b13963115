"""Labels and pictures of every format, made to the layouts that the programs write."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

SIZE = (64, 48)


def picture(path: Path, bright: Sequence[tuple[int, int]] = (), size: tuple[int, int] = SIZE) -> Path:
    """A dark picture with single bright pixels at (x, y)."""
    image = np.zeros((size[1], size[0], 3), np.uint8)
    for x, y in bright:
        image[y, x] = 255
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)
    return path


def video(path: Path, n: int, size: tuple[int, int] = SIZE) -> Path:
    """Frames whose grey level tells their number: 20 * index."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=Fraction(30), options={"crf": "1"})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for index in range(n):
            image = np.full((size[1], size[0], 3), 20 * index, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        container.mux(stream.encode())
    return path


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def write_json(path: Path, document: Mapping[str, Any]) -> Path:
    return write(path, json.dumps(document))


def coco(**changed: Any) -> dict[str, Any]:
    """Two pictures of two mice; the second picture holds nobody."""
    return {
        "info": {},
        "images": [
            {"id": 7, "file_name": "a.png", "width": 64, "height": 48},
            {"id": 8, "file_name": "b.png", "width": 64, "height": 48},
        ],
        "annotations": [
            {
                "id": 1,
                "image_id": 7,
                "category_id": 1,
                "keypoints": [10, 20, 2, 12, 22, 1, 0, 0, 0],
                "bbox": [9, 19, 5, 6],
            },
            {"id": 2, "image_id": 7, "category_id": 1, "keypoints": [30.5, 31, 2, 5, 5, 0, 33, 35, 2]},
        ],
        "categories": [
            {"id": 1, "name": "mouse", "keypoints": ["nose", "left_ear", "right_ear"], "skeleton": [[1, 2], [1, 3]]}
        ],
        **changed,
    }


CONFIG = """\
Task: reach
scorer: Ada
multianimalproject: false
identity:
video_sets:
  ? C:\\films\\run1_top.mp4
  : crop: 0, 64, 0, 48
  ? C:\\films\\run1_side.mp4
  : crop: 16, 80, 8, 56
bodyparts:
- snout
- leftear
- rightear
skeleton:
- - snout
  - leftear
- - snout
  - rightear
- - snout
  - tail
"""


def deeplabcut(folder: Path) -> Path:
    """A project of two cameras, whose second table has its body parts in another order and lacks one."""
    write(folder / "config.yaml", CONFIG)
    head = "scorer,,,Ada,Ada,Ada,Ada,Ada,Ada\nbodyparts,,,snout,snout,leftear,leftear,rightear,rightear\n"
    rows = "coords,,,x,y,x,y,x,y\n"
    rows += "labeled-data,run1_top,img003.png,10.0,20.0,12.5,22.0,,\nlabeled-data,run1_top,img007.png,,,,,,\n"
    write(folder / "labeled-data" / "run1_top" / "CollectedData_Ada.csv", head + rows)
    head = "scorer,Ada,Ada,Ada,Ada\nbodyparts,leftear,leftear,snout,snout\ncoords,x,y,x,y\n"
    rows = "labeled-data\\run1_side\\img003.png,1.0,2.0,3.0,4.0\n"
    write(folder / "labeled-data" / "run1_side" / "CollectedData_Ada.csv", head + rows)
    for camera in ("top", "side"):
        picture(folder / "labeled-data" / f"run1_{camera}" / "img003.png", [(10, 20)])
        (folder / "labeled-data" / f"run1_{camera}" / "CollectedData_Ada.h5").write_bytes(b"\x89HDF")
    return folder


MANY = """\
scorer,,,Ada,Ada,Ada,Ada,Ada,Ada,Ada,Ada,Ada,Ada
individuals,,,m1,m1,m1,m1,m2,m2,m2,m2,single,single
bodyparts,,,snout,snout,tail,tail,snout,snout,tail,tail,corner,corner
coords,,,x,y,x,y,x,y,x,y,x,y
labeled-data,pair,img1.png,1,2,3,4,5,6,,,60,40
labeled-data,pair,img2.png,,,,,7,8,9,10,60,40
labeled-data,pair,img3.png,,,,,,,,,60,40
"""
"""A table of two animals and a corner of the arena."""


def person(points: Mapping[int, tuple[float, float]], joints: int = 25) -> list[float]:
    """OpenPose's flat list, 0, 0, 0 where nothing was found."""
    flat = np.zeros((joints, 3))
    for joint, point in points.items():
        flat[joint] = *point, 0.9
    return flat.ravel().tolist()


def openpose(*people: list[float]) -> dict[str, Any]:
    return {"version": 1.3, "people": [{"person_id": [-1], "pose_keypoints_2d": flat} for flat in people]}
