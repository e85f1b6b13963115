"""Pictures of lifters: lifted against triangulated poses, errors joint by joint as violins, and a run's curves."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float
from scipy.stats import gaussian_kde

from training.canvas import INK, LINE, PALE, Colour, Sheet

LIFTED, OTHER = (214, 140, 52), (190, 178, 168)
_SIZE, _LEFT, _RIGHT, _TOP, _BOTTOM = (1200, 560), 80, 1170, 90, 440
_POINTS = 60
_MOST = 4000
_SHOWN = 4


def draw_violins(path: Path, errors: Mapping[str, Float[np.ndarray, "n L"]], joints: Sequence[str], title: str) -> None:
    """Write a picture of how errors are spread, joint by joint; the line across a violin is its median.

    Args:
        path: A PNG file.
        errors: Of one method or two, the first one in colour.
        joints: Their names.
        title: Over it.
    """
    sheet = Sheet(_SIZE)
    sheet.text(_LEFT, 40, title, 21)
    x = float(_LEFT)
    colours: tuple[Colour, ...] = (LIFTED, OTHER)
    for method, colour in zip(errors, colours, strict=False):
        sheet.box(x, 54, x + 14, 68, colour)
        sheet.text(x + 20, 66, method, 13, PALE)
        x += 50 + Sheet.width(method, 13)
    pooled = np.concatenate([e[np.isfinite(e)] for e in errors.values()])
    end = float(np.percentile(pooled, 99.5)) if pooled.size else 1.0
    digits = 10.0 ** np.floor(np.log10(end))
    step = next(f * digits for f in (0.1, 0.2, 0.5, 1, 2) if end / (f * digits) <= 8)

    def up(value: float) -> float:
        return _BOTTOM - (_BOTTOM - _TOP) * min(value, end) / end

    for value in np.arange(0, end + 1e-12, step):
        sheet.box(_LEFT, up(value) - 0.5, _RIGHT, up(value) + 0.5, LINE)
        sheet.text(_LEFT - 8, up(value) + 5, f"{value:g}", 13, PALE, 1.0)
    width = (_RIGHT - _LEFT) / len(joints)
    size = 9 if len(joints) > 16 else 11

    def fits(text: str) -> bool:
        return Sheet.width(text, size) < width - 4

    for place, joint in enumerate(joints):
        middle = _LEFT + width * (place + 0.5)
        for number, (method, colour) in enumerate(zip(errors, colours, strict=False)):
            centre = middle + (number - 0.5 * (len(errors) - 1)) * 0.42 * width
            _violin(sheet, centre, 0.2 * width, errors[method][:, place], colour, up)
        for line, part in enumerate(_split(joint, fits)):
            sheet.text(middle, _BOTTOM + 18 + 14 * line, part, size, INK, 0.5)
    sheet.box(_LEFT, _BOTTOM - 0.5, _RIGHT, _BOTTOM + 1, INK)
    sheet.write(path)


def _split(joint: str, fits: Callable[[str], bool]) -> list[str]:
    """The lines of a name: its words, and those that do not fit parted before their capitals."""
    words = joint.replace("_", " ").replace("(", " ").replace(")", "").split()
    return [part for word in words for part in ([word] if fits(word) else re.split(r"(?<=[a-z])(?=[A-Z])", word))][:3]


def _violin(
    sheet: Sheet, centre: float, half: float, values: np.ndarray, colour: Colour, up: Callable[[float], float]
) -> None:
    values = values[np.isfinite(values)]
    if values.size < 3 or values.std() == 0:
        return
    low, high = np.percentile(values, [0.5, 99.5])
    at = np.linspace(low, high, _POINTS)
    density = gaussian_kde(values[:: max(1, len(values) // _MOST)])(at)
    widths = half * density / density.max()
    for a, b, w in zip(at[:-1], at[1:], widths[:-1], strict=True):
        sheet.box(centre - w, up(float(b)), centre + w, up(float(a)) + 0.5, colour)
    sheet.box(centre - half, up(float(np.median(values))) - 1, centre + half, up(float(np.median(values))) + 1, INK)


def draw_poses(
    path: Path,
    answer: Float[np.ndarray, "n J 3"],
    truth: Float[np.ndarray, "n J 3"],
    edges: Sequence[tuple[int, int]],
    root_of: Sequence[int],
) -> None:
    """Write a picture of a few poses, evenly spaced; grey is triangulated, colour is lifted.

    The upper row is what the camera sees (x to the right, y down), the lower one the same from its side (depth to the
    right). Limbs of several roots stand side by side, each from its own root.

    Args:
        path: A PNG file.
        answer: mm relative to each joint's root, in the camera's axes; NaN = no answer.
        truth: The same of the triangulated pose.
        edges: Bones.
        root_of: Each joint's root.
    """
    rows = np.linspace(0, len(truth) - 1, _SHOWN + 2).round().astype(int)[1:-1]
    width = (_RIGHT - _LEFT) / _SHOWN
    sheet = Sheet((1200, 780))
    sheet.text(_LEFT, 40, "lifted (colour) against triangulated (grey): as the camera sees it, and from its side", 19)
    sheet.text(_LEFT, 74, "camera", 13, PALE)
    sheet.text(_LEFT, 414, "side", 13, PALE)
    roots = sorted(set(root_of))
    size = float(np.nanpercentile(np.abs(truth[rows]), 99.5)) or 1.0
    scale = 0.42 * width / size
    spread = 0.0 if len(roots) == 1 else 0.7 * width / len(roots)
    for column, row in enumerate(rows):
        for level, axes in enumerate(((0, 1), (2, 1))):
            for points, colour, thick in ((truth[row], OTHER, 5.0), (answer[row], LIFTED, 2.0)):
                for a, b in edges:
                    if root_of[a] != root_of[b] or not np.isfinite(points[[a, b]]).all():
                        continue
                    x0 = _LEFT + width * (column + 0.5) + spread * (roots.index(root_of[a]) - 0.5 * (len(roots) - 1))
                    y0 = 235 + 340 * level
                    sheet.line(
                        [(x0 + scale * points[j][axes[0]], y0 + scale * points[j][axes[1]]) for j in (a, b)],
                        colour,
                        thick,
                    )
    sheet.write(path)


def draw_curves(path: Path, train: Sequence[tuple[float, float]], validation: Sequence[tuple[float, float]]) -> None:
    """Write a picture of a run: mm of the training and of the validation part over epochs.

    Args:
        path: A PNG file.
        train: (epoch, mm).
        validation: (epoch, mm).
    """
    sheet = Sheet(_SIZE)
    sheet.text(_LEFT, 40, "distance from the truth over epochs, mm", 21)
    both = [*train, *validation]
    if not both:
        sheet.write(path)
        return
    last = max(epoch for epoch, _ in both)
    end = 1.05 * float(np.percentile([mm for _, mm in both], 98))

    def at(point: tuple[float, float]) -> tuple[float, float]:
        return _LEFT + (_RIGHT - _LEFT) * point[0] / last, _BOTTOM - (_BOTTOM - _TOP) * min(point[1], end) / end

    digits = 10.0 ** np.floor(np.log10(end))
    step = next(f * digits for f in (0.1, 0.2, 0.5, 1, 2) if end / (f * digits) <= 8)
    for value in np.arange(0, end, step):
        y = at((0, value))[1]
        sheet.box(_LEFT, y - 0.5, _RIGHT, y + 0.5, LINE)
        sheet.text(_LEFT - 8, y + 5, f"{value:g}", 13, PALE, 1.0)
    for epoch in np.linspace(0, last, 6):
        sheet.text(at((float(epoch), 0))[0], _BOTTOM + 20, f"{epoch:.0f}", 13, PALE, 0.5)
    for number, (name, points, colour) in enumerate((("training", train, OTHER), ("validation", validation, LIFTED))):
        if len(points) > 1:
            sheet.line([at(point) for point in points], colour, 2.0)
        sheet.box(_LEFT + 160 * number, 54, _LEFT + 160 * number + 14, 68, colour)
        sheet.text(_LEFT + 160 * number + 20, 66, name, 13, PALE)
    sheet.box(_LEFT, _BOTTOM - 0.5, _RIGHT, _BOTTOM + 1, INK)
    sheet.write(path)
