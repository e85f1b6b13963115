"""The engine among four cameras against the bare runtime among the same: both really run and say how fast."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import _engine_throughput
from benchmarks.engine import ROOT, SETS
from capture.drawn import draw_recording
from engine.config import load_system
from engine.sampling import graph_inputs
from rigpose.errors import ConfigError, RigposeError


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    recording = tmp_path_factory.mktemp("engine") / "drawn"
    draw_recording(recording, frames=SETS)
    return load_system(
        ROOT / "examples" / "drawn.yaml", data=recording, assignments=["rate=30", "record.enabled=false"]
    )


def test_the_batch_is_what_the_graph_is_fed_of_a_tracked_subject(config):
    sets = graph_inputs(config, 3)
    assert len(sets) == 3
    assert all(inputs["view_weight"].all() and inputs["crops"].any() for inputs in sets)
    assert not np.array_equal(sets[0]["crops"], sets[1]["crops"])


def test_pictures_without_a_subject_are_refused(config, monkeypatch):
    engine = config.engine.model_copy(update={"tracker": config.engine.tracker.model_copy(update={"found_share": 1.0})})
    blind = config.model_copy(update={"engine": engine})
    monkeypatch.setattr("engine.pipeline.Pipeline._answer", lambda *_: None)
    with pytest.raises(ConfigError, match="shows no subject to the network"):
        graph_inputs(blind, 2)


@pytest.mark.process
@pytest.mark.slow
@pytest.mark.timeout(200)
def test_both_run_among_cameras_and_say_how_fast(config, short_folder, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(short_folder))
    found = _engine_throughput.measure(config, graph_inputs(config, 1)[0], 1.0, 1)
    assert found["rate"][0] > 1
    assert found["bare"][0] > 0 and found["engine"][0] > 0


def test_a_child_that_dies_is_told_by_its_code():
    child = _engine_throughput._start(["/bin/sh", "-c", "echo '{\"other\": 1}'; exit 5"])
    with pytest.raises(RigposeError, match=r"ended before it said ready \(code 5\)"):
        _engine_throughput._said(child, "ready")
    child.communicate()
