"""Poses are held against the truth of their own tick, joint by joint."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

from nodes.mpjpe import KEPT_TICKS, TruthTally
from rigpose.errors import ProtocolError
from rigpose.pose import PoseSet, SubjectPose, SyncInfo
from rigpose.stamps import SetStamps, now_ns

TRUE = np.arange(12.0).reshape(4, 3)


def truth(tick: int, **changes: Any) -> dict[str, Any]:
    return {"type": "truth", "tick": tick, "skeleton": "s", "position_mm": TRUE + tick, **changes}


def pose(tick: int | None, error_mm: float, skeleton: str = "s") -> PoseSet:
    position = TRUE + (tick or 0) + [0, 0, error_mm]
    position[1] = np.nan
    subject = SubjectPose(
        id=0, id_confidence=1, skeleton=skeleton, state="tracked", position_mm=position,
        covariance_mm2=np.ones((4, 6)), confidence=np.ones(4), views=np.full(4, 3, np.uint32),
        residual_px=np.zeros((1, 4)), how=np.ones(4, np.uint8), reason=np.zeros(4, np.uint8),
    )  # fmt: skip
    return PoseSet(
        set_index=0, cameras=("a",), frames=(("e", 0),), sync=SyncInfo("trigger", 0, tick), lag_frames=0,
        stamps=SetStamps((0,), "schedule", (0,), 0), calibration_id="", model="", runtime="", precision="",
        graph_hash="", subjects=(subject,),
    )  # fmt: skip


def test_the_error_is_the_absolute_distance_of_measured_joints_whichever_comes_first() -> None:
    tally = TruthTally()
    for tick in range(100):
        steps = [lambda t=tick: tally.truth(truth(t)), lambda t=tick: tally.pose(pose(t, 7.0))]
        for step in steps if tick % 2 else reversed(steps):
            step()
    result = tally.result()
    assert tally.n == 300, "the joint that was given up does not count"
    assert result is not None and result.mean == pytest.approx(7.0) and result.median == pytest.approx(7.0, rel=1e-3)


def test_the_error_of_the_last_seconds_follows_what_happens_now() -> None:
    tally = TruthTally()
    for tick in range(100):
        tally.truth(truth(tick))
        if tick == 90:
            time.sleep(0.001)
            now = now_ns()
        tally.pose(pose(tick, 7.0 if tick < 90 else 30.0))
    assert tally.recent_mm(now) == pytest.approx(30)
    assert tally.recent_mm(0) == pytest.approx(0.9 * 7 + 0.1 * 30)
    assert tally.recent_mm(now_ns()) is None


def test_without_a_truth_there_is_no_figure() -> None:
    tally = TruthTally()
    tally.pose(pose(3, 7.0))
    assert tally.result() is None


def test_other_ticks_other_skeletons_and_sets_without_tick_are_not_compared() -> None:
    tally = TruthTally()
    tally.truth(truth(1))
    tally.pose(pose(2, 5.0))
    tally.pose(pose(None, 5.0))
    tally.truth(truth(2, skeleton="other"))
    assert tally.n == 0


def test_what_waits_is_bounded() -> None:
    tally = TruthTally()
    for tick in range(3 * KEPT_TICKS):
        tally.truth(truth(tick))
    tally.pose(pose(0, 5.0))
    assert tally.n == 0 and len(tally._truths) == KEPT_TICKS


@pytest.mark.parametrize("wrong", [{"position_mm": np.zeros(3)}, {"tick": "x"}, {"position_mm": "far"}])
def test_a_message_that_is_none_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError):
        TruthTally().truth({**truth(1), **wrong})
