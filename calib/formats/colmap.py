"""COLMAP models: a folder with ``cameras``, ``images`` and ``points3D`` as .txt or .bin.

Each image is one camera of the rig: ``x = K (R X + t)`` with R as a quaternion w, x, y, z. COLMAP
calls the corner of the first pixel (0, 0), its centre (0.5, 0.5): principal points and observations
are half a pixel less here. Its unit is whatever it came to be. ``points3D`` and the observations of
the images serve to try the cameras.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from calib import lens
from calib.camera import Camera
from calib.formats import holding, text
from calib.formats.found import Found, Reading, Views, lens_list
from calib.formats.rotations import numbers, quaternion_of, rvec_of_quaternion
from rigpose.errors import ConfigError

TITLE = "COLMAP"
HOLDS = holding.Holds(title=TITLE, dist=(0, 4, 8), unit="mm", fisheye=True, says_unit=False)
HALF_PX = 0.5
MOST_IMAGES = 4096

# Model: number, name, how many parameters, whether fx and fy are one, fisheye, where the others stand in the lens.
_MODELS = (
    (0, "SIMPLE_PINHOLE", 3, True, False, ()),
    (1, "PINHOLE", 4, False, False, ()),
    (2, "SIMPLE_RADIAL", 4, True, False, (0,)),
    (3, "RADIAL", 5, True, False, (0, 1)),
    (4, "OPENCV", 8, False, False, (0, 1, 2, 3)),
    (5, "OPENCV_FISHEYE", 8, False, True, (0, 1, 2, 3)),
    (6, "FULL_OPENCV", 12, False, False, (0, 1, 2, 3, 4, 5, 6, 7)),
    (8, "SIMPLE_RADIAL_FISHEYE", 4, True, True, (0,)),
    (9, "RADIAL_FISHEYE", 5, True, True, (0, 1)),
)
_BY_NAME = {model[1]: model for model in _MODELS}
_BY_NUMBER = {model[0]: model for model in _MODELS}


@dataclass(frozen=True, slots=True)
class _Lens:
    model: str
    size: tuple[int, int]
    parameters: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class _Image:
    name: str
    lens: int
    quaternion: tuple[float, ...]
    t: tuple[float, ...]
    observed: np.ndarray
    """(n, 3): x, y, and the point's number or -1."""


def recognises(path: Path) -> bool:
    """A folder (or ``sparse/0`` in it) with cameras and images, or one of these files."""
    folder = _folder(path)
    return folder is not None and (path.is_dir() or path.name in ("cameras.txt", "images.txt", "cameras.bin"))


def _folder(path: Path) -> Path | None:
    base = path if path.is_dir() else path.parent
    for folder in (base, base / "sparse" / "0", base / "sparse"):
        if any(all((folder / f"{name}{end}").is_file() for name in ("cameras", "images")) for end in (".txt", ".bin")):
            return folder
    return None


def read_path(path: Path, how: Reading) -> Found:
    """A camera for each image that COLMAP placed.

    Raises:
        ConfigError: A file is broken, a lens model is none of ours, or the unit is not given.
    """
    folder = _folder(path)
    if folder is None:
        raise ConfigError(path, "holds no cameras and images of COLMAP", "give the folder of its model")
    hint = " (COLMAP's scale is free unless it was given positions; `rigpose calibrate origin` sets it)"
    mm = how.millimetres(None, str(folder), hint)
    binary = not (folder / "cameras.txt").is_file()
    reader: type[_Binary] | type[_Text] = _Binary if binary else _Text
    lenses, images, points = reader.lenses(folder), reader.images(folder), reader.points(folder)
    if not images or len(images) > MOST_IMAGES:
        raise ConfigError(folder, f"holds {len(images)} images", "keep one image of each camera of the rig")
    names = _names([image.name for image in images])
    cameras = tuple(_camera(image, name, lenses, mm, folder) for image, name in zip(images, names, strict=True))
    shared = len(images) - len({image.lens for image in images})
    notes: tuple[str, ...] = ("principal points are half a pixel less than in the file: COLMAP counts from the corner",)
    if shared > 0:
        notes += (f"{len(images)} images share {len({i.lens for i in images})} lenses: each image is one camera here",)
    return Found(cameras, {}, notes, _views(images, points, mm))


