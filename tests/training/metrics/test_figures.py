"""All figures together: each is counted where it belongs, nothing is left out without a word, JSON holds it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from capture.virtual.skeletons import HUMAN36M17
from training.metrics import Moment, evaluation, evaluation_of, summary, table
from training.metrics.figures import MEASURES
from training.predict import Prediction

JOINTS = len(HUMAN36M17.joints)


def moments() -> list[Moment]:
    """Two subjects do two actions, each in two takes of five frames."""
    return [
        Moment(subject, action, f"{subject} {action} {take}", frame)
        for subject in ("S9", "S11")
        for action in ("Eating", "Walking")
        for take in (1, 2)
        for frame in range(5)
    ]


def poses(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(40, JOINTS, 3)) * 400


def off_by(mm: np.ndarray) -> np.ndarray:
    """Answers that are off so far along x, all but the root, which is right."""
    shift = np.zeros((40, JOINTS, 3))
    shift[..., 0] = mm[:, None]
    shift[:, list(HUMAN36M17.root)] = 0
    return poses() + shift


class TestEvaluationOf:
    def test_subjects_and_actions_are_told_apart(self) -> None:
        mm = np.array([10.0 * (m.subject == "S9") + 40 * (m.action == "Eating") for m in moments()])
        found = evaluation_of(off_by(mm), poses(), HUMAN36M17, moments())
        share = 16 / 17  # the root is right and counts
        assert found["mpjpe_mm"]["absolute"]["mean"] == pytest.approx(25 * share)
        assert found["mpjpe_mm"]["relative"]["mean"] == pytest.approx(25 * share)
        assert found["subjects"]["S9"]["absolute"]["mean"] == pytest.approx(30 * share)
        assert found["actions"]["Walking"]["absolute"]["mean"] == pytest.approx(5 * share)
        assert found["subjects"]["S11"]["actions"]["Eating"]["relative"]["mean"] == pytest.approx(40 * share)
        assert found["joints"]["pelvis"]["absolute"]["mean"] == pytest.approx(0)
        assert found["joints"]["neck"]["absolute"]["mean"] == pytest.approx(25)
        assert found["sequences"] == 8 and found["subjects"]["S9"]["absolute"]["sequences"] == 4

    def test_actions_count_alike_where_their_frames_do_not(self) -> None:
        kept = [i for i, m in enumerate(moments()) if m.action == "Eating" or m.frame == 0]
        mm = np.array([40.0 * (m.action == "Eating") for m in moments()])
        answer, truth, told = off_by(mm)[kept], poses()[kept], [moments()[i] for i in kept]
        found = evaluation_of(answer, truth, HUMAN36M17, told)
        assert found["mean_over_actions_mm"]["absolute"]["mean"] == pytest.approx(20 * 16 / 17)
        assert found["mpjpe_mm"]["absolute"]["mean"] == pytest.approx(40 * 20 / 24 * 16 / 17)

    def test_what_was_not_solved_is_counted_and_what_is_not_known_is_not(self) -> None:
        answer, truth = off_by(np.full(40, 30.0)), poses()
        answer[:10, 3], truth[:20, 4] = np.nan, np.nan
        found = evaluation_of(answer, truth, HUMAN36M17, moments())
        known = 40 * JOINTS - 20
        assert found["mpjpe_mm"]["absolute"]["n"] == known - 10
        assert found["mpjpe_mm"]["absolute"]["solved"] == pytest.approx((known - 10) / known)
        assert found["joints"][HUMAN36M17.joints[3]]["absolute"]["solved"] == 0.75
        # A joint that was given up is a miss at every threshold.
        near = found["pck"]["absolute"]["mm"]["at"]["150"]
        assert near["mean"] == pytest.approx((known - 10) / known) and near["n"] == known

    def test_an_answer_without_root_has_no_relative_error(self) -> None:
        answer = poses()
        answer[:8, 6] = np.nan
        found = evaluation_of(answer, poses(), HUMAN36M17, moments())["mpjpe_mm"]
        assert found["relative"]["solved"] == 0.8 and found["procrustes"]["solved"] == pytest.approx(1 - 8 / (40 * 17))

    def test_one_take_has_no_interval(self) -> None:
        told = [Moment("a", "walks", "take", frame) for frame in range(40)]
        found = evaluation_of(poses(1), poses(), HUMAN36M17, told)
        assert found["mpjpe_mm"]["absolute"]["interval"] is None
        assert found["mean_over_actions_mm"]["absolute"]["interval"] is None
        assert "interval" in table(found)

    def test_nothing_solved_at_all_is_told_without_a_figure(self) -> None:
        found = evaluation_of(np.full((40, JOINTS, 3), np.nan), poses(), HUMAN36M17, moments())
        assert found["mpjpe_mm"]["absolute"] == {
            "mean": None, "interval": None, "n": 0, "sequences": 0, "median": None, "p95": None, "solved": 0.0,
        }  # fmt: skip
        json.dumps(found, allow_nan=False)
        assert "0.0%" in table(found)

    def test_where_no_place_is_known_nothing_counts(self) -> None:
        found = evaluation_of(poses(), np.full((40, JOINTS, 3), np.nan), HUMAN36M17, moments())
        assert found["extent_mm"] is None and found["mpjpe_mm"]["absolute"]["solved"] is None
        assert found["pck"]["absolute"]["share_of_extent"]["auc"]["n"] == 0
        json.dumps(found, allow_nan=False)
        assert "MPJPE absolute" in table(found)

    def test_a_moment_twice_and_lengths_that_differ_are_errors(self) -> None:
        with pytest.raises(ValueError, match="S9 S9 Eating 1 0 was judged twice"):
            evaluation_of(poses()[:2], poses()[:2], HUMAN36M17, [moments()[0]] * 2)
        with pytest.raises(ValueError, match="40 answers"):
            evaluation_of(poses(), poses(), HUMAN36M17, moments()[1:])
        with pytest.raises(ValueError, match="0 moments"):
            evaluation_of(poses()[:0], poses()[:0], HUMAN36M17, [])


class TestEvaluation:
    def predictions(self) -> list[Prediction]:
        """Two batches, of two and of three views."""
        made = []
        for rows, views in ((slice(0, 25), 2), (slice(25, 40), 3)):
            n = rows.stop - rows.start
            share = np.full((n, views, JOINTS), 0.01 * views)
            share[:, 0, 0] = np.nan
            plain = off_by(np.full(40, 60.0))[rows]
            made.append(Prediction(off_by(np.full(40, 20.0))[rows], plain, poses()[rows], share, np.ones_like(share)))
        return made

    def test_batches_are_one_whatever_their_views(self) -> None:
        found = evaluation(self.predictions(), HUMAN36M17, moments())
        assert found["mpjpe_mm"]["absolute"]["mean"] == pytest.approx(20 * 16 / 17)
        assert found["all_views_alike"]["absolute"]["mean"] == pytest.approx(60 * 16 / 17)
        assert found["error_share"]["mean"] == pytest.approx((25 * 0.02 + 15 * 0.03) / 40)
        assert found["smoothness"]["acceleration_error"]["n"] == 8 * 3 * JOINTS
        assert set(found["mpjpe_mm"]) == set(MEASURES)

    def test_it_says_the_mean_that_the_loop_reports(self) -> None:
        made = self.predictions()
        found, reported = evaluation(made, HUMAN36M17, moments()), summary(made, HUMAN36M17)
        for name, figure in found["mpjpe_mm"].items():
            if f"{name}_mm" in reported:
                assert figure["mean"] == pytest.approx(reported[f"{name}_mm"])
        assert found["mpjpe_mm"]["absolute"]["mean"] == pytest.approx(reported["mpjpe_mm"])
        assert found["mpjpe_mm"]["absolute"]["p95"] == pytest.approx(reported["p95_mm"])

    def test_json_and_table_hold_the_same(self) -> None:
        found = evaluation(self.predictions(), HUMAN36M17, moments())
        again = json.loads(json.dumps(found, allow_nan=False))
        assert table(again) == table(found)
        for word in ("Walking", "S11", "left_knee", "AUC", "mean over actions", f"{20 * 16 / 17:.1f}"):
            assert word in table(found)
