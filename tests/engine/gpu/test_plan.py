"""Plans are found again for exactly what they were built for, and for nothing else."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from engine.gpu import plan
from engine.gpu.plan import PlanKey, find, keep, stale, timing_cache_path

KEY = PlanKey("0123456789abcdef", "f" * 64, "11.4.0.106", "NVIDIA H200", "sm_90", "13.0", "fp16", (4, 3, 384, 384), 3)


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "state_folder", lambda: tmp_path)
    return tmp_path


def test_a_plan_is_found_again():
    assert find(KEY) is None
    path = keep(KEY, b"data", {"seconds": 71.5})
    assert find(KEY) == b"data"
    sidecar = json.loads(path.with_suffix(".json").read_text())
    assert sidecar["key"]["gpu"] == "NVIDIA H200" and sidecar["seconds"] == 71.5
    assert not [file for file in path.parent.iterdir() if file.name.startswith(".")]


@pytest.mark.parametrize(
    "change",
    [
        {"graph_hash": "fedcba9876543210"}, {"network_sha256": "0" * 64}, {"tensorrt": "11.5.0"}, {"gpu": "NVIDIA L4"},
        {"arch": "sm_89"}, {"driver": "13.1"}, {"precision": "fp32"}, {"profile": (8, 3, 384, 384)}, {"level": 5},
    ],
)  # fmt: skip
def test_whatever_it_was_built_for_changes_it_is_not_found(change):
    keep(KEY, b"data")
    assert find(replace(KEY, **change)) is None
    assert replace(KEY, **change).path != KEY.path


def test_a_damaged_plan_or_a_foreign_sidecar_is_none(state):
    path = keep(KEY, b"data")
    path.write_bytes(b"dat4")
    assert find(KEY) is None
    keep(KEY, b"data")
    path.with_suffix(".json").write_text("{")
    assert find(KEY) is None
    path.with_suffix(".json").write_text("[]")
    assert find(KEY) is None


def test_a_new_plan_replaces_those_of_another_version_and_no_others():
    old, other = replace(KEY, tensorrt="10.15.1"), replace(KEY, precision="fp32")
    keep(old, b"old")
    keep(other, b"other")
    assert stale(KEY) == [old.path]
    keep(KEY, b"new")
    assert find(old) is None and not old.path.with_suffix(".json").exists()
    assert (find(KEY), find(other)) == (b"new", b"other")


def test_timings_are_of_one_gpu_version_and_driver():
    paths = {timing_cache_path(key) for key in (KEY, replace(KEY, gpu="x"), replace(KEY, tensorrt="11.5"))}
    assert len(paths) == 3 and all(path.suffix == ".timing" for path in paths)


def test_a_write_that_fails_leaves_the_old_plan(monkeypatch):
    keep(KEY, b"data")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(plan.os, "replace", full)
    with pytest.raises(OSError):
        keep(KEY, b"new")
    assert find(KEY) == b"data"
    assert not [file for file in KEY.path.parent.iterdir() if file.name.startswith(".")]
