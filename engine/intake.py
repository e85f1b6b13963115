"""The engine's side of the cameras: one socket a camera node, who sends, who is silent, who has ended."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator

import zmq

from capture.buffers import BufferPool
from capture.frame import EndOfFrames, Frame
from capture.rundir import RunDirectory
from capture.sync import Synchroniser
from capture.wire import FrameReceiver
from engine.account import FrameAccount
from engine.config import SystemConfig
from rigpose.stamps import now_ns

log = logging.getLogger(__name__)

SILENCE_PERIODS = 8
SILENCE_LEAST_S = 0.5
SILENCE_LOSSLESS_S = 20.0
Tell = Callable[..., None]


class Intake:
    """Receives frames of all cameras fairly, and watches over each. One thread only.

    Args:
        config: Names the camera nodes and their views.
        run_dir: Has an address for each node.
        sync: Is told who ended and who is silent.
        account: Counts what was received.
        tell: Called with an event's name, text and data.
        pool: Where pictures are received into (`capture.wire.FrameReceiver`).

    Raises:
        ConfigError: An address is in use.
    """

    def __init__(
        self,
        config: SystemConfig,
        run_dir: RunDirectory,
        sync: Synchroniser,
        account: FrameAccount,
        tell: Tell,
        pool: BufferPool | None = None,
    ) -> None:
        self._sync = sync
        self._account = account
        self._tell = tell
        lossless = config.mode == "lossless"
        assert config.rate is not None
        limit_s = SILENCE_LOSSLESS_S if lossless else max(SILENCE_LEAST_S, SILENCE_PERIODS / config.rate)
        self._limit_ns = round(limit_s * 1e9)
        self._poller = zmq.Poller()
        self._receivers: dict[FrameReceiver, frozenset[str]] = {}
        self._cameras = config.camera_names
        self._heard: dict[str, int] = {}
        self._listened_ns = now_ns()
        self._silent: set[str] = set()
        self._ended: set[str] = set()
        try:
            for name, section in config.cameras.items():
                views = frozenset(section.views or (name,))
                receiver = FrameReceiver(
                    run_dir.frames_endpoint(name), session_id=run_dir.session_id, cameras=views, pool=pool
                )
                self._receivers[receiver] = views
                self._poller.register(receiver.socket, zmq.POLLIN)
        except BaseException:
            self.close()
            raise

    @property
    def rejected(self) -> int:
        """Messages that did not follow the contract."""
        return sum(receiver.rejected for receiver in self._receivers)

    @property
    def all_ended(self) -> bool:
        """Whether every camera has said that nothing more comes."""
        return len(self._ended) == len(self._cameras)

    def close(self) -> None:
        """Let the addresses go."""
        for receiver in self._receivers:
            receiver.close()

    def take_rest(self, limit_s: float = 0.5, quiet_s: float = 0.05) -> None:
        """Take what the cameras send behind their last words, and forget it.

        It only pushes those out of the sockets' queues (``FrameSender.end``), but a camera whose push nobody takes
        waits for seconds.
        """
        end = now_ns() + round(limit_s * 1e9)
        while now_ns() < end and self._poller.poll(round(quiet_s * 1000)):
            for receiver in self._receivers:
                receiver.receive()

    def receive(self, wait_s: float, exclude: Collection[str] = frozenset()) -> Iterator[Frame]:
        """The frames that have come, each camera in turn, waiting at most ``wait_s`` for the first.

        Args:
            wait_s: How long to wait when nothing is there.
            exclude: Cameras whose node is left waiting at its socket.
        """
        left_out = frozenset(exclude)
        taking = [receiver for receiver, views in self._receivers.items() if not views & left_out]
        self._forgive(left_out)
        if exclude:
            # Those left out are readable all the time: polling them would never wait.
            poller = zmq.Poller()
            for receiver in taking:
                poller.register(receiver.socket, zmq.POLLIN)
        else:
            poller = self._poller
        waiting = {socket for socket, _ in poller.poll(round(wait_s * 1000))}
        # One frame a camera, then the caller decides anew: no camera can crowd out another.
        for receiver in taking:
            if receiver.socket not in waiting:
                continue
            message = receiver.receive()
            if isinstance(message, EndOfFrames):
                self._ended.add(message.camera)
                self._sync.ended(message.camera, message.last_seq)
            elif message is not None:
                self._note(message)
                yield message
        self._watch()

    def _forgive(self, left_out: frozenset[str]) -> None:
        """Time in which nobody listens to a camera is no silence of its own."""
        now = now_ns()
        away, self._listened_ns = now - self._listened_ns, now
        for views in self._receivers.values():
            unheard = not views.isdisjoint(left_out)
            for camera in views & self._heard.keys():
                self._heard[camera] = now if unheard else min(now, self._heard[camera] + away)

    def _note(self, frame: Frame) -> None:
        camera = frame.camera
        self._heard[camera] = frame.received_ns
        self._ended.discard(camera)
        if camera in self._silent:
            self._silent.discard(camera)
            self._tell("camera_back", f"camera {camera} sends again", camera=camera)
        self._account.received(frame)

    def _watch(self) -> None:
        now = self._listened_ns = now_ns()
        if not self._heard or all(now - at > self._limit_ns for at in self._heard.values()):
            return  # Nothing comes at all: nobody waits for anybody.
        for camera, at in self._heard.items():
            if camera not in self._silent and camera not in self._ended and now - at > self._limit_ns:
                self._silent.add(camera)
                self._sync.absent(camera)
                self._tell("camera_silent", f"camera {camera} sends nothing; poses go on without it", camera=camera)
