"""The recorder: keeps what the engine and the cameras send as a session; `python -m nodes.recorder CONFIG`.

It loses nothing that reached it: told to stop, it first empties its queue. Where the disk is full the
recording ends loudly and the queue goes on being emptied, so that nobody waits for a recorder that cannot
write. ``record`` keeps the poses of a running rig from another terminal.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from calib.document import rig_document
from calib.rig import Rig
from capture.control import NodeControl, leave, new_epoch
from capture.frame import Frame
from capture.message import decode_frame
from capture.pose_wire import META, POSES, PoseSubscriber, RecordReceiver
from capture.rundir import RunDirectory
from capture.session import Gaps, SessionInfo, SessionWriter
from engine.arguments import config_of, rig_parser, run_dir_of
from engine.preflight import load_rig
from nodes.meta import info_of
from rigpose import codec
from rigpose.errors import ConfigError, ExitCode, ProtocolError, RigposeError
from rigpose.logs import log_to
from rigpose.parent import end_with_parent
from rigpose.pose import from_message
from rigpose.program import run
from rigpose.stamps import now_ns

log = logging.getLogger(__name__)

EVENT, HEALTH = b"event", b"health"
QUEUE_MESSAGES = 16
"""Messages that wait at each connection: at most so many pictures of each camera are in memory."""
BEHIND_S = 1.0
HEALTH_S = 1.0
DRAIN_S = 0.5
DRAIN_MAX_S = 20.0
META_WAIT_S = 5.0
SUBSCRIBER_MESSAGES = 10_000


class Keeper:
    """Puts each message into a session and counts it.

    Args:
        writer: The session.
        session_id: Of the run; frames of another are refused. ``None`` = any.
        from_start: Whether the keeper was there before the first message of every sender.

    Attributes:
        messages: All that came.
        rejected: Of these, what does not follow the contract.
        alarms: How often the recorder fell more than a second behind.
        behind_s: Age of the newest message when it was kept.
    """

    def __init__(self, writer: SessionWriter, session_id: str | None = None, *, from_start: bool = True) -> None:
        self.writer = writer
        self.messages = 0
        self.rejected = 0
        self.alarms = 0
        self.behind_s = 0.0
        self._session_id = session_id
        self._late = False
        writer.gaps = Gaps(from_start)

    def keep(self, parts: Sequence[bytes | memoryview]) -> None:
        """Keep one message: ``[topic, payload]``, ``[header, image]`` or a frame's header alone."""
        self.messages += 1
        try:
            topic = bytes(parts[0]) if len(parts) == 2 and len(parts[0]) <= 16 else b""
            if topic == POSES:
                self._pose(bytes(parts[1]))
            elif topic == META:
                self._meta(bytes(parts[1]))
            elif topic == EVENT:
                self._event(self._from_launch(parts[1]))
            elif topic == HEALTH:
                message = self._from_launch(parts[1])
                self.writer.add_health(str(message["about"]), dict(message["counters"]))
            else:
                self._frame(parts)
        except (ProtocolError, KeyError, TypeError, ValueError) as error:
            self.rejected += 1
            if self.rejected & (self.rejected - 1) == 0:  # the 1st, 2nd, 4th, 8th ...
                log.warning("%d messages were no messages of rigpose, the last one: %s", self.rejected, error)

    def _pose(self, payload: bytes) -> None:
        message = codec.unpack(payload)
        pose = from_message(message)
        published_ns = pose.stamps.published_ns
        self._gap(message["node"], message["node_epoch"], message["seq"])
        self._age(published_ns)
        self.writer.add_pose(payload, published_ns)

    def _meta(self, payload: bytes) -> None:
        message = codec.unpack(payload)
        codec.check_header(message)
        self.writer.add_meta(payload, info_of(message))

    def _from_launch(self, payload: bytes | memoryview) -> dict[str, Any]:
        message = codec.unpack(payload)
        codec.check_header(message)
        self._gap(message["node"], message["node_epoch"], message["seq"])
        return message

    def _event(self, message: Mapping[str, Any]) -> None:
        self.writer.add_event(
            str(message["event"]),
            source=str(message["source"]),
            text=str(message.get("text", "")),
            t_ns=int(message["at_ns"]),
            clock=str(message.get("clock", "monotonic")),
            data=dict(message.get("data", {})),
        )

    def _frame(self, parts: Sequence[bytes | memoryview]) -> None:
        frame = decode_frame(parts, now_ns(), self._session_id, bare=True)
        if frame is None:
            return
        if not isinstance(frame, Frame):
            missing = self.writer.gaps.end(frame.camera, frame.node_epoch, frame.last_seq)
            self._lost(frame.camera, missing)
            return
        self._gap(frame.camera, frame.node_epoch, frame.seq)
        self._age(frame.host_ns)
        self.writer.add_frame(frame)

    def _gap(self, node: str, epoch: str, seq: int) -> None:
        self._lost(node, self.writer.gaps.add(node, epoch, seq))

    def _lost(self, node: str, missing: int) -> None:
        if missing:
            log.error("%d messages of %s never reached the recorder", missing, node)
            self.writer.add_event("record_lost", source="recorder", text=node, data={"node": node, "messages": missing})

    def _age(self, sent_ns: int) -> None:
        self.behind_s = max(0.0, (now_ns() - sent_ns) / 1e9) if sent_ns else 0.0
        late = self.behind_s > BEHIND_S
        if late and not self._late:
            self.alarms += 1
            log.error("the recorder is %.1f s behind: the disk or the encoder does not keep up", self.behind_s)
            self.writer.add_event("recorder_behind", source="recorder", data={"behind_s": self.behind_s})
        self._late = late

    def counted(self) -> dict[str, Any]:
        """Counters, and the ``recording`` section of the summary."""
        recording = self.writer.recording()
        return {
            "recording": recording,
            **{key: recording[key] for key in ("poses", "frames", "lost", "refused", "bytes")},
            "messages": self.messages,
            "rejected": self.rejected,
            "alarms": self.alarms,
            "behind_s": round(self.behind_s, 3),
            "free_bytes": self.writer.free_bytes,
        }


