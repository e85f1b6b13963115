"""CPU runtimes side by side: each row answers for itself, and one that fails has a note instead of figures."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("torch")

from benchmarks import runtimes  # noqa: E402
from benchmarks._report import Report  # noqa: E402
from benchmarks.runtimes import CASES, REFERENCE, Row, _add  # noqa: E402
from engine import zoo  # noqa: E402
from engine.document import find_model  # noqa: E402
from engine.graph import compose  # noqa: E402


def answers(offset_mm, count=3, joints=38):
    rng = np.random.default_rng(0)
    return [
        {
            "points3d": rng.normal(size=(1, joints, 3)) + [offset_mm, 0, 0], "points2d": np.zeros((1, 4, joints, 2)),
            "confidence": np.ones((1, 4, joints)),
        }
        for _ in range(count)
    ]  # fmt: skip


def test_a_row_has_its_time_its_error_and_how_far_it_is_off(tmp_path):
    report, graph = Report.begin("runtimes"), compose(find_model("fly38"), 4)
    reference, other = (Row(tmp_path, "fly38", way, 1) for way in (REFERENCE, ("openvino", "bf16")))
    reference.times, other.times = [2.0, 4.0], [1.0, 1.0]
    reference.answers, other.answers = answers(0), answers(0.25)
    truth = np.stack([answer["points3d"][0] for answer in answers(0)])
    for row in (reference, other):
        _add(report, CASES[2], row, reference, truth, graph)
    found = {(row.case, row.metric, row.unit): row.ours for row in report.rows}
    assert found["fly38, onnx fp32", "time", "ms a frame set"] == 3.0
    assert found["fly38, openvino bf16", "pictures", "1/s"] == 4000.0
    assert found["fly38, onnx fp32", "MPJPE", "mm"] == 0.0
    assert found["fly38, openvino bf16", "MPJPE", "mm"] == pytest.approx(0.25)
    assert found["fly38, openvino bf16", "off onnx fp32, p99", "mm"] == pytest.approx(0.25)
    assert ("fly38, onnx fp32", "off onnx fp32, p99", "mm") not in found


@pytest.mark.process
def test_a_row_that_fails_has_a_note(tmp_path):
    report, graph = Report.begin("runtimes"), compose(find_model("discs"), 2)
    row = Row(tmp_path, "no_such_model", ("onnx", "fp32"), 1)
    row.run(1)
    assert "no_such_model" in row.problem
    _add(report, CASES[0], row, row, np.zeros((1, 1, 3)), graph)
    assert not report.rows and "no_such_model" in report.notes[0]


@pytest.mark.process
@pytest.mark.slow
@pytest.mark.timeout(400)
def test_all_rows_of_a_quick_run(tmp_path, monkeypatch):
    case = next(case for case in CASES if case.model in zoo.shipped())
    monkeypatch.setattr(runtimes, "CASES", (case,))
    assert runtimes.main(["--quick", "--threads", "1", "--json", str(tmp_path / "out.json")]) == 0
    rows = json.loads((tmp_path / "out.json").read_text())["rows"]
    ways = {row["case"].partition(", ")[2] for row in rows}
    assert {"onnx fp32", "onnx int8", "torch fp32", "torch bf16"} <= ways
    assert all(row["ours"] is not None for row in rows)