def _names(paths: list[str]) -> list[str]:
    """Short names: the files', or their folders' where each camera has one."""
    stems = [PurePosixPath(path).stem for path in paths]
    folders = [PurePosixPath(path).parent.name for path in paths]
    if len(set(stems)) == len(stems):
        return stems
    return folders if len(set(folders)) == len(folders) else paths


def _camera(image: _Image, name: str, lenses: dict[int, _Lens], mm: float, folder: Path) -> Camera:
    where = f"{folder}, image {image.name}"
    found = lenses.get(image.lens)
    if found is None:
        raise ConfigError(where, f"has camera {image.lens}, which is not in the model", "export the model again")
    _, _, count, one_focal, fisheye, places = _BY_NAME[found.model]
    values = numbers(found.parameters, where, "params", (count,))
    focal = values[[0, 0]] if one_focal else values[:2]
    rest = values[1 if one_focal else 2 :]
    dist = np.zeros(lens.N_DIST)
    dist[list(places)] = rest[2:]
    K = np.array([[focal[0], 0, rest[0] - HALF_PX], [0, focal[1], rest[1] - HALF_PX], [0, 0, 1]])
    used = max(places, default=-1) + 1
    return Camera(
        name=name,
        size=found.size,
        K=K,
        dist=lens_list(dist[: max(used, 4) if fisheye else used], where),
        rvec=rvec_of_quaternion(image.quaternion, where),
        t=numbers(image.t, where, "t", (3,)) * mm,
        fisheye=fisheye,
    )


def _views(images: list[_Image], points: dict[int, tuple[float, ...]], mm: float) -> Views | None:
    if not points:
        return None
    column = {number: index for index, number in enumerate(points)}
    px = np.full((len(images), len(points), 2), np.nan)
    for view, image in enumerate(images):
        for x, y, number in image.observed:
            if int(number) in column:
                px[view, column[int(number)]] = x - HALF_PX, y - HALF_PX
    if not np.isfinite(px).any():
        return None
    return Views(f"{len(points)} scene points", px, np.array(list(points.values()), dtype=np.float64) * mm)


class _Text:
    @staticmethod
    def _lines(file: Path) -> Iterator[tuple[str, list[str]]]:
        for number, line in enumerate(text.read_text(file).splitlines(), start=1):
            if not line.startswith("#"):
                yield f"{file}, line {number}", line.split()

    @staticmethod
    def lenses(folder: Path) -> dict[int, _Lens]:
        found = {}
        for where, words in _Text._lines(folder / "cameras.txt"):
            if not words:
                continue
            if len(words) < 5 or words[1] not in _BY_NAME:
                known = ", ".join(_BY_NAME)
                raise ConfigError(where, f"lens model {' '.join(words[1:2])} is not known here", f"known: {known}")
            values = numbers([*words[:1], *words[2:]], where, "the camera")
            found[int(values[0])] = _Lens(words[1], (int(values[1]), int(values[2])), tuple(values[3:]))
        return found

    @staticmethod
    def images(folder: Path) -> list[_Image]:
        found = []
        lines = list(_Text._lines(folder / "images.txt"))
        while lines and not lines[-1][1]:
            lines.pop()
        for i in range(0, len(lines), 2):
            where, words = lines[i]
            if len(words) < 10:
                raise ConfigError(where, "is no image line of COLMAP", "export the model again")
            values = numbers(words[:9], where, "the image")
            seen = numbers(lines[i + 1][1], where, "POINTS2D") if i + 1 < len(lines) else np.zeros(0)
            if seen.size % 3:
                raise ConfigError(where, "its points are no triples", "export the model again")
            pose = tuple(values[1:5]), tuple(values[5:8])
            found.append(_Image(" ".join(words[9:]), int(values[8]), *pose, seen.reshape(-1, 3)))
        return found

    @staticmethod
    def points(folder: Path) -> dict[int, tuple[float, ...]]:
        file = folder / "points3D.txt"
        if not file.is_file():
            return {}
        found = {}
        for where, words in _Text._lines(file):
            if words:
                values = numbers(words[:4], where, "the point", (4,))
                found[int(values[0])] = tuple(values[1:])
        return found