class Recorder:
    """The recorder process: binds the record endpoint and keeps what comes.

    Args:
        writer: The session.
        run_dir: Where the sockets are.
        supervised: Whether a launch process listens on the control endpoint.
    """

    def __init__(self, writer: SessionWriter, run_dir: RunDirectory, *, supervised: bool) -> None:
        self.writer = writer
        # One that was started again is not to blame for what came before its time.
        self.keeper = Keeper(writer, run_dir.session_id, from_start="clock" not in run_dir.info)
        self._receiver = RecordReceiver(run_dir.endpoint("record"), hwm=QUEUE_MESSAGES)
        self.control = NodeControl(
            run_dir.endpoint("control") if supervised else None,
            run_dir.session_id,
            "recorder",
            "recorder",
            new_epoch(),
            self.keeper.counted,
            {"path": str(writer.path)},
        )

    def main(self) -> int:
        """Record until told to stop, then empty the queue; 0, or 1 where the recording had to end before."""
        stop = self.control.stop_requested
        told = ""
        next_health = time.monotonic() + HEALTH_S
        with self.control as control:
            control.running()
            try:
                while not stop.is_set():
                    self._take(0.1, stop)
                    if self.writer.stopped != told:
                        told = self.writer.stopped
                        control.event("recording_stopped", told, path=str(self.writer.path))
                    if time.monotonic() >= next_health:
                        next_health += HEALTH_S
                        self.writer.add_health("recorder", self.keeper.counted())
                self._drain()
            finally:
                self._receiver.close()
                recording = self.writer.close()
        log.info("%s: %d poses, %d frames, %d lost", *(recording[key] for key in ("path", "poses", "frames", "lost")))
        return int(ExitCode.FAILED if self.writer.stopped else ExitCode.OK)

    def _drain(self) -> None:
        """Keep what is under way: whoever sends has ended or been told to, and it belongs to the session."""
        end = time.monotonic() + DRAIN_MAX_S
        while self._take(DRAIN_S):
            if time.monotonic() > end:
                log.error("somebody still sends %.0f s after the end: the rest is not recorded", DRAIN_MAX_S)
                return

    def _take(self, wait_s: float, stop: threading.Event | None = None) -> bool:
        parts = self._receiver.receive(wait_s, stop)
        if parts is not None:
            self.keeper.keep(parts)
        return parts is not None


def _stop_on_signals(stop: threading.Event) -> None:
    """SIGINT and SIGTERM end the recording in its own order; a second one ends the process."""

    def handle(number: int, _: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handle)


