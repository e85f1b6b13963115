"""One picture of a set as a PNG file: what was drawn, made smooth, with names and a caption on it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from capture.session import SessionReader
from nodes.scene import CAMERA_COLOUR, MISSING_COLOUR, SIDE_COLOURS, Surroundings
from nodes.viewpoint import Viewpoint
from rigpose.errors import ConfigError
from rigpose.pose import HOW, PoseSet

FONT = cv2.FONT_HERSHEY_DUPLEX
TEXT = (0.93, 0.94, 0.96)
PALE_TEXT = (0.66, 0.69, 0.74)


def caption(
    reader: SessionReader, pose: PoseSet, index: int, start_ns: int, at_ns: int, scene: Surroundings
) -> list[str]:
    """What the picture shows, line by line."""
    lines = [reader.path.name, f"set {index} of {reader.n_sets}, {(at_ns - start_ns) / 1e9:.2f} s"]
    lines += state(pose)
    if scene.floor is not None:
        lines.append(f"floor grid {length(scene.step_mm)}")
    if scene.drawn_nearer:
        lines.append("cameras are drawn nearer than they are")
    return lines


def state(pose: PoseSet) -> list[str]:
    """Cameras and subjects of a set, line by line."""
    seen = len(pose.cameras) - len(pose.missing)
    cameras = f"{seen} of {len(pose.cameras)} cameras"
    if pose.missing:
        cameras += f", without {', '.join(pose.missing)}"
    lines = [cameras]
    for subject in pose.subjects:
        measured = int(subject.measured.sum())
        residual = np.asarray(subject.residual_px, float)
        text = f"subject {subject.id}: " if len(pose.subjects) > 1 else ""
        text += f"{subject.state}, {measured} of {len(subject.position_mm)} joints"
        if np.isfinite(residual).any():
            text += f", median residual {np.nanmedian(residual):.1f} px"
        lifted = int((np.asarray(subject.how) == HOW.index("lifted")).sum())
        lines.append(text + (f", {lifted} lifted" if lifted else ""))
    if not pose.subjects:
        lines.append("no subject" + (" (incomplete set)" if pose.status == "incomplete" else ""))
    if pose.verdict != "good":
        lines.append(f"the rig file is {pose.verdict}")
    return lines


def length(mm: float) -> str:
    """A length in the unit that fits it."""
    for unit, name in ((1000.0, "m"), (10.0, "cm"), (1.0, "mm")):
        if mm >= unit:
            return f"{mm / unit:g} {name}"
    return f"{mm * 1000:g} um"


def _bgr(colour: tuple[float, float, float]) -> tuple[int, int, int]:
    red, green, blue = (round(255 * value) for value in colour)
    return blue, green, red


def write(
    path: Path,
    pixels: UInt8[np.ndarray, "H W 3"],
    size: tuple[int, int],
    scene: Surroundings,
    eye: Viewpoint,
    pose: PoseSet,
    lines: list[str],
) -> None:
    """Write the picture.

    Args:
        path: The PNG file.
        pixels: RGB, a multiple of the size.
        size: (width, height) px of the file.
        scene: For names.
        eye: Where they belong.
        pose: Which cameras it lacks.
        lines: The caption.

    Raises:
        ConfigError: The file cannot be written.
    """
    image = cv2.resize(cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), size, interpolation=cv2.INTER_AREA)
    unit = min(size) / 960
    for name, corners in zip(scene.cameras, scene.corners_mm, strict=True):
        places = eye.project(corners, size)
        if np.isfinite(places).all():
            colour = MISSING_COLOUR if name in pose.missing else CAMERA_COLOUR
            (width, _), _ = cv2.getTextSize(name, FONT, 0.55 * unit, 1)
            _text(image, name, (places[:, 0].mean() - width / 2, places[:, 1].min() - 10 * unit), 0.55 * unit, colour)
    for row, line in enumerate(lines):
        scale, colour = (0.65, TEXT) if row == 0 else (0.55, PALE_TEXT)
        _text(image, line, (24 * unit, (40 + 26 * row) * unit), scale * unit, colour)
    x = 24 * unit
    for name, colour in SIDE_COLOURS.items():
        y = size[1] - 26 * unit
        cv2.circle(image, (round(x + 6 * unit), round(y - 6 * unit)), round(6 * unit), _bgr(colour), -1, cv2.LINE_AA)
        _text(image, name, (x + 18 * unit, y), 0.5 * unit, PALE_TEXT)
        x += 100 * unit
    if not cv2.imwrite(str(path), image):
        raise ConfigError(path, "cannot be written", "name a file in a folder of yours")


def _text(
    image: np.ndarray, text: str, at: tuple[float, float], scale: float, colour: tuple[float, float, float]
) -> None:
    plain = text.encode("ascii", "replace").decode()
    cv2.putText(image, plain, (round(at[0]), round(at[1])), FONT, scale, _bgr(colour), 1, cv2.LINE_AA)
