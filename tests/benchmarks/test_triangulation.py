"""The report says what was measured, and the work of the triangulation benchmark is as hard as it claims."""

import json
import sys

import numpy as np
import pytest

from benchmarks import _report
from benchmarks._report import Peer, PeerProcess, Report, interleaved
from benchmarks.goals import GOALS, goal
from benchmarks.triangulation import JOINTS, OUTLIER_PX, Bench, make_rig, make_work


class TestReport:
    def test_the_figure_is_the_median_and_the_goal_decides(self, tmp_path):
        report = Report.begin("triangulation", quick=True)
        report.add("robust, hard", "time", "ms a frame", [0.1, 0.2, 0.9], peers={"other": Peer(value=3.0, version="1")})
        report.add("robust, clean", "time", "ms a frame", [0.5, 0.6])
        report.add("plain, clean", "time", "ms a frame", [0.5])
        report.write(tmp_path / "out.json")
        document = json.loads((tmp_path / "out.json").read_text())
        assert document["schema"] == 1
        assert {"machine", "versions", "commit", "rows"} <= set(document)
        first, second, third = document["rows"]
        assert (first["ours"], first["goal"], first["met"], first["n"]) == (0.2, 0.3, True, 3)
        assert first["spread"][0] < 0.2 < first["spread"][1]
        assert first["peers"] == {"other": {"value": 3.0, "spread": None, "version": "1"}}
        assert (second["met"], third["goal"], third["met"]) == (False, None, None)

    def test_every_goal_names_the_issue_it_comes_from(self):
        assert all(bar.source.startswith("issue ") for bar in GOALS.values())
        assert goal("engine", "movenet_lightning_coco17", "share") == 10.0
        assert goal("engine", "movenet_lightning_coco17", "cost") is None

    def test_a_missed_goal_is_answered(self, capsys):
        report = Report.begin("triangulation")
        report.add("robust, hard", "time", "ms a frame", [0.5])
        assert _report.finish(report, None) == 1
        assert "NO" in capsys.readouterr().out


class TestInterleaved:
    def test_calls_alternate_and_are_timed_one_by_one(self):
        order = []
        now = iter(range(0, 10**9, 10**6))
        times = interleaved(
            {"a": lambda k: order.append(("a", k)), "b": lambda k: order.append(("b", k))}, 3, clock=lambda: next(now)
        )
        assert order == [("a", 0), ("b", 0), ("a", 0), ("b", 0), ("b", 1), ("a", 1), ("a", 2), ("b", 2)]
        assert times["a"].tolist() == [1.0, 1.0, 1.0]


class TestPeerProcess:
    def test_without_an_environment_it_says_how_to_make_one(self, monkeypatch, tmp_path):
        monkeypatch.setattr(_report, "PEERS_PYTHON", tmp_path / "none")
        with PeerProcess(tmp_path / "peer.py") as peer:
            assert peer.ask(x=1) is None
            assert "make peers" in peer.problem

    @pytest.mark.process
    def test_answers_and_errors_come_back(self, monkeypatch, tmp_path):
        monkeypatch.setattr(_report, "PEERS_PYTHON", __import__("pathlib").Path(sys.executable))
        script = tmp_path / "peer.py"
        script.write_text(
            "from benchmarks._peer_loop import answer_all\n"
            "def twice(question):\n"
            "    print('what a peer prints is no answer')\n"
            "    if question['x'] == 3:\n"
            "        raise ValueError('too much')\n"
            "    return {'y': 2 * question['x']}\n"
            "answer_all('numpy', twice)\n"
        )
        with PeerProcess(script) as peer:
            assert peer.ask(x=1) == {"y": 2, "version": np.__version__}
            assert peer.ask(x=3) is None
            assert peer.problem == "numpy: ValueError: too much"
            assert peer.ask(x=1) is None


class TestWork:
    def test_is_as_hard_as_it_says(self):
        rig = make_rig()
        work = make_work(rig, 200)
        assert work["hard"].shape == (200, 4, JOINTS, 2)
        missing = np.isnan(work["hard"]).any(axis=-1)
        assert 0.09 < missing.mean() < 0.11
        moved = np.linalg.norm(work["hard"] - work["clean"], axis=-1)
        np.testing.assert_allclose(moved[moved > 0], OUTLIER_PX)
        # Three joints of half the frames, but for those that were not seen.
        assert 0.8 * 300 < (moved > 0).sum() <= 300
        assert not (moved[1::2] > 0).any()

    def test_the_robust_rows_solve_it(self, monkeypatch, tmp_path):
        monkeypatch.setattr(_report, "PEERS_PYTHON", tmp_path / "none")
        bench = Bench(quick=True, folder=tmp_path)
        bench.rounds = 40
        ours = {(row.case, row.metric): row.ours or 0.0 for row in bench.run().rows}
        assert ours["robust, hard", "error p95"] < 0.5 * ours["plain, hard", "error p95"]
        assert ours["robust, hard", "solved"] > 98
        assert ours["robust, hard", "time"] > 0
        assert "make peers" in bench.report.notes[0]
