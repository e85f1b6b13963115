"""A recording that is drawn: four cameras see nine coloured discs walk about.

For trying the whole pipeline where there is no real recording, with the truth beside it. The rig has
real perspective and mild distortion; each joint is a disc of its own hue that always faces the
camera, its centre exactly at the joint's pixel, nearer discs over farther ones, on a grey textured
ground with noise. Written as any rig would be: an H.264 file a camera and a rig TOML.

``python -m capture.drawn FOLDER --frames 120 --rate 30 --seed 0``
"""

from __future__ import annotations

import argparse
import logging
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from calib.camera import Camera
from calib.rig import Rig, write_rig
from rigpose.errors import ConfigError
from rigpose.skeleton import Skeleton

log = logging.getLogger(__name__)

JOINTS = (
    "head",
    "chest",
    "pelvis",
    "left_hand",
    "right_hand",
    "left_knee",
    "right_knee",
    "left_foot",
    "right_foot",
)
SKELETON = Skeleton(
    name="discs",
    joints=JOINTS,
    edges=((0, 1), (1, 2), (1, 3), (1, 4), (2, 5), (5, 7), (2, 6), (6, 8)),
    left_right=((3, 4), (5, 6), (7, 8)),
    root=(2,),
)
SIZE = (640, 480)
N_CAMERAS = 4
DISC_MM = 75.0
CHROMA = 100.0
"""Distance of each colour from grey in the chroma plane of BT.601 (Cb, Cr in units of 1/255)."""

_SUB = 4
_NOISES = 8
_FOCAL_PX = 640.0
_DIST = (-0.12, 0.06, 0.0006, -0.0004, 0.0)


def _hues(n: int) -> UInt8[np.ndarray, "n 3"]:
    """Colours at equal angles and distance in the chroma plane, for that is what survives 4:2:0."""
    # In steps of four hues: joints that follow each other differ much.
    angles = 2 * np.pi * ((np.arange(n) * 4) % n) / n
    cb, cr = CHROMA * np.cos(angles), CHROMA * np.sin(angles)
    bgr = np.stack([1.772 * cb, -0.344136 * cb - 0.714136 * cr, 1.402 * cr], axis=-1)
    middle = 127.5 - (bgr.max(axis=-1) + bgr.min(axis=-1)) / 2
    return np.rint(bgr + middle[:, None]).astype(np.uint8)


COLOURS_BGR = _hues(len(JOINTS))
COLOURS_BGR.flags.writeable = False


@dataclass(frozen=True, slots=True)
class Truth:
    """What was drawn.

    Attributes:
        position_mm: (T, J, 3) world.
        points2d: (T, V, J, 2) px where each disc's centre lies.
        visible: (T, V, J) whether the centre is inside the picture and no nearer disc covers it.
    """

    position_mm: Float[np.ndarray, "T J 3"]
    points2d: Float[np.ndarray, "T V J 2"]
    visible: Bool[np.ndarray, "T V J"]


def walk(n_frames: int, rate: float, seed: int = 0) -> Float[np.ndarray, "T J 3"]:
    """A small figure that walks in a circle of 0.3 m and swings its arms; mm, z up, the floor at 0."""
    rng = np.random.default_rng(seed)
    time = np.arange(n_frames) / rate
    turn = rng.uniform(0, 2 * np.pi) + 2 * np.pi * time / 8
    step = rng.uniform(0, 2 * np.pi) + 2 * np.pi * time * 0.9
    centre = np.stack([300 * np.cos(turn), 300 * np.sin(turn), 620 + 20 * np.cos(2 * step)], axis=-1)
    ahead = np.stack([-np.sin(turn), np.cos(turn), np.zeros_like(turn)], axis=-1)
    left = np.stack([-np.cos(turn), -np.sin(turn), np.zeros_like(turn)], axis=-1)
    up = np.array([0.0, 0.0, 1.0])

    def at(forward: Any, sideways: Any, upward: Any) -> np.ndarray:
        values = (np.broadcast_to(value, time.shape)[:, None] for value in (forward, sideways, upward))
        return centre + sum(value * axis for value, axis in zip(values, (ahead, left, up), strict=True))

    swing = np.sin(step)
    lift = np.maximum(0, np.cos(step)), np.maximum(0, -np.cos(step))
    reach = 1 + 0.3 * np.sin(2 * np.pi * time / 3 + rng.uniform(0, 2 * np.pi))
    joints = (
        at(30 + 15 * np.sin(step), 0, 720 + 10 * np.cos(2 * step)),
        at(10, 0, 420),
        at(0, 0, 0),
        at(-260 * swing, 330 * reach, 130 + 120 * np.abs(swing)),
        at(260 * swing, -330 * reach, 130 + 120 * np.abs(swing)),
        at(160 * swing + 60, 130, -260 + 40 * lift[0]),
        at(-160 * swing + 60, -130, -260 + 40 * lift[1]),
        at(300 * swing, 140, -530 + 110 * lift[0]),
        at(-300 * swing, -140, -530 + 110 * lift[1]),
    )
    return np.stack(joints, axis=1)


