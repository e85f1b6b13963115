"""The ledger of a run: what the poses and the nodes' counters add up to.

It listens like any subscriber and believes only what was published and what the nodes counted
themselves, so that it survives the death of each of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from capture.control import NodeReport
from rigpose.pose import LIFTED, PREDICTED, TRIANGULATED, PoseSet
from rigpose.stamps import STAGES
from rigpose.summary import (
    CameraAccount,
    Distribution,
    LagFrames,
    Percentiles,
    ResidualPx,
    Skipped,
    Summary,
    SyncSummary,
    ViewsUsed,
)

_SOURCE_COUNTS = ("exposed", "lost_upstream", "seen", "queue_full")
_ENGINE_REASONS = ("lost", "late", "incomplete", "superseded", "implausible", "misfit", "stopping")


@dataclass
class PoseTally:
    """What the published pose sets show; fed one at a time, memory does not grow with them."""

    sets: int = 0
    incomplete: int = 0
    poses: int = 0
    joints: int = 0
    solved: int = 0
    lifted: int = 0
    predicted: int = 0
    first_ns: int | None = None
    last_ns: int = 0
    missed_messages: int = 0
    exposed_from: str | None = None
    sync_kind: str | None = None
    lag: Distribution = field(default_factory=Distribution)
    lag_max: int = 0
    residual_px: Distribution = field(default_factory=Distribution)
    views_used: Distribution = field(default_factory=Distribution)
    spread_ms: Distribution = field(default_factory=Distribution)
    stages_ms: dict[str, Distribution] = field(default_factory=lambda: {name: Distribution() for name in STAGES})
    used: dict[str, dict[str, int]] = field(default_factory=dict)
    runtime: dict[str, Any] = field(default_factory=dict)
    rig: dict[str, Any] = field(default_factory=dict)
    _seq: dict[str, int] = field(default_factory=dict)

    def add(self, pose_set: PoseSet, node_epoch: str, seq: int) -> None:
        """Take in a published set and the header that it came with."""
        self.missed_messages += max(0, seq - self._seq.get(node_epoch, 0))
        self._seq[node_epoch] = seq + 1
        if pose_set.status == "incomplete":
            self.incomplete += 1
            return
        self.sets += 1
        published = pose_set.stamps.published_ns
        self.first_ns = published if self.first_ns is None else self.first_ns
        self.last_ns = published
        self.exposed_from = pose_set.stamps.exposed_from
        self.sync_kind = pose_set.sync.kind
        self.runtime = {
            "id": pose_set.model,
            "runtime": pose_set.runtime,
            "precision": pose_set.precision,
            "graph_hash": pose_set.graph_hash,
        }
        self.rig = {"calibration_id": pose_set.calibration_id, "verdict": pose_set.verdict}
        self.lag.add(pose_set.lag_frames)
        self.lag_max = max(self.lag_max, pose_set.lag_frames)
        self.spread_ms.add(pose_set.sync.spread_ns / 1e6)
        for name, ms in pose_set.stamps.stages_ms().items():
            self.stages_ms[name].add(max(ms, 0.0))
        used = self.used.setdefault(node_epoch, defaultdict(int))
        for name, frame in zip(pose_set.cameras, pose_set.frames, strict=True):
            used[name] += frame is not None
        self._add_subjects(pose_set)

    def _add_subjects(self, pose_set: PoseSet) -> None:
        self.poses += any(subject.state != "lost" for subject in pose_set.subjects)
        for subject in pose_set.subjects:
            measured = subject.measured
            self.joints += measured.size
            # One view's joint is measured, yet not solved: `Summary` counts those of at least two.
            how = np.asarray(subject.how)
            self.solved += int((measured & (how == TRIANGULATED)).sum())
            self.lifted += int((measured & (how == LIFTED)).sum())
            self.predicted += int((how == PREDICTED).sum())
            residual = np.where(np.isfinite(subject.residual_px), subject.residual_px, np.nan)[:, measured]
            seen = np.isfinite(residual)
            count = seen.sum(axis=0)
            total = np.where(seen, residual, 0).sum(axis=0)
            self.residual_px.extend((total[count > 0] / count[count > 0]).tolist())
            self.views_used.extend(bin(mask).count("1") for mask in subject.views[measured].tolist())

    @property
    def fps(self) -> float | None:
        """Published sets a second, between the first and the last."""
        if self.sets < 2 or self.first_ns is None or self.last_ns == self.first_ns:
            return None
        return (self.sets - 1) / ((self.last_ns - self.first_ns) / 1e9)


def _joined_source_counts(starts: list[dict[str, Any]]) -> dict[str, int]:
    """The counters of one camera over all starts of its node.

    The schedule (or the device) goes on while a node is dead: what it exposed between two starts was
    lost before any node could see it.
    """
    total = {name: sum(int(start[name]) for start in starts) for name in _SOURCE_COUNTS}
    with_ticks = sorted((s for s in starts if s.get("first_tick") is not None), key=lambda s: s["first_tick"])
    for before, after in zip(with_ticks, with_ticks[1:], strict=False):
        gap = max(0, after["first_tick"] - before["first_tick"] - before["exposed"])
        total["exposed"] += gap
        total["lost_upstream"] += gap
    return total


def note_heard(engine: NodeReport, reports: Mapping[str, NodeReport]) -> None:
    """Keep with each camera node what an engine says of the last frame that it got from it.

    Args:
        engine: Its newest report; it tells of the newest starts of each node only.
        reports: Every start of every node, by epoch.
    """
    for camera, counts in engine.counters.get("cameras", {}).items():
        for epoch, said in counts.get("epochs", {}).items():
            if (report := reports.get(epoch)) is not None:
                heard = report.heard.setdefault(camera, {})
                for name in _SOURCE_COUNTS:
                    heard[name] = max(heard.get(name, 0), int(said.get(name, 0)))


def account(
    camera: str,
    published: Mapping[str, int],
    cameras: Iterable[NodeReport],
    engines: Sequence[NodeReport],
    *,
    died: bool,
    final: bool = True,
) -> tuple[CameraAccount, list[str]]:
    """Where every frame of one camera went.

    Args:
        camera: Its name.
        published: Its frames in the sets that were heard of, by the epoch of the engine.
        cameras: Reports of all starts of the node that gives it.
        engines: Reports of all starts of the engine.
        died: Whether one of these processes ended without its last word.
        final: Whether the run has ended; before, what is not accounted for yet is still under way.

    Returns:
        The account, and notes on what does not add up.
    """
    # An engine's own count reaches the end of its life where it could say its last word, and what was
    # published does where it could not.
    counted = {r.epoch: int(r.counters.get("cameras", {}).get(camera, {}).get("used", 0)) for r in engines}
    used = sum(max(counted.get(epoch, 0), published.get(epoch, 0)) for epoch in {*counted, *published})
    engine_counts = [report.counters.get("cameras", {}).get(camera, {}) for report in engines]
    starts = []
    for report in cameras:
        said = {**report.counters, "queue_full": report.counters.get("queue_full", {}).get(camera, 0)}
        start = {name: int(said.get(name, 0)) for name in _SOURCE_COUNTS}
        for name, count in report.heard.get(camera, {}).items():
            start[name] = max(start[name], count)
        starts.append({**start, "first_tick": report.counters.get("first_tick")})
    source = _joined_source_counts(starts)
    skipped = {reason: sum(int(c.get(reason, 0)) for c in engine_counts) for reason in _ENGINE_REASONS}
    rest = source["seen"] - source["queue_full"] - used - sum(skipped.values())
    notes = []
    if rest < 0:
        notes.append(f"{camera}: {-rest} frames more are accounted for than were seen")
    if not final:
        source["seen"] -= max(rest, 0)
        source["exposed"] -= max(rest, 0)
    elif died:
        skipped["node_died"] = max(rest, 0)
    else:
        skipped["lost"] += max(rest, 0)
    result = CameraAccount(
        exposed=source["exposed"],
        lost_upstream=source["lost_upstream"],
        seen=source["seen"],
        used=used,
        skipped=Skipped(queue_full=source["queue_full"], **skipped),
    )
    if rest >= 0 and not result.balanced:
        notes.append(
            f"{camera}: exposed {result.exposed} is not lost upstream {result.lost_upstream} + seen {result.seen}"
        )
    return result, notes


def summarise(
    tally: PoseTally, reports: Iterable[NodeReport], cameras: Mapping[str, str], *, final: bool = True, **facts: Any
) -> Summary:
    """The summary of a run.

    Args:
        tally: Of the published poses.
        reports: Every start of every node.
        cameras: Node by camera name.
        final: Whether the run has ended.
        facts: Further fields of ``Summary``.
    """
    reports = list(reports)
    engines = [report for report in reports if report.kind == "engine"]
    engine_died = any(not report.said_bye for report in engines)
    accounts, notes = {}, list(facts.pop("notes", ()))
    for camera, node in cameras.items():
        starts = [report for report in reports if report.kind == "camera" and report.node == node]
        published = {epoch: used[camera] for epoch, used in tally.used.items()}
        died = engine_died or any(not report.said_bye for report in starts)
        accounts[camera], problems = account(camera, published, starts, engines, died=died, final=final)
        notes += problems
    if tally.missed_messages:
        notes.append(f"{tally.missed_messages} pose messages did not reach the ledger")
    latency = {name: Percentiles.of(samples) for name, samples in tally.stages_ms.items()}
    return Summary(
        cameras=accounts,
        sets=tally.sets,
        poses=tally.poses,
        fps=tally.fps,
        lag_frames=LagFrames(
            p50=tally.lag.percentile(50), p99=tally.lag.percentile(99), max=tally.lag_max if tally.sets else None
        ),
        joints_solved_share=tally.solved / tally.joints if tally.joints else None,
        joints_lifted_share=tally.lifted / tally.joints if tally.joints else None,
        joints_predicted_share=tally.predicted / tally.joints if tally.joints else None,
        residual_px=ResidualPx(median=tally.residual_px.percentile(50), p95=tally.residual_px.percentile(95)),
        views_used=ViewsUsed(mean=tally.views_used.mean, p5=tally.views_used.percentile(5, tail="lower")),
        latency_ms=latency,
        exposed_from=tally.exposed_from,  # type: ignore[arg-type]
        sync=SyncSummary(kind=tally.sync_kind, spread_ms=Percentiles.of(tally.spread_ms)),
        model=tally.runtime,
        rig=tally.rig,
        notes=tuple(notes),
        **facts,
    )
