"""`rigpose train`: what is wrong is one line before anything is trained, and what comes out is a model that runs."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from typer.testing import CliRunner, Result

from calib.rig import write_rig
from capture.labels import read_labels, write_labels
from engine.document import find_model
from engine.graph import compose
from engine.runtimes.onnx import OnnxRuntime
from nodes.cli import app
from rigpose import extras
from rigpose.summary import Summary
from tests.training.datasets.test_labelled import NAMES, labels_in, the_rig
from tests.training.test_own import TINY
from training import own, own_run


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Labels in our own form, and the rig."""
    folder = tmp_path_factory.mktemp("lab")
    write_labels(labels_in(folder, the_rig(), noise_px=0.5), folder / "labels.json")
    write_rig(the_rig(), folder / "rig.toml")
    return folder


def called(lab: Path, *more: str, labels: str = "labels.json") -> Result:
    settings = [part for key in TINY for part in ("--set", key)]
    rig = () if "--no-rig" in more else ("--rig", str(lab / "rig.toml"))
    rest = [part for part in more if part != "--no-rig"]
    return CliRunner().invoke(app, ["train", "--labels", str(lab / labels), *rig, *settings, *rest])


def refused(answer: Result, *parts: str, code: int = 2) -> None:
    assert answer.exit_code == code, answer.stderr
    assert answer.stderr.startswith("rigpose: error: ") and answer.stderr.count("\n") == 1
    for part in parts:
        assert part in answer.stderr, answer.stderr


