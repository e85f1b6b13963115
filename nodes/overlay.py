"""A recorded pose over the pictures that it was made from, as one PNG; needs neither Open3D nor a display.

Where the pictures are those of a virtual rig the truth is drawn as well, below the pose.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from calib.camera import Camera
from calib.document import rig_from_document
from capture.session import SessionReader
from capture.sources.pictures import open_pictures
from capture.virtual.scenario import load_scenario
from capture.virtual.world import World
from nodes.scene import SIDE_COLOURS, shown_mm
from rigpose.errors import RigposeError
from rigpose.pose import PoseSet
from rigpose.skeleton import Skeleton

TILE = (640, 480)
TRUTH_COLOUR = (255, 255, 255)
_SHIFT = 4


@dataclass(frozen=True, slots=True)
class _View:
    """One camera's picture of a set."""

    camera: Camera
    picture: UInt8[np.ndarray, "H W 3"] | None
    truth_px: Float[np.ndarray, "J 2"] | None


def write_overlay(session: Path, png: Path) -> int:
    """Draw the last set that holds a pose over the pictures of all its cameras.

    Returns:
        The index of the set.

    Raises:
        RigposeError: The session holds no pose, or cannot be read.
    """
    reader = SessionReader(session)
    index, pose_set = _last_with_pose(reader)
    views = _views(reader, pose_set)
    skeletons = reader.skeletons()
    tiles = [_tile(view, pose_set, skeletons) for view in views]
    columns = int(np.ceil(np.sqrt(len(tiles))))
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % columns)
    rows = [np.hstack(tiles[start : start + columns]) for start in range(0, len(tiles), columns)]
    png.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(png), np.vstack(rows)):
        raise RigposeError(png, "cannot be written", "check the folder, and give a name that ends in .png")
    return index


def _last_with_pose(reader: SessionReader) -> tuple[int, PoseSet]:
    for index in range(reader.n_sets - 1, -1, -1):
        pose_set = reader.pose(index)
        if any(subject.measured.any() for subject in pose_set.subjects):
            return index, pose_set
    raise RigposeError(reader.path, "holds no pose", "there was nobody to be seen, or the model does not fit")


def _views(reader: SessionReader, pose_set: PoseSet) -> list[_View]:
    # The meta message has the cameras as fitted to the pictures; the session's own are as calibrated.
    documents = [message["rig"] for message in reader.meta() if message.get("rig")]
    rig = rig_from_document(documents[-1]) if documents else reader.rig()
    sources = {
        view: section["source"]
        for name, section in reader.info.config.get("cameras", {}).items()
        for view in section.get("views") or (name,)
    }
    world = _world(sources)
    truth_mm = None if world is None else world.pose_mm(_seconds(pose_set, reader))
    views = []
    for name, video in zip(pose_set.cameras, pose_set.video or (None,) * len(pose_set.cameras), strict=True):
        camera = rig[name]
        picture = None
        if video is not None:
            picture = _read(Path(video[0]), video[1])
        elif world is not None and name not in pose_set.missing:
            view = [camera.name for camera in world.cameras].index(sources[name].get("camera") or name)
            picture = world.render(view, _seconds(pose_set, reader))
        views.append(_View(camera, picture, None if truth_mm is None else camera.project(truth_mm)))
    return views


def _world(sources: Mapping[str, Mapping[str, Any]]) -> World | None:
    virtual = [source for source in sources.values() if source.get("kind") == "virtual"]
    if not virtual:
        return None
    return World(load_scenario(virtual[0]["scenario"]), virtual[0].get("seed"))


def _seconds(pose_set: PoseSet, reader: SessionReader) -> float:
    rate = float(reader.info.config.get("rate") or 30.0)
    return (pose_set.sync.tick or 0) * round(1e9 / rate) / 1e9


def _read(file: Path, index: int) -> np.ndarray | None:
    pictures = open_pictures(file, "BGR8")
    try:
        return pictures.read(index)
    finally:
        pictures.close()


def _tile(view: _View, pose_set: PoseSet, skeletons: Mapping[str, Skeleton]) -> UInt8[np.ndarray, "H W 3"]:
    width, height = view.camera.size
    scale = min(TILE[0] / width, TILE[1] / height)
    tile = np.full((TILE[1], TILE[0], 3), 20, np.uint8)
    size = (round(width * scale), round(height * scale))
    left, top = (TILE[0] - size[0]) // 2, (TILE[1] - size[1]) // 2
    if view.picture is not None:
        interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        tile[top : top + size[1], left : left + size[0]] = cv2.resize(view.picture, size, interpolation=interpolation)

    def on_tile(px: np.ndarray) -> np.ndarray:
        return (px + 0.5) * scale - 0.5 + (left, top)

    for subject in pose_set.subjects:
        skeleton = skeletons.get(subject.skeleton)
        if skeleton is None:
            continue
        if view.truth_px is not None and len(view.truth_px) == len(skeleton.joints):
            _draw(tile, on_tile(view.truth_px), skeleton, 1, TRUTH_COLOUR)
        _draw(tile, on_tile(view.camera.project(shown_mm(subject)[0].astype(float))), skeleton, 2, None)
    named = view.camera.name + ("" if view.camera.name not in pose_set.missing else " (missing)")
    cv2.putText(tile, named, (12, 26), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (20, 20, 20), 3, cv2.LINE_AA)
    cv2.putText(tile, named, (12, 26), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (235, 235, 235), 1, cv2.LINE_AA)
    return tile


def _draw(
    tile: np.ndarray, px: np.ndarray, skeleton: Skeleton, width: int, colour: tuple[int, int, int] | None
) -> None:
    """Bones and joints; ``None`` = coloured by side."""
    colours = [tuple(round(255 * part) for part in SIDE_COLOURS[side][::-1]) for side in skeleton.sides]
    seen = np.isfinite(px).all(axis=-1) & (np.abs(np.nan_to_num(px)) < 1e5).all(axis=-1)
    at = np.where(seen[:, None], np.round(np.nan_to_num(px) * 2**_SHIFT), 0).astype(int)
    for a, b in skeleton.edges:
        if seen[a] and seen[b]:
            side = a if skeleton.sides[a] != "middle" else b
            paint = colour or colours[side]
            cv2.line(tile, at[a].tolist(), at[b].tolist(), paint, width, cv2.LINE_AA, _SHIFT)
    for joint in np.flatnonzero(seen):
        paint = colour or colours[joint]
        cv2.circle(tile, at[joint].tolist(), round((1.2 + width) * 2**_SHIFT), paint, -1, cv2.LINE_AA, _SHIFT)
