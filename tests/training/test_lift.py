"""The command: the configs are read, a run leaves a lifter that works, and Ctrl-C and mistakes are told."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from calib.rig import write_rig
from engine.lift import Lifter
from engine.models import lifter_graph
from rigpose.config import load
from rigpose.errors import ConfigError
from tests.engine.lifters import RIG
from tests.training import exported, tiny
from tests.training.lifting.made import SKELETON, poses
from training import adapt, lift
from training.lifting.config import LiftConfig

CONFIGS = sorted((tiny.TRAINING / "configs").glob("lift_*.yaml"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Poses of four animals with a rig, and a config."""
    path = tmp_path_factory.mktemp("lift")
    made = poses(40, animals=4)
    np.savez(
        path / "poses.npz",
        position_mm=made.position_mm,
        joints=np.array(SKELETON.joints),
        edges=np.array(SKELETON.edges),
        subject=made.subject,
        frame=made.frame,
        rate_hz=100.0,
    )
    write_rig(RIG, path / "rig.toml")
    (path / "lift.yaml").write_text(
        "version: 1\n"
        "network: {name: legs, kind: liftpose, width: 16, roots: legs}\n"
        "poses: {files: [poses.npz], rig: rig.toml}\n"
        "view: {cameras: [pin]}\n"
        "noise: {px: [1.0, 1.0]}\n"
        "learning: {epochs: 3, batch_size: 16}\n"
    )
    return path


@pytest.fixture(autouse=True, scope="module")
def exported_once():
    """Judged again, a run exports the same weights again."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lifter_graph, "as_onnx", exported.lifter_as_onnx)
        yield


@pytest.fixture(scope="module")
def trained(folder, exported_once):
    assert lift.main(["--config", str(folder / "lift.yaml"), "--logdir", str(folder / "logs"), "--threads", "1"]) == 0
    return folder / "logs" / "legs"


def arguments(folder, *more):
    return ["--config", str(folder / "lift.yaml"), "--logdir", str(folder / "logs"), "--threads", "1", *more]


def test_there_are_configs():
    assert len(CONFIGS) >= 3


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.stem)
def test_a_config_of_the_repository_is_read(file, tmp_path):
    assert load(file, LiftConfig, variables={"data": str(tmp_path)}).network.name


@pytest.mark.slow
@pytest.mark.timeout(900)  # exporting takes half a minute, more where others work too
class TestRun:
    def test_leaves_a_lifter_and_its_figures(self, trained):
        result = json.loads((trained / "eval_test.json").read_text())
        assert result["test"]["n"] > 0 and result["train_poses"] == 80 and result["best_epoch"] >= 1
        lifter = Lifter.load(trained / "lifter.onnx")
        assert lifter.document.domain == "real" and lifter.document.needs_all and len(lifter.document.roots) == 2
        assert 300 < lifter.document.size_mm < 1200 and 0 < lifter.document.size_spread < 0.3
        px = np.stack([camera.project(poses(5).position_mm[4]) for camera in RIG.cameras])
        lifted = lifter.lift(px, np.ones((3, 6)), RIG.arrays()).lifted_mm
        assert np.isfinite(lifted).all() and (lifted[:, [0, 3]] == 0).all()

    def test_a_run_that_was_begun_is_not_begun_again(self, folder, trained):
        with pytest.raises(ConfigError, match="is there already") as caught:
            lift.main(arguments(folder))
        assert "--resume" in caught.value.remedy

    def test_another_config_is_not_resumed(self, folder, trained):
        with pytest.raises(ConfigError, match="another noise"):
            lift.main(arguments(folder, "--resume", "--set", "noise.px=[2.0, 2.0]"))

    def test_it_can_be_judged_again(self, folder, trained):
        before = json.loads((trained / "eval_test.json").read_text())
        assert lift.main(arguments(folder, "--eval")) == 0
        assert json.loads((trained / "eval_test.json").read_text())["test"] == before["test"]

    def test_it_is_adapted_to_another_rig(self, folder, trained, tmp_path):
        other = tmp_path / "new.npz"
        made = poses(30, seed=5)
        np.savez(
            other,
            position_mm=made.position_mm * 1.3,
            joints=np.array(SKELETON.joints),
            edges=np.array(SKELETON.edges),
            rig=(folder / "rig.toml").read_text(),
        )
        to = tmp_path / "adapted.onnx"
        common = ["--config", str(folder / "lift.yaml"), "--logdir", str(folder / "logs")]
        assert adapt.main([*common, "--poses", str(other), "--camera", "bent", "--back", "--to", str(to)]) == 0
        px = RIG["bent"].project(1.3 * made.position_mm)
        truth = (1.3 * made.position_mm) @ RIG["bent"].R.T
        roots = [0, 0, 0, 3, 3, 3]
        errors = {}
        for name, file in (("as it is", trained / "lifter.onnx"), ("adapted", to)):
            arrays = RIG.select(["bent"]).arrays()
            answer = Lifter.load(file).run(px[:, None, None], np.ones((30, 1, 1, 6)), arrays)[0][:, 0]
            errors[name] = np.linalg.norm(answer - (truth - truth[:, roots]), axis=-1).mean()
        assert errors["adapted"] < 0.8 * errors["as it is"]
        assert "adapted to new.npz" in Lifter.load(to).document.source


@pytest.mark.slow
@pytest.mark.process
def test_ctrl_c_leaves_a_checkpoint_that_is_resumed(folder, tmp_path):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "training.lift", "--config", str(folder / "lift.yaml"), "--logdir", str(tmp_path)]
    long = ["--set", "learning.epochs=100000"]
    with subprocess.Popen([*command, *long], stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stderr is not None
        scalars = tmp_path / "legs" / "scalars.jsonl"
        ends = time.monotonic() + 100
        while time.monotonic() < ends and not (scalars.is_file() and scalars.stat().st_size):
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=60)[1]
    assert process.returncode == 130 and "Traceback" not in said
    assert (tmp_path / "legs" / "checkpoint.pt").is_file()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("view.cameras=[left]", "the rig has no left"),
        ("network.roots={tail: []}", "has no joint tail"),
        ("split.test=[rat]", "there is no animal rat"),
        ("noise.missing=[0.0, 0.5]", "needs every joint"),
        ("learning.speed=3", "not a key that exists"),
    ],
)
def test_mistakes_are_told_in_one_line(folder, tmp_path, change, said):
    with pytest.raises(ConfigError, match=said.replace("[", r"\[")) as caught:
        lift.main(["--config", str(folder / "lift.yaml"), "--logdir", str(tmp_path), "--set", change])
    assert "\n" not in str(caught.value)
