"""Triangulation of one frame after the other, as a live rig does it, beside aniposelib.

Four views of 25 points with 2 px noise and 5-coefficient lenses. Hard: in half the frames one view of 3
joints is 80 px off, and 10 % of all points are not seen. Time is that of one frame: raw pixels in;
position, and where robust also covariance, residuals and used views out. aniposelib's JAX is warm.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np

from benchmarks._report import Peer, PeerProcess, Report, arguments, finish, interleaved, summarise
from calib.camera import Camera
from calib.rig import Rig
from calib.robust import triangulate_robust
from calib.triangulate import triangulate

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
    return {"truth": truth, "clean": clean, "hard": hard, "confidence": rng.uniform(0.4, 1, clean.shape[:-1])}


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
        cameras = self.rig.cameras
        np.savez(
            folder / "work.npz",
            clean=self.work["clean"],
            hard=self.work["hard"],
            K=[camera.K for camera in cameras],
            dist=[camera.dist for camera in cameras],
            rvec=[camera.rvec for camera in cameras],
            t=[camera.t for camera in cameras],
        )

    def run(self) -> Report:
        """Time ours in small interleaved rounds, with the peer's chunks between them."""
        arrays, confidence = self.rig.arrays(), self.work["confidence"]
        ones = np.ones_like(confidence)
        methods = {
            ("plain", "clean"): lambda px, k: triangulate(px, ones[k], arrays),
            ("plain", "hard"): lambda px, k: triangulate(px, ones[k], arrays),
            ("robust", "clean"): lambda px, k: triangulate_robust(px, confidence[k], arrays, sigma_px=SIGMA_PX),
            ("robust", "hard"): lambda px, k: triangulate_robust(px, confidence[k], arrays, sigma_px=SIGMA_PX),
        }
        theirs = {"plain": "triangulate", "robust": "triangulate_ransac"}
        calls = {}
        for key, method in methods.items():
            frames = self.work[key[1]]
            calls[key] = lambda k, frames=frames, method=method: method(frames[k % self.frames], k % self.frames)
        chunks = 4
        times: dict[tuple[str, str], list[np.ndarray]] = {key: [] for key in methods}
        peer_times: dict[tuple[str, str], list[float]] = {key: [] for key in methods}
        peer_points: dict[tuple[str, str], list[np.ndarray]] = {key: [] for key in methods}
        version = ""
        script = Path(__file__).with_name("_peer_triangulation.py")
        with PeerProcess(script, [str(self.folder / "work.npz")]) as peer:
            for chunk in range(chunks):
                for key, samples in interleaved(calls, self.rounds // chunks).items():
                    times[key].append(samples)
                for key in methods:
                    total = self.frames if key[0] == "plain" else self.slow_frames
                    start, stop = chunk * total // chunks, (chunk + 1) * total // chunks
                    out = self.folder / "peer.npy"
                    answer = peer.ask(method=theirs[key[0]], case=key[1], start=start, stop=stop, out=str(out))
                    if answer is not None:
                        version = answer["version"]
                        peer_times[key] += answer["ms"]
                        peer_points[key].append(np.load(out))
            if peer.problem:
                self.report.notes.append(peer.problem)
        if version:
            self.report.versions["aniposelib"] = version
        for (method, data), samples in times.items():
            self._rows(method, data, np.concatenate(samples), peer_times, peer_points, version)
        self._more_views()
        return self.report

    def _rows(self, method, data, samples, peer_times, peer_points, version) -> None:  # type: ignore[no-untyped-def]
        key = (method, data)
        case = f"{method}, {data}"
        truth, px = self.work["truth"], self.work[data]
        name = "aniposelib triangulate" if method == "plain" else "aniposelib triangulate_ransac"
        has_peer = bool(peer_points[key])

        def peer(values) -> dict[str, Peer]:  # type: ignore[no-untyped-def]
            if not has_peer:
                return {}
            value, spread, _ = summarise(values)
            return {name: Peer(value=value, spread=spread, version=version)}

        self.report.add(case, "time", "ms a frame", samples, peers=peer(peer_times[key]))
        if method == "plain":
            found = triangulate(px, np.ones(px.shape[:-1]), self.rig.arrays())
        else:
            found = triangulate_robust(px, self.work["confidence"], self.rig.arrays(), sigma_px=SIGMA_PX).position_mm
        errors = np.linalg.norm(found - truth, axis=-1)
        their_errors = np.zeros((0, JOINTS))
        if has_peer:
            theirs = np.concatenate(peer_points[key])
            their_errors = np.linalg.norm(theirs - truth[: len(theirs)], axis=-1)
            # The same frames for both, also where the peer was too slow for all.
            errors = errors[: len(theirs)]
        for metric, q in (("error p50", 50), ("error p95", 95), ("error p99", 99)):
            ours = float(np.nanpercentile(errors, q))
            peers = peer(float(np.nanpercentile(their_errors, q))) if has_peer else {}
            self.report.add(case, metric, "mm", ours, peers=peers, n=int(np.isfinite(errors).sum()))
        solved = 100 * float(np.isfinite(errors).mean())
        peers = peer(100 * float(np.isfinite(their_errors).mean())) if has_peer else {}
        self.report.add(case, "solved", "% of joints", solved, better="higher", peers=peers, n=errors.size)

    def _more_views(self) -> None:
        """How the robust mode grows with the rig."""
        calls = {}
        for n_views in (2, 8, 12):
            rig = make_rig(n_views) if n_views > 2 else make_rig(4).select(["cam0", "cam1"])
            work = make_work(rig, 50)
            arrays = rig.arrays()
            calls[n_views] = lambda k, work=work, arrays=arrays: triangulate_robust(
                work["hard"][k % 50], work["confidence"][k % 50], arrays, sigma_px=SIGMA_PX
            )
        for n_views, samples in interleaved(calls, self.rounds // 10).items():
            self.report.add(f"robust, hard, {n_views} views", "time", "ms a frame", samples)


def main(argv: list[str] | None = None) -> int:
    """Run, print, and write the JSON; 1 where a goal was missed."""
    options = arguments("triangulation", __doc__.splitlines()[0]).parse_args(argv)
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        report = Bench(options.quick, Path(folder)).run()
    return finish(report, options.json)


if __name__ == "__main__":
    sys.exit(main())
