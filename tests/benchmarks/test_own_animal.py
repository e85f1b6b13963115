"""What is labelled is what a person could label, and what judges is told the truth about everybody."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks._own_judge import Judge, Recording, pooled
from benchmarks._own_labels import FLIES, MOMENTS, NOISE_PX, SCENARIO, write_project
from benchmarks._report import Report
from benchmarks.own_animal import measure
from calib.rig import read_rig
from capture.labels import Labels, read_labels
from capture.virtual.scenario import load_scenario
from capture.virtual.world import World
from engine.document import find_model

CAMERAS = ("front", "left", "back_left", "back_right", "right")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_project(tmp_path_factory.mktemp("fly"))


@pytest.fixture(scope="module")
def labels(project: Path) -> Labels:
    return read_labels(project, cameras=CAMERAS)


class TestLabels:
    def test_are_a_hundred_pictures_of_five_flies_in_one_rig(self, labels: Labels, project: Path) -> None:
        assert labels.format == "DeepLabCut" and len(labels) == 100 and not labels.missing
        assert set(labels.cameras) == set(CAMERAS) == set(read_rig(project / "rig.toml").names)
        moments = labels.moments()
        assert len(moments) == FLIES * MOMENTS and all(len(frames) == 5 for frames in moments.values())

    def test_are_off_by_two_pixels_and_leave_out_what_is_hidden(self, labels: Labels) -> None:
        scenario = load_scenario(SCENARIO)
        world = World(scenario, seed=(scenario.seed, 2))
        off, agree = [], []
        for frame in labels.frames:
            recording, picture = frame.picture.stated.split("/")[-2:]
            if not recording.startswith("fly3_"):
                continue
            view = scenario.camera_names.index(recording.removeprefix("fly3_"))
            near = int(picture[3:8]) / scenario.rate
            # The file's name tells the moment to 10 ms only: a body joint hardly moves in that.
            points = world.truth(near)
            known = np.isfinite(frame.points[0]).all(axis=-1)
            agree.append(known == ~points.occluded[view])
            body = [0, 5, 10, 16, 17, 18, 19, 24, 29, 35, 36, 37]
            seen = [joint for joint in body if known[joint]]
            off.append((frame.points[0] - points.points2d[view])[seen].ravel())
        assert np.mean(agree) > 0.98
        assert np.std(np.concatenate(off)) == pytest.approx(NOISE_PX, rel=0.12)

    def test_pictures_are_those_of_the_rigs_cameras(self, labels: Labels, project: Path) -> None:
        rig = read_rig(project / "rig.toml")
        for frame, image in labels.images(labels.frames[::20]):
            assert image is not None and image.shape[1::-1] == rig[frame.camera].size


@pytest.fixture(scope="module")
def recording() -> Recording:
    return Judge(find_model("fly38"), threads=1).recording(0, moments=2)


class TestJudge:
    def test_baselines_know_the_recording(self, recording: Recording) -> None:
        judge = Judge(find_model("fly38"), threads=1)
        world = World(judge.scenario, seed=(judge.scenario.seed, 0))
        truth = world.pose_mm(8.3)
        wanted = np.linalg.norm(world.pose_mm(1.0) - truth, axis=-1)
        assert np.allclose(recording.mm["hold"][0], wanted)
        # The mean of many poses is nearer to each than another pose is.
        assert recording.mm["mean"].mean() < recording.mm["hold"].mean()

    def test_judges_all_by_the_same_joints(self, recording: Recording) -> None:
        shapes = {name: np.isfinite(errors) for name, errors in recording.px.items()}
        assert np.array_equal(shapes["ours"], shapes["hold"]) and np.array_equal(shapes["ours"], shapes["mean"])
        assert 0.5 < shapes["ours"].mean() < 0.9
        assert all(np.isfinite(errors).all() for errors in recording.mm.values())

    def test_a_network_that_was_taught_much_more_is_twice_as_good(self, recording: Recording) -> None:
        for part in ("mm", "reprojected_px"):
            ours, hold, mean = (pooled([recording], part, name)[0] for name in ("ours", "hold", "mean"))
            assert ours < 0.5 * hold and ours < 0.5 * mean

    def test_rows_hold_the_ratios_of_the_mean_errors(self, recording: Recording) -> None:
        report = Report.begin("own_animal")
        measure(report, "a case", [recording, recording])
        ratio = {row.metric: row.ours for row in report.rows if row.unit == "x"}
        wanted = recording.mm["ours"].mean() / recording.mm["mean"].mean()
        assert ratio["mm, over the mean pose"] == pytest.approx(wanted)
        assert len(ratio) == 12 and all(row.n for row in report.rows)
