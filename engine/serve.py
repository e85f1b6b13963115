"""The engine process: frames in, poses out; `python -m engine.serve CONFIG`.

Three threads, and no socket crosses from one to another: one receives and groups frames, one solves,
one publishes. Live, the newest complete set wins; lossless, the receiver takes no more from its
sockets than the solver can answer, so that the cameras wait.
"""

from __future__ import annotations

import argparse
import logging
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, get_args

import cv2

from calib.quality import Verdict
from capture.control import NodeControl, leave, new_epoch
from capture.frame import Frame, FrameSet
from capture.rundir import RunDirectory, new_session_id
from capture.sync import Synchroniser
from engine.account import FrameAccount
from engine.arguments import config_of, model_argument, rig_parser, run_dir_of
from engine.assembly import build_pipeline, lifter_id, meta_of
from engine.config import Method, Precision, SystemConfig
from engine.intake import Intake
from engine.mailbox import Mailbox
from engine.pipeline import Pipeline
from engine.preflight import complete_rate
from engine.publisher import Publisher
from rigpose.errors import ExitCode
from rigpose.logs import log_to
from rigpose.parent import end_with_parent
from rigpose.program import run
from rigpose.stamps import now_ns

log = logging.getLogger(__name__)

LISTENER_WAIT_S = 10.0
VERIFY_PATIENCE = 30
"""Sets that a step of the track's check waits for a pause."""
POLL_S = 0.05
LOSSLESS_SLOTS = 2
LOSSLESS_PAUSE_S = 0.001
END_WAIT_S = 3.0