def make_rig(seed: int = 0) -> Rig:
    """Four cameras around the volume, 3 m away, none placed quite evenly."""
    rng = np.random.default_rng([seed, 1])
    target = np.array([0.0, 0.0, 700.0])
    cameras = []
    for number in range(N_CAMERAS):
        angle = 2 * np.pi * (number + 0.5) / N_CAMERAS + rng.uniform(-0.15, 0.15)
        distance, height = rng.uniform(2800, 3200), rng.uniform(1100, 1900)
        centre = np.array([distance * np.cos(angle), distance * np.sin(angle), height])
        forward = (target - centre) / np.linalg.norm(target - centre)
        right = np.cross(forward, [0.0, 0.0, 1.0])
        right /= np.linalg.norm(right)
        R = np.stack([right, np.cross(forward, right), forward])
        focal = _FOCAL_PX * rng.uniform(0.97, 1.03)
        K = np.array(
            [[focal, 0, SIZE[0] / 2 + rng.uniform(-6, 6)], [0, focal, SIZE[1] / 2 + rng.uniform(-6, 6)], [0, 0, 1]]
        )
        rvec = cv2.Rodrigues(R)[0].ravel()
        cameras.append(Camera(f"cam{number + 1}", SIZE, K, np.array(_DIST), rvec, -R @ centre, lens="drawn"))
    return Rig(tuple(cameras), {"world": "floor", "made_by": f"capture.drawn, seed {seed}"})


def truth_of(rig: Rig, position_mm: Float[np.ndarray, "T J 3"]) -> tuple[Truth, Float[np.ndarray, "T V J"]]:
    """What each camera sees of the joints, and each disc's radius in px."""
    points = np.stack([camera.project(position_mm) for camera in rig.cameras], axis=1)
    depth = np.stack([(position_mm @ camera.R.T + camera.t)[..., 2] for camera in rig.cameras], axis=1)
    focal = np.array([camera.K[0, 0] for camera in rig.cameras])
    radius = DISC_MM * focal[:, None] / depth
    apart = np.linalg.norm(points[..., :, None, :] - points[..., None, :, :], axis=-1)
    covered = ((apart < radius[..., None, :]) & (depth[..., None, :] < depth[..., :, None])).any(axis=-1)
    inside = ((points >= 0) & (points <= np.array(SIZE) - 1)).all(axis=-1)
    return Truth(position_mm, points, np.asarray(inside & ~covered)), radius


