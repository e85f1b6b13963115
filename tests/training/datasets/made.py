"""Small data sets in the layouts of the large ones, drawn: a disc of its own colour where each joint is."""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from calib.camera import Camera
from calib.formats.human36m import SIZES, to_opencv
from calib.rotation import vector_of
from training.datasets.panoptic import Z_UP

NAMES = tuple(SIZES)
# About what Human3.6M's cameras have, in its own model: k1, k2, p1, p2, k3.
DIST = np.array([-0.2098, 0.2386, -0.00139, -0.000984, 0.0008])
RADIUS = 5


def ring(count: int, radius_mm: float, height_mm: float, target_mm: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Rotations and translations of cameras about a point, z upwards."""
    found = []
    for number in range(count):
        turn = 2 * np.pi * number / count + 0.4
        centre = np.array([radius_mm * np.cos(turn), radius_mm * np.sin(turn), height_mm])
        axis = target_mm - centre
        axis /= np.linalg.norm(axis)
        right = np.cross(axis, [0.0, 0.0, 1.0])
        right /= np.linalg.norm(right)
        rotation = np.stack([right, np.cross(axis, right), axis])
        found.append((rotation, -rotation @ centre))
    return found


def colours(count: int) -> np.ndarray:
    """(J, 3) far apart from each other and from grey."""
    hues = np.linspace(0, 179, count, endpoint=False).astype(np.uint8)
    hsv = np.stack([hues, np.full(count, 255, np.uint8), np.full(count, 255, np.uint8)], axis=-1)
    return cv2.cvtColor(hsv[None], cv2.COLOR_HSV2BGR)[0].astype(int)


def picture(camera: Camera, position_mm: np.ndarray) -> np.ndarray:
    """What the camera sees of a body."""
    width, height = camera.size
    drawn = np.full((height, width, 3), 60, np.uint8)
    for px, colour in zip(camera.project(position_mm), colours(len(position_mm)), strict=True):
        if np.isfinite(px).all():
            centre = tuple(int(value) for value in np.rint(px * 16))
            cv2.circle(drawn, centre, RADIUS * 16, colour.tolist(), -1, cv2.LINE_AA, shift=4)
    return drawn


def save(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), image, [cv2.IMWRITE_JPEG_QUALITY, 98])


def body(joints: int, seed: int, at_mm: tuple[float, float, float] = (600.0, -500.0, 800.0)) -> np.ndarray:
    """(J, 3) joints that are apart from each other."""
    rng = np.random.default_rng(seed)
    turns = np.linspace(0, 2 * np.pi, joints, endpoint=False)
    spread = np.stack([350 * np.cos(turns), 350 * np.sin(turns), np.linspace(-700, 700, joints)], axis=-1)
    return spread + rng.normal(0, 15, (joints, 3)) + np.array(at_mm)


class Human36M:
    """The published layout: a label file and pictures.

    Subjects S1, S9, S11; a few frames of some takes. S11 Directions-2 lacks its first camera, as in the data set.
    """

    subjects = ("S1", "S5", "S6", "S7", "S8", "S9", "S11")
    actions = ("Directions-1", "Directions-2", "Greeting-1", "Greeting-2", "Walking-1", "Walking-2")
    takes = (
        ("S1", "Directions-1", (0, 5, 9)),
        ("S1", "Walking-2", (4,)),
        ("S9", "Greeting-2", (0, 64)),
        ("S9", "Walking-1", (0, 64, 128)),
        ("S11", "Directions-2", (0, 64)),
    )

    def __init__(self, folder: Path, pictures: bool = True) -> None:
        self.folder, self.root = folder, folder / "processed"
        self.cameras = {
            subject: tuple(
                Camera(
                    name=name,
                    size=SIZES[name],
                    K=np.array([[1145.0 + c, 0, 512.5], [0, 1143.8, 515.4 - c], [0, 0, 1]]),
                    dist=to_opencv(DIST * (1 + 0.1 * c)),
                    rvec=vector_of(rotation),
                    t=translation,
                )
                for c, (name, (rotation, translation)) in enumerate(
                    zip(NAMES, ring(4, 5000 + 10 * s, 1500, np.array([0, 0, 900.0])), strict=True)
                )
            )
            for s, subject in enumerate(self.subjects)
        }
        self.position = {
            (subject, action, frame): body(17, seed=len(subject) + 7 * frame + self.actions.index(action)).astype("f4")
            for subject, action, frames in self.takes
            for frame in frames
        }
        self.lacks = {("S11", "Directions-2", NAMES[0])}
        if pictures:
            self.draw()

    def file(self, subject: str, action: str, camera: str, frame: int) -> Path:
        return self.root / subject / action / "imageSequence" / camera / f"img_{frame + 1:06d}.jpg"

    def draw(self) -> None:
        for (subject, action, frame), position in self.position.items():
            for camera in self.cameras[subject]:
                if (subject, action, camera.name) not in self.lacks:
                    save(self.file(subject, action, camera.name, frame), picture(camera, position))

    def box(self, key: tuple[str, str, int], camera: Camera) -> tuple[int, int, int, int]:
        """A square of whole px: left, top, right, bottom."""
        if (key[0], key[1], camera.name) in self.lacks:
            return (0, 0, 0, 0)
        px = camera.project(self.position[key])
        low, high = px.min(axis=0) - 25, px.max(axis=0) + 25
        side = int(np.ceil((high - low).max()))
        left, top = (int(value) for value in np.rint((low + high - side) / 2))
        return left, top, left + side, top + side

    def labels(self) -> Path:
        """The published label file, as numpy pickles it."""
        cameras = np.empty(
            (7, 4), dtype=[("R", "f4", (3, 3)), ("t", "f4", (3, 1)), ("K", "f4", (3, 3)), ("dist", "f4", 5)]
        )
        for s, subject in enumerate(self.subjects):
            for c, camera in enumerate(self.cameras[subject]):
                cameras["R"][s, c], cameras["t"][s, c] = camera.R, camera.t[:, None]
                cameras["K"][s, c], cameras["dist"][s, c] = camera.K, DIST * (1 + 0.1 * c)
        table = np.empty(
            len(self.position),
            dtype=[
                ("subject_idx", "i1"),
                ("action_idx", "i1"),
                ("frame_idx", "i2"),
                ("keypoints", "f4", (17, 3)),
                ("bbox_by_camera_tlbr", "i2", (4, 4)),
            ],
        )
        for row, (key, position) in zip(table, self.position.items(), strict=True):
            row["subject_idx"], row["action_idx"] = self.subjects.index(key[0]), self.actions.index(key[1])
            row["frame_idx"], row["keypoints"] = key[2], position
            boxes = [self.box(key, camera) for camera in self.cameras[key[0]]]
            row["bbox_by_camera_tlbr"] = [(top, left, bottom, right) for left, top, right, bottom in boxes]
        document: dict[str, Any] = {
            "subject_names": list(self.subjects),
            "camera_names": list(NAMES),
            "action_names": list(self.actions),
            "cameras": cameras,
            "table": table,
        }
        path = self.folder / "human36m-multiview-labels-GTbboxes.npy"
        np.save(path, np.array(document, dtype=object))
        return path


class Panoptic:
    """The layout of the data set's toolbox: calibration, scenes, and pictures or videos.

    Args:
        folder: Sequences lie in it.
        names: Of the sequences.
        frames: Of each.
        bodies: In each scene; the second one is in it from the third frame on.
    """

    cameras = ("00_00", "00_03", "00_07")

    def __init__(self, folder: Path, names: tuple[str, ...], frames: range, bodies: int = 1) -> None:
        self.folder, self.names, self.frames, self.bodies = folder, names, frames, bodies
        poses = ring(len(self.cameras), 2600, 1300, np.array([0, 0, 900.0]))
        self.rig = tuple(
            Camera(name, (480, 270), np.array([[260.0, 0, 240], [0, 260, 135], [0, 0, 1]]), DIST, vector_of(R), t)
            for name, (R, t) in zip(self.cameras, poses, strict=True)
        )
        for name in names:
            self.calibration(name)

    def position(self, frame: int, number: int) -> np.ndarray:
        """(19, 3) mm, z upwards; number is the body's."""
        return body(19, 100 * number + frame, (300.0 * number, 200.0 * number, 900.0))

    def calibration(self, name: str) -> None:
        nodes = [
            {
                "name": camera.name,
                "type": "hd",
                "resolution": list(camera.size),
                "panel": 0,
                "node": int(camera.name[3:]),
                "K": camera.K.tolist(),
                "distCoef": camera.dist.tolist(),
                # The data set's axes, centimetres.
                "R": (camera.R @ Z_UP).tolist(),
                "t": (camera.t / 10)[:, None].tolist(),
            }
            for camera in self.rig
        ]
        nodes.append(nodes[0] | {"name": "01_01", "type": "vga"})
        (self.folder / name).mkdir(parents=True, exist_ok=True)
        text = json.dumps({"calibDataSource": "made", "cameras": nodes})
        (self.folder / name / f"calibration_{name}.json").write_text(text)

    def scene(self, frame: int, unknown: tuple[int, ...] = ()) -> bytes:
        found = []
        for number in range(self.bodies):
            if number and frame < self.frames[0] + 2:
                continue
            joints = np.column_stack([self.position(frame, number) @ Z_UP / 10, np.full(19, 0.6)])
            joints[list(unknown)] = (0, 0, 0, -1)
            found.append({"id": number, "joints19": joints.ravel().tolist()})
        document = {"version": 0.7, "univTime": 53541.5, "fpsType": "hd_29_97", "bodies": found}
        return json.dumps(document).encode()

    def scenes(self, name: str, unknown: dict[int, tuple[int, ...]] | None = None, packed: bool = False) -> None:
        said = {frame: self.scene(frame, (unknown or {}).get(frame, ())) for frame in self.frames}
        files = {f"hdPose3d_stage1_coco19/body3DScene_{frame:08d}.json": text for frame, text in said.items()}
        if packed:
            with tarfile.open(self.folder / name / "hdPose3d_stage1_coco19.tar", "w") as tar:
                for file, data in files.items():
                    info = tarfile.TarInfo(file)
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
            return
        for file, data in files.items():
            path = self.folder / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)

    def seen(self, camera: Camera, frame: int) -> np.ndarray:
        drawn = picture(camera, self.position(frame, 0))
        for number in range(1, self.bodies):
            other = picture(camera, self.position(frame, number))
            drawn = np.where((other == 60).all(axis=-1, keepdims=True), drawn, other)
        return drawn

    def pictures(self, name: str) -> None:
        for camera in self.rig:
            for frame in self.frames:
                path = self.folder / name / "hdImgs" / camera.name / f"{camera.name}_{frame:08d}.jpg"
                save(path, self.seen(camera, frame))

    def videos(self, name: str, length: int) -> None:
        """HD videos; what they show before the first scene is grey."""
        import av

        folder = self.folder / name / "hdVideos"
        folder.mkdir(parents=True, exist_ok=True)
        for camera in self.rig:
            with av.open(str(folder / f"hd_{camera.name}.mp4"), "w") as file:
                stream = file.add_stream("libx264", rate=30, options={"crf": "10", "preset": "ultrafast"})
                stream.width, stream.height, stream.pix_fmt = *camera.size, "yuv420p"
                for frame in range(length):
                    width, height = camera.size
                    image = np.full((height, width, 3), 60, np.uint8)
                    if frame in self.frames:
                        image = self.seen(camera, frame)
                    for packet in stream.encode(av.VideoFrame.from_ndarray(image, "bgr24")):
                        file.mux(packet)
                for packet in stream.encode():
                    file.mux(packet)


def bare(camera: Camera) -> Camera:
    """Without its lens."""
    return replace(camera, dist=np.zeros(0))