def record(run_dir: Path | None, to: Path | None = None, seconds: float | None = None) -> int:
    """Keep the poses of a running rig as a session of its own, until Ctrl-C, some seconds or the rig's end.

    Args:
        run_dir: Of the rig; by default the latest.
        to: Folder of the sessions; by default ``recordings`` here.
        seconds: How long.

    Raises:
        RigposeError: No rig runs, its engine says nothing, or the disk is full.
    """
    rig_run = RunDirectory.open(run_dir) if run_dir else RunDirectory.latest()
    stop = threading.Event()
    _stop_on_signals(stop)
    end = None if seconds is None else time.monotonic() + seconds
    with PoseSubscriber(rig_run.endpoint("poses"), hwm=SUBSCRIBER_MESSAGES) as subscriber:
        early: deque[tuple[bytes, bytes]] = deque(maxlen=SUBSCRIBER_MESSAGES)
        meta = _first_meta(subscriber, early, rig_run, stop)
        if meta is None:
            return int(ExitCode.INTERRUPTED)
        info = SessionInfo(session_id=rig_run.session_id, config={"run": rig_run.info}, **info_of(meta))
        with SessionWriter(to or Path("recordings"), str(meta.get("name") or "poses"), info) as writer:
            print(f"recording into {writer.path}", flush=True)
            keeper = Keeper(writer, from_start=False)
            for message in early:
                keeper.keep(message)
            _follow(subscriber, keeper, rig_run, stop, end)
            kept = writer.close()
    lost = f", {kept['lost']} lost" if kept["lost"] else ""
    print(f"{kept['path']}: {kept['poses']} poses{lost}", flush=True)
    if kept["stopped"]:
        raise RigposeError(kept["path"], f"the recording stopped: {kept['stopped']}", "what was recorded stands")
    return int(ExitCode.OK)


def _first_meta(
    subscriber: PoseSubscriber, early: deque[tuple[bytes, bytes]], rig_run: RunDirectory, stop: threading.Event
) -> dict[str, Any] | None:
    """The first meta message; poses that come before it are put into ``early``."""
    end = time.monotonic() + META_WAIT_S
    while not stop.is_set():
        message = subscriber.receive(0.2, stop)
        if message is not None:
            early.append(message)
            if message[0] == META:
                return codec.unpack(message[1])
        if time.monotonic() > end:
            raise RigposeError(rig_run.path, "the rig runs, but its engine says nothing", "see: rigpose status")
    return None


def _follow(
    subscriber: PoseSubscriber, keeper: Keeper, rig_run: RunDirectory, stop: threading.Event, end: float | None
) -> None:
    next_look = time.monotonic() + 1.0
    while not stop.is_set() and not keeper.writer.stopped:
        left = 0.2 if end is None else end - time.monotonic()
        if left <= 0:
            return
        message = subscriber.receive(min(0.2, left), stop)
        if message is not None:
            keeper.keep(message)
        elif time.monotonic() >= next_look:
            next_look = time.monotonic() + 1.0
            if not rig_run.is_running:
                log.info("the rig has ended")
                return


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    options = rig_parser(
        "python -m nodes.recorder",
        "Keep what a rig's engine and cameras send as a session on disk.",
        "python -m nodes.recorder rig.yaml --run-dir /tmp/rig",
    ).parse_args(arguments)
    config = config_of(options)
    run_dir = run_dir_of(options)
    log_to(run_dir.path, "recorder", console=not options.supervised)
    import cv2

    cv2.setNumThreads(1)
    rig: Rig | None = None
    try:
        rig = load_rig(config, options.config)
    except ConfigError as error:
        log.warning("the session begins without its rig, the engine will tell it: %s", error)
    info = SessionInfo(
        session_id=run_dir.session_id,
        config=config.model_dump(mode="json"),
        rig=None if rig is None else rig_document(rig),
        **config.session.model_dump(),
    )
    recorder = Recorder(SessionWriter(config.record.to, config.name, info), run_dir, supervised=options.supervised)
    _stop_on_signals(recorder.control.stop_requested)
    if options.supervised:
        end_with_parent(recorder.control.stop_requested.set)
    try:
        return recorder.main()
    finally:
        leave()


if __name__ == "__main__":
    run(main)
