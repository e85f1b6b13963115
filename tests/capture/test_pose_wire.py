"""Poses and recordings over real sockets: topics apart, nobody waited for, nothing lost that was taken."""

from __future__ import annotations

import time
from pathlib import Path

from capture.pose_wire import META, POSES, PosePublisher, PoseSubscriber, RecordReceiver, RecordSender
from tests.capture.waiting import until


def heard(publisher: PosePublisher, topic: bytes, subscriber: PoseSubscriber) -> bool:
    publisher.send(topic, b"x")
    return subscriber.receive() is not None


class TestPoses:
    def test_topics_arrive_apart_and_in_order(self, tmp_path: Path) -> None:
        endpoint = f"ipc://{tmp_path}/poses"
        with (
            PosePublisher(endpoint) as publisher,
            PoseSubscriber(endpoint, (POSES,)) as poses,
            PoseSubscriber(endpoint) as both,
        ):
            assert until(lambda: heard(publisher, META, both))
            assert until(lambda: heard(publisher, POSES, poses))
            while both.receive(0.1) is not None:
                pass
            while poses.receive(0.1) is not None:
                pass
            for number in range(20):
                publisher.send(POSES, b"%d" % number)
            publisher.send(META, b"meta")
            assert [poses.receive(2) for _ in range(20)] == [(POSES, b"%d" % number) for number in range(20)]
            assert poses.receive() is None
            assert until(lambda: both.socket.poll(0))
            time.sleep(0.1)
            assert both.newest() == {POSES: b"19", META: b"meta"}

    def test_publishing_never_waits_for_a_slow_listener(self, tmp_path: Path) -> None:
        endpoint = f"ipc://{tmp_path}/poses"
        with PosePublisher(endpoint, hwm=5) as publisher, PoseSubscriber(endpoint, hwm=5) as slow:
            assert until(lambda: heard(publisher, POSES, slow))
            start = time.monotonic()
            for _ in range(2000):
                publisher.send(POSES, bytes(5000))
            assert time.monotonic() - start < 2


class TestRecording:
    def test_nothing_is_lost_that_was_taken(self, tmp_path: Path) -> None:
        endpoint = f"ipc://{tmp_path}/record"
        with RecordSender(endpoint, hwm=50) as sender:
            assert not sender.send([b"nobody is there"])
            with RecordReceiver(endpoint, hwm=50) as receiver:
                assert until(lambda: sender.send([b"a", b"0"]))
                time.sleep(0.1)
                taken = 1 + sum(sender.send([b"a", b"%d" % number, bytes(20_000)]) for number in range(1, 400))
                assert taken < 400, "a recorder that stands still is noticed"
                got = []
                while (parts := receiver.receive(0.2)) is not None:
                    got.append(bytes(parts[1]))
                assert len(got) == taken
                assert sender.send([b"a", b"room again"], wait_s=2)

    def test_what_is_queued_may_leave_before_the_end(self, tmp_path: Path) -> None:
        endpoint = f"ipc://{tmp_path}/record"
        with RecordReceiver(endpoint) as receiver:
            sender = RecordSender(endpoint)
            assert until(lambda: sender.send([b"0"]))
            for number in range(1, 300):
                assert sender.send([b"%d" % number], wait_s=2)
            sender.close(linger_s=3)
            got = [bytes(receiver.receive(2)[0]) for _ in range(300)]  # type: ignore[index]
            assert got == [b"%d" % number for number in range(300)]
