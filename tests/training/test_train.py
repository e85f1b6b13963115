"""The command: the configs in the repository build and run, with nothing but what training needs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from rigpose.config import load
from rigpose.errors import ConfigError
from tests.training import tiny
from training import train
from training.checkpoint import read_checkpoint
from training.config import TrainingConfig
from training.loop import CHECKPOINT, Trainer

CONFIGS = sorted((tiny.TRAINING / "configs").glob("virtual_*.yaml"))
ONE_STEP = ["steps=1", "stages=[{until: 1.0, size: 64}]", "data.batch_size=1", "validation.samples=1"]


def options(*more: str) -> list[str]:
    return [*more, "--workers", "0", "--device", "cpu", *(part for key in ONE_STEP for part in ("--set", key))]


def test_there_are_configs() -> None:
    assert {"virtual_lite.yaml", "virtual_fly.yaml"} <= {config.name for config in CONFIGS}


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.stem)
def test_each_config_builds_and_runs_one_step(file: Path, tmp_path: Path) -> None:
    trainer = train.prepare(train.arguments(options("--config", str(file), "--logdir", str(tmp_path))))
    before = [parameter.clone() for parameter in trainer.model.parameters()]
    from training.report import Report

    report = Report(trainer.folder)
    trainer.run(report)
    report.close()
    assert (trainer.step, trainer.skipped) == (1, 0)
    assert any(not torch.equal(a, b) for a, b in zip(before, trainer.model.parameters(), strict=True))
    assert read_checkpoint(trainer.folder / CHECKPOINT).step == 1


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.stem)
def test_each_config_trains_on_the_training_scenario_of_its_subject(file: Path) -> None:
    config = load(file, TrainingConfig)
    assert config.data.scenario is not None
    assert config.data.scenario.name.endswith("_train.yaml")
    assert config.data.scenario.is_file()


RUN = """
import importlib.machinery, sys
ALLOWED = {
    "numpy", "torch", "cv2", "yaml", "pydantic", "msgpack", "jaxtyping", "array_api_compat",
    # What these bring with them.
    "pydantic_core", "annotated_types", "typing_extensions", "typing_inspection", "wadler_lindig", "_yaml",
    "sympy", "mpmath", "networkx", "jinja2", "markupsafe", "filelock", "fsspec", "functorch", "torchgen",
    # And the project.
    "rigpose", "calib", "capture", "engine", "training",
}

class Few(importlib.machinery.PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        top = name.partition(".")[0]
        if top in ALLOWED or top in sys.stdlib_module_names or top.startswith("_sysconfigdata"):
            return super().find_spec(name, path, target)
        return None

sys.meta_path = [Few if finder is importlib.machinery.PathFinder else finder for finder in sys.meta_path]
for finder in sys.meta_path:
    assert finder.find_spec("onnx", None) is None and finder.find_spec("scipy", None) is None, finder
from training import train
code = train.main(sys.argv[1:])
loaded = {name.partition(".")[0] for name in sys.modules}
assert not loaded & {"onnx", "onnxruntime", "scipy", "zmq", "av", "tomli_w", "rich", "psutil", "tensorboard"}, loaded
raise SystemExit(code)
"""


@pytest.mark.process
@pytest.mark.slow
def test_training_needs_only_a_few_wheels(root: Path, tmp_path: Path) -> None:
    file = tiny.TRAINING / "configs" / "virtual_lite.yaml"
    arguments = options("--config", str(file), "--logdir", str(tmp_path))
    answer = subprocess.run(
        [sys.executable, "-c", RUN, *arguments], cwd=root, capture_output=True, text=True, timeout=110
    )
    assert answer.returncode == 0, answer.stderr[-2000:]
    assert (tmp_path / "mannequin17" / CHECKPOINT).is_file()


class TestCommand:
    @pytest.fixture
    def config(self, tmp_path: Path) -> Path:
        file = tmp_path / "tiny.yaml"
        file.write_text(yaml.safe_dump(tiny.config().model_dump(mode="json")))
        return file

    def run(self, config: Path, folder: Path, *more: str) -> int:
        return train.main(["--config", str(config), "--logdir", str(folder), "--workers", "0", *more])

    def test_trains_to_the_end_and_says_so(self, config: Path, tmp_path: Path) -> None:
        assert self.run(config, tmp_path, "--set", "validation.every_steps=3") == 0
        assert read_checkpoint(tmp_path / "tiny" / CHECKPOINT).step == 6
        lines = [json.loads(line) for line in (tmp_path / "tiny" / "scalars.jsonl").read_text().splitlines()]
        assert [line["step"] for line in lines if line["kind"] == "val"] == [3, 6]

    def test_goes_on_where_it_stood_and_not_with_another_config(self, config: Path, tmp_path: Path) -> None:
        assert self.run(config, tmp_path, "--set", "steps=6") == 0
        again = train.prepare(train.arguments(["--config", str(config), "--logdir", str(tmp_path), "--workers", "0"]))
        assert isinstance(again, Trainer) and again.step == 6
        with pytest.raises(ConfigError, match="another seed"):
            self.run(config, tmp_path, "--set", "seed=9")

    def test_ends_with_the_time_that_it_is_given(self, config: Path, tmp_path: Path) -> None:
        assert self.run(config, tmp_path, "--set", "steps=100000", "--minutes", "0.03") == 0
        assert 0 < read_checkpoint(tmp_path / "tiny" / CHECKPOINT).step < 1000

    def test_what_cannot_be_is_said_in_one_line(self, config: Path, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="rate"):
            self.run(config, tmp_path, "--set", "optimiser.rate=-1")
        with pytest.raises(ConfigError, match="no such file"):
            self.run(config, tmp_path, "--init", str(tmp_path / "missing.onnx"))
        if not torch.cuda.is_available():
            with pytest.raises(ConfigError, match="no GPU"):
                self.run(config, tmp_path, "--device", "cuda")
