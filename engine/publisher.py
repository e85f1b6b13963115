"""What leaves the engine: a pose message for every set, ``meta`` once a second, both to the recorder as well."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from capture.control import NodeControl
from capture.frame import FrameSet
from capture.pose_wire import META, POSES, PosePublisher, RecordSender
from capture.rundir import RunDirectory
from engine.account import FrameAccount
from rigpose import codec
from rigpose.pose import PoseSet, to_message
from rigpose.stamps import now_ns

log = logging.getLogger(__name__)

META_S = 1.0
META_UNHEARD_S = 0.05
LAST_READ_S = 0.3
RECORD_WAIT_S = 5.0
RECENT_SETS = 200
_SETS = 8
_POLL_S = 0.05


class Publisher:
    """Takes answers from the solving thread; ``run`` is the body of a thread of its own, which owns the sockets.

    Args:
        run_dir: Where the sockets are.
        control: Says whether launch hears us yet, and is told what was not recorded.
        epoch: UUID of this process start.
        account: Is told what became of each set's frames.
        meta: Gives what a subscriber learns that came late.
        lossless: Wait for the recorder.
        record: Whether there is one.

    Attributes:
        sets: Published with at least the views that the method needs.
        poses: Of these, those with a subject that is not lost.
        incomplete: Published without.
        record_lost: Messages that the recorder did not take.
    """

    def __init__(
        self,
        run_dir: RunDirectory,
        control: NodeControl,
        epoch: str,
        account: FrameAccount,
        meta: Callable[[], dict[str, Any]],
        *,
        lossless: bool,
        record: bool,
    ) -> None:
        self.sets = self.poses = self.incomplete = self.record_lost = 0
        self._run_dir = run_dir
        self._control = control
        self._epoch = epoch
        self._account = account
        self._meta = meta
        self._lossless = lossless
        self._record = record
        self._waiting: queue.Queue[tuple[FrameSet, PoseSet] | None] = queue.Queue(_SETS)
        self._ended = threading.Event()
        self._recent_ms: deque[float] = deque(maxlen=RECENT_SETS)

    @property
    def recent_ms(self) -> float | None:
        """Median from received to published over the last sets."""
        recent = sorted(self._recent_ms.copy())
        return recent[len(recent) // 2] if recent else None

    def put(self, frames: FrameSet, pose_set: PoseSet) -> None:
        """Hand an answer over, waiting for room; where publishing has ended, its frames are counted ``stopping``."""
        if not self._put((frames, pose_set)):
            self._account.skipped(frames, "stopping")

    def end(self) -> None:
        """Nothing more comes; what waits is still published."""
        self._put(None)

    def _put(self, item: tuple[FrameSet, PoseSet] | None) -> bool:
        # A thread that has failed takes nothing any more, and must not hold up the end.
        while not self._ended.is_set():
            try:
                self._waiting.put(item, timeout=_POLL_S)
                return True
            except queue.Full:
                continue
        return False

    def account_for_rest(self) -> None:
        """Count what was handed over and never published; when the thread has ended."""
        while not self._waiting.empty():
            if (item := self._waiting.get()) is not None:
                self._account.skipped(item[0], "stopping")

    def run(self) -> None:
        """Publish until ``end``.

        Raises:
            ConfigError: The address is in use.
        """
        try:
            with PosePublisher(self._run_dir.endpoint("poses")) as poses:
                recorder = RecordSender(self._run_dir.endpoint("record")) if self._record else None
                try:
                    self._publish_all(poses, recorder)
                finally:
                    # A subscriber drops what it has not read yet the moment its publisher goes away.
                    time.sleep(LAST_READ_S)
                    poses.close(1.0)
                    if recorder is not None:
                        recorder.close(RECORD_WAIT_S)
        finally:
            self._ended.set()

    def _publish_all(self, poses: PosePublisher, recorder: RecordSender | None) -> None:
        seq = meta_seq = 0
        next_meta = 0.0
        while True:
            if time.monotonic() >= next_meta:
                state = self._control.state
                next_meta = time.monotonic() + (META_S if state == "running" else META_UNHEARD_S)
                meta = codec.pack({**self._header(meta_seq), "type": "meta", **self._meta()})
                poses.send(META, meta)
                if recorder is not None and state != "ready":
                    self._to_recorder(recorder, META, meta)
                meta_seq += 1
            try:
                item = self._waiting.get(timeout=max(0.0, next_meta - time.monotonic()))
            except queue.Empty:
                continue
            if item is None:
                return
            payload = self._publish(poses, *item, seq)
            seq += 1
            if recorder is not None:
                self._to_recorder(recorder, POSES, payload)

    def _header(self, seq: int) -> dict[str, Any]:
        return codec.header(self._run_dir.session_id, "engine", self._epoch, seq)

    def _publish(self, poses: PosePublisher, frames: FrameSet, pose_set: PoseSet, seq: int) -> bytes:
        """Send a set's message, and count its frames; the message."""
        try:
            pose_set = replace(pose_set, stamps=replace(pose_set.stamps, published_ns=now_ns()))
            payload = codec.pack(to_message(pose_set, self._header(seq)))
            poses.send(POSES, payload)
        except BaseException:
            self._account.skipped(frames, "stopping")
            raise
        if pose_set.status == "incomplete":
            self._account.skipped(frames, "incomplete")
            self.incomplete += 1
            return payload
        self._account.used(frames)
        self.sets += 1
        self.poses += any(subject.state != "lost" for subject in pose_set.subjects)
        self._recent_ms.append(pose_set.stamps.stages_ms()["received_to_published"])
        return payload

    def _to_recorder(self, recorder: RecordSender, topic: bytes, payload: bytes) -> None:
        # Lossless runs wait for the recorder; live, the poses must not, and a full queue is loud.
        if recorder.send([topic, payload], wait_s=RECORD_WAIT_S if self._lossless else None):
            return
        self.record_lost += 1
        if self.record_lost & (self.record_lost - 1) == 0:
            log.error("the recorder does not keep up: %d messages were not recorded", self.record_lost)
            self._control.event("record_lost", f"{self.record_lost} messages were not recorded")
