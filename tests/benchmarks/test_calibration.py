"""The calibration benchmark measures what it says, and counts faults as it says."""

import json
from dataclasses import replace

import numpy as np
import pytest

from benchmarks import calibration
from benchmarks._calibration_faults import FAULTS, Fault, Line, Said, identical_file, line_of, swapped_file, table_of
from benchmarks._calibration_measure import measure, rms, triangulated
from benchmarks._calibration_synthetic import (
    Errors,
    in_first_frame,
    lenses_of,
    over_seeds,
    scene_of,
    shape_of,
    solve,
    views_of_scene,
)
from benchmarks._report import Report
from calib.quality import Finding


def said(verdict, *findings, culprits=("cam01",), right=False):
    return Said(verdict, findings, culprits, right)


BAD = Finding("bad", ("cam01",), "was moved", "calibrate again")
NOTE = Finding("note", ("cam01",), "was moved", "calibrate again")
OTHER = Finding("bad", ("cam02",), "was moved", "calibrate again")


class TestMeasure:
    def test_the_truth_measures_as_its_noise(self):
        scene = scene_of(3, outliers=0.0)
        found = measure(scene.rig.cameras, scene.px, scene.target_mm)
        assert 0.1 < found.rms_px() < 0.3 * np.sqrt(2)
        assert found.distance_rms_mm() < 2
        exact = measure(scene.rig.cameras, scene.clean_px, scene.target_mm)
        assert exact.rms_px() < 1e-6 and exact.distance_rms_mm() < 1e-5

    def test_a_wrong_rig_measures_worse(self):
        scene = scene_of(3, outliers=0.0)
        first = scene.rig.cameras[0]
        cameras = [replace(first, t=first.t + (200, 0, 0)), *scene.rig.cameras[1:]]
        assert measure(cameras, scene.px, scene.target_mm).rms_px() > 5

    def test_what_one_camera_saw_alone_does_not_count(self):
        scene = scene_of(0)
        px = scene.clean_px.copy()
        px[0] = np.nan
        points, length = triangulated(scene.rig.cameras, px)
        assert np.isnan(points).all() and np.isnan(length).all()

    def test_rms_of_what_is_finite(self):
        assert rms(np.array([3.0, np.nan, 4.0])) == pytest.approx(np.sqrt(12.5))
        assert np.isnan(rms(np.array([np.nan])))


class TestScenes:
    def test_33_seeds_go_through_all_rigs(self):
        assert {shape_of(seed) for seed in range(33)} == {
            (n, kind) for n in range(2, 13) for kind in (False, True, "mixed")
        }

    def test_lenses_tell_nothing_of_places(self):
        for camera in lenses_of(scene_of(2).rig.cameras):
            assert not camera.rvec.any() and not camera.t.any()

    def test_views_are_those_of_the_scene(self):
        scene = scene_of(2)
        views = views_of_scene(scene)
        assert views.px.shape == scene.px.shape and (np.diff(views.frames) >= 20).all()
        assert views.board == "chessboard:7x5:55"

    def test_the_frame_of_the_first_camera(self):
        scene = scene_of(2)
        moved = in_first_frame(scene.rig.cameras)
        np.testing.assert_allclose(moved[0].center_mm, 0, atol=1e-9)
        before = [np.linalg.norm(c.center_mm - scene.rig.cameras[0].center_mm) for c in scene.rig.cameras]
        np.testing.assert_allclose([np.linalg.norm(c.center_mm) for c in moved], before, atol=1e-9)

    def test_seeds_keep_their_order(self):
        assert over_seeds(lambda seed: 2 * seed, [3, 1, 2]) == [6, 2, 4]


class TestSaid:
    def test_a_note_names_nothing(self):
        assert said("bad", BAD).names("moved")
        assert not said("bad", NOTE).names("moved")

    def test_the_wrong_camera_is_no_name(self):
        assert not said("bad", OTHER).names("moved")
        assert said("bad", OTHER, culprits=("cam01", "cam02")).names("moved")
        assert said("bad", OTHER, culprits=()).names("moved")

    def test_the_words_must_be_there(self):
        assert not said("bad", BAD).names("swapped")

    def test_a_camera_is_named_by_its_whole_name(self):
        finding = Finding("bad", (), "cam010 was moved", "")
        assert not said("bad", finding).names("moved")


