"""The latency benchmark reports every sample that was published, and draws what it reports."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks import _histogram, latency
from benchmarks._histogram import Mark, draw, end_of_axis
from benchmarks._report import Report
from benchmarks.latency import Heard, main, measure, percentile, picture, run_rig
from rigpose.errors import RigposeError
from rigpose.stamps import STAGES
from rigpose.summary import CameraAccount, Skipped, Summary
from tests.capture.poses import STANDING_MM, payload, pose_set, subject


def heard_of(n: int, *, lost: tuple[int, ...] = ()) -> Heard:
    heard = Heard(rate=60.0)
    for index in range(n):
        if index not in lost:
            heard.add(payload(pose_set(index, (subject(STANDING_MM),))))
    heard.summary = Summary(
        fps=58.0,
        sets=n,
        cameras={"cam0": CameraAccount(exposed=n, lost_upstream=0, seen=n, used=n - 2, skipped=Skipped(late=2))},
    )
    return heard


class TestRows:
    def test_each_stage_is_told_from_the_stamps_in_the_messages(self) -> None:
        report = Report.begin("latency")
        case = measure(report, heard_of(400))
        rows = {row.metric: row for row in report.rows}
        assert case == "4 cameras, 60 fps" and {row.case for row in report.rows} == {case}
        assert {name for name in STAGES if f"{name} p50" in rows} == set(STAGES)
        # What tests.capture.poses stamps: received 2 ms after the exposure, grouped 3, inferred 20, solved 21.
        for stage, ms in zip(STAGES, (2, 1, 17, 1, 1, 20, 22), strict=True):
            assert rows[f"{stage} p50"].ours == rows[f"{stage} max"].ours == pytest.approx(ms)
        assert (rows["exposed_to_published p50"].goal, rows["exposed_to_published p50"].met) == (35.0, True)
        assert (rows["exposed_to_published p99"].goal, rows["exposed_to_published p99"].n) == (70.0, 400)
        assert rows["exposed_to_published p99.9"].ours is None, "fewer than three samples lie beyond it"
        assert (rows["fps"].ours, rows["fps"].goal, rows["fps"].met) == (58.0, 28.0, True)
        assert rows["frames skipped"].ours == pytest.approx(0.5)

    def test_messages_that_were_missed_are_told(self) -> None:
        report = Report.begin("latency")
        heard = heard_of(50, lost=(0, 7, 8))
        measure(report, heard)
        assert "3 pose messages did not reach this process" in report.notes
        assert len(heard.stages_ms["received_to_published"]) == 47

    def test_frames_that_are_not_accounted_for_are_told(self) -> None:
        heard = heard_of(10)
        heard.summary = heard.summary.model_copy(
            update={"cameras": {"cam0": CameraAccount(exposed=10, lost_upstream=0, seen=10, used=7)}}
        )
        report = Report.begin("latency")
        measure(report, heard)
        assert "frames of cam0 are not all accounted for" in report.notes

    def test_a_percentile_needs_three_samples_beyond(self) -> None:
        samples = np.arange(1.0, 301.0)
        assert percentile(samples, 99) == pytest.approx(297.01)
        assert percentile(samples[:299], 99) is None


class TestPicture:
    def test_bars_are_as_high_as_they_are_many_and_none_is_left_out(self, tmp_path: Path) -> None:
        samples = np.concatenate([np.full(200, 10.5), np.full(100, 50.5), [500.0, 900.0]])
        file = tmp_path / "a.png"
        draw(file, samples, {"a stage": samples / 2}, [Mark(10.0, "p50")], "title", ["line"])
        image = np.asarray(cv2.imread(str(file)), int)
        assert image.shape[1::-1] == _histogram.SIZE
        end, right = end_of_axis(samples, [Mark(10.0, "p50")]), _histogram.RIGHT - 60
        drawn = np.abs(image - _histogram.BAR).sum(axis=-1) < 60
        heights = []
        for ms in (10.5, 50.5):
            bin_ms = end / 90
            x = _histogram.LEFT + (right - _histogram.LEFT) * (np.floor(ms / bin_ms) + 0.5) * bin_ms / end
            heights.append(drawn[_histogram.TOP : _histogram.BOTTOM, round(x)].sum())
        assert heights[0] / heights[1] == pytest.approx(2.0, rel=0.03)
        beyond = np.abs(image - _histogram.BEYOND).sum(axis=-1) < 60
        assert beyond[_histogram.TOP : _histogram.BOTTOM, -100:].any()

    @pytest.mark.parametrize("scale", [0.01, 1.0, 3000.0])
    def test_the_axis_holds_the_marks_and_nearly_all_samples(self, scale: float) -> None:
        samples = scale * np.random.default_rng(1).gamma(2.0, size=2000)
        end = end_of_axis(samples, [Mark(7 * scale, "goal")])
        assert 7 * scale < end < 25 * scale and (samples > end).mean() < 0.01

    def test_of_a_run(self, tmp_path: Path) -> None:
        report = Report.begin("latency")
        heard = heard_of(400)
        picture(tmp_path / "a.png", report, heard, measure(report, heard))
        assert np.asarray(cv2.imread(str(tmp_path / "a.png"))).std() > 10
        with pytest.raises(RigposeError, match="no pose was heard"):
            picture(tmp_path / "b.png", report, Heard(), "nothing")


@pytest.mark.process
@pytest.mark.slow
class TestRun:
    def test_what_is_heard_is_what_launch_accounts_for(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        heard = []

        def keep(*arguments: object) -> Heard:
            heard.append(run_rig(*arguments))  # type: ignore[arg-type]
            return heard[-1]

        monkeypatch.setattr(latency, "run_rig", keep)
        code = main(["--seconds", "3", "--json", str(tmp_path / "out.json"), "--png", str(tmp_path / "out.png")])
        document = json.loads((tmp_path / "out.json").read_text())
        rows = {row["metric"]: row for row in document["rows"]}
        assert code == (1 if any(row["met"] is False for row in document["rows"]) else 0)
        (run,) = heard
        summary = run.summary.latency_ms
        for stage in STAGES:
            assert rows[f"{stage} p50"]["n"] == summary[stage].n > 50
            assert rows[f"{stage} max"]["ours"] == pytest.approx(summary[stage].max)
            assert rows[f"{stage} p50"]["ours"] == pytest.approx(summary[stage].p50, rel=0.1, abs=0.05)
        assert document["benchmark"] == "latency" and rows["fps"]["case"].startswith("4 cameras, ")
        assert (tmp_path / "out.png").is_file()

    def test_a_rig_that_does_not_start_is_one_line(self) -> None:
        with tempfile.TemporaryDirectory(prefix="rp") as folder:
            with pytest.raises(RigposeError, match="ended with 2: .*no_such_model"):
                run_rig(1.0, Path(folder), ("--model", "no_such_model"))
