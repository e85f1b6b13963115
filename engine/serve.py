"""The engine process: frames in, poses out; `python -m engine.serve CONFIG`.

Three threads, and no socket crosses from one to another: one receives and groups frames, one solves,
one publishes. Live, the newest complete set wins; lossless, the receiver takes no more from its
sockets than the solver can answer, so that the cameras wait.
"""

from __future__ import annotations

import argparse
import logging
import queue
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import cv2

from calib.document import rig_document
from calib.quality import Verdict
from capture.control import NodeControl, leave, new_epoch
from capture.frame import FrameSet
from capture.rundir import RunDirectory, new_session_id
from capture.sync import Synchroniser
from capture.wire import META, POSES, PosePublisher, RecordSender
from engine import runtimes
from engine.account import FrameAccount
from engine.arguments import config_of, model_argument, rig_parser, run_dir_of
from engine.config import SystemConfig
from engine.graph import compose
from engine.intake import Intake
from engine.mailbox import Mailbox
from engine.pipeline import Pipeline
from engine.preflight import complete_rate, judge_rig, load_rig, locate_model
from rigpose import codec
from rigpose.errors import ExitCode
from rigpose.logs import log_to
from rigpose.parent import end_with_parent
from rigpose.pose import COVARIANCE_ORDER, HOW, REASONS, PoseSet, to_message
from rigpose.program import run
from rigpose.stamps import now_ns

log = logging.getLogger(__name__)

META_S = 1.0
META_UNHEARD_S = 0.05
LISTENER_WAIT_S = 10.0
LAST_READ_S = 0.3
VERIFY_PATIENCE = 30
"""Sets that a step of the track's check waits for a pause."""
POLL_S = 0.05
LOSSLESS_SLOTS = 2
LOSSLESS_PAUSE_S = 0.001
END_WAIT_S = 3.0
RECORD_WAIT_S = 5.0
RECENT_SETS = 200