class TestLine:
    FAULT = Fault("moved", "calibrate", "moved", lambda seed: said("good"))
    GOOD = Fault("none", "calibrate", "", lambda seed: said("good"))

    def test_counts(self):
        line = line_of(
            self.FAULT, [5, 6, 7, 8], [said("bad", BAD), said("bad", OTHER), said("good"), said("good", right=True)]
        )
        assert (line.n, line.named, line.noticed, line.missed) == (4, 2, 1, (7,))
        assert line.verdicts == {"bad": 2, "good": 2}

    def test_a_verdict_without_alarm_names_nothing(self):
        assert line_of(self.FAULT, [0], [said("unverified", BAD)]).named == 0

    def test_false_alarms(self):
        line = line_of(self.GOOD, [0, 1, 2], [said("good"), said("unverified"), said("suspect", BAD)])
        assert (line.alarms, line.missed) == (1, (2,))

    def test_every_fault_of_the_issue_has_a_line(self):
        names = " ".join(fault.name for fault in FAULTS)
        wanted = ("mirrored", "2 deg", "1 %", "disconnected", "time offset", "swapped", "identical")
        assert all(word in names for word in wanted)
        assert sum(fault.good for fault in FAULTS) >= 2

    def test_the_table_has_a_row_for_each(self):
        lines = [line_of(self.FAULT, [0], [said("bad", BAD)]), line_of(self.GOOD, [0], [said("good")])]
        assert table_of(lines).row_count == 2


class TestFaults:
    @pytest.mark.parametrize("seed", [0, 5])
    def test_what_a_file_shows_by_itself(self, seed):
        assert swapped_file(seed).names("swapped")
        assert identical_file(seed).names("identical")

    def test_a_scene_is_solved(self):
        scene = scene_of(2)
        outcome = solve(scene, given=True)
        assert outcome.rig is not None and outcome.verdict == "good"


class TestRows:
    def test_true_deviations_meet_the_goals_and_small_ones_do_not(self, monkeypatch):
        rng = np.random.default_rng(0)
        factor = {"now": 1.0}

        def drawn(seed, *, given):
            z = [factor["now"] * rng.normal(size=300) for _ in range(3)]
            return Errors(seed, "good", z[0], z[1], z[2], worst_mm=1.0, seconds=0.1)

        monkeypatch.setattr(calibration, "errors_of", drawn)
        for factor["now"], met in ((1.0, True), (1.5, False)):
            report = Report.begin("calibration", quick=True)
            for given in (True, False):
                calibration.deviations(report, range(10), 1, given=given)
            judged = [row for row in report.rows if "off" in row.metric]
            assert len(judged) == 4 and all(row.met is met for row in judged)

    def test_without_data_it_says_so(self, monkeypatch):
        monkeypatch.delenv("RIGPOSE_DATA", raising=False)
        report = Report.begin("calibration", quick=True)
        calibration.real(report, "imports", True)
        assert not report.rows and "RIGPOSE_DATA" in report.notes[0]

    def test_a_scene_that_crashes_is_counted_and_takes_no_other_with_it(self, monkeypatch, capsys):
        def broken(seed):
            if seed == 2:
                raise np.linalg.LinAlgError("Singular matrix")
            return said("bad", BAD)

        fault = replace(FAULTS[2], make=broken, words="moved")
        monkeypatch.setattr(calibration, "FAULTS", [fault])
        report = Report.begin("calibration", quick=True)
        line = calibration.fault_line(report, fault, range(4), 1)
        assert line["named"] == 3 and line["verdicts"] == {"bad": 3, "crashed": 1} and line["missed"] == (2,)
        assert any("CRASHED at seeds 2" in note for note in report.notes)
        assert table_of([Line.of(fault, json.loads(json.dumps(line)))]).row_count == 1
        assert "Singular matrix" in capsys.readouterr().err

    @pytest.mark.data
    def test_imports(self, data_dir, tmp_path, capsys, monkeypatch):
        monkeypatch.setenv("RIGPOSE_DATA", str(data_dir))
        path = tmp_path / "out.json"
        assert calibration.main(["--only", "imports", "--json", str(path)]) == 0
        rows = json.loads(path.read_text())["rows"]
        assert [(row["case"], row["met"]) for row in rows] == [
            ("fly7-deepfly3d, imported", True),
            ("mouse6-dannce, imported", True),
        ]
        assert "calibration" in capsys.readouterr().out
