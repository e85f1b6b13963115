"""What a view hears of the running rig: its newest pose, what the engine says of itself, and the truth if any.

It learns skeletons and cameras from the engine, which may come later, go and come back.
"""

from __future__ import annotations

import logging
import time
from typing import Any

from calib.document import rig_from_document
from calib.rig import Rig
from capture.pose_wire import META, POSES, TRUTH, PoseSubscriber
from capture.rundir import RunDirectory
from nodes.meta import info_of
from nodes.mpjpe import TruthTally
from rigpose import codec
from rigpose.errors import ProtocolError, RigposeError
from rigpose.pose import PoseSet, from_message
from rigpose.skeleton import Skeleton
from rigpose.stamps import now_ns

log = logging.getLogger(__name__)

QUEUE_MESSAGES = 100
COMPARED_S = 1.0


class Feed:
    """A listener to one rig. One thread only.

    Args:
        run_dir: Where the sockets are.

    Attributes:
        pose: The newest pose set.
        pose_s: When it came, on the monotonic clock.
        rate: Published sets a second over the last second, from their own numbers.
        rig: The engine's rig, and ``skeletons`` its skeletons by name.
        calibration: Which rig that is; changes when the engine comes back with another.
        name: What the rig is called.
        mpjpe_mm: Mean distance of measured joints from the truth over the last second, where one is told.
        received: Pose messages that were taken in; older ones of the same turn are dropped unread.
        rejected: Messages that follow no contract.
    """

    def __init__(self, run_dir: RunDirectory) -> None:
        self.pose: PoseSet | None = None
        self.pose_s = 0.0
        self.rate = 0.0
        self.rig: Rig | None = None
        self.skeletons: dict[str, Skeleton] = {}
        self.calibration = ""
        self.name = ""
        self.mpjpe_mm: float | None = None
        self.received = 0
        self.rejected = 0
        self._since = (0.0, -1)
        self._tally = TruthTally()
        self._compared_s = 0.0
        self._poses = PoseSubscriber(run_dir.endpoint("poses"), hwm=QUEUE_MESSAGES)
        self._truth = PoseSubscriber(run_dir.endpoint("truth"), (TRUTH,), hwm=QUEUE_MESSAGES)

    def __enter__(self) -> Feed:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening."""
        self._poses.close()
        self._truth.close()

    @property
    def age_s(self) -> float:
        """How old the newest pose is."""
        return time.monotonic() - self.pose_s

    def hear(self, wait_s: float = 0.0) -> bool:
        """Take in what has come, waiting at most ``wait_s`` for it; whether there is a new pose."""
        newest: dict[bytes, bytes] = {}
        first = self._poses.receive(wait_s)
        if first is not None:
            newest = {first[0]: first[1], **self._poses.newest()}
        self._hear_truth()
        try:
            if META in newest:
                self._take_meta(codec.unpack(newest[META]))
            if POSES in newest:
                self.pose = from_message(codec.unpack(newest[POSES]))
                self.pose_s = time.monotonic()
                self.received += 1
                self._count(self.pose)
                self._compare(self.pose)
                return True
        except RigposeError as error:
            self._reject(error)
        return False

    def _take_meta(self, meta: dict[str, Any]) -> None:
        codec.check_header(meta)
        calibration = str(meta.get("calibration_id", ""))
        info = info_of(meta)
        skeletons = {skeleton.name: skeleton for skeleton in info["skeletons"]}
        if self.rig is None or calibration != self.calibration:
            self.rig = rig_from_document(info["rig"] or {}, "the engine's meta message")
            self.calibration = calibration
        if skeletons != self.skeletons:
            self.skeletons = skeletons
        self.name = str(meta.get("name") or "")

    def _count(self, pose: PoseSet) -> None:
        since_s, since_set = self._since
        if not 0 <= pose.set_index - since_set < 100_000:
            self.rate, self._since = 0.0, (self.pose_s, pose.set_index)
        elif self.pose_s - since_s > 1.0:
            self.rate = (pose.set_index - since_set) / (self.pose_s - since_s)
            self._since = (self.pose_s, pose.set_index)

    def _hear_truth(self) -> None:
        while (received := self._truth.receive()) is not None:
            try:
                message = codec.unpack(received[1])
                codec.check_header(message)
                self._tally.truth(message)
            except ProtocolError as error:
                self._reject(error)

    def _compare(self, pose: PoseSet) -> None:
        self._tally.pose(pose)
        if self.pose_s - self._compared_s > COMPARED_S:
            self.mpjpe_mm = self._tally.recent_mm(now_ns() - round(COMPARED_S * 1e9))
            self._compared_s = self.pose_s

    def _reject(self, error: RigposeError) -> None:
        self.rejected += 1
        if self.rejected & (self.rejected - 1) == 0:  # the 1st, 2nd, 4th, 8th ...
            log.warning("rejected %d messages so far, the last one: %s", self.rejected, error)