def build_pipeline(config: SystemConfig, where: object = "config") -> tuple[Pipeline, Verdict]:
    """The pipeline that a config describes, warm.

    Raises:
        ConfigError: A file, key, camera or model of the config cannot be used.
        VerdictError: The rig is bad and ``accept_bad_rig`` is not set.
    """
    rig = load_rig(config, where)
    verdict = judge_rig(config, rig)
    for finding in verdict.findings:
        log.warning("%s: %s", config.rig.file, finding)
    located = locate_model(config, where)
    graph = compose(located, n_views=len(rig))
    runtime = runtimes.create(graph, config.engine.runtime, threads=config.engine.threads)
    pipeline = Pipeline(rig, located.document, runtime, config, verdict.verdict)
    pipeline.warm_up()
    log.info("model %s on %s (%s), graph %s", located.document.id, runtime.name, runtime.precision, runtime.graph_hash)
    return pipeline, verdict


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
        self._verdict = verdict
        self._run_dir = run_dir
        self._lossless = config.mode == "lossless"
        self._period_ns = round(1e9 / config.rate)
        self._epoch = new_epoch()
        self._sync = Synchroniser(
            self.cameras,
            self._period_ns,
            deadline_ns=round(config.engine.deadline_periods * self._period_ns),
            lossless=self._lossless,
        )
        self._mailbox = Mailbox(LOSSLESS_SLOTS) if self._lossless else Mailbox(1, self._supersede)
        self._solved: queue.Queue[tuple[FrameSet, PoseSet] | None] = queue.Queue(maxsize=8)
        self._record = record
        self._record_lost = 0
        self._stopping = threading.Event()
        self._published_last = threading.Event()
        self._sets = 0
        self._poses = 0
        self._incomplete = 0
        self._failure: BaseException | None = None
        self._recent_ms: deque[float] = deque(maxlen=RECENT_SETS)
        self._intake = Intake(config, run_dir, self._sync, self.account, self._tell)
        self.control = NodeControl(
            run_dir.endpoint("control") if supervised else None,
            run_dir.session_id,
            "engine",
            "engine",
            self._epoch,
            self.counted,
            {"model": pipeline.document.id, "runtime": pipeline.runtime.name, "verdict": verdict.verdict},
        )

    def counted(self) -> dict[str, Any]:
        """Counters for the control channel."""
        account = self.account.snapshot()
        for camera, reasons in self._sync.skipped.items():
            for reason, frames in dict(reasons).items():  # the receiving thread adds reasons meanwhile
                account[camera][reason] = account[camera].get(reason, 0) + frames
        recent = sorted(self._recent_ms.copy())
        return {
            "cameras": account,
            "sets": self._sets,
            "poses": self._poses,
            "incomplete_sets": self._incomplete,
            "rejected": self._intake.rejected,
            "record_lost": self._record_lost,
            "received_to_published_ms": recent[len(recent) // 2] if recent else None,
        }

    def main(self) -> int:
        """Run to the end; 0, or 1 when a thread failed.

        Raises:
            RigposeError: What made a thread fail.
        """
        # A waiting thread gets the interpreter within half a millisecond instead of five.
        sys.setswitchinterval(0.0005)
        solver = threading.Thread(target=self._guard, args=(self._solve_all,), name="solve")
        publisher = threading.Thread(target=self._guard, args=(self._publish_all,), name="publish")
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
                self._to_publisher(None)
                publisher.join()
                self._account_unpublished()
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
            if self._intake.all_ended or (stop_at is not None and time.monotonic() > stop_at):
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
                self._sync.add(frame)
            self._hand_over(self._sync.take(now_ns()))
        if stop_at is None:
            self._hand_over(self._sync.flush(now_ns()))
            # Every frame was received; what still waits is answered before the end.
            while not self._mailbox.empty and not self._stopping.is_set():
                time.sleep(LOSSLESS_PAUSE_S)
        log.info("no more frames: %d sets published", self._sets)

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
            lag = max(0, self._sync.newest_tick - frames.tick)
            try:
                pose_set = replace(pipeline.process(frames), lag_frames=lag)
            except BaseException:
                self.account.skipped(frames, "stopping")
                raise
            self._to_publisher((frames, pose_set))
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

    # ------------------------------------------------------------------ publishing

    def _to_publisher(self, item: tuple[FrameSet, PoseSet] | None) -> None:
        """Hand a set over; a publisher that has failed must not hold up the end."""
        while not self._published_last.is_set():
            try:
                self._solved.put(item, timeout=POLL_S)
                return
            except queue.Full:
                continue
        if item is not None:
            self.account.skipped(item[0], "stopping")

    def _account_unpublished(self) -> None:
        while not self._solved.empty():
            if (item := self._solved.get()) is not None:
                self.account.skipped(item[0], "stopping")

    def _publish_all(self) -> None:
        try:
            with PosePublisher(self._run_dir.endpoint("poses")) as publisher:
                recorder = RecordSender(self._run_dir.endpoint("record")) if self._record else None
                self._publish_until_told(publisher, recorder)
        finally:
            self._published_last.set()

    def _publish_until_told(self, publisher: PosePublisher, recorder: RecordSender | None) -> None:
        try:
            seq = meta_seq = 0
            next_meta = 0.0
            while True:
                if time.monotonic() >= next_meta:
                    next_meta = time.monotonic() + (META_S if self.control.state == "running" else META_UNHEARD_S)
                    meta = codec.pack(self._meta(meta_seq))
                    publisher.send(META, meta)
                    if recorder is not None and self.control.state != "ready":
                        self._to_recorder(recorder, META, meta)
                    meta_seq += 1
                try:
                    item = self._solved.get(timeout=max(0.0, next_meta - time.monotonic()))
                except queue.Empty:
                    continue
                if item is None:
                    return
                payload = self._publish(publisher, *item, seq)
                seq += 1
                if recorder is not None:
                    self._to_recorder(recorder, POSES, payload)
        finally:
            # A subscriber drops what it has not read yet the moment its publisher goes away.
            time.sleep(LAST_READ_S)
            publisher.close(1.0)
            if recorder is not None:
                recorder.close(RECORD_WAIT_S)

    def _publish(self, publisher: PosePublisher, frames: FrameSet, pose_set: PoseSet, seq: int) -> bytes:
        """Send a set's message, and count its frames; the message."""
        try:
            pose_set = replace(pose_set, stamps=replace(pose_set.stamps, published_ns=now_ns()))
            header = codec.header(self._run_dir.session_id, "engine", self._epoch, seq)
            payload = codec.pack(to_message(pose_set, header))
            publisher.send(POSES, payload)
        except BaseException:
            self.account.skipped(frames, "stopping")
            raise
        if pose_set.status == "incomplete":
            self.account.skipped(frames, "incomplete")
            self._incomplete += 1
            return payload
        self.account.used(frames)
        self._sets += 1
        self._poses += any(subject.state != "lost" for subject in pose_set.subjects)
        self._recent_ms.append(pose_set.stamps.stages_ms()["received_to_published"])
        return payload

    def _to_recorder(self, recorder: RecordSender, topic: bytes, payload: bytes) -> None:
        # Lossless runs wait for the recorder; live, the poses must not, and a full queue is loud.
        if recorder.send([topic, payload], wait_s=RECORD_WAIT_S if self._lossless else None):
            return
        self._record_lost += 1
        if self._record_lost & (self._record_lost - 1) == 0:
            log.error("the recorder does not keep up: %d messages were not recorded", self._record_lost)
            self.control.event("record_lost", f"{self._record_lost} messages were not recorded")

    def _meta(self, seq: int) -> dict[str, Any]:
        document = self.pipeline.document
        return {
            **codec.header(self._run_dir.session_id, "engine", self._epoch, seq),
            "type": "meta",
            "name": self.config.name,
            "units": "mm",
            "how": HOW,
            "reasons": REASONS,
            "covariance": COVARIANCE_ORDER,
            "rate": self.config.rate,
            "skeletons": {document.skeleton.name: document.skeleton.model_dump(mode="json")},
            "model": document.model_dump(mode="json", exclude_none=True),
            "rig": rig_document(self.pipeline.geometry.rig),
            "calibration_id": self.pipeline.geometry.calibration.calibration_id,
            "verdict": self._verdict.verdict,
            "findings": [str(finding) for finding in self._verdict.findings],
        }


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = rig_parser(
        "python -m engine.serve",
        "Answer the frames of a rig's cameras with 3D poses.",
        "python -m engine.serve rig.yaml --model movenet.onnx",
    )
    parser.add_argument("--model", help="ONNX, model document or zoo name; replaces engine.model")
    parser.add_argument("--accept-bad-rig", action="store_true", help="go on with a rig that is judged bad")
    parser.add_argument("--force", action="store_true", help="allow a synthetic model on a real camera")
    options = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    given = {
        "engine.model": model_argument(options.model),
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
