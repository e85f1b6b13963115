"""Triangulation of one frame after the other, as a live rig does it, beside aniposelib.

Four views of 25 points with 2 px noise and 5-coefficient lenses. Hard: in half the frames one view of 3
joints is 80 px off, and 10 % of all points are not seen. Time is that of one frame: raw pixels in;
position, and where robust also covariance, residuals and used views out. aniposelib's JAX is warm.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from benchmarks._report import Peer, PeerProcess, Report, arguments, finish, interleaved, summarise
from calib.camera import Camera
from calib.rig import Rig
from calib.robust import triangulate_robust
from calib.triangulate import triangulate
from rigpose.program import run as run_program

JOINTS = 25
SIGMA_PX = 2.0
OUTLIER_PX = 80.0
DIST = (-0.12, 0.05, 0.0008, -0.0005, 0.01)


def make_rig(n_views: int = 4) -> Rig:
    """Cameras 4 m around a subject."""
    cameras = []
    for view in range(n_views):
        angle = 2 * np.pi * view / n_views + 0.3
        center = np.array([4000 * np.cos(angle), 4000 * np.sin(angle), 1500.0 + 200 * (view % 3)])
        forward = np.array([0, 0, 900.0]) - center
        forward /= np.linalg.norm(forward)
        right = np.cross(forward, [0, 0, 1.0])
        right /= np.linalg.norm(right)
        rotation = np.stack([right, np.cross(forward, right), forward])
        K = np.array([[1400.0, 0, 639.5], [0, 1400.0, 511.5], [0, 0, 1]])
        rvec = cv2.Rodrigues(rotation)[0].ravel()
        cameras.append(Camera(f"cam{view}", (1280, 1024), K, np.array(DIST), rvec, -rotation @ center))
    return Rig(tuple(cameras))


def make_work(rig: Rig, frames: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Truth (F, J, 3), clean and hard points (F, V, J, 2) and confidence (F, V, J)."""
    rng = np.random.default_rng(seed)
    n_views = len(rig)
    truth = rng.uniform(-600, 600, (frames, JOINTS, 3)) + (0, 0, 900)
    clean = np.stack([camera.project(truth) for camera in rig.cameras], axis=1)
    clean += rng.normal(0, SIGMA_PX, clean.shape)
    hard = clean.copy()
    for frame in range(0, frames, 2):
        for joint in rng.choice(JOINTS, 3, replace=False):
            angle = rng.uniform(0, 2 * np.pi)
            hard[frame, rng.integers(n_views), joint] += OUTLIER_PX * np.array([np.cos(angle), np.sin(angle)])
    hard[rng.uniform(size=hard.shape[:-1]) < 0.1] = np.nan
    confidence = rng.uniform(0.4, 1, clean.shape[:-1])
    return {"truth": truth, "clean": clean, "hard": hard, "confidence": confidence, "ones": np.ones_like(confidence)}


PEERS = {"plain": "triangulate", "robust": "triangulate_ransac"}
CHUNKS = 4


