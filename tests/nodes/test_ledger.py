"""The ledger adds up what was published and counted, whoever died on the way."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from capture.control import NodeReport
from nodes.ledger import PoseTally, account, note_heard, summarise
from rigpose.pose import LIFTED, TRIANGULATED, PoseSet, SubjectPose, SyncInfo
from rigpose.stamps import SetStamps


def camera(
    epoch: str = "c1", *, bye: bool = True, first_tick: int = 0, queue_full: int = 0, **counters: int
) -> NodeReport:
    report = NodeReport("cam", "camera", epoch, 1, said_bye=bye)
    report.counters = {
        "exposed": 0,
        "lost_upstream": 0,
        "seen": 0,
        "queue_full": {"cam": queue_full, "mirror": 100},
        "first_tick": first_tick,
        **counters,
    }
    return report


def engine(epoch: str = "e1", *, bye: bool = True, epochs: dict[str, Any] | None = None, **counts: int) -> NodeReport:
    report = NodeReport("engine", "engine", epoch, 2, said_bye=bye)
    report.counters = {"cameras": {"cam": {**counts, "epochs": epochs or {}}}}
    return report


def pose_set(index: int, *, joints: int = 4, unsolved: int = 0, **changes: Any) -> PoseSet:
    position = np.zeros((joints, 3))
    position[:unsolved] = np.nan
    residual = np.full((2, joints), 3.0)
    residual[1] = 5.0
    subject = SubjectPose(
        id=0, id_confidence=1, skeleton="s", state="tracked", position_mm=position,
        covariance_mm2=np.ones((joints, 6)), confidence=np.ones(joints), views=np.full(joints, 3, np.uint32),
        residual_px=residual, how=np.ones(joints, np.uint8), reason=np.zeros(joints, np.uint8),
    )  # fmt: skip
    at = index * 10_000_000
    stamps = SetStamps(
        (at, at),
        "schedule",
        (at + 10**6, at + 2 * 10**6),
        at + 3 * 10**6,
        at + 4 * 10**6,
        at + 5 * 10**6,
        at + 6 * 10**6,
    )
    values: dict[str, Any] = {
        "set_index": index, "cameras": ("cam", "other"), "frames": (("c1", index), ("o1", index)),
        "sync": SyncInfo("trigger", 0, index), "lag_frames": 0, "stamps": stamps, "calibration_id": "x", "model": "m",
        "runtime": "onnx", "precision": "fp32", "graph_hash": "g", "subjects": (subject,),
    }  # fmt: skip
    return PoseSet(**{**values, **changes})


def test_a_clean_run_balances() -> None:
    result, notes = account(
        "cam",
        {"e1": 90},
        [camera(exposed=103, lost_upstream=1, seen=102, queue_full=2)],
        [engine(superseded=7, late=3)],
        died=False,
    )
    assert result.balanced and not notes
    assert (result.skipped.superseded, result.skipped.late, result.skipped.queue_full) == (7, 3, 2)


def test_what_never_arrived_at_the_end_is_lost() -> None:
    result, notes = account("cam", {"e1": 90}, [camera(exposed=100, seen=100)], [engine()], died=False)
    assert result.balanced and result.skipped.lost == 10 and not notes


def test_what_a_dead_node_had_under_way_died_with_it() -> None:
    result, _ = account("cam", {"e1": 90}, [camera(exposed=100, seen=100)], [engine(bye=False, late=4)], died=True)
    assert result.balanced and result.skipped.node_died == 6 and result.skipped.lost == 0


def test_a_killed_camera_counts_by_its_last_frame_where_that_is_newer_than_its_last_heartbeat() -> None:
    said = {"c1": {"exposed": 48, "lost_upstream": 0, "seen": 48, "queue_full": 1}}
    killed, listener = camera(bye=False, exposed=45, seen=45), engine(epochs=said)
    note_heard(listener, {"c1": killed})
    listener.counters["cameras"]["cam"]["epochs"] = {}
    note_heard(listener, {"c1": killed})
    result, _ = account("cam", {"e1": 47}, [killed], [listener], died=True)
    assert result.balanced and result.seen == 48 and result.skipped.node_died == 0


def test_each_camera_of_a_shared_source_has_its_own_refused_frames() -> None:
    result, notes = account("cam", {"e1": 97}, [camera(exposed=100, seen=100, queue_full=3)], [engine()], died=False)
    assert result.skipped.queue_full == 3 and result.balanced and not notes, "not those of the mirror beside it"


def test_the_schedule_goes_on_while_a_node_is_dead() -> None:
    starts = [camera("c1", bye=False, exposed=40, seen=40), camera("c2", first_tick=100, exposed=60, seen=60)]
    result, _ = account("cam", {"e1": 100}, starts, [engine()], died=True)
    assert result.exposed == 160 and result.lost_upstream == 60 and result.balanced


def test_frames_that_are_counted_twice_are_noted_and_not_hidden() -> None:
    result, notes = account("cam", {"e1": 101}, [camera(exposed=100, seen=100)], [engine()], died=False)
    assert not result.balanced and "1 frames more" in notes[0]


def test_the_tally_says_what_the_poses_show() -> None:
    tally = PoseTally()
    for index in range(400):
        tally.add(pose_set(index, unsolved=index % 2), "e1", index)
    summary = summarise(tally, [camera(exposed=400, seen=400)], {"cam": "cam"})
    assert (summary.sets, summary.poses) == (400, 400)
    assert summary.joints_solved_share == pytest.approx(1 - 0.5 / 4)
    assert summary.residual_px.median == pytest.approx(4.0, rel=2e-3), "the mean over the views of a joint"
    assert summary.views_used.mean == 2 and summary.fps == pytest.approx(100)
    assert summary.latency_ms["received_to_published"].p50 == pytest.approx(4, rel=2e-3)
    assert summary.latency_ms["exposed_to_published"].max == 6
    assert summary.cameras["cam"].used == 400 and summary.cameras["cam"].balanced and not summary.notes


def test_a_joint_that_one_view_sees_is_not_solved() -> None:
    tally = PoseTally()
    first = pose_set(0)
    how = np.array([TRIANGULATED, LIFTED, LIFTED, TRIANGULATED], np.uint8)
    tally.add(replace(first, subjects=(replace(first.subjects[0], how=how),)), "e1", 0)
    assert summarise(tally, [camera(exposed=1, seen=1)], {"cam": "cam"}).joints_solved_share == pytest.approx(0.5)


def test_incomplete_sets_are_not_poses_and_their_frames_are_not_used() -> None:
    tally = PoseTally()
    tally.add(pose_set(0, status="incomplete", subjects=(), frames=(("c1", 0), None)), "e1", 0)
    assert (tally.sets, tally.incomplete, tally.used) == (0, 1, {})


def test_a_lost_subject_is_no_pose() -> None:
    tally = PoseTally()
    lost = pose_set(0)
    tally.add(replace(lost, subjects=(replace(lost.subjects[0], state="lost"),)), "e1", 0)
    assert tally.sets == 1 and tally.poses == 0


def test_pose_messages_that_never_came_are_noted() -> None:
    tally = PoseTally()
    tally.add(pose_set(0), "e1", 0)
    tally.add(pose_set(3), "e1", 3)
    tally.add(pose_set(0), "e2", 0)
    assert any("2 pose messages" in note for note in summarise(tally, [], {}).notes)
