"""How a run goes, in one line, as tables and as JSON."""

from __future__ import annotations

import io
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from capture.rundir import RunDirectory
from nodes import status as module
from nodes.status import StatusLine, one_line, print_summary, read_status, render, status
from rigpose.errors import RigposeError
from rigpose.files import write_json
from rigpose.summary import CameraAccount, Mpjpe, Percentiles, Skipped, Summary


@pytest.fixture
def run() -> Iterator[RunDirectory]:
    with tempfile.TemporaryDirectory(prefix="rp") as folder:
        yield RunDirectory.create("session", path=Path(folder) / "run")


def a_status(error_mm: float | None = None, **node: Any) -> dict[str, Any]:
    camera = CameraAccount(exposed=12, lost_upstream=2, seen=10, used=7, skipped=Skipped(late=1, node_died=2))
    summary = Summary(
        cameras={"cam1": camera}, sets=7, poses=6, fps=29.97, mpjpe_mm=None if error_mm is None else Mpjpe(mean=14.6),
        latency_ms={"exposed_to_published": Percentiles(p50=22.5, max=61.2, n=7)},
    )  # fmt: skip
    return {
        "schema": 1, "session_id": "session", "name": "lab", "running_s": 3.2,
        "recent": {
            "window_s": 2.0, "fps": 28.4, "stage": "exposed_to_published", "p50_ms": 21.4, "max_ms": 33.3,
            "mpjpe_mm": error_mm,
        },
        "nodes": {"cam1": {"kind": "camera", "state": "running", "pid": 77, "deaths": 1, **node}},
        "summary": summary.model_dump(mode="json", by_alias=True),
    }  # fmt: skip


def shown(what: object, width: int = 160) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(what)
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def test_the_table_names_each_node_and_where_each_frame_went() -> None:
    text = shown(render(a_status()))
    for part in ("cam1", "running", "77", "late 1, node_died 2", "7 sets", "6 poses"):
        assert part in text


def test_the_table_holds_this_moment_beside_the_whole_run() -> None:
    rows = [line.split() for line in shown(render(a_status(12.3))).splitlines()]
    assert ["last", "2", "s", "whole", "run"] in rows
    assert ["fps", "28.4", "30.0"] in rows
    assert "latency exposed to published, p50 21.4 ms 22.5 ms".split() in rows
    assert "latency exposed to published, max 33.3 ms 61.2 ms".split() in rows
    assert "error to the truth (MPJPE) 12.3 mm 14.6 mm".split() in rows
    assert all(len(line) <= 80 for line in shown(render(a_status(12.3)), width=80).splitlines())


def test_a_rig_without_truth_has_no_error_and_one_without_poses_no_figures() -> None:
    assert "truth" not in shown(render(a_status())) and "MPJPE" not in one_line(a_status())
    empty = a_status()
    empty["recent"] = {**empty["recent"], "fps": 0.0, "p50_ms": None, "max_ms": None}
    assert "latency -" in one_line(empty) and "0.0" in shown(render(empty))


def test_without_a_terminal_a_line_comes_now_and_then(
    run: RunDirectory, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LINE_S", 0.05)
    write_json(run.path / "status.json", a_status(12.3))
    with StatusLine(run, quiet=False).watching():
        time.sleep(0.3)
    lines = [line for line in capsys.readouterr().err.splitlines() if "sets" in line]
    assert len(lines) >= 2
    assert lines[0].endswith("7 sets  6 poses  28.4 fps  latency 21.4 ms  MPJPE 12.3 mm  3 frames skipped")


def test_the_line_names_who_is_missing() -> None:
    assert "[cam1 dead]" in one_line(a_status(state="dead")) and "3 frames skipped" in one_line(a_status())
    assert "[" not in one_line(a_status())


def test_the_summary_is_told_with_its_notes(capsys: pytest.CaptureFixture[str]) -> None:
    told = Summary.model_validate(a_status()["summary"]).model_copy(
        update={"notes": ("cam1: 3 frames too many",), "recording": {"path": "/data/2026"}}
    )
    print_summary(told)
    out = capsys.readouterr().out
    assert "note: cam1: 3 frames too many" in out and "recorded: /data/2026" in out and "6 poses in 7 sets" in out


def test_another_terminal_reads_what_launch_wrote(run: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    write_json(run.path / "status.json", a_status())
    assert status(run.path, json=True) == 0
    assert json.loads(capsys.readouterr().out)["summary"]["sets"] == 7
    assert status(run.path, once=True) == 0
    assert "running" in capsys.readouterr().out


def test_half_a_file_or_one_of_another_version_is_no_status(run: RunDirectory) -> None:
    assert read_status(run) is None
    (run.path / "status.json").write_text('{"schema": 1, "na')
    assert read_status(run) is None
    write_json(run.path / "status.json", {**a_status(), "schema": 2})
    assert read_status(run) is None


def test_a_rig_that_tells_no_status_is_said_in_one_line(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STALE_S", 0.1)
    with pytest.raises(RigposeError, match="tells no status"):
        status(run.path, once=True)


def test_quiet_shows_nothing(run: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    with StatusLine(run, quiet=True).watching():
        pass
    assert capsys.readouterr().err == ""
