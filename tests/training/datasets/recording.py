"""Sessions as the recorder keeps them: the virtual rig's pictures, and poses from noisy points that it really saw."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from calib.document import rig_document
from calib.triangulate import residuals, triangulate
from capture.frame import Frame
from capture.message import encode_frame
from capture.pose_wire import META, POSES
from capture.session import SessionWriter
from capture.virtual.scenario import load_scenario
from capture.virtual.world import World
from nodes.recorder import Keeper
from rigpose import codec
from rigpose.pose import NONE, NOT_SEEN, SubjectPose, to_message
from tests.capture.poses import picture, pose_set, subject

SESSION = "session"
RATE = 5.0
NOISE_PX = 0.5
ROOT = Path(__file__).resolve().parents[3]


def world(seed: int = 0) -> World:
    """A person before four cameras of 320 x 240 px."""
    return World(load_scenario(ROOT / "training" / "scenarios" / "demo.yaml"), seed)


def posed(world: World, t_s: float, rng: np.random.Generator, number: int = 0) -> SubjectPose:
    """What an engine says of a moment: a joint is seen by the cameras that nothing hides it from."""
    truth, rig = world.truth(t_s), world.rig.arrays()
    px = truth.points2d + rng.normal(0, NOISE_PX, truth.points2d.shape)
    px[truth.occluded] = np.nan
    seen: np.ndarray = np.asarray(np.isfinite(px).all(axis=-1))
    position = triangulate(px, seen.astype(float), rig)
    made = subject(position, number=number)
    found = np.isfinite(position).all(axis=-1)
    views = (seen << np.arange(len(seen))[:, None]).sum(axis=0)
    return replace(
        made,
        skeleton=world.skeleton.name,
        views=np.where(found, views, 0).astype(np.uint32),
        residual_px=residuals(px, position, rig).astype(np.float32),
        how=np.where(found, made.how, NONE).astype(np.uint8),
        reason=np.where(found, made.reason, NOT_SEEN).astype(np.uint8),
        points2d=px.astype(np.float32),
        confidence2d=np.asarray(seen, np.float32),
    )


def frame(world: World, view: int, seq: int, image: np.ndarray | None, **values: Any) -> Frame:
    """The frame of a camera; each camera began to count at another number."""
    camera = world.rig.cameras[view]
    return picture(camera.name, seq + 10 * view, size=camera.size, rate=RATE, image=image, tick=seq, **values)


def record(
    folder: Path,
    seed: int = 0,
    sets: int = 30,
    *,
    lost: tuple[tuple[int, int], ...] = (),
    change: Any = None,
    file: Path | None = None,
) -> Path:
    """Record a session by the recorder's own means.

    Args:
        folder: Of the sessions.
        seed: Of the world.
        sets: Frame sets, five a second.
        lost: (set, view) whose frame never came.
        change: Makes another subject of each; gets it and the number of the set.
        file: A video that the pictures are in already.
    """
    made, rng = world(seed), np.random.default_rng(seed)
    names = made.rig.names
    with SessionWriter(folder, f"rig{seed}") as writer:
        keeper = Keeper(writer, SESSION, from_start=False)
        skeletons = {made.skeleton.name: made.skeleton.model_dump(mode="json")}
        told = {"type": "meta", "name": "bench", "skeletons": skeletons, "model": {"id": "stick"}}
        keeper.keep(
            [META, codec.pack({**codec.header(SESSION, "engine", "e", 0), **told, "rig": rig_document(made.rig)})]
        )
        for number in range(sets):
            t_s = number / RATE
            found = posed(made, t_s, rng)
            if change is not None:
                found = change(found, number)
            frames: list[tuple[str, int] | None] = []
            for view in range(len(names)):
                if (number, view) in lost:
                    frames.append(None)
                    continue
                there: dict[str, Any] = {} if file is None else {"video": (str(file), number)}
                sent = frame(made, view, number, made.render(view, t_s) if file is None else None, **there)
                header, image = encode_frame(sent, SESSION, sent.camera, sent.node_epoch, sent.seq)
                keeper.keep([header] if image is None else [header, image.tobytes()])
                frames.append((sent.node_epoch, sent.seq))
            pose = replace(
                pose_set(number, (found,), t_ns=10**9 + round(t_s * 1e9)),
                cameras=names,
                frames=tuple(frames),
                calibration_id=made.rig.calibration_id,
            )
            keeper.keep([POSES, codec.pack(to_message(pose, codec.header(SESSION, "engine", "e", number + 1)))])
        assert keeper.rejected == 0
        writer.close()
    return writer.path