class TestRefusals:
    def test_no_labels(self, lab: Path, tmp_path: Path) -> None:
        refused(called(lab, "-o", str(tmp_path), labels="nothing.json"), "no such file or folder")
        (tmp_path / "empty").mkdir()
        refused(called(tmp_path, "--no-rig", labels="empty"), "holds no labels that are known here")

    def test_too_few_of_them(self, tmp_path: Path) -> None:
        whole = labels_in(tmp_path, the_rig())
        write_labels(replace(whole, frames=whole.frames[:4]), tmp_path / "few.json")
        answer = called(tmp_path, "--no-rig", "-o", str(tmp_path / "out"), labels="few.json")
        refused(answer, "4 pictures are labelled", "label 10 at least")
        assert not (tmp_path / "out").exists()

    def test_cameras_that_are_not_the_rigs(self, lab: Path, tmp_path: Path) -> None:
        write_rig(the_rig().select(NAMES[:2]), tmp_path / "two.toml")
        answer = called(lab, "--no-rig", "--rig", str(tmp_path / "two.toml"), "-o", str(tmp_path / "out"))
        refused(answer, "is of none of the cameras top, side", "--cameras")
        refused(called(lab, "--cameras", "left,right", "-o", str(tmp_path / "out")), "none of the cameras left, right")

    def test_a_name_that_cannot_be(self, lab: Path, tmp_path: Path) -> None:
        for name, what in (("../mouse", "is no name"), ("mannequin17", "is the name of a shipped network")):
            refused(called(lab, "--model", name, "-o", str(tmp_path / "out")), f"--model {name}: {what}")

    def test_a_beginning_that_is_not_there_or_does_not_fit(self, lab: Path, tmp_path: Path) -> None:
        refused(called(lab, "--init", "elephant", "-o", str(tmp_path / "a")), "elephant", "the zoo has: discs")
        # The shipped network has more channels than this run's.
        refused(called(lab, "-o", str(tmp_path / "b")), "mannequin17.onnx: has ", "of shape")

    def test_a_rig_without_units(self, lab: Path, tmp_path: Path) -> None:
        text = "\n".join(line for line in (lab / "rig.toml").read_text().splitlines() if "units" not in line)
        (tmp_path / "bare.toml").write_text(text)
        answer = called(lab, "--no-rig", "--rig", str(tmp_path / "bare.toml"), "-o", str(tmp_path / "out"))
        refused(answer, "--units")

    def test_an_output_that_is_a_file(self, lab: Path) -> None:
        refused(called(lab, "--model", "mouse", "-o", str(lab / "labels.json")), "labels.json: is a file")

    def test_a_missing_extra_is_named(self, lab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(extras, "is_there", lambda module: module != "torch")
        refused(called(lab), "torch", 'pip install "rigpose[train]"', code=3)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_labels_become_a_model_and_it_says_what_it_is_worth_and_what_to_do_next(lab: Path, tmp_path: Path) -> None:
    answer = called(lab, "--init", "none", "--model", "mouse", "--licence", "CC0-1.0", "-o", str(tmp_path / "m.onnx"))
    assert answer.exit_code == 0, answer.stderr
    said = " ".join(answer.stdout.split())
    for part in (
        *("18 labelled pictures of 3 cameras, 12 joints", "92% of the joints have a place in 3D", "are held out"),
        *("from random weights", "px off the labels in the median", "of the animal's length", "in 3D"),
        *(f"rigpose models add {tmp_path / 'm.onnx'} --name mouse", "rigpose launch RIG.yaml --model mouse"),
        "in fewer than a fifth of the pictures: joint_3",
    ):
        assert part in said, said
    located = find_model(str(tmp_path / "m.onnx"))
    document = located.document
    assert (document.id, document.domain, document.licence) == ("mouse", "real", "CC0-1.0")
    assert document.source.startswith("rigpose train, 1") and "labels.json" in document.source
    size, joints = document.input.size[0], len(document.skeleton.joints)
    out = OnnxRuntime(compose(located, 2), threads=1).run(
        {
            "crops": np.full((1, 2, size, size, 3), 60, np.uint8),
            "crop_to_image": np.tile(np.eye(2, 3, dtype=np.float32), (1, 2, 1, 1)),
            "view_weight": np.ones((1, 2), np.float32),
            **the_rig().select(NAMES[:2]).arrays().astype(np.float32)._asdict(),
        }
    )
    assert out["points2d"].shape == (1, 2, joints, 2) and np.isfinite(out["points2d"]).all() and joints == 12


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.data
@pytest.mark.timeout(500)
def test_labels_of_a_real_mouse_load_train_export_and_run(data_dir: Path, tmp_path: Path, short_folder: Path) -> None:
    """SLEAP's labels of four videos; no accuracy is claimed: the mouse hardly moves, and ten steps teach nothing."""
    mouse = data_dir / "mouse4-sleap"
    found = read_labels(mouse)
    # A dozen moments, so that not all of 480 pictures are decoded.
    chosen = [frame for frame in found.frames if frame.picture.index is not None and frame.picture.index % 10 == 0]
    root = own.gathered(replace(found, frames=tuple(chosen)), tmp_path, None)
    plan = own.plan(root, "mouse", assignments=[*TINY[1:], "stages=[{until: 1.0, size: 64}]", "steps=10"])
    assert plan.taught[0] + plan.held[0] == 48 and set(plan.cameras) == {"back", "mid", "side", "top"}
    assert plan.finder["kind"] == "tiles" and plan.config.data.crop.mirror == 0.5
    trainer = own_run.trainer_of(plan, tmp_path, torch.device("cpu"), None)
    checkpoint = own_run.train(trainer, 5.0, lambda done, what: None, lambda: False)
    assert (trainer.step, trainer.skipped) == (10, 0)
    model = tmp_path / "mouse.onnx"
    own_run.write(checkpoint, model, source="mouse4-sleap", licence="as its training data allows")

    videos = {name: {"kind": "video", "file": str(mouse / name / f"minimal_{name}.mp4")} for name in plan.cameras}
    config = {
        "version": 1,
        "rig": {"file": str(mouse / "calibration.toml"), "units": "mm", "world": "board"},
        "cameras": {name: {"source": source} for name, source in videos.items()},
        "engine": {"model": str(model), "finder": plan.finder},
    }
    (tmp_path / "rig.yaml").write_text(yaml.safe_dump(config))
    summary = tmp_path / "summary.json"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "nodes", "launch", str(tmp_path / "rig.yaml"), "--lossless", "--sets", "8"),
            # That calibration holds the same camera twice, which `calibrate check` says too.
            *("--accept-bad-rig", "--no-record", "--viewer", "none", "--quiet", "--summary", str(summary)),
        ],
        env={**os.environ, "RIGPOSE_RUN": str(short_folder)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = Summary.model_validate_json(summary.read_text())
    assert said.sets == 8 and said.model["id"] == "mouse"
    assert all(camera.used == 8 for camera in said.cameras.values())
