"""Figures of this moment: they follow what happens, and a rig that stands still has no rate."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nodes.recent import WINDOW_S, Recent
from rigpose.pose import PoseSet, SyncInfo
from rigpose.stamps import ExposedFrom, SetStamps

SECOND = 1_000_000_000


def pose_set(published_ns: int, latency_ms: float, exposed_from: ExposedFrom = "schedule") -> PoseSet:
    exposed_ns = published_ns - round(latency_ms * 1e6)
    received_ns = published_ns - 5_000_000
    stamps = SetStamps((exposed_ns,), exposed_from, (received_ns,), received_ns, received_ns, received_ns, published_ns)
    return PoseSet(
        set_index=0, cameras=("a",), frames=(("e", 0),), sync=SyncInfo("trigger", 0, 0), lag_frames=0,
        stamps=stamps, calibration_id="", model="", runtime="", precision="", graph_hash="", subjects=(),
    )  # fmt: skip


def test_it_forgets_what_was_before() -> None:
    recent = Recent()
    for number in range(100):  # slow for ten seconds, then fast
        recent.add(pose_set(number * SECOND // 10, 80.0))
    for number in range(150):
        recent.add(pose_set(10 * SECOND + number * SECOND // 50, 20.0))
    result = recent.result(13 * SECOND)
    assert result["fps"] == pytest.approx(50) and result["window_s"] == WINDOW_S
    assert result["p50_ms"] == pytest.approx(20) and result["max_ms"] == pytest.approx(20)
    assert result["stage"] == "exposed_to_published"


def test_one_late_set_shows_in_the_maximum_alone() -> None:
    recent = Recent()
    for number in range(60):
        recent.add(pose_set(number * SECOND // 30, 90.0 if number == 40 else 20.0))
    result = recent.result(2 * SECOND)
    assert result["p50_ms"] == pytest.approx(20) and result["max_ms"] == pytest.approx(90)


def test_a_rig_that_stands_still_has_no_rate_and_no_latency() -> None:
    recent = Recent()
    assert recent.result(0)["fps"] == 0
    for number in range(60):
        recent.add(pose_set(number * SECOND // 30, 20.0))
    assert recent.result(2 * SECOND)["fps"] == pytest.approx(30)
    assert recent.result(3 * SECOND)["fps"] < 20, "half of the window is empty"
    still = recent.result(5 * SECOND)
    assert still["fps"] == 0 and still["p50_ms"] is None and still["max_ms"] is None


def test_without_exposure_times_the_latency_is_that_from_the_arrival() -> None:
    recent = Recent()
    recent.add(pose_set(SECOND, 20.0, "arrival"))
    assert recent.result(SECOND)["stage"] == "received_to_published"
    assert recent.result(SECOND)["p50_ms"] == pytest.approx(5)


def test_sets_of_too_few_cameras_are_none() -> None:
    recent = Recent()
    recent.add(replace(pose_set(SECOND, 20.0), status="incomplete"))
    assert recent.result(SECOND)["p50_ms"] is None
