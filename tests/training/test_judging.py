"""``--eval``: the averaged weights on a whole part of a data set, and from there to a volumetric network's cubes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from rigpose.errors import ConfigError
from tests.training import sets, tiny
from training import judging, train
from training.config import TrainingConfig
from training.datasets.precalculated import read_precalculated, write_precalculated
from training.metrics import Moment
from training.processes import Group
from training.sources import source_of

SIDE_MM = 2500.0


@pytest.fixture(scope="module")
def human(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return sets.section("human36m", tmp_path_factory.mktemp("human"))


def command(config: TrainingConfig, folder: Path, *more: str) -> int:
    file = folder / f"{config.model.name}.yaml"
    file.write_text(yaml.safe_dump(config.model_dump(mode="json")))
    return train.main(["--config", str(file), "--logdir", str(folder), "--workers", "0", "--device", "cpu", *more])


def trained(folder: Path, section: dict[str, Any], **changes: Any) -> TrainingConfig:
    config = sets.config(section, steps=2, **changes)
    assert command(config, folder) == 0
    return config


def test_a_run_is_judged_by_the_command(
    human: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = trained(tmp_path, human)
    assert command(config, tmp_path, "--eval") == 0
    result = json.loads((tmp_path / "tiny" / "eval_val.json").read_text())
    assert (result["frames"], result["step"], result["split"], result["model"]) == (5, 2, "val", "tiny")
    assert set(result["subjects"]) == {"S9", "S11"} and set(result["actions"]) == {"Walking", "Directions"}
    assert result["mpjpe_mm"]["absolute"]["mean"] > 0
    assert "MPJPE absolute" in capsys.readouterr().out
    assert command(config, tmp_path, "--eval", "--eval_dataset", "train") == 0
    assert json.loads((tmp_path / "tiny" / "eval_train.json").read_text())["frames"] == 4


def test_other_weights_can_be_judged(human: dict[str, Any], tmp_path: Path) -> None:
    config = trained(tmp_path, human)
    other = sets.config(human, model=config.model.model_copy(update={"name": "other"}).model_dump())
    with pytest.raises(ConfigError, match="there is nothing to judge"):
        command(other, tmp_path, "--eval")
    assert command(other, tmp_path, "--eval", "--init", str(tmp_path / "tiny" / "checkpoint.pt")) == 0
    assert command(config, tmp_path, "--eval") == 0
    one, two = (json.loads((tmp_path / name / "eval_val.json").read_text()) for name in ("tiny", "other"))
    assert one["mpjpe_mm"] == two["mpjpe_mm"] and "checkpoint.pt" in two["origin"]
    wider = config.model.model_dump() | {"name": "wider", "context": 8}
    with pytest.raises(ConfigError, match="another model"):
        command(sets.config(human, model=wider), tmp_path, "--eval", "--init", str(tmp_path / "tiny" / "checkpoint.pt"))


def test_the_virtual_rig_is_judged_on_its_held_out_worlds(tmp_path: Path) -> None:
    config = tiny.config(steps=1, validation={"samples": 3, "every_steps": 5})
    assert command(config, tmp_path) == 0
    assert command(config, tmp_path, "--eval") == 0
    result = json.loads((tmp_path / "tiny" / "eval_val.json").read_text())
    assert (result["frames"], result["sequences"]) == (3, 3)
    with pytest.raises(ConfigError, match="is for data sets"):
        command(config, tmp_path, "--eval", "--save-results", str(tmp_path / "x.npz"))


def test_how_many_processes_share_it_changes_no_figure(human: dict[str, Any], tmp_path: Path) -> None:
    config = trained(tmp_path, human)
    trainer = sets.trainer(tmp_path / "again", config)

    def answers(group: Group, batch_size: int) -> list[Any]:
        return judging.answers(trainer.average.model, trainer.source, "val", tiny.CPU, batch_size, group=group)

    class Part(Group):
        def gathered(self, mine: list[Any]) -> list[Any]:
            return mine

    whole = answers(Group(), 4)
    parts = sorted([one for rank in range(2) for one in answers(Part(rank, 2), 1)], key=lambda one: one.keys[0])
    assert [one.keys for one in whole] == [one.keys for one in parts]
    for one, other in zip(whole, parts, strict=True):
        assert np.allclose(one.position_mm, other.position_mm, atol=0.5, equal_nan=True)


def test_from_the_poses_of_one_network_to_the_cubes_of_another(human: dict[str, Any], tmp_path: Path) -> None:
    config = trained(tmp_path, human)
    files = {}
    for split in ("train", "val"):
        files[split] = tmp_path / f"{split}.npz"
        words = ("--eval", "--eval_dataset", split, "--save-results", str(files[split]))
        assert command(config, tmp_path, *words) == 0
    source = source_of(config)
    for split in ("train", "val"):
        poses = read_precalculated(files[split])
        poses.require(source.shots(split).index)  # type: ignore[attr-defined]
        assert poses.joints == source.skeleton.joints
    given = human | {f"precalculated_{split}": str(file) for split, file in files.items()}
    model = config.model.model_dump() | {"name": "cubes", "volume": sets.VOLUME | {"side_mm": SIDE_MM}}
    cubes = sets.volumetric(given, model=model, steps=2)
    assert command(cubes, tmp_path) == 0
    assert command(cubes, tmp_path, "--eval") == 0
    assert json.loads((tmp_path / "cubes" / "eval_val.json").read_text())["cubes_about"] == "precalculated"
    # The cube stands where the other network said, so that the answer lies in it.
    trainer = sets.trainer(tmp_path / "again", cubes)
    poses = read_precalculated(files["val"])
    for one in judging.answers(trainer.average.model, trainer.source, "val", tiny.CPU, 2):
        base = poses.base_mm(one.keys[0], trainer.skeleton.root)
        assert np.abs(one.position_mm[0] - base).max() < SIDE_MM / 2

    kept = [key for key in poses.index if key.frame != 64]
    write_precalculated(files["val"], kept, poses.joints, np.stack([poses[key] for key in kept]))
    with pytest.raises(ConfigError, match=r"val.npz: lacks 2 of 5 frames: S9 Walking-1 frame 64; S11 Directions-2"):
        command(cubes, tmp_path, "--eval")


def test_labels_without_a_rig_are_judged_in_2d(tmp_path: Path) -> None:
    section = sets.section("labels without a rig", tmp_path)
    config = trained(tmp_path, section)
    assert command(config, tmp_path, "--eval") == 0
    result = json.loads((tmp_path / "tiny" / "eval_val.json").read_text())
    assert result["error_share"]["mean"] > 0 and result["mpjpe_mm"]["absolute"]["mean"] is None


def test_frames_follow_each_other_as_far_apart_as_they_most_often_are() -> None:
    frames = [0, 64, 128, 192, 500]
    moments = [Moment("S9", "Walking", "S9/Walking-1", frame) for frame in frames]
    moments += [Moment("S9", "Walking", "S9/Walking-2", frame) for frame in (1, 3)]
    assert judging.frame_step(moments) == 64
    assert judging.frame_step([Moment("a", "b", "c", None)] * 3) == judging.frame_step([]) == 1


def test_the_poses_are_those_of_the_averaged_weights(human: dict[str, Any], tmp_path: Path) -> None:
    config = trained(tmp_path, human)
    trainer = train.prepare(
        train.arguments(
            ["--config", str(tmp_path / "tiny.yaml"), "--logdir", str(tmp_path), "--workers", "0", "--eval"]
        )
    )
    assert trainer.config == config
    with torch.no_grad():
        for parameter in trainer.model.parameters():
            parameter.zero_()
    assert judging.answers(trainer.average.model, trainer.source, "val", tiny.CPU, 4)[0].confidence.std() > 0
