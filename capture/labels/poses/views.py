"""2D points of several cameras and a rig, made into 3D: labels, or what a network found in whole films.

Films (`capture.labels.poses.films`) are a folder with a file a camera; labels are whatever `capture.labels.read_labels`
reads. The rig's camera names stand in the names of files or folders, or ``cameras`` is a pattern. A joint is where the
views that agree place it (`calib.robust`); what a network was not sure of does not count. Individuals are known by
their names, which must be the same in all cameras.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from jaxtyping import Float

from calib.quality import judge
from calib.rig import Rig
from calib.robust import triangulate_robust
from capture.labels.cameras import PLACE, finder, without_camera
from capture.labels.poses import films
from capture.labels.poses.reading import How, made
from capture.labels.poses3d import Poses3D
from capture.labels.reader import find_files, read_labels
from rigpose.errors import ConfigError, RigposeError
from rigpose.skeleton import Skeleton

TITLE = "2D points"
SIGMA_SHARE = 0.01
"""Deviation of a 2D point, as a share of the longer side of what a camera sees of the subject."""
LEAST_SIGMA_PX = 1.0
_DEEPEST = 3
_AT_ONCE = 1000
_ENDING = re.compile(r"(\.analysis)?\.(csv|h5|hdf5|mp4|avi|mov|mkv|png|jpe?g|tiff?)(?=$|#)", re.IGNORECASE)
_SCORER = re.compile(r"DLC_[^/]*(?=\.\w+$)")
"""What DeepLabCut appends to a film's name without anything between."""

Who = tuple[str, str]
"""Recording and individual."""


class _Seen:
    """2D points of one skeleton as they come, by recording, individual, frame and camera."""

    def __init__(self, skeleton: Skeleton, rig: Rig) -> None:
        self.skeleton, self.rig = skeleton, rig
        self._rows: dict[Who, dict[int, int]] = {}
        self._points: list[Float[np.ndarray, "V J 2"]] = []
        self._confidence: list[Float[np.ndarray, "V J"]] = []
        self.cameras: set[str] = set()

    def add(self, who: Who, frame: int, camera: str, points: np.ndarray, confidence: np.ndarray) -> bool:
        """Whether that camera had not seen it before."""
        rows = self._rows.setdefault(who, {})
        if frame not in rows:
            rows[frame] = len(self._points)
            views, joints = len(self.rig), len(self.skeleton.joints)
            self._points.append(np.full((views, joints, 2), np.nan))
            self._confidence.append(np.zeros((views, joints)))
        v = self.rig.names.index(camera)
        self.cameras.add(camera)
        new = bool(np.isnan(self._points[rows[frame]][v]).all())
        self._points[rows[frame]][v], self._confidence[rows[frame]][v] = points, confidence
        return new

    def table(self) -> tuple[list[Who], np.ndarray, np.ndarray, np.ndarray]:
        """Who (T), frame (T,), points (T, V, J, 2) and confidence (T, V, J), each one's frames in rising order."""
        order = [(who, frame, row) for who, rows in self._rows.items() for frame, row in sorted(rows.items())]
        rows = [row for _, _, row in order]
        points, confidence = np.array(self._points)[rows], np.array(self._confidence)[rows]
        return [who for who, _, _ in order], np.array([frame for _, frame, _ in order]), points, confidence


def recognises(path: Path) -> bool:
    """Labels of a format that `capture.labels` knows, or films' points."""
    if _films(path):
        return True
    try:
        find_files(path)
    except RigposeError:
        return False
    return True


def read(path: Path, how: How) -> Poses3D:
    """Triangulated poses with what the cameras saw.

    Raises:
        ConfigError: There is no rig, a bad one, fewer than two of its cameras, or nobody knows who is who.
        MissingError: The format needs an extra.
    """
    if how.rig is None:
        raise ConfigError(path, "holds 2D points, which become poses with a rig alone", "give --rig FILE")
    verdict = judge(how.rig)
    if verdict.verdict == "bad" and not how.accept_bad_rig:
        raise ConfigError("--rig", f"is bad: {verdict.findings[0]}", "calibrate again, or --accept-bad-rig")
    found = _films(path)
    seen, source = _of_films(path, found, how, how.rig) if found else _of_labels(path, how, how.rig)
    if len(seen.cameras) < 2:
        what = f"has points of {', '.join(seen.cameras) or 'no camera'}, and a position takes two of the rig's cameras"
        raise ConfigError(path, what, "give the folder of all cameras' files")
    who, frame, points, confidence = seen.table()
    low = confidence < how.min_confidence
    points, confidence = np.where(low[..., None], np.nan, points), np.where(low, 0.0, confidence)
    if not np.isfinite(points).any():
        raise ConfigError(path, f"has no point of a confidence of {how.min_confidence:g}", "lower --min-confidence")
    rig = how.rig.select(name for name in how.rig.names if name in seen.cameras)
    keep = [how.rig.names.index(name) for name in rig.names]
    points, confidence = points[:, keep], confidence[:, keep]
    sigma = _sigma_px(points)
    position = _positions(points, confidence, rig, sigma)
    seen_twice = (np.isfinite(points[..., 0]).sum(axis=1) >= 2).sum()
    notes = [f"triangulated from {len(rig)} cameras with a deviation of {sigma:.2g} px"]
    share = 1 - np.isfinite(position[..., 0]).sum() / max(seen_twice, 1)
    if seen_twice and share > 0:
        notes.append(f"{100 * share:.1f} % of the joints that two cameras saw are missing: their views disagree")
    return made(
        path,
        skeleton=seen.skeleton,
        position_mm=position,
        rig=rig,
        points2d=points,
        confidence=confidence,
        subject=np.array(_names(who, path, how)),
        frame=frame,
        rate_hz=how.rate(None, path),
        source=f"{TITLE} of {source}",
        notes=tuple(notes),
    )


