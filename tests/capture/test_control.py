"""Launch hears every node: that it lives, what it counted, when it ends; and can start and stop it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from capture.control import ControlServer, NodeControl
from rigpose import __version__, codec
from rigpose.errors import ConfigError


@pytest.fixture
def endpoint(tmp_path: Path) -> str:
    return f"ipc://{tmp_path}/c.sock"


@pytest.fixture
def server(endpoint: str) -> Iterator[ControlServer]:
    result = ControlServer(endpoint, "session")
    yield result
    result.close()


def node(endpoint: str | None, counting: Callable[[], dict[str, Any]] = dict, session: str = "session") -> NodeControl:
    return NodeControl(endpoint, session, "cam01", "camera", "epoch1", counting, {"size": [4, 3]})


def until(server: ControlServer, done: Callable[[list[Any]], bool]) -> list[Any]:
    heard: list[Any] = []
    end = time.monotonic() + 5
    while not done(heard):
        assert time.monotonic() < end, f"only heard {[kind for kind, _, _ in heard]}"
        heard += server.receive()
        time.sleep(0.01)
    return heard


def kinds(heard: list[Any]) -> list[str]:
    return [kind for kind, _, _ in heard]


def test_hello_comes_first_then_heartbeats_with_counters_then_bye_with_the_last(
    server: ControlServer, endpoint: str
) -> None:
    counted = {"seen": 0}
    with node(endpoint, lambda: dict(counted)) as control:
        control.running()
        heard = until(server, lambda h: kinds(h).count("heartbeat") >= 3)
        counted["seen"] = 7
    heard += until(server, lambda h: "bye" in kinds(h))
    assert kinds(heard)[0] == "hello" and kinds(heard)[-1] == "bye"
    report = server.reports["epoch1"]
    assert report.said_bye and report.counters == {"seen": 7} and report.state == "ended"
    assert report.details == {"size": [4, 3]} and report.kind == "camera"


def test_events_arrive_with_their_time(server: ControlServer, endpoint: str) -> None:
    with node(endpoint) as control:
        control.event("record_lost", "3 frames", frames=3)
        heard = until(server, lambda h: "event" in kinds(h))
    message = next(m for kind, _, m in heard if kind == "event")
    assert message["event"] == "record_lost" and message["data"] == {"frames": 3} and message["at_ns"] > 0


def test_a_node_is_started_on_the_rigs_tick_and_stopped(server: ControlServer, endpoint: str) -> None:
    with node(endpoint) as control:
        until(server, lambda h: "hello" in kinds(h))
        server.start(server.reports["epoch1"], 12345)
        assert control.started.wait(5) and control.start_ns == 12345
        server.stop(server.reports["epoch1"])
        assert control.stop_requested.wait(5)


def test_the_clock_offset_between_two_processes_of_one_host_is_next_to_nothing(
    server: ControlServer, endpoint: str
) -> None:
    with node(endpoint) as control:
        until(server, lambda h: control.clock_offset_ns is not None)
        assert control.clock_offset_ns is not None and control.clock_rtt_ns is not None
        assert abs(control.clock_offset_ns) <= control.clock_rtt_ns


def test_a_node_of_another_session_is_not_heard(server: ControlServer, endpoint: str) -> None:
    with node(endpoint, session="other"):
        time.sleep(0.3)
        assert server.receive() == [] and not server.reports


def test_garbage_is_counted_and_harms_nobody(server: ControlServer, endpoint: str) -> None:
    socket: zmq.Socket = zmq.Context.instance().socket(zmq.DEALER)
    socket.connect(endpoint)
    socket.send(b"\xc1garbage")
    socket.send(b"")
    with node(endpoint):
        until(server, lambda h: "hello" in kinds(h))
    socket.close(0)
    assert server.rejected == 2


def test_without_a_supervisor_everything_is_a_no_op() -> None:
    with node(None) as control:
        control.running()
        control.event("anything")
        assert not control.supervised


def test_nobody_listening_does_not_hold_up_the_end(tmp_path: Path) -> None:
    control = node(f"ipc://{tmp_path}/nobody.sock").open()
    began = time.monotonic()
    control.close()
    assert time.monotonic() - began < 2.5


def test_a_node_whose_counting_fails_lives_on_and_hears_the_stop(server: ControlServer, endpoint: str) -> None:
    counted = [{"seen": 7}]
    with node(endpoint, lambda: counted[0]) as control:
        until(server, lambda h: "heartbeat" in kinds(h))
        counted.clear()
        until(server, lambda h: kinds(h).count("heartbeat") >= 2)
        server.stop(server.reports["epoch1"])
        assert control.stop_requested.wait(5)
    assert server.reports["epoch1"].counters == {"seen": 7}


def test_a_node_that_fails_does_not_say_that_it_has_ended(server: ControlServer, endpoint: str) -> None:
    with pytest.raises(RuntimeError), node(endpoint):
        raise RuntimeError("broken")
    until(server, lambda h: "bye" in kinds(h))
    assert server.reports["epoch1"].state == "failed"


def test_hello_tells_the_versions(server: ControlServer, endpoint: str) -> None:
    with node(endpoint):
        until(server, lambda h: "hello" in kinds(h))
    assert server.reports["epoch1"].versions["rigpose"] == __version__


def test_launch_answers_with_the_header_of_every_message(server: ControlServer, endpoint: str) -> None:
    socket: zmq.Socket = zmq.Context.instance().socket(zmq.DEALER)
    socket.connect(endpoint)
    hello = {**codec.header("session", "cam01", "e", 0), "type": "hello", "kind": "camera", "pid": 1}
    socket.send(codec.pack(hello))
    until(server, lambda h: "hello" in kinds(h))
    for _ in range(2):
        server.stop(server.reports["e"])
    answers = [codec.unpack(socket.recv()) for _ in range(2)]
    for answer in answers:
        codec.check_header(answer)
    assert [answer["seq"] for answer in answers] == [0, 1] and answers[0]["node_epoch"] == server.epoch
    socket.close(0)


def test_an_address_that_is_taken_is_told_in_one_line(server: ControlServer, endpoint: str) -> None:
    with pytest.raises(ConfigError, match="in use"):
        ControlServer(endpoint, "session")
