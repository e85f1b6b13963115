"""`rigpose calibrate drift`: whether a camera of a running rig, or in a recording, moved, and what to do about it."""

from __future__ import annotations

import json as json_module
from collections import deque
from dataclasses import asdict
from pathlib import Path

import numpy as np

from calib.convert import read_any
from calib.drift import DriftState, DriftWatch
from calib.rig import Rig
from capture.rundir import RunDirectory
from capture.session import SessionReader
from nodes.calibrate.keypoints import RUNNING, Heard, Sightings
from nodes.calibrate.recorded_rig import RecordedRig, rig_of_session
from nodes.calibrate.refine import placed, refine_to_file
from nodes.calibrate.solve import Out, check_free
from rigpose.errors import ConfigError, ExitCode, RigposeError
from rigpose.pose import PoseSet

KEPT = 20_000
"""Poses that are kept for a refinement: some minutes."""
TELL_EVERY = 5
"""Learning is told of in so many steps."""


def run(
    source: str,
    *,
    rig_file: Path | None,
    units: str | None,
    seconds: float | None,
    run_dir: Path | None,
    window: int,
    learn: int,
    refine: Out | None,
    json: bool,
) -> int:
    """Watch a rig.

    Args:
        source: ``running``, or a session's folder.
        rig_file: The rig; by default the one that the source names.
        units: Of that file, where it does not say them.
        seconds: How long to watch a running rig; ``None`` = until Ctrl-C.
        run_dir: Of the running rig; default: the latest.
        window: Frames that are judged together.
        learn: Windows to learn from.
        refine: Where a refinement goes once a camera moved; ``None`` = none is made.
        json: Print a JSON object for each change.

    Returns:
        The exit code: 4 where a camera moved.

    Raises:
        RigposeError: There is no pose with keypoints.
    """
    if refine is not None:
        check_free(refine.to)
    given = None if rig_file is None else read_any(rig_file, None, units).rig
    watch = _Watch(source, given, window, learn, json)
    if source == RUNNING:
        directory = RunDirectory.open(run_dir) if run_dir is not None else RunDirectory.latest()
        try:
            with Heard(directory) as heard:
                # It tells its cameras once a second; what came before that cannot be judged, and does not count.
                heard.wait_for_rig()
                for pose in heard.poses(seconds):
                    if pose is not None:
                        watch.add(pose, heard.rig)
        except KeyboardInterrupt:
            watch.end(refine)
            raise
    else:
        session = SessionReader(Path(source).expanduser())
        rig = rig_of_session(session)
        for pose in session.poses():
            watch.add(pose, rig)
    return watch.end(refine)