def _positions(
    points: Float[np.ndarray, "T V J 2"], confidence: Float[np.ndarray, "T V J"], rig: Rig, sigma_px: float
) -> Float[np.ndarray, "T J 3"]:
    """Robust positions, so many moments at a time that long recordings do not fill the memory."""
    arrays = rig.arrays()
    parts = [slice(start, start + _AT_ONCE) for start in range(0, len(points), _AT_ONCE)]
    solved = [triangulate_robust(points[one], confidence[one], arrays, sigma_px=sigma_px) for one in parts]
    return np.concatenate([one.position_mm for one in solved])


def _sigma_px(points: Float[np.ndarray, "T V J 2"]) -> float:
    with np.errstate(invalid="ignore"):
        low = np.where(np.isnan(points), np.inf, points).min(axis=2)
        high = np.where(np.isnan(points), -np.inf, points).max(axis=2)
        side = (high - low).max(axis=-1)
    side = side[np.isfinite(side) & (side > 0)]
    return max(LEAST_SIGMA_PX, SIGMA_SHARE * float(np.median(side))) if len(side) else LEAST_SIGMA_PX


def _names(who: list[Who], path: Path, how: How) -> list[str]:
    """Individuals, or recordings where there are several, or the user's word."""
    recordings = {recording for recording, _ in who}
    individuals = {individual for _, individual in who}
    top = how.subject or path.stem
    if len(recordings) == 1 and len(individuals) == 1:
        return [how.subject or next(iter(individuals)) or top] * len(who)
    names = []
    for recording, individual in who:
        parts = [recording] if len(recordings) > 1 else []
        parts += [individual] if individual else []
        names.append("/".join(parts) or top)
    return names


def _films(path: Path) -> list[Path]:
    if path.is_file():
        return [path] if films.recognises(path) else []
    inside = [
        file
        for file in sorted(path.rglob("*"))
        if file.suffix.lower() in films.SUFFIXES and len(file.relative_to(path).parts) <= _DEEPEST
    ]
    known = [file for file in inside if films.recognises(file)]
    # DeepLabCut writes both: what one of them holds is not read twice.
    return [file for file in known if file.suffix.lower() == ".csv" or file.with_suffix(".csv") not in known]


def _of_films(path: Path, files: list[Path], how: How, rig: Rig) -> tuple[_Seen, str]:
    find = finder(how.cameras or rig.names, path)
    seen: _Seen | None = None
    programs: dict[str, None] = {}
    for file in files:
        stated = _SCORER.sub("", file.relative_to(path).as_posix() if file != path else file.name)
        camera, word = find(stated)
        if camera not in rig.names:
            raise ConfigError(file, f"is of {camera}, which the rig does not know", f"it knows {', '.join(rig.names)}")
        film = films.read(file)
        programs[film.program] = None
        skeleton = how.ordered(film.skeleton, file)
        if seen is None:
            seen = _Seen(skeleton, rig)
        elif seen.skeleton.joints != skeleton.joints:
            raise ConfigError(file, "has other joints than the other cameras' files", "give one skeleton's files")
        recording = _recording(without_camera(stated, word))
        for a, individual in enumerate(film.subjects):
            # Of one animal the name of its track means nothing: another camera may call it otherwise.
            who = recording, individual if len(film.subjects) > 1 else ""
            for t in np.flatnonzero(np.isfinite(film.points[:, a]).any(axis=(1, 2))):
                points, confidence = film.points[t, a], film.confidence[t, a]
                if not seen.add(who, int(film.frame[t]), camera, points, confidence):
                    what = f"and another file have frame {film.frame[t]} of {camera}"
                    raise ConfigError(file, what, "give the files of one recording, or one a camera")
    assert seen is not None
    return seen, ", ".join(programs)


def _of_labels(path: Path, how: How, rig: Rig) -> tuple[_Seen, str]:
    labels = read_labels(path, cameras=how.cameras or rig.names, predictions=how.predictions, category=how.pick)
    strange = [camera for camera in labels.cameras if camera not in rig.names]
    if strange:
        what = f"has pictures of {', '.join(strange)}, which the rig does not know"
        raise ConfigError(path, what, f"it knows {', '.join(rig.names)}; --cameras says which picture is whose")
    seen = _Seen(how.ordered(labels.skeleton, path), rig)
    for number, (moment, frames) in enumerate(labels.moments().items()):
        recording, frame = _place(moment, number)
        alone = all(len(one.points) == 1 for one in frames.values())
        for camera, one in frames.items():
            if not alone and ("" in one.subjects or len(set(one.subjects)) < len(one.subjects)):
                what = f"shows {len(one.points)} subjects, and nothing says who each is"
                raise ConfigError(f"{path}, {one.picture.name}", what, "name individuals in the labels")
            for subject, points, confidence in zip(one.subjects, one.points, one.confidence, strict=True):
                seen.add((recording, "" if alone else subject), frame, camera, points, confidence)
    return seen, labels.format


def _place(moment: str, number: int) -> tuple[str, int]:
    """Recording and frame number of a moment: the last number in its name without an ending, else where it came."""
    digits = list(re.finditer(r"\d+", _ENDING.sub("", moment)))
    if not digits:
        return _recording(moment), number
    return _recording(moment[: digits[-1].start()]), int(digits[-1][0])


def _recording(name: str) -> str:
    """What a file's name says besides the camera and the ending."""
    return re.sub(r"[\W_]+", "_", _ENDING.sub("", name).replace(PLACE, "_")).strip("_")