class Bench:
    """One run: the work, the peer and the report."""

    def __init__(self, quick: bool, folder: Path) -> None:
        self.report = Report.begin("triangulation", quick)
        self.frames = 100 if quick else 400
        self.slow_frames = 12 if quick else 60
        self.rounds = 2000 if quick else 10000
        self.rig = make_rig()
        self.work = make_work(self.rig, self.frames)
        self.folder = folder

    def solve(self, method: str, data: str, frame: int | slice) -> np.ndarray:
        """Ours: positions of one frame, or of several at once."""
        px = self.work[data][frame]
        if method == "plain":
            return triangulate(px, self.work["ones"][frame], self.rig.arrays())
        confidence = self.work["confidence"][frame]
        return triangulate_robust(px, confidence, self.rig.arrays(), sigma_px=SIGMA_PX).position_mm

    def run(self) -> Report:
        """Time ours in small interleaved rounds, with the peer's chunks between them."""
        cases = [(method, data) for method in PEERS for data in ("clean", "hard")]
        calls = {
            f"{method}, {data}": lambda k, method=method, data=data: self.solve(method, data, k % self.frames)
            for method, data in cases
        }
        times: dict[str, list[np.ndarray]] = {name: [] for name in calls}
        theirs: dict[str, list[dict]] = {name: [] for name in calls}
        with PeerProcess(Path(__file__).with_name("_peer_triangulation.py"), [str(self._write_work())]) as peer:
            for chunk in range(CHUNKS):
                for name, samples in interleaved(calls, self.rounds // CHUNKS).items():
                    times[name].append(samples)
                for method, data in cases:
                    answer = self._ask(peer, method, data, chunk)
                    if answer is not None:
                        theirs[f"{method}, {data}"].append(answer)
            if peer.problem:
                self.report.notes.append(peer.problem)
        for method, data in cases:
            name = f"{method}, {data}"
            self._rows(method, data, np.concatenate(times[name]), theirs[name])
        self._more_views()
        return self.report

    def _write_work(self) -> Path:
        path = self.folder / "work.npz"
        cameras = self.rig.cameras
        parameters = {key: np.stack([getattr(camera, key) for camera in cameras]) for key in ("K", "dist", "rvec", "t")}
        np.savez(path, allow_pickle=False, clean=self.work["clean"], hard=self.work["hard"], **parameters)
        return path

    def _ask(self, peer: PeerProcess, method: str, data: str, chunk: int) -> dict | None:
        total = self.frames if method == "plain" else self.slow_frames
        start, stop = chunk * total // CHUNKS, (chunk + 1) * total // CHUNKS
        out = self.folder / "peer.npy"
        answer = peer.ask(method=PEERS[method], case=data, start=start, stop=stop, out=str(out))
        return None if answer is None else {**answer, "points": np.load(out)}

    def _rows(self, method: str, data: str, samples: np.ndarray, theirs: list[dict]) -> None:
        case, truth = f"{method}, {data}", self.work["truth"]

        def peer(values: Sequence[float] | float) -> dict[str, Peer]:
            if not theirs:
                return {}
            value, spread, _ = summarise(values)
            return {f"aniposelib {PEERS[method]}": Peer(value=value, spread=spread, version=theirs[0]["version"])}

        self.report.add(case, "time", "ms a frame", samples, peers=peer([ms for part in theirs for ms in part["ms"]]))
        # The same frames for both, also where the peer was too slow for all.
        found = np.concatenate([part["points"] for part in theirs]) if theirs else np.full_like(truth, np.nan)
        errors = np.linalg.norm(self.solve(method, data, slice(0, len(found))) - truth[: len(found)], axis=-1)
        their_errors = np.linalg.norm(found - truth[: len(found)], axis=-1)
        for q in (50, 95, 99):
            value, other = np.nanpercentile(errors, q), np.nanpercentile(their_errors, q) if theirs else np.nan
            self.report.add(case, f"error p{q}", "mm", float(value), peers=peer(float(other)), n=errors.size)
        solved, other = 100 * np.isfinite(errors).mean(), 100 * np.isfinite(their_errors).mean()
        self.report.add(
            case, "solved", "% of joints", float(solved), better="higher", peers=peer(float(other)), n=errors.size
        )

    def _more_views(self) -> None:
        """How the robust mode grows with the rig."""
        calls = {}
        for n_views in (2, 8, 12):
            rig = make_rig(n_views) if n_views > 2 else make_rig(4).select(["cam0", "cam1"])
            work = make_work(rig, 50)
            calls[f"robust, hard, {n_views} views"] = lambda k, work=work, rig=rig: triangulate_robust(
                work["hard"][k % 50], work["confidence"][k % 50], rig.arrays(), sigma_px=SIGMA_PX
            )
        for name, samples in interleaved(calls, self.rounds // 10).items():
            self.report.add(name, "time", "ms a frame", samples)


def main(argv: list[str] | None = None) -> int:
    """Run, print, and write the JSON; 1 where a goal was missed."""
    options = arguments("triangulation", __doc__.splitlines()[0]).parse_args(argv)
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        report = Bench(options.quick, Path(folder)).run()
    return finish(report, options.json)


if __name__ == "__main__":
    run_program(main)
