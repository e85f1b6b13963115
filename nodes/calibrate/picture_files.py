"""The pictures of each camera in folders, as users keep them: videos, sub-folders, numbered images, patterns."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from nodes.calibrate.camera_names import known_name, listed
from rigpose.errors import ConfigError

VIDEOS = frozenset({".mp4", ".avi", ".mov", ".mkv", ".m4v", ".mpg", ".mpeg", ".webm", ".wmv", ".ts"})
IMAGES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".pgm", ".ppm", ".webp"})
PLACE = "{camera}"
"""Stands in a pattern where the camera's name does."""


def natural(path: Path) -> list[tuple[int, int, str]]:
    """A key that sorts image9 before image10."""
    words = re.findall(r"\d+|\D+", path.name)
    return [(0, int(word), "") if word.isdigit() else (1, 0, word) for word in words]


def files_of(path: Path, depth: int = 2) -> list[Path]:
    """The images, or the one video, of a camera: a file, or a folder that holds them."""
    if not path.exists():
        raise ConfigError(path, "no such file or folder", "check the path")
    if path.is_file():
        if path.suffix.lower() not in VIDEOS | IMAGES:
            raise ConfigError(path, "is neither a video nor an image", f"videos end in {', '.join(sorted(VIDEOS))}")
        return [path]
    images, videos = _inside(path, IMAGES), _inside(path, VIDEOS)
    if images and videos:
        raise ConfigError(
            path,
            f"holds {len(images)} images and {len(videos)} videos ({listed(file.name for file in videos)})",
            f"say which by a pattern, with {PLACE} where the camera's name stands, that ends in /*{images[0].suffix}",
        )
    if len(videos) > 1:
        raise ConfigError(
            path,
            f"holds {len(videos)} videos: {listed(file.name for file in videos)}",
            "name one of them, or that folder itself where each is a camera",
        )
    if images or videos:
        return images or videos
    below = [folder for folder in sorted(path.iterdir()) if folder.is_dir()] if depth else []
    for folder in below:
        if found := _files_of_or_none(folder, depth - 1):
            return found
    raise ConfigError(path, "holds no video and no images", "name the folder that holds them")


def by_folder(path: Path, cameras: Sequence[str]) -> dict[str, list[Path]]:
    """Cameras in a folder: videos, sub-folders, or groups of numbered images."""
    if path.is_file():
        return {path.stem: files_of(path)}
    videos = _inside(path, VIDEOS)
    if videos:
        return {video.stem: [video] for video in videos}
    images = _inside(path, IMAGES)
    if images:
        return _by_stem(path, images, cameras)
    groups = {}
    for folder in sorted((item for item in path.iterdir() if item.is_dir()), key=natural):
        if not folder.name.startswith(".") and (files := _files_of_or_none(folder, 2)):
            groups[folder.name] = files
    if not groups:
        inside = listed(sorted(item.name for item in path.iterdir())) or "nothing"
        raise ConfigError(
            path,
            f"holds no videos, no images and no folders of them (it holds {inside})",
            "name a folder with one video or one sub-folder for each camera, or use --camera cam1=cam1.mp4",
        )
    return groups


def by_pattern(pattern: str) -> dict[str, list[Path]]:
    """Files whose path fits a pattern with ``{camera}``, by what stands there."""
    wild = str(Path(pattern).expanduser()).replace(PLACE, "*")
    root = Path(wild).anchor or "."
    found = sorted(Path(root).glob(str(Path(wild).relative_to(root)) if Path(wild).anchor else wild), key=natural)
    expression = _expression(str(Path(pattern).expanduser()))
    groups: dict[str, list[Path]] = defaultdict(list)
    for path in found:
        fit = expression.fullmatch(str(path))
        if fit is None:
            continue
        if path.is_dir():
            groups[fit["camera"]] += files_of(path)
        elif path.suffix.lower() in VIDEOS | IMAGES:
            groups[fit["camera"]].append(path)
    if not groups:
        raise ConfigError(pattern, "nothing has such a name", "check it; {camera} stands for each camera's name")
    return {name: groups[name] for name in sorted(groups, key=lambda name: natural(Path(name)))}


def _inside(folder: Path, kinds: frozenset[str]) -> list[Path]:
    try:
        files = [file for file in folder.iterdir() if file.suffix.lower() in kinds and not file.name.startswith(".")]
    except OSError as error:
        raise ConfigError(folder, f"cannot be read: {error.strerror}", "name a folder that you may read") from None
    return sorted((file for file in files if file.is_file()), key=natural)


def _files_of_or_none(folder: Path, depth: int) -> list[Path] | None:
    try:
        return files_of(folder, depth)
    except ConfigError as error:
        if "holds no video" in error.what:
            return None
        raise


def _by_stem(folder: Path, images: list[Path], cameras: Sequence[str]) -> dict[str, list[Path]]:
    """Images of several cameras in one folder, told apart by a known name in theirs, or as left01 and right01."""
    groups: dict[str, list[Path]] = defaultdict(list)
    for image in images:
        groups[known_name(image.stem, cameras)].append(image)
    if len(groups) > 1 and "" not in groups:
        return dict(groups)
    groups.clear()
    for image in images:
        stem = re.sub(r"[\s_.\-]*\d+$", "", image.stem)
        groups[stem].append(image)
    if len(groups) > 1 and len(groups) <= len(images) / 2 and all(groups):
        return dict(groups)
    return {folder.name or "camera": images}


def _expression(pattern: str) -> re.Pattern[str]:
    parts: list[str] = []
    for word in re.split(r"(\{camera\}|\*|\?|\[[^\]]*\])", pattern):
        if word == PLACE:
            parts.append(r"(?P<camera>[^/]+?)" if "(?P<camera>" not in "".join(parts) else "(?P=camera)")
        elif word in ("*", "?"):
            parts.append("[^/]*" if word == "*" else "[^/]")
        elif word.startswith("[") and word.endswith("]"):
            parts.append(word.replace("[!", "[^"))
        else:
            parts.append(re.escape(word))
    return re.compile("".join(parts))