class _Watch:
    """The poses of one source on their way into a `DriftWatch`, and what is said of it."""

    def __init__(self, source: str, given: Rig | None, window: int, learn: int, json: bool) -> None:
        self._source = source
        self._given = given
        self._sizes = (window, learn)
        self._json = json
        self._watch: DriftWatch | None = None
        self._rig: Rig | None = None
        self._calibration: Rig | None = None
        self._rows: deque[tuple[int, np.ndarray, np.ndarray]] = deque(maxlen=KEPT)
        self._number = 0
        self._start_ns: int | None = None
        self._said: tuple[object, ...] = ()
        self._network = ""

    def add(self, pose: PoseSet, rig: RecordedRig | None) -> None:
        """Take a pose set; of several subjects the one that most joints were seen of."""
        seen = [subject for subject in pose.subjects if subject.points2d is not None]
        if not seen:
            return
        if self._watch is None and not self._begin(pose, rig):
            return
        assert self._watch is not None
        subject = max(seen, key=lambda one: int(np.isfinite(np.asarray(one.points2d)).sum()))
        px = np.asarray(subject.points2d, dtype=np.float64)
        sure = np.isfinite(px).all(axis=-1).astype(float)
        if subject.confidence2d is not None:
            sure = sure * np.nan_to_num(np.asarray(subject.confidence2d, dtype=np.float64))
        if px.shape[0] != len(pose.cameras):
            return
        px = np.where((sure > 0)[..., None], px, np.nan)
        if self._rows and self._rows[-1][1].shape != px.shape:
            return  # another skeleton
        self._rows.append((self._number, px, sure))
        self._number += 1
        if self._watch.add(px, sure, self._time_s(pose)):
            self._tell(self._watch.state())

    def _begin(self, pose: PoseSet, rig: RecordedRig | None) -> bool:
        if rig is None and (self._given is None or self._source == RUNNING):
            return False  # a running rig tells its cameras once a second
        self._network = pose.model
        here = placed(rig, self._given, self._source)
        missing = [name for name in pose.cameras if name not in here.names]
        if missing:
            what = f"has a camera {missing[0]}, the rig {', '.join(here.names)}"
            raise ConfigError(self._source, what, "name them alike")
        self._rig = here.select(pose.cameras)
        # A new file keeps the lenses as they were calibrated.
        self._calibration = self._given if self._given is not None or rig is None else rig.calibration
        if len(self._rig) < 2:
            raise ConfigError(
                self._source, "has one camera, and nothing that it could be held against", "use two or more"
            )
        window, learn = self._sizes
        self._watch = DriftWatch(self._rig, window=window, learn=learn)
        return True

    def _time_s(self, pose: PoseSet) -> float | None:
        exposed = [ns for ns in pose.stamps.exposed_ns if ns]
        if not exposed:
            return None
        now = int(np.median(exposed))
        self._start_ns = now if self._start_ns is None else self._start_ns
        return (now - self._start_ns) / 1e9

    def _tell(self, state: DriftState) -> None:
        """Say it where it is new."""
        step = int(TELL_EVERY * state.share_learned)
        now = (state.learned, state.moved, state.suspected, 0 if state.learned else step)
        if now == self._said:
            return
        self._said = now
        if self._json:
            print(json_module.dumps(_plain(asdict(state))), flush=True)
            return
        print(state, flush=True)

    def end(self, refine: Out | None) -> int:
        """The last word, the refinement where one is wanted, and the exit code."""
        if self._watch is None or self._rig is None:
            raise RigposeError(self._source, "has no pose with 2D keypoints", "watch while a subject is seen")
        state = self._watch.state()
        if not state.learned:
            window, learn = self._sizes
            raise RigposeError(
                self._source,
                f"is too short to say anything: {state.frames} poses, {window * learn} are needed to learn from",
                "watch longer, or give smaller --window and --learn",
            )
        if state.steady:
            if not self._json:
                print(f"after {state.frames} poses: {state}")
                for camera in state.cameras:
                    print(f"  {camera.camera}: {camera.shift_px:.2f} +- {camera.deviation_px:.2f} px")
            return int(ExitCode.OK)
        if refine is not None:
            self._refine(refine, state)
        elif not self._json:
            rig = "" if self._given is None else " --rig RIG"
            print(f"to refine it from what was seen: rigpose calibrate refine {self._source}{rig} --to NEW.toml")
        return int(ExitCode.BAD_VERDICT)

    def _refine(self, out: Out, state: DriftState) -> None:
        """A new rig from the poses since the camera moved."""
        assert self._rig is not None
        since = max(
            (camera.since_frame or 0 for camera in state.cameras if camera.moved), default=state.since_frame or 0
        )
        rows = [(px, sure) for number, px, sure in self._rows if number >= since]
        px, sure = (np.stack(column).swapaxes(0, 1) for column in zip(*rows, strict=True))
        source = f"{self._source} since frame {since}"
        seen = Sightings(self._rig.names, px, sure, None, source, self._network, np.full(px.shape[1], np.nan))
        refine_to_file(seen, self._rig, self._calibration, out)


def _plain(value: object) -> object:
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