class Drawer:
    """Draws what one camera sees.

    Args:
        camera: The camera.
        seed: Of its ground and its noise.
    """

    def __init__(self, camera: Camera, seed: int) -> None:
        rng = np.random.default_rng(seed)
        width, height = camera.size
        coarse = [
            cv2.resize(
                rng.uniform(-1, 1, (height // step, width // step)), (width, height), interpolation=cv2.INTER_CUBIC
            )
            for step in (8, 40, 160)
        ]
        grey = 112 + 6 * coarse[0] + 12 * coarse[1] + 16 * coarse[2]
        self._ground = cv2.cvtColor(np.clip(grey, 0, 255).astype(np.uint8), cv2.COLOR_GRAY2BGR)
        noises = rng.normal(0, 2.0, (_NOISES, height, width)).round().astype(np.int16)
        # Noise is added as two unsigned pictures, for OpenCV's saturated sums are the fastest there are.
        self._brighter, self._darker = (
            np.repeat(np.clip(sign * noises, 0, 255).astype(np.uint8)[..., None], 3, axis=-1) for sign in (1, -1)
        )
        self._depth_axis = camera.R[2]
        self._depth_offset = camera.t[2]

    def draw(
        self, index: int, position_mm: np.ndarray, points: np.ndarray, radius: np.ndarray
    ) -> UInt8[np.ndarray, "H W 3"]:
        """One picture.

        Args:
            index: Of the frame; chooses the noise.
            position_mm: (J, 3).
            points: (J, 2) px.
            radius: (J,) px.
        """
        image = self._ground.copy()
        fixed = np.rint(points * 2**_SUB).astype(int)
        for start, end in SKELETON.edges:
            cv2.line(image, fixed[start].tolist(), fixed[end].tolist(), (72, 72, 72), 4, cv2.LINE_AA, _SUB)
        depth = position_mm @ self._depth_axis + self._depth_offset
        for joint in np.argsort(-depth):
            # A rim a little darker; both circles share the centre, so the disc's middle is the joint's.
            for scale, light in ((1.0, 0.85), (0.8, 1.0)):
                colour = (COLOURS_BGR[joint] * light).tolist()
                size = round(float(radius[joint] * scale) * 2**_SUB)
                cv2.circle(image, fixed[joint].tolist(), size, colour, cv2.FILLED, cv2.LINE_AA, _SUB)
        noise = (index * 5) % _NOISES
        cv2.add(image, self._brighter[noise], dst=image)
        return cv2.subtract(image, self._darker[noise], dst=image)


class _Writer:
    """An H.264 file, the same bytes for the same pictures."""

    def __init__(self, path: Path, rate: float) -> None:
        self._container: Any = av.open(str(path), "w")
        options = {"preset": "superfast", "crf": "18", "g": "30", "threads": "1"}
        self._stream: Any = self._container.add_stream(
            "libx264", rate=Fraction(rate).limit_denominator(1001), options=options
        )
        self._stream.width, self._stream.height = SIZE
        self._stream.pix_fmt = "yuv420p"

    def add(self, image: np.ndarray) -> None:
        self._container.mux(self._stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))

    def close(self) -> None:
        self._container.mux(self._stream.encode())
        self._container.close()


def draw_recording(folder: str | Path, *, frames: int = 120, rate: float = 30.0, seed: int = 0) -> Truth:
    """Draw a recording into a folder: ``cam1.mp4`` to ``cam4.mp4``, ``rig.toml`` and ``truth.npz``.

    The same arguments give the same files. ``truth.npz`` holds the fields of ``Truth``, ``joints``,
    ``cameras`` and ``rate``.

    Raises:
        ConfigError: The folder holds a recording already, or cannot be written.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(folder, f"cannot be written: {error.strerror}", "choose another folder") from None
    rig = make_rig(seed)
    write_rig(rig, folder / "rig.toml")
    position_mm = walk(frames, rate, seed)
    truth, radius = truth_of(rig, position_mm)
    for number, camera in enumerate(rig.cameras):
        drawer = Drawer(camera, seed * N_CAMERAS + number)
        writer = _Writer(folder / f"{camera.name}.mp4", rate)
        try:
            for index in range(frames):
                writer.add(drawer.draw(index, position_mm[index], truth.points2d[index, number], radius[index, number]))
        finally:
            writer.close()
    np.savez(
        folder / "truth.npz",
        position_mm=truth.position_mm,
        points2d=truth.points2d,
        visible=truth.visible,
        joints=np.array(JOINTS),
        cameras=np.array(rig.names),
        rate=rate,
    )
    return truth


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m capture.drawn",
        description="Draw a recording of four cameras, with its rig and its truth.",
        epilog="Example: python -m capture.drawn /tmp/discs --frames 120 --rate 30 --seed 0",
    )
    parser.add_argument("folder", type=Path, help="where to; nothing in it is overwritten")
    parser.add_argument("--frames", type=int, default=120)
    parser.add_argument("--rate", type=float, default=30.0, help="frames per second")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    if options.frames < 1 or not 1 <= options.rate <= 1000:
        raise ConfigError("--frames, --rate", "must be at least 1, and the rate at most 1000", "give other numbers")
    cv2.setNumThreads(1)
    draw_recording(options.folder, frames=options.frames, rate=options.rate, seed=options.seed)
    log.info("%s: %d frames of %d cameras", options.folder, options.frames, N_CAMERAS)
    return 0


if __name__ == "__main__":
    from rigpose.program import run

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    run(main)
