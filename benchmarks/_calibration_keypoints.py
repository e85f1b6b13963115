"""What two networks see of a real person, and scene points that no network has a say in.

The scene points were read off the pictures of the empty rig by hand: four white marks and four bolts on the frame of a
treadmill, the marks refined to their centre of brightness. They fit no network's bias.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from calib.fit import fit_camera
from calib.rig import Rig, read_rig
from capture.frame import Frame, FrameSet
from capture.sources.base import StartClock, create
from engine.assembly import build_pipeline
from engine.config import SystemConfig, load_system
from engine.preflight import load_rig
from nodes.calibrate.detecting import cache_folder
from rigpose.pose import SyncInfo

ROOT = Path(__file__).resolve().parent.parent
NETWORKS = ("movenet_lightning_coco17", "hourglass_heatmap14")
N_FRAMES = 100

_N = float("nan")
SCENE_PX = np.array(
    [  # cam01, cam02, cam03, cam04
        [(319.7, 1337.8), (327.9, 1209.3), (516.5, 1091.1), (889.5, 1069.5)],  # marks
        [(109.7, 1061.0), (442.1, 1041.5), (873.7, 1234.0), (836.6, 1410.5)],
        [(772.5, 1292.9), (763.4, 1271.6), (164.5, 1240.4), (519.7, 1116.9)],
        [(522.4, 1064.5), (794.2, 1085.0), (485.4, 1431.7), (385.2, 1396.2)],
        [(281.0, 1361.0), (285.0, 1215.0), (532.0, 1077.0), (932.0, 1054.0)],  # bolts
        [(67.0, 1055.0), (417.0, 1035.0), (912.0, 1228.0), (884.0, 1428.0)],
        [(793.0, 1277.0), (809.0, 1270.0), (142.0, 1266.0), (488.0, 1135.0)],
        [(514.0, 1034.0), (830.0, 1064.0), (520.0, 1497.0), (_N, _N)],
    ]
).swapaxes(0, 1)
"""(V, 8, 2) px in the pictures of ``human4-balance/calibration/extrinsics``, which have the calibrated size."""


@dataclass(frozen=True, eq=False)
class Keypoints:
    """What a network saw of a recording.

    Attributes:
        network: Its name.
        rig: The given rig, fitted to the pictures.
        px: (V, T, J, 2) raw px; NaN = not seen.
        confidence: (V, T, J) 0 to 1.
    """

    network: str
    rig: Rig
    px: np.ndarray
    confidence: np.ndarray


def balance_keypoints(data: Path, models: Path, network: str) -> Keypoints:
    """The keypoints of the balancing person as the engine sees them, frame for frame; kept for the next run."""
    folder, model = data / "human4-balance", models / f"{network}.onnx"
    config = load_system(
        ROOT / "examples" / "human4.yaml", data=folder, assignments=[f"engine.model={model}", "rate=60"]
    )
    rig = load_rig(config)
    status = [file.stat() for file in (model, *sorted((folder / "videos").iterdir()))]
    told = "|".join(f"{one.st_size}:{one.st_mtime_ns}" for one in status) + str(config) + rig.calibration_id
    kept = cache_folder().parent / "keypoints" / f"{hashlib.sha256(told.encode()).hexdigest()[:32]}.npz"
    if not kept.is_file():
        kept.parent.mkdir(parents=True, exist_ok=True)
        px, confidence, sizes = _seen(config)
        np.savez_compressed(kept, px=px, confidence=confidence, sizes=sizes)
    with np.load(kept, allow_pickle=False) as found:
        fitted = [
            fit_camera(camera, (int(size[0]), int(size[1])), section.fit)
            for camera, size, section in zip(rig.cameras, found["sizes"], config.cameras.values(), strict=True)
        ]
        return Keypoints(network, rig.with_cameras(fitted), found["px"], found["confidence"])


def _seen(config: SystemConfig) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Keypoints, confidences, and the sizes of the pictures (V, 2)."""
    pipeline, _ = build_pipeline(config)
    px = np.full((pipeline.n_views, N_FRAMES, len(pipeline.document.skeleton.joints), 2), np.nan)
    confidence = np.zeros(px.shape[:-1])
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    sources = [create(name, section.source, lossless=True) for name, section in config.cameras.items()]
    try:
        for source in sources:
            source.open(StartClock.now(60))
        sizes = np.array([source.size for source in sources])
        for tick in range(N_FRAMES):
            frames: list[Frame | None] = [source.read() for source in sources]
            sync = SyncInfo("trigger", 0, tick)
            poses = pipeline.process(FrameSet(config.camera_names, tuple(frames), sync, 0, tick))
            for pose in poses.subjects[:1]:
                if pose.points2d is not None and pose.confidence2d is not None:
                    px[:, tick], confidence[:, tick] = pose.points2d, pose.confidence2d
    finally:
        for source in sources:
            source.close()
        cv2.setNumThreads(before)
    return px, confidence, sizes


def scene_rig(data: Path) -> Rig:
    """The given rig, for the pictures of the scene, which have the calibrated size."""
    return read_rig(data / "human4-balance" / "calibration" / "Calib_qualisys.toml", units="m")
