"""The camera node: one source, read and sent frame by frame; `python -m nodes.camera CONFIG --name cam01`.

Live, a frame that the engine does not take at once is skipped and counted; lossless, the node waits.
A node that comes back after a crash joins the rig's schedule at the current tick.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import cv2

from capture.control import NodeControl, leave, new_epoch
from capture.frame import Counters, EndOfFrames, Frame
from capture.message import encode_end, encode_frame
from capture.pose_wire import RecordSender
from capture.rundir import RunDirectory
from capture.sources.base import Source, create
from capture.views import View, Views
from capture.wire import FrameSender
from engine.arguments import config_of, rig_parser, run_dir_of
from engine.config import CameraSection, SystemConfig
from nodes.start import common_clock
from rigpose.errors import ConfigError
from rigpose.logs import log_to
from rigpose.parent import end_with_parent
from rigpose.program import run

log = logging.getLogger(__name__)

RECORD_HWM = 64
RECORD_WAIT_S = 5.0
_SEND_SLICE_S = 0.5
_END_LINGER_S = 2.0
_END_LOSSLESS_S = 120.0
"""Lossless, the engine takes its time for what waits before the last word."""


class CameraNode:
    """Reads one source and sends its frames until it ends or is told to stop.

    Args:
        name: The node's name in the config.
        config: The whole config.
        run_dir: Where the sockets are.
        supervised: Whether a launch process listens on the control endpoint.
    """

    def __init__(self, name: str, config: SystemConfig, run_dir: RunDirectory, *, supervised: bool) -> None:
        section = config.cameras[name]
        self.name = name
        self.lossless = config.mode == "lossless"
        self._views = Views(name, section.views or {name: View()})
        self._source: Source = create(
            name, source_keys(config, section), lossless=self.lossless, where=f"camera {name}"
        )
        self._run_dir = run_dir
        self._record = supervised and config.record.enabled
        self._record_lost = 0
        self._rate = config.rate
        self._epoch = new_epoch()
        self._lock = threading.Lock()
        self._refused = dict.fromkeys(self._views.names, 0)
        self._sent = 0
        self._last_tick: int | None = None
        self._last_seq = dict.fromkeys(self._views.names, -1)
        self.control = NodeControl(
            run_dir.endpoint("control") if supervised else None,
            run_dir.session_id,
            name,
            "camera",
            self._epoch,
            self.counted,
            {"cameras": list(self._views.names)},
        )

    def counters(self, camera: str) -> Counters:
        """What the source has counted, and what of one of its cameras could not be sent."""
        with self._lock:
            return replace(self._source.counters, queue_full=self._refused[camera])

    def counted(self) -> dict[str, Any]:
        """Counters for the control channel."""
        counters = self._source.counters
        with self._lock:
            refused = dict(self._refused)
        return {
            "exposed": counters.exposed,
            "lost_upstream": counters.lost_upstream,
            "seen": counters.seen,
            "queue_full": refused,
            "sent": self._sent,
            "first_tick": self._source.first_tick,
            "last_tick": self._last_tick,
            "record_lost": self._record_lost,
        }

    def main(self) -> int:
        """Run until the source ends or the node is told to stop.

        Raises:
            RigposeError: The source cannot be opened, or failed for good.
        """
        with self.control as control:
            try:
                self._source.prepare()
                period_ns = round(1e9 / self._rate) if self._rate else 0
                clock = common_clock(control, self._run_dir, period_ns)
                if clock is None:
                    return 0
                self._source.open(clock)
                control.running()
                stopper = threading.Thread(target=self._stop_when_told, args=(control,), daemon=True)
                stopper.start()
                self._send_all(control)
            finally:
                self._source.close()
        return 0

    def _stop_when_told(self, control: NodeControl) -> None:
        control.stop_requested.wait()
        self._source.stop()

    def _send_all(self, control: NodeControl) -> None:
        sender = FrameSender(self._run_dir.frames_endpoint(self.name), self._run_dir.session_id, self.name, self._epoch)
        recorder = RecordSender(self._run_dir.endpoint("record"), hwm=RECORD_HWM) if self._record else None
        linger_s = _END_LINGER_S  # less where the engine has taken everything
        try:
            for frame in self._frames():
                for view in self._views.split(frame):
                    counters = replace(frame.counters, queue_full=self._refused[view.camera])
                    view = replace(view, counters=counters, node_epoch=self._epoch)
                    self._send(sender, view, control)
                    if recorder is not None:
                        self._keep(recorder, view, control)
            # In band and behind the last frame: the engine then knows that nothing more is under way.
            patient = self.lossless and not control.stop_requested.is_set()
            wait_s, stop = (_END_LOSSLESS_S, control.stop_requested) if patient else (_END_LINGER_S, None)
            for camera in self._views.names:
                counters = self.counters(camera)
                end = EndOfFrames(camera, self._epoch, self._last_seq[camera], counters)
                linger_s = 0.0 if sender.end(end, wait_s=wait_s, stop=stop) else _END_LINGER_S
                if recorder is not None:
                    seen = replace(end, last_seq=counters.seen - 1)
                    recorder.send([encode_end(seen, self._run_dir.session_id, self.name)], wait_s=_END_LINGER_S)
        finally:
            sender.close(linger_s)
            if recorder is not None:
                recorder.close(_END_LINGER_S)

    def _frames(self) -> Iterator[Frame]:
        while (frame := self._source.read()) is not None:
            self._last_tick = frame.tick
            yield frame

    def _send(self, sender: FrameSender, frame: Frame, control: NodeControl) -> None:
        if not self.lossless:
            sent = sender.send(frame)
        else:
            sent = False
            while not sent and not control.stop_requested.is_set():
                sent = sender.send(frame, wait_s=_SEND_SLICE_S, stop=control.stop_requested)
        with self._lock:
            self._sent += sent
            self._refused[frame.camera] += not sent
            if sent:
                self._last_seq[frame.camera] = frame.seq

    def _keep(self, recorder: RecordSender, frame: Frame, control: NodeControl) -> None:
        """Give a frame to the recorder, also one that the engine did not take."""
        # What is a file already is recorded by reference: its stamps go without the pixels.
        kept = frame if frame.video is None else replace(frame, image=None)
        header, image = encode_frame(kept, self._run_dir.session_id, self.name, self._epoch, frame.seq)
        parts = [header] if image is None else [header, image]
        if recorder.send(parts, wait_s=RECORD_WAIT_S if self.lossless else None, stop=control.stop_requested):
            return
        self._record_lost += 1
        if self._record_lost & (self._record_lost - 1) == 0:
            log.error("the recorder does not keep up: %d frames were not recorded", self._record_lost)
            control.event("record_lost", f"{self._record_lost} frames of {self.name} were not recorded")


def source_keys(config: SystemConfig, section: CameraSection) -> dict[str, Any]:
    """A source's keys, completed by what the whole rig says (rate, loops)."""
    keys = dict(section.source)
    if keys.get("kind") == "video":
        if config.rate is not None:
            keys.setdefault("rate", config.rate)
        keys.setdefault("loop", config.loop)
    return keys


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = rig_parser(
        "python -m nodes.camera",
        "Publish the frames of one camera.",
        "python -m nodes.camera rig.yaml --name cam01 --run-dir /tmp/rig",
    )
    parser.add_argument("--name", required=True, help="which of its cameras")
    options = parser.parse_args(arguments)
    config = config_of(options)
    if options.name not in config.cameras:
        raise ConfigError(
            options.config, f"has no camera {options.name}", f"its cameras are {', '.join(config.cameras)}"
        )
    run_dir = run_dir_of(options)
    log_to(run_dir.path, options.name, console=not options.supervised)
    cv2.setNumThreads(1)
    with run_dir.claimed(options.name):
        node = CameraNode(options.name, config, run_dir, supervised=options.supervised)
        if options.supervised:
            end_with_parent(node.control.stop_requested.set)
        try:
            return node.main()
        finally:
            leave()


if __name__ == "__main__":
    run(main)
