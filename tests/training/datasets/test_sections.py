"""Data sets in a config: told by their kind, checked before a run begins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from capture.virtual.skeletons import HUMAN36M17
from rigpose.config import Config, validate
from rigpose.errors import ConfigError
from tests.training.datasets import made
from training.datasets.precalculated import write_precalculated
from training.datasets.sections import (
    AnySection,
    DatasetSection,
    Human36MSection,
    LabelsSection,
    PanopticSection,
    opened,
)


class Holder(Config):
    data: DatasetSection


def section(**keys: Any) -> AnySection:
    return validate({"data": keys}, Holder, "run.yaml").data


def test_kinds_are_told_apart() -> None:
    assert isinstance(section(kind="human36m", labels="l.npy", root="r"), Human36MSection)
    assert isinstance(section(kind="panoptic", root="r", protocol="voxelpose"), PanopticSection)
    assert isinstance(section(kind="labels", root="r"), LabelsSection)
    with pytest.raises(ConfigError, match="run.yaml"):
        section(kind="coco", root="r")
    assert TypeAdapter(DatasetSection).json_schema()


@pytest.mark.parametrize("views", [(0, 4), (3, 2)])
def test_views_are_a_range(views: tuple[int, int]) -> None:
    with pytest.raises(ConfigError, match="the fewest and the most"):
        section(kind="panoptic", root="r", views=views)


def test_what_a_run_needs_is_checked_when_it_is_opened(tmp_path: Path) -> None:
    data = made.Human36M(tmp_path)
    keys = {"kind": "human36m", "labels": str(data.labels()), "root": str(data.root)}
    shots, poses = opened(section(**keys), "val")
    assert len(shots.index) == 5 and poses is None
    file = tmp_path / "val.npz"
    listed = list(shots.index)
    pose = data.position[listed[0]]
    write_precalculated(file, listed[:4], HUMAN36M17.joints, pose[None].repeat(4, axis=0))
    with pytest.raises(ConfigError, match=r"val.npz: lacks 1 of 5 frames: S11 Directions-2 frame 64"):
        opened(section(**keys, precalculated_val=str(file)), "val")
    assert opened(section(**keys, precalculated_val=str(file)), "train")[1] is None
    data.file("S9", "Walking-1", made.NAMES[2], 64).unlink()
    with pytest.raises(ConfigError, match=r"img_000065.jpg: no such picture, one of 1 missing ones of 18"):
        opened(section(**keys), "val")
    with pytest.raises(ConfigError, match="no such folder"):
        opened(section(**(keys | {"root": str(tmp_path / "none")})), "val")
