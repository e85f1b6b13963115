"""Several processes share each batch: the steps are those of one process, and what is broken off goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml

from rigpose.errors import ConfigError
from tests.training import sets, tiny
from tests.training.forked import train
from training.checkpoint import read_checkpoint
from training.loop import CHECKPOINT
from training.processes import Group

pytestmark = pytest.mark.timeout(600)
LOSSES = ("total", "heatmap", "point", "position", "confidence", "error_share", "gradient")
ROOT = tiny.TRAINING.parent


class TestGroup:
    def test_parts_are_a_batch_once_and_whole(self) -> None:
        parts = [Group(rank, 3).part(range(9)) for rank in range(3)]
        assert sorted(item for part in parts for item in part) == list(range(9))
        assert Group().part(range(9)) == list(range(9))

    def test_a_batch_that_cannot_be_shared_is_refused(self) -> None:
        assert Group(0, 2).share(8, "data.batch_size") == 4
        with pytest.raises(ConfigError, match="data.batch_size: is 7, which 2 processes"):
            Group(0, 2).share(7, "data.batch_size")

    def test_alone_nothing_is_sent(self) -> None:
        alone = Group()
        assert alone.main and alone.decided([1.5]) == [1.5] and alone.gathered(["a"]) == ["a"]
        assert alone.mean(torch.tensor(2.0, requires_grad=True)).requires_grad is False


def config_file(folder: Path, norm: str, steps: int = 5) -> Path:
    """A small run: four sets a step, view dropout and the 3D loss from the beginning."""
    document = tiny.config(steps=steps).model_dump(mode="json")
    document["model"]["backbone"]["norm"] = "batch" if norm == "frozen" else "group"
    document["optimiser"]["freeze_norm"] = norm == "frozen"
    document["data"]["batch_size"] = 4
    document["loss"] |= {"position_from": 0.0, "position_full": 0.0}
    document["validation"] |= {"samples": 3, "every_steps": steps}
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(document))
    return file


def arguments(config: Path, logdir: Path, *more: str) -> list[str]:
    words = ["--config", str(config), "--logdir", str(logdir), "--workers", "0", "--device", "cpu", "--threads", "1"]
    return [*words, "--report-every", "1", *more]


def torchrun(*words: str) -> list[str]:
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    return [*start, "-m", "training.train", *words]


def lines(logdir: Path, kind: str = "train") -> list[dict[str, float]]:
    text = (logdir / "tiny" / "scalars.jsonl").read_text()
    return [line for line in map(json.loads, text.splitlines()) if line["kind"] == kind]


@pytest.mark.process
@pytest.mark.slow
@pytest.mark.parametrize("norm", ["frozen", "group"])
def test_two_processes_make_the_losses_of_one_step_by_step(norm: str, tmp_path: Path) -> None:
    config = config_file(tmp_path, norm)
    train(*((processes, arguments(config, tmp_path / str(processes))) for processes in (1, 2)))
    one, two = lines(tmp_path / "1"), lines(tmp_path / "2")
    assert [line["step"] for line in one] == [line["step"] for line in two] == [1, 2, 3, 4, 5]
    for alone, shared in zip(one, two, strict=True):
        for key in LOSSES:
            assert shared[key] == pytest.approx(alone[key], rel=1e-5, abs=1e-7), (alone["step"], key)
    # Validation is shared out, unevenly here, and its figures are those of all samples.
    (alone,), (shared,) = lines(tmp_path / "1", "val"), lines(tmp_path / "2", "val")
    assert shared["mpjpe_mm"] == pytest.approx(alone["mpjpe_mm"], rel=1e-4)


@pytest.mark.process
@pytest.mark.slow
def test_a_data_set_is_shared_as_the_virtual_rig_is(tmp_path: Path) -> None:
    """One to four views, one step of four without any 3D loss, so that the volume has no gradient there."""
    human = sets.section("human36m", tmp_path / "data") | {"views": [1, 4]}
    data = {"dataset": human, "batch_size": 4, "workers": 0}
    loss = {"position_from": 0.3, "position_full": 0.5, "least_views": 1}
    run = sets.volumetric(human, data=data, loss=loss, steps=4, optimiser={"freeze_norm": True})
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(run.model_dump(mode="json") | {"validation": {"samples": 5, "every_steps": 4}}))
    runs = ((processes, arguments(file, tmp_path / str(processes))) for processes in (1, 2))
    train(*((processes, [*words, *more]) for processes, words in runs for more in ([], ["--eval"])))
    one, two = lines(tmp_path / "1"), lines(tmp_path / "2")
    assert len(one) == len(two) == 4 and any(line["volume"] > 0 for line in one)
    for alone, shared in zip(one, two, strict=True):
        for key in (*LOSSES, "volume"):
            assert shared[key] == pytest.approx(alone[key], rel=1e-5, abs=1e-7, nan_ok=True), (alone["step"], key)
    judged = [json.loads((tmp_path / str(number) / "tiny" / "eval_val.json").read_text()) for number in (1, 2)]
    means = [result["mpjpe_mm"]["absolute"]["mean"] for result in judged]
    assert means[0] == pytest.approx(means[1], rel=1e-4)


@pytest.mark.process
@pytest.mark.slow
def test_killed_and_begun_again_two_processes_end_with_the_weights_of_an_unbroken_run(tmp_path: Path) -> None:
    config = config_file(tmp_path, "group", steps=8)
    broken = tmp_path / "broken"
    process = subprocess.Popen(
        torchrun(*arguments(config, broken, "--checkpoint-s", "0")),
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    end = time.monotonic() + 200
    try:
        while time.monotonic() < end and not (broken / "tiny" / CHECKPOINT).is_file():
            assert process.poll() is None
            time.sleep(0.01)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)
    assert 1 <= read_checkpoint(broken / "tiny" / CHECKPOINT).step < 8
    train(*((2, arguments(config, folder)) for folder in (tmp_path / "whole", broken)))
    ends = [read_checkpoint(folder / "tiny" / CHECKPOINT) for folder in (tmp_path / "whole", broken)]
    assert ends[0].step == ends[1].step == 8
    for part in ("weights", "average"):
        first, second = (getattr(one, part) for one in ends)
        assert all(torch.equal(value, second[key]) for key, value in first.items())


@pytest.mark.process
def test_a_batch_that_two_cannot_share_is_one_line(tmp_path: Path) -> None:
    config = config_file(tmp_path, "group")
    words = torchrun(*arguments(config, tmp_path / "logs", "--set", "data.batch_size=3"))
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert done.returncode != 0
    assert "data.batch_size: is 3, which 2 processes cannot share evenly (give a multiple)" in done.stderr
