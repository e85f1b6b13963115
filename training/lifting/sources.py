"""Where the poses of a run come from: files of any format that is known, or the virtual rig's subject."""

from __future__ import annotations

import numpy as np

from capture.labels.poses.reader import read_poses3d
from capture.labels.poses3d import Poses3D, concatenate
from capture.virtual.scenario import load_scenario
from capture.virtual.world import World
from rigpose.errors import ConfigError
from training.lifting.config import AnyPosesSection, FilesSection, VirtualSection

_LEAST_JOINTS = 3


def poses_of(section: AnyPosesSection) -> Poses3D:
    """The poses that a config names; those of which hardly a joint is known are left out.

    Raises:
        ConfigError: A file cannot be read, or files do not go together.
        MissingError: A format needs an extra.
    """
    poses = virtual_poses(section) if isinstance(section, VirtualSection) else _files(section)
    enough = poses.there.sum(axis=1) >= _LEAST_JOINTS
    if not enough.any():
        raise ConfigError("poses", "has no pose with three known joints", "give other files")
    return poses if enough.all() else poses.take(enough)


def _files(section: FilesSection) -> Poses3D:
    said = section.model_dump(exclude={"kind", "files"})
    parts = [read_poses3d(file, **said) for file in section.files]
    return parts[0] if len(parts) == 1 else concatenate(parts)


def virtual_poses(section: VirtualSection) -> Poses3D:
    """Poses of many bodies in motion; each is an animal of its own."""
    scenario = load_scenario(section.scenario)
    times = np.arange(section.poses) / section.rate_hz
    worlds = [World(scenario, (scenario.seed, section.seed + number)) for number in range(section.bodies)]
    return Poses3D(
        skeleton=worlds[0].skeleton,
        position_mm=np.concatenate([world.poses_mm(times) for world in worlds]),
        subject=np.repeat([f"body_{section.seed + number}" for number in range(section.bodies)], section.poses),
        frame=np.tile(np.arange(section.poses), section.bodies),
        rate_hz=section.rate_hz,
        source=f"scenario {scenario.name}",
    )