class Engine:
    """Receives, solves and publishes until its cameras have ended or it is told to stop.

    Args:
        config: The run's config; its ``rate`` must be set.
        pipeline: Answers frame sets.
        verdict: On the rig, for the ``meta`` topic.
        run_dir: Where the sockets are.
        supervised: Whether a launch process listens on the control endpoint.
        record: Whether a recorder listens on the record endpoint.
    """

    def __init__(
        self,
        config: SystemConfig,
        pipeline: Pipeline,
        verdict: Verdict,
        run_dir: RunDirectory,
        *,
        supervised: bool,
        record: bool,
    ) -> None:
        assert config.rate is not None
        self.config = config
        self.pipeline = pipeline
        self.cameras = config.camera_names
        self.account = FrameAccount(self.cameras)
        self._lossless = config.mode == "lossless"
        self._period_ns = round(1e9 / config.rate)
        epoch = new_epoch()
        self._sync = Synchroniser(
            self.cameras,
            self._period_ns,
            deadline_ns=round(config.engine.deadline_periods * self._period_ns),
            lossless=self._lossless,
        )
        self._mailbox = Mailbox(LOSSLESS_SLOTS) if self._lossless else Mailbox(1, self._supersede)
        self._stopping = threading.Event()
        self._failure: BaseException | None = None
        self._misfits: set[str] = set()
        self._intake = Intake(config, run_dir, self._sync, self.account, self._tell, pipeline.pool)
        self.control = NodeControl(
            run_dir.endpoint("control") if supervised else None,
            run_dir.session_id,
            "engine",
            "engine",
            epoch,
            self.counted,
            {
                "model": pipeline.document.id,
                "lifter": lifter_id(pipeline),
                "runtime": pipeline.runtime.name,
                "verdict": verdict.verdict,
            },
        )
        meta = partial(meta_of, config, pipeline, verdict)
        self._publisher = Publisher(
            run_dir, self.control, epoch, self.account, meta, lossless=self._lossless, record=record
        )

    def counted(self) -> dict[str, Any]:
        """Counters for the control channel."""
        account = self.account.snapshot()
        for camera, reasons in self._sync.skipped.items():
            for reason, frames in dict(reasons).items():  # the receiving thread adds reasons meanwhile
                account[camera][reason] = account[camera].get(reason, 0) + frames
        publisher = self._publisher
        return {
            "cameras": account,
            "sets": publisher.sets,
            "poses": publisher.poses,
            "incomplete_sets": publisher.incomplete,
            "rejected": self._intake.rejected,
            "record_lost": publisher.record_lost,
            "received_to_published_ms": publisher.recent_ms,
        }

    def main(self) -> int:
        """Run to the end; 0, or 1 when a thread failed.

        Raises:
            RigposeError: What made a thread fail.
        """
        # A waiting thread gets the interpreter within half a millisecond instead of five.
        sys.setswitchinterval(0.0005)
        solver = threading.Thread(target=self._guard, args=(self._solve_all,), name="solve")
        publisher = threading.Thread(target=self._guard, args=(self._publisher.run,), name="publish")
        with self.control as control:
            solver.start()
            publisher.start()
            try:
                self._await_listener(control)
                control.running()
                self._receive_all()
            except KeyboardInterrupt:
                log.info("stopped by Ctrl-C")
                raise
            finally:
                for frames in self._mailbox.close():
                    self.account.skipped(frames, "stopping")
                solver.join()
                self._publisher.end()
                publisher.join()
                self._publisher.account_for_rest()
                self._intake.close()
            # Inside: launch is told of a failure, not of an end.
            if self._failure is not None:
                raise self._failure
        return int(ExitCode.OK)

    def _await_listener(self, control: NodeControl) -> None:
        """Take no frame before launch hears what is published: its ledger must not miss a pose."""
        if not control.supervised:
            return
        control.state = "ready"
        end = time.monotonic() + LISTENER_WAIT_S
        while not control.started.wait(0.02) and not control.stop_requested.is_set() and not self._stopping.is_set():
            if time.monotonic() > end:
                log.warning("launch does not hear the poses; going on without it")
                return

    def _tell(self, event: str, text: str, **data: Any) -> None:
        log.warning(text)
        self.control.event(event, text, **data)

    def _guard(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - handed to the main thread, which raises it
            self._failure = self._failure or error
            self._stopping.set()

    # ------------------------------------------------------------------ receiving

    def _receive_all(self) -> None:
        stop_at: float | None = None
        while True:
            if stop_at is None and (self._stopping.is_set() or self.control.stop_requested.is_set()):
                # Cameras that were told to stop say their last word; one that failed leaves them to the next engine.
                stop_at = time.monotonic() + (END_WAIT_S if self._failure is None else 0.0)
                self._begin_stop()
            if self._intake.all_ended:
                self._intake.take_rest()
                break
            if stop_at is not None and time.monotonic() > stop_at:
                break
            if stop_at is not None:
                for frame in self._intake.receive(POLL_S):
                    self.account.skipped(frame, "stopping")
                continue
            if self._lossless and self._mailbox.full:
                # The cameras wait at their sockets until the solver has room.
                time.sleep(LOSSLESS_PAUSE_S)
                continue
            deadline_ns = self._sync.next_deadline_ns
            # A set that waits for a late camera must leave at its deadline, not at the next poll.
            wait_s = POLL_S if deadline_ns is None else min(POLL_S, max(0.0, (deadline_ns - now_ns()) / 1e9))
            for frame in self._intake.receive(wait_s, exclude=self._sync.full if self._lossless else frozenset()):
                self._add(frame)
            self._hand_over(self._sync.take(now_ns()))
        if stop_at is None:
            self._hand_over(self._sync.flush(now_ns()))
            # Every frame was received; what still waits is answered before the end.
            while not self._mailbox.empty and not self._stopping.is_set():
                time.sleep(LOSSLESS_PAUSE_S)
        log.info("no more frames: %d sets published", self._publisher.sets)

    def _add(self, frame: Frame) -> None:
        counts = self._sync.skipped[frame.camera]
        before = counts["implausible"]
        self._sync.add(frame)
        n = counts["implausible"]
        if n > before and n & before == 0:  # the 1st, 2nd, 4th, 8th ...
            what = "its clock" if frame.tick is None else f"its tick {frame.tick}"
            text = f"camera {frame.camera}: {what} lies far ahead of the rig; {n} of its frames were not used so far"
            self._tell("camera_implausible", text, camera=frame.camera)

    def _begin_stop(self) -> None:
        self.control.state = "ending" if self._failure is None else "failed"
        for frames in (*self._sync.flush(now_ns()), *self._mailbox.close()):
            self.account.skipped(frames, "stopping")

    def _hand_over(self, sets: list[FrameSet]) -> None:
        for frames in sets:
            while self._lossless and self._mailbox.full and not self._stopping.is_set():
                time.sleep(LOSSLESS_PAUSE_S)
            if self._stopping.is_set():
                self.account.skipped(frames, "stopping")
            else:
                self._mailbox.put(frames)

    def _supersede(self, frames: FrameSet) -> None:
        self.account.skipped(frames, "superseded")

    # ------------------------------------------------------------------ solving

    def _solve_all(self) -> None:
        pipeline = self.pipeline
        pipeline.on_warning = partial(self._tell, "tracker")
        answered = waited = 0
        while not self._stopping.is_set():
            frames = self._mailbox.take(POLL_S)
            if frames is None:
                if self._mailbox.closed:
                    return
                continue
            fitting = frames if self._lossless else self._without_misfits(frames)
            if fitting is None:
                continue
            frames = fitting
            lag = max(0, self._sync.newest_tick - frames.tick)
            try:
                pose_set = replace(pipeline.process(frames), lag_frames=lag)
            except BaseException:
                self.account.skipped(frames, "stopping")
                raise
            self._publisher.put(frames, pose_set)
            answered += pose_set.status == "ok"
            if self.config.sets is not None and answered >= self.config.sets:
                self._stopping.set()
                return
            # The check of the track waits for pauses between two sets; where there are none, not for ever.
            if not pipeline.verification_due:
                waited = 0
            elif self._mailbox.empty or waited >= VERIFY_PATIENCE:
                pipeline.verify()
                waited = 0
            else:
                waited += 1

    def _without_misfits(self, frames: FrameSet) -> FrameSet | None:
        """A set without the pictures that no longer fit the calibration; ``None`` = nothing is left of it.

        A rig that does not fit from the start ends the run; a camera that changes in mid-run must not.
        """
        misfits = self.pipeline.geometry.misfits(frames.frames)
        for frame in frames.frames:
            if frame is None:
                continue
            if (error := misfits.get(frame.camera)) is not None:
                self.account.skipped(frame, "misfit")
                if frame.camera not in self._misfits:
                    self._misfits.add(frame.camera)
                    self._tell("camera_misfit", f"{error}; its pictures are not used", camera=frame.camera)
            elif frame.camera in self._misfits:
                self._misfits.discard(frame.camera)
                self._tell("camera_fits", f"camera {frame.camera} fits again", camera=frame.camera)
        if not misfits:
            return frames
        kept = tuple(None if f is None or f.camera in misfits else f for f in frames.frames)
        return replace(frames, frames=kept) if any(f is not None for f in kept) else None


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = rig_parser(
        "python -m engine.serve",
        "Answer the frames of a rig's cameras with 3D poses.",
        "python -m engine.serve rig.yaml --model movenet.onnx",
    )
    parser.add_argument("--model", help="ONNX, model document or zoo name; replaces engine.model")
    parser.add_argument("--method", choices=get_args(Method), help="replaces engine.method; lift: one camera suffices")
    parser.add_argument("--lifter", help="a lifter's file or zoo name; replaces engine.lift.model")
    parser.add_argument("--runtime", help="auto, or what runs the network; replaces engine.runtime")
    parser.add_argument("--precision", choices=get_args(Precision), help="of the network; replaces engine.precision")
    parser.add_argument("--accept-bad-rig", action="store_true", help="go on with a rig that is judged bad")
    parser.add_argument("--force", action="store_true", help="allow a synthetic model on a real camera")
    options = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    given = {
        "engine.model": model_argument(options.model),
        "engine.method": options.method,
        "engine.lift.model": model_argument(options.lifter),
        "engine.runtime": options.runtime,
        "engine.precision": options.precision,
        "accept_bad_rig": options.accept_bad_rig or None,
        "force": options.force or None,
    }
    config = complete_rate(config_of(options, given), options.config)
    assert config.rate is not None
    if options.supervised:
        return _serve_supervised(config, options)
    run_dir = RunDirectory.create(new_session_id(), config.cameras, options.run_dir)
    try:
        log_to(run_dir.path, "engine")
        pipeline, verdict = build_pipeline(config, options.config)
        engine = Engine(config, pipeline, verdict, run_dir, supervised=False, record=False)
        run_dir = run_dir.update(clock={"start_ns": now_ns(), "period_ns": round(1e9 / config.rate)})
        log.info(
            "ready; start each camera: python -m nodes.camera %s --name NAME --run-dir %s", options.config, run_dir.path
        )
        return engine.main()
    finally:
        leave()
        run_dir.remove()


def _serve_supervised(config: SystemConfig, options: argparse.Namespace) -> int:
    run_dir = run_dir_of(options)
    log_to(run_dir.path, "engine", console=False)
    pipeline, verdict = build_pipeline(config, options.config)
    engine = Engine(config, pipeline, verdict, run_dir, supervised=True, record=config.record.enabled)
    end_with_parent(engine.control.stop_requested.set)
    try:
        return engine.main()
    finally:
        leave()


if __name__ == "__main__":
    run(main)
