"""Calibration of real recordings, beside aniposelib on the same pictures: issue 4, What it must show, 1 to 5."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import _calibration_data as data_sets
from benchmarks._calibration_data import BoardSet
from benchmarks._calibration_keypoints import NETWORKS, SCENE_PX, Keypoints, balance_keypoints, scene_rig
from benchmarks._calibration_measure import Measured, measure, rms, triangulated
from benchmarks._calibration_synthetic import in_first_frame, lenses_of
from benchmarks._report import Peer, PeerProcess, Report, summarise
from calib.camera import Camera
from calib.check import check
from calib.convert import read_any
from calib.outcome import Outcome
from calib.rig import Rig, read_rig
from calib.solve_rig import calibrate

ANIPOSELIB = "aniposelib"


@dataclass(frozen=True, eq=False)
class Theirs:
    """What aniposelib made of a board set.

    Attributes:
        cameras: Its cameras.
        own: Residuals as it states them: points triangulated, nothing left out (M,).
        measured: The same measures as ours, on its own detections.
        seconds: Of each solution.
        version: Its version.
    """

    cameras: tuple[Camera, ...]
    own: np.ndarray
    measured: Measured
    seconds: list[float]
    version: str

    def peer(self, value: float | list[float] | None) -> dict[str, Peer]:
        """A figure for a row."""
        middle, spread, _ = summarise(value)
        return {ANIPOSELIB: Peer(value=middle, spread=spread, version=self.version)}


class Real:
    """One run over the real recordings.

    Args:
        report: Gets the rows.
        data: Folder of the recordings.
        models: Folder of the networks; ``None`` = rows that need them are left out.
        quick: Fewer repeats.
        folder: For what the peer writes.
    """

    def __init__(self, report: Report, data: Path, models: Path | None, quick: bool, folder: Path) -> None:
        self.report = report
        self.data = data
        self.models = models
        self.repeats = 3 if quick else 9
        self.peer_repeats = 1 if quick else 3
        self.folder = folder
        self._peer: PeerProcess | None = None

    # ------------------------------------------------------------------ the peer

    def _ask(self, peer: PeerProcess, found: BoardSet, **more: Any) -> dict[str, Any] | None:
        question = found.question()
        return peer.ask(kept=str(found.kept()), **question, **more)

    def side_by_side(self, found: BoardSet, ours: Callable[[], Outcome]) -> tuple[Outcome, list[float], Theirs | None]:
        """Ours and aniposelib in turn: the last outcome, our seconds, and what aniposelib made of it."""
        seconds: list[float] = []
        theirs: list[float] = []
        answer: dict[str, Any] | None = None
        out = self.folder / f"{found.name}.npz"
        with PeerProcess(Path(__file__).with_name("_peer_calibration.py")) as peer:
            if not found.kept().is_file():
                self._ask(peer, found, task="detect")
            # Its compiler runs at the first call; only a quick run counts that one.
            if self.peer_repeats > 1:
                self._ask(peer, found, task="solve", out=str(out))
            ours()
            for turn in range(max(self.repeats, self.peer_repeats)):
                if turn < self.repeats:
                    begin = time.perf_counter()
                    outcome = ours()
                    seconds.append(time.perf_counter() - begin)
                if turn < self.peer_repeats:
                    answer = self._ask(peer, found, task="solve", out=str(out))
                    if answer is not None:
                        theirs.append(float(answer["seconds"]))
            if peer.problem:
                self.report.notes.append(peer.problem)
        if answer is None:
            return outcome, seconds, None
        cameras = tuple(data_sets.camera_of(camera) for camera in answer["cameras"])
        with np.load(out, allow_pickle=False) as arrays:
            own = np.linalg.norm(arrays["residual"], axis=-1)
        px = _peer_px(found)
        measured = measure(cameras, px, found.board.points_mm)
        return outcome, seconds, Theirs(cameras, own[np.isfinite(own)], measured, theirs, answer["version"])

    # ------------------------------------------------------------------ rows of a calibration

    def _solution_rows(self, case: str, found: BoardSet, outcome: Outcome, theirs: Theirs | None) -> None:
        """Residuals as the tools state them, and as the same measures say."""
        add = self.report.add
        assert outcome.spread is not None and outcome.rig is not None and outcome.residuals is not None
        spread = outcome.spread
        own = {} if theirs is None else {"rms": rms(theirs.own), "median": float(np.median(theirs.own))}
        p95 = None if theirs is None else float(np.percentile(theirs.own, 95))
        n = spread.count

        def peer(value: float | None) -> dict[str, Peer]:
            return {} if theirs is None else theirs.peer(value)

        add(case, "rms", "px", spread.rms_px, n=n, peers=peer(own.get("rms")))
        add(case, "median", "px", spread.median_px, n=n, peers=peer(own.get("median")))
        add(case, "p95", "px", spread.p95_px, n=n, peers=peer(p95))
        add(case, "rejected", "% of observations", 100 * spread.rejected_share, n=n + spread.rejected, peers=peer(0.0))
        mine = measure(outcome.rig.cameras, used_px(found, outcome), found.views.target_mm)
        count = int(np.isfinite(mine.residual_px).sum())
        same = None if theirs is None else theirs.measured
        add(
            case, "rms, triangulated", "px", mine.rms_px(), n=count, peers=peer(None if same is None else same.rms_px())
        )
        add(
            case,
            "median, triangulated",
            "px",
            mine.median_px(),
            n=count,
            peers=peer(None if same is None else same.median_px()),
        )
        add(
            case, "distance error", "mm rms", mine.distance_rms_mm(), n=mine.distance_mm.size,
            peers=peer(None if same is None else same.distance_rms_mm()),
        )  # fmt: skip
        if outcome.held_out is not None:
            add(case, "held out", "px rms", outcome.held_out.spread.rms_px, n=outcome.held_out.spread.count)
            predicted = outcome.held_out.predicted
            add(case, "held out, predicted by other cameras", "px rms", predicted.rms_px, n=predicted.count)

    def _time_rows(self, case: str, solve: list[float], whole: list[float], theirs: Theirs | None) -> None:
        peers = {} if theirs is None else theirs.peer(theirs.seconds)
        self.report.add(case, "solve", "s", solve, peers=peers)
        self.report.add(case, "solve and judge", "s", whole)
        load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
        if load > 1.5 * (os.cpu_count() or 1):
            self.report.notes.append(f"{case}: timed while other work ran: load {load:.0f} on {os.cpu_count()} cores")

    def _verdict_note(self, case: str, outcome: Outcome) -> None:
        self.report.notes.append(f"{case}: {outcome}")

    def _timed(self, found: BoardSet, given: Any = None) -> tuple[Callable[[], Outcome], list[float]]:
        """A calibration that notes what its solution took; judging it stands apart."""
        solving: list[float] = []

        def work() -> Outcome:
            outcome = calibrate(found.views, given)
            solving.append(sum(outcome.seconds.get(step, 0.0) for step in ("intrinsics", "solve", "joint")))
            return outcome

        return work, solving

    # ------------------------------------------------------------------ the recordings

    def webcams(self) -> None:
        """Item 1."""
        found, given = data_sets.webcams(self.data)
        work, solving = self._timed(found, lenses_of(given.cameras))
        outcome, whole, _ = self._alone(work)
        case = "charuco4-webcams, given intrinsics"
        self._solution_rows(case, found, outcome, None)
        self._time_rows(case, solving[-self.repeats :], whole, None)
        self._verdict_note(case, outcome)
        work, solving = self._timed(found)
        outcome, whole, theirs = self.side_by_side(found, work)
        case = "charuco4-webcams, from scratch"
        self._solution_rows(case, found, outcome, theirs)
        self._time_rows(case, solving[-self.repeats :], whole, theirs)
        said = {one.name: one.focal_observable for one in outcome.cameras}
        true = {camera.name: (camera.K[0, 0], camera.K[1, 1]) for camera in given.cameras}
        self._focal_rows(case, "given", outcome, true, said, theirs)
        self._verdict_note(case, outcome)

    def _alone(self, work: Callable[[], Outcome]) -> tuple[Outcome, list[float], None]:
        work()
        seconds = []
        for _ in range(self.repeats):
            begin = time.perf_counter()
            outcome = work()
            seconds.append(time.perf_counter() - begin)
        return outcome, seconds, None

    def _focal_rows(
        self,
        case: str,
        by: str,
        outcome: Outcome,
        true: Mapping[str, tuple[float, float]],
        observable: Mapping[str, bool | None],
        theirs: Theirs | None,
    ) -> None:
        """How far focal lengths are off: of the cameras that claim to know theirs, and of all."""
        assert outcome.rig is not None
        off = _focal_off(outcome.rig.cameras, true)
        claimed = [value for name, value in off.items() if observable.get(name) is not False]
        peers = {} if theirs is None else theirs.peer(max(_focal_off(theirs.cameras, true).values()))
        metric = f"focal lengths off {by}"
        self.report.add(
            case, f"{metric}, worst that is claimed", "%", max(claimed, default=0.0), n=len(claimed), peers=peers
        )
        self.report.add(case, f"{metric}, worst", "%", max(off.values()), n=len(off), peers=peers)
        silent = [name for name, value in observable.items() if value is False]
        if silent:
            self.report.notes.append(f"{case}: focal length not observable, it says, of {', '.join(silent)}")

    def mouse(self) -> None:
        """Item 2."""
        found = data_sets.mouse(self.data)
        work, solving = self._timed(found)
        outcome, whole, theirs = self.side_by_side(found, work)
        case = "mouse4-sleap"
        self._solution_rows(case, found, outcome, theirs)
        self._time_rows(case, solving[-self.repeats :], whole, theirs)
        self._verdict_note(case, outcome)
        assert outcome.rig is not None
        px = data_sets.mouse_keypoints(self.data, outcome.rig.names)
        off = triangulated(outcome.rig.cameras, px)[1]
        peers = {}
        if theirs is not None:
            peers = theirs.peer(float(np.nanmedian(triangulated(theirs.cameras, px)[1])))
        n = int(np.isfinite(off).sum())
        self.report.add(case, "keypoints, median", "px", float(np.nanmedian(off)), n=n, peers=peers)
        committed = check(read_rig(self.data / "mouse4-sleap" / "calibration.toml", units="mm")).verdict
        named = committed.verdict == "bad" and any(
            set(finding.cameras) == {"side", "top"} and "identical" in finding.what for finding in committed.findings
        )
        self.report.add(
            "mouse4-sleap/calibration.toml", "called bad, side and top named identical", "1 = yes", float(named),
            better="higher",
        )  # fmt: skip

    def stereo(self) -> None:
        """Item 3."""
        found = data_sets.stereo(self.data)
        work, solving = self._timed(found)
        outcome, whole, theirs = self.side_by_side(found, work)
        case = "stereo-checkerboard"
        self._solution_rows(case, found, outcome, theirs)
        self._time_rows(case, solving[-self.repeats :], whole, theirs)
        self._verdict_note(case, outcome)
        assert outcome.rig is not None
        length = _baseline_mm(outcome.rig.cameras)
        peers = {} if theirs is None else theirs.peer(abs(_baseline_mm(theirs.cameras) - 99.8))
        self.report.add(case, "baseline off 99.8", "mm", abs(length - 99.8), peers=peers)
        said = {one.name: one.focal_observable for one in outcome.cameras}
        self._focal_rows(case, "MATLAB's", outcome, data_sets.matlab_focal(self.data), said, theirs)
        self.report.notes.append(f"{case}: baseline {length:.2f} mm")

    def balance(self) -> None:
        """Item 4."""
        self._balance_intrinsics()
        if self.models is None:
            self.report.notes.append("human4-balance: RIGPOSE_MODELS is not set, so no keypoints")
            return
        seen = [balance_keypoints(self.data, self.models, network) for network in NETWORKS]
        # The second network is poor on this recording; what it makes of the rig must be refuted by the first.
        for mine, other in (seen, seen[::-1]):
            self._refine_rows(f"human4-balance, refined by {mine.network}", mine, other)

    def _balance_intrinsics(self) -> None:
        from calib.intrinsics import solve_intrinsics

        found = data_sets.balance(self.data)
        given = read_rig(self.data / "human4-balance" / "calibration" / "Calib_qualisys.toml", units="m")
        case = "human4-balance, intrinsics"
        squares, off, n, rejected = [], [], 0, 0
        for name in found.views.names:
            lens = solve_intrinsics(found.views.of([name]))
            if lens.solution is None:
                self.report.notes.append(f"{case}: {name}: {lens.words}")
                continue
            length = np.linalg.norm(lens.solution.residual_px, axis=-1)
            squares.append(length[lens.solution.used] ** 2)
            n += int(lens.solution.used.sum())
            rejected += int((np.isfinite(length) & ~lens.solution.used).sum())
            if lens.focal_observable:
                off.append(abs(lens.camera.K[0, 0] / given[name].K[0, 0] - 1) * 100)
            else:
                self.report.notes.append(f"{case}: {name}: {lens.words}")
        self.report.add(case, "rms", "px", float(np.sqrt(np.concatenate(squares).mean())) if squares else None, n=n)
        self.report.add(case, "rejected", "% of observations", 100 * rejected / max(n + rejected, 1), n=n + rejected)
        self.report.add(
            case, "focal lengths off Qualisys', worst that is claimed", "%", max(off, default=None), n=len(off)
        )

    def _refine_rows(self, case: str, mine: Keypoints, other: Keypoints) -> None:
        from calib.refine import confirm, confirmed, refine, scale_ratio

        add = self.report.add
        begin = time.perf_counter()
        refined = refine(mine.rig, mine.px, mine.confidence)
        seconds = time.perf_counter() - begin
        # Measured here again, by plain triangulation of the keypoints that it called sure enough.
        sure = refined.min_confidence
        before, after = (_median_px(rig, mine, sure) for rig in (mine.rig, refined.rig))
        n = int((mine.confidence >= sure).sum())
        add(case, "median before", "px", before, n=n)
        add(case, "median after", "px", after, n=n)
        add(case, "median, after over before", "1", after / before, n=n)
        held = refined.held_out_after / refined.held_out_before
        add(case, "of the other half of the time, after over before", "1", held, n=n)
        scale = scale_ratio(mine.rig.cameras, refined.rig.cameras)
        add(case, "scale changed by", "%", 100 * abs(scale - 1), n=len(mine.rig))
        there = with_places(other.rig, refined.rig)
        told = [confirm(other.rig, there, other.px, other.confidence, what=f"{other.network}'s keypoints")]
        metric = f"on {other.network}, after over before"
        add(case, metric, "1", told[0].after_px / told[0].before_px, n=told[0].n)
        given = scene_rig(self.data)
        there = with_places(given, refined.rig)
        told.append(confirm(given, there, SCENE_PX[:, None], what="scene points"))
        n = int(np.isfinite(SCENE_PX[..., 0]).sum())
        for word, rig in (("before", given), ("after", there)):
            value = float(np.nanmedian(triangulated(rig.cameras, SCENE_PX)[1]))
            add(case, f"scene points, median {word}", "px", value, n=n)
        words = [one.verdict for one in told]
        add(case, "confirmed by what was not fitted", f"of {len(told)}", words.count("confirmed"), better="higher")
        add(case, "refuted by what was not fitted", f"of {len(told)}", words.count("refuted"))
        add(case, "refine", "s", seconds)
        final = confirmed(refined, told)
        self.report.notes.append(f"{case}: {refined.verdict}, then {final.verdict}: {'; '.join(map(str, told))}")

    def imports(self) -> None:
        """Item 5."""
        for name, file in (("fly7-deepfly3d", "df3d_reference.npz"), ("mouse6-dannce", "label3d_mouse1.mat")):
            imported = read_any(self.data / name / file)
            points = imported.check
            if points is None:
                self.report.notes.append(f"{name}: holds no points to try")
                continue
            self.report.add(f"{name}, imported", "median", "px", points.median_px, n=points.n)


def _median_px(rig: Rig, keypoints: Keypoints, sure: float) -> float:
    px = np.where((keypoints.confidence >= sure)[..., None], keypoints.px, np.nan)
    return float(np.nanmedian(triangulated(rig.cameras, px)[1]))


def with_places(rig: Rig, places: Rig) -> Rig:
    """The lenses of one rig where the cameras of the other stand."""
    return rig.with_cameras(replace(c, rvec=places[c.name].rvec, t=places[c.name].t) for c in rig.cameras)


def _baseline_mm(cameras: tuple[Camera, ...]) -> float:
    return float(np.linalg.norm(in_first_frame(cameras)[1].center_mm))


def _focal_off(cameras: tuple[Camera, ...], true: Mapping[str, tuple[float, float]]) -> dict[str, float]:
    """Per cent, the worse of fx and fy."""
    return {
        camera.name: 100 * max(abs(camera.K[i, i] / true[camera.name][i] - 1) for i in (0, 1)) for camera in cameras
    }


def used_px(found: BoardSet, outcome: Outcome) -> np.ndarray:
    """The views (V, F, N, 2) with what the solution rejected taken out."""
    px = np.full(found.views.px.shape, np.nan)
    residuals = outcome.residuals
    assert residuals is not None
    place = {int(frame): f for f, frame in enumerate(found.views.frames)}
    frame = np.array([place[int(number)] for number in residuals.frame])[residuals.used]
    px[residuals.camera[residuals.used], frame, residuals.point[residuals.used]] = residuals.px[residuals.used]
    return px


def _peer_px(found: BoardSet) -> np.ndarray:
    """(V, F, N, 2) what the peer detected."""
    moments = [int(number) for number in found.film.numbers]
    place = {number: f for f, number in enumerate(moments)}
    px = np.full((len(found.film.reels), len(moments), len(found.board.points_mm), 2), np.nan)
    with np.load(found.kept(), allow_pickle=False) as kept:
        for v in range(len(px)):
            for number, seen in zip(kept[f"moments{v}"], kept[f"px{v}"], strict=True):
                px[v, place[int(number)]] = seen
    return px