class _Binary:
    """The same in little-endian bytes; every count is held against what is left of the file."""

    @staticmethod
    def lenses(folder: Path) -> dict[int, _Lens]:
        stream = _Stream(folder / "cameras.bin")
        found = {}
        for _ in range(stream.count(24)):
            number, model, width, height = stream.take("<iiQQ")
            if model not in _BY_NUMBER:
                raise ConfigError(stream.path, f"lens model {model} is not known here", f"known: {', '.join(_BY_NAME)}")
            known = _BY_NUMBER[model]
            found[number] = _Lens(known[1], (width, height), stream.take(f"<{known[2]}d"))
        return found

    @staticmethod
    def images(folder: Path) -> list[_Image]:
        stream = _Stream(folder / "images.bin")
        found = []
        for _ in range(stream.count(73)):
            _, *pose, camera = stream.take("<i7di")
            name = stream.name()
            dtype = np.dtype([("x", "<f8"), ("y", "<f8"), ("point", "<i8")])
            seen = np.frombuffer(stream.bytes(stream.count(24) * 24), dtype)
            observed = np.stack([seen["x"], seen["y"], seen["point"].astype(np.float64)], axis=-1)
            found.append(_Image(name, camera, tuple(pose[:4]), tuple(pose[4:]), observed))
        return found

    @staticmethod
    def points(folder: Path) -> dict[int, tuple[float, ...]]:
        file = folder / "points3D.bin"
        if not file.is_file():
            return {}
        stream = _Stream(file)
        found: dict[int, tuple[float, ...]] = {}
        for _ in range(stream.count(51)):
            number, x, y, z, *_ = stream.take("<q3d3Bd")
            stream.bytes(stream.count(8) * 8)
            found[number] = (x, y, z)
        return found


class _Stream:
    def __init__(self, path: Path) -> None:
        self.path = path
        self._data = memoryview(text.read_bytes(path))
        self._at = 0

    def bytes(self, count: int) -> memoryview:
        if count > len(self._data) - self._at:
            raise ConfigError(self.path, "is cut off", "copy it again")
        self._at += count
        return self._data[self._at - count : self._at]

    def take(self, form: str) -> tuple:
        return struct.unpack(form, self.bytes(struct.calcsize(form)))

    def count(self, each: int) -> int:
        (count,) = self.take("<Q")
        if count * each > len(self._data) - self._at:
            raise ConfigError(self.path, "is cut off or no file of COLMAP", "copy it again")
        return count

    def name(self) -> str:
        rest = bytes(self._data[self._at : self._at + 4096])
        end = rest.find(b"\0")
        if end < 0:
            raise ConfigError(self.path, "holds a name without an end", "copy it again")
        self._at += end + 1
        return rest[:end].decode("utf-8", errors="replace")


def write_path(cameras: tuple[Camera, ...], metadata: dict[str, object], path: Path) -> tuple[str, ...]:
    """A folder with the text model: one lens and one image (``NAME.png``) a camera, no points.

    Raises:
        ConfigError: The folder holds something, or a lens does not fit.
    """
    lenses, images = [], []
    for number, camera in enumerate(cameras, start=1):
        dist = holding.coefficients(camera, HOLDS)
        model = "OPENCV_FISHEYE" if camera.fisheye else {0: "PINHOLE", 4: "OPENCV", 8: "FULL_OPENCV"}[len(dist)]
        center = camera.K[:2, 2] + HALF_PX
        values = (camera.K[0, 0], camera.K[1, 1], *center, *dist)
        lenses.append(f"{number} {model} {camera.size[0]} {camera.size[1]} {_spaced(values)}")
        pose = _spaced((*quaternion_of(camera.rvec), *camera.t))
        images += [f"{number} {pose} {number} {camera.name}.png", ""]
    holding.new_folder(path)
    holding.write_new(path / "cameras.txt", "\n".join(["# CAMERA_ID MODEL WIDTH HEIGHT PARAMS", *lenses, ""]))
    holding.write_new(path / "images.txt", "\n".join(["# IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME", *images, ""]))
    holding.write_new(path / "points3D.txt", "# POINT3D_ID X Y Z R G B ERROR TRACK\n")
    return holding.dropped(cameras, dict(metadata), HOLDS)


def _spaced(values: tuple) -> str:
    return " ".join(repr(float(value)) for value in values)
