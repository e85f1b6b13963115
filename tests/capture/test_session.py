"""A recording on disk: what goes in comes out, nothing is overwritten, a killed one can be read."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from datetime import datetime
from pathlib import Path

import av
import numpy as np
import pytest
from mcap.reader import make_reader

from calib.document import rig_document, rig_from_document
from capture.session import (
    SessionInfo,
    SessionReader,
    SessionWriter,
    VideoSettings,
    recover,
)
from capture.session.log import CHANNELS
from rigpose import codec
from rigpose.errors import ConfigError, MissingError, RigposeError
from rigpose.keypoints import Keypoints
from rigpose.pose import PoseSet
from rigpose.summary import Summary
from tests.calib.scenes import ring
from tests.capture.poses import COCO17, payload, picture, pose_set, stride, subject


def decoded(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="bgr24") for frame in container.decode(video=0)]


def same(a: PoseSet, b: PoseSet) -> bool:
    return payload(a) == payload(b)


@pytest.fixture
def info() -> SessionInfo:
    return SessionInfo(
        session_id="run-1",
        config={"version": 1, "name": "bench"},
        rig=rig_document(ring(4)),
        model={"id": "stick"},
        skeletons=(COCO17,),
        subject="M12",
        experimenter="someone",
        protocol="open field",
        notes="left lamp is new",
    )


class TestFolder:
    def test_its_name_begins_with_the_local_date_and_time(self, tmp_path):
        with SessionWriter(tmp_path, "human 4/a") as writer:
            stamp, name = writer.path.name[:17], writer.path.name[18:]
        assert abs((datetime.now() - datetime.strptime(stamp, "%Y-%m-%d_%H%M%S")).total_seconds()) < 60
        assert name == "human-4-a"

    def test_nothing_is_ever_overwritten(self, tmp_path):
        writers = [SessionWriter(tmp_path, "rig") for _ in range(4)]
        assert len({writer.path for writer in writers}) == 4
        for writer in writers:
            writer.close()

    def test_the_document_stands_before_the_log_has_a_message(self, tmp_path, info):
        with SessionWriter(tmp_path, "rig", info) as writer:
            document = json.loads((writer.path / "session.json").read_text())
        assert document["schema"] == 1
        assert document["config"] == {"version": 1, "name": "bench"}
        assert document["subject"] == "M12" and document["notes"] == "left lamp is new"
        assert datetime.fromisoformat(document["started"]).utcoffset() is not None
        assert {"rigpose", "python", "numpy"} <= set(document["versions"])

    def test_a_folder_that_cannot_be_made_is_named(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(ConfigError, match=r"file.*cannot hold a session"):
            SessionWriter(tmp_path / "file" / "below", "rig")


class TestRoundTrip:
    def test_poses_come_back_bit_by_bit(self, tmp_path, info):
        sets = [pose_set(i, (subject(stride(i / 5), unseen=(3,) if i % 2 else ()),)) for i in range(10)]
        with SessionWriter(tmp_path, "rig", info) as writer:
            assert all(writer.add_pose(payload(pose)) for pose in sets)
        reader = SessionReader(writer.path)
        assert reader.closed and reader.n_sets == 10
        assert all(same(a, b) for a, b in zip(reader.poses(), sets, strict=True))
        assert same(reader.pose(7), sets[7]) and same(reader.pose(-1), sets[9])
        assert list(reader.payloads("poses")) == [payload(pose) for pose in sets]

    def test_the_rig_comes_back_exactly(self, tmp_path, info):
        rig = ring(4, dist=(0.1, -0.02, 1e-4, 2e-4, 0.003))
        rig.metadata.update(world="floor", made=datetime(2026, 1, 2))
        with SessionWriter(tmp_path, "rig", info.model_copy(update={"rig": rig_document(rig)})) as writer:
            pass
        back = SessionReader(writer.path).rig()
        assert back.calibration_id == rig.calibration_id
        assert back.names == rig.names and back.metadata["world"] == "floor"
        for a, b in zip(rig.cameras, back.cameras, strict=True):
            np.testing.assert_array_equal(a.K, b.K)
            np.testing.assert_array_equal(a.t, b.t)
            np.testing.assert_array_equal(a.dist, b.dist)

    def test_skeletons_events_health_and_clocks(self, tmp_path, info):
        with SessionWriter(tmp_path, "rig", info) as writer:
            writer.add_event("stimulus", source="arduino", t_ns=123, clock="arduino", data={"tone_hz": 4000})
            writer.add_event("camera_died", source="launch", text="cam2")
            writer.add_health("cam0", {"seen": 5})
        reader = SessionReader(writer.path)
        assert reader.skeletons() == {"coco17": COCO17}
        first, second = reader.events()
        assert (first["name"], first["t_ns"], first["clock"]) == ("stimulus", 123, "arduino")
        assert first["data"] == {"tone_hz": 4000}
        assert (second["source"], second["text"], second["clock"]) == ("launch", "cam2", "monotonic")
        assert [entry["counters"] for entry in reader.health()] == [{"seen": 5}]
        ((monotonic, utc),) = reader.clock_pairs()
        assert abs(utc - time.time_ns()) < 60e9 and abs(monotonic - time.monotonic_ns()) < 60e9

    def test_both_clocks_are_kept_each_second(self, tmp_path):
        with SessionWriter(tmp_path, "rig") as writer:
            time.sleep(2.3)
        pairs = list(SessionReader(writer.path).clock_pairs())
        assert len(pairs) == 3
        assert np.diff([pair[0] for pair in pairs]) / 1e9 == pytest.approx(1.0, abs=0.3)

    def test_the_log_opens_in_other_programs(self, tmp_path, info):
        """As the mcap package's own indexed reader sees it: times in UTC, channels with a schema."""
        with SessionWriter(tmp_path, "rig", info) as writer:
            writer.add_pose(payload(pose_set(0)))
        with open(writer.path / "session.mcap", "rb") as file:
            reader = make_reader(file)
            assert reader.get_summary().statistics.message_count == 2
            messages = {channel.topic: (schema, message) for schema, channel, message in reader.iter_messages()}
            assert {channel.topic for channel in reader.get_summary().channels.values()} == set(CHANNELS)
        schema, message = messages["poses"]
        assert schema.encoding == "jsonschema" and json.loads(schema.data)["type"] == "object"
        assert abs(message.log_time - time.time_ns()) < 60e9

    def test_the_summary_may_come_after_the_end(self, tmp_path, info):
        writer = SessionWriter(tmp_path, "rig", info)
        assert SessionReader(writer.path).summary() is None
        recording = writer.close()
        Summary(recording=recording).write(writer.path / "summary.json")
        assert (SessionReader(writer.path).summary() or {})["recording"]["closed"] is True

    def test_meta_completes_what_the_start_did_not_know(self, tmp_path):
        with SessionWriter(tmp_path, "rig", SessionInfo(session_id="s", rig=rig_document(ring(2)))) as writer:
            meta = {"rig": rig_document(ring(3)), "model": {"id": "m"}, "skeletons": (COCO17,)}
            writer.add_meta(codec.pack({"type": "meta"}), meta)
        reader = SessionReader(writer.path)
        assert reader.info.model == {"id": "m"} and reader.skeletons()["coco17"] == COCO17
        assert len(reader.rig()) == 2, "what the start knew stays"
        assert len(list(reader.meta())) == 1


class TestVideo:
    def test_every_picture_comes_back_in_order_with_its_stamp(self, tmp_path):
        with SessionWriter(tmp_path, "rig") as writer:
            for i in range(90):
                for camera in ("cam0", "cam1"):
                    assert writer.add_frame(picture(camera, i))
        reader = SessionReader(writer.path)
        stamps = [stamp for stamp in reader.stamps() if stamp["camera"] == "cam1"]
        pictures = decoded(writer.path / stamps[0]["video_file"])
        assert [stamp["video_frame_index"] for stamp in stamps] == list(range(90)) and len(pictures) == 90
        for stamp, image in zip(stamps, pictures, strict=True):
            assert image.mean() == pytest.approx(stamp["seq"] % 200 + 30, abs=2)
        assert stamps[7]["exposed_ns"] == picture("cam1", 7).exposed_ns
        assert stamps[7]["counters"]["exposed"] == 8
        assert stamps[7]["exposed_from"] == "device" and stamps[7]["node_epoch"] == "cam1-epoch"

    def test_groups_of_pictures_last_a_second_whatever_the_rate(self, tmp_path):
        with SessionWriter(tmp_path, "rig") as writer:
            for i in range(70):
                writer.add_frame(picture("cam0", i, rate=20))
        with av.open(str(writer.path / "cam0.mp4")) as container:
            keys = [float(frame.pts * frame.time_base) for frame in container.decode(video=0) if frame.key_frame]
        assert keys == pytest.approx([0, 1, 2, 3])

    @pytest.mark.parametrize(
        ("pixel_format", "image", "expected"),
        [
            ("Mono8", np.full((48, 64), 90, np.uint8), (90, 90, 90)),
            ("Mono12", np.full((48, 64), 90 << 4, np.uint16), (90, 90, 90)),
            ("BayerRG8", np.tile(np.array([[150, 0], [0, 0]], np.uint8), (24, 32)), (0, 0, 150)),
            ("BGR8", np.full((48, 64, 3), (40, 90, 160), np.uint8), (40, 90, 160)),
        ],
    )
    def test_colours_survive(self, tmp_path, pixel_format, image, expected):
        with SessionWriter(tmp_path, "rig") as writer:
            writer.add_frame(picture("cam0", 0, image=image, pixel_format=pixel_format))
        colour = decoded(writer.path / "cam0.mp4")[0][8:-8, 8:-8].mean(axis=(0, 1))
        assert colour == pytest.approx(expected, abs=6)

    def test_odd_sizes_are_padded_and_the_size_is_in_the_stamp(self, tmp_path):
        with SessionWriter(tmp_path, "rig") as writer:
            assert writer.add_frame(picture("cam0", 0, size=(65, 49)))
        assert decoded(writer.path / "cam0.mp4")[0].shape == (50, 66, 3)
        assert next(SessionReader(writer.path).stamps())["size"] == [65, 49]

    def test_a_camera_that_changes_its_size_goes_on_in_another_video(self, tmp_path):
        sizes = [(64, 48), (64, 48), (32, 24), (64, 48)]
        with SessionWriter(tmp_path, "rig") as writer:
            for i, size in enumerate(sizes):
                assert writer.add_frame(picture("cam0", i, size=size))
                assert writer.add_frame(picture("cam1", i))
        assert writer.stopped is None or not writer.stopped
        stamps = [stamp for stamp in SessionReader(writer.path).stamps() if stamp["camera"] == "cam0"]
        places = [(stamp["video_file"], stamp["video_frame_index"]) for stamp in stamps]
        assert places == [("cam0.mp4", 0), ("cam0.mp4", 1), ("cam0_1.mp4", 0), ("cam0_2.mp4", 0)]
        for (file, index), (width, height) in zip(places, sizes, strict=True):
            assert decoded(writer.path / file)[index].shape == (height, width, 3)

    def test_a_file_source_is_kept_by_reference_and_not_encoded_again(self, tmp_path):
        original = tmp_path / "original.mp4"
        original.write_bytes(b"pictures of a mouse")
        with SessionWriter(tmp_path, "rig") as writer:
            for i in range(3):
                writer.add_frame(picture("cam0", i, image=None, video=(str(original), 10 + i)))
        assert sorted(path.name for path in writer.path.iterdir()) == ["session.json", "session.mcap"]
        reader = SessionReader(writer.path)
        assert [stamp["video_frame_index"] for stamp in reader.stamps()] == [10, 11, 12]
        (reference,) = [event for event in reader.events() if event["name"] == "video_reference"]
        assert reference["data"] == {
            "camera": "cam0",
            "path": str(original),
            "bytes": 19,
            "sha256": hashlib.sha256(b"pictures of a mouse").hexdigest(),
        }

    def test_a_sequence_of_images_is_referred_to_file_by_file_without_a_thread_for_each(self, tmp_path):
        files = [tmp_path / f"{i}.png" for i in range(40)]
        for file in files:
            file.write_bytes(bytes(100_000))
        before = threading.active_count()
        with SessionWriter(tmp_path, "rig") as writer:
            for i, file in enumerate(files):
                writer.add_frame(picture("cam0", i, image=None, video=(str(file), 0)))
            assert threading.active_count() <= before + 2, "one that syncs, one that sums up"
        events = SessionReader(writer.path).events()
        references = [event["data"] for event in events if event["name"] == "video_reference"]
        assert [reference["path"] for reference in references] == [str(file) for file in files]
        assert all(reference["sha256"] for reference in references)

    def test_a_camera_may_send_points_instead(self, tmp_path):
        points = Keypoints(np.arange(6, dtype=np.float32).reshape(3, 2), np.ones(3, np.float32))
        with SessionWriter(tmp_path, "rig") as writer:
            writer.add_frame(picture("cam0", 0, image=None, points=points))
        (stamp,) = SessionReader(writer.path).stamps()
        np.testing.assert_array_equal(stamp["points"], points.points)
        assert stamp["video_file"] is None

    def test_an_encoder_that_is_not_there_stops_the_recording_with_its_name(self, tmp_path, caplog):
        with SessionWriter(tmp_path, "rig", video=VideoSettings(codec="h9000")) as writer:
            assert not writer.add_frame(picture("cam0", 0))
            assert "h9000" in writer.stopped and isinstance(MissingError("a", "b"), RigposeError)
        assert "RECORDING STOPPED" in caplog.text


class TestFullDisk:
    def test_a_recording_does_not_begin_without_room(self, tmp_path):
        with pytest.raises(ConfigError, match=r"10 MB left, a recording needs 256 MB \(free some space\)"):
            SessionWriter(tmp_path, "rig", free_space=lambda _: 10_000_000)
        assert list(tmp_path.iterdir()) == []

    def test_it_stops_loudly_while_there_is_room_to_close(self, tmp_path, caplog):
        left = [10**10]
        with SessionWriter(tmp_path, "rig", free_space=lambda _: left[0]) as writer:
            writer.add_frame(picture("cam0", 0))
            assert writer.add_pose(payload(pose_set(0)))
            left[0] = 10**6
            deadline = time.monotonic() + 5
            while not writer.stopped and time.monotonic() < deadline:
                time.sleep(0.05)
            assert not writer.add_pose(payload(pose_set(1))) and not writer.add_frame(picture("cam0", 1))
        assert "RECORDING STOPPED: the disk has 1 MB left" in caplog.text
        assert writer.refused["poses"] == 1 and writer.refused["stamps"] == 1
        reader = SessionReader(writer.path)
        assert reader.closed and reader.n_sets == 1, "what was recorded is a whole file"
        assert reader.recording()["closed"] is False and "1 MB left" in reader.recording()["stopped"]
        assert len(decoded(writer.path / "cam0.mp4")) == 1

    @pytest.mark.process
    def test_a_disk_that_refuses_a_write_leaves_whole_records(self, tmp_path):
        """The kernel itself refuses: the file size limit of the process ends in the middle of a record."""
        program = textwrap.dedent(
            """
            import resource, signal, sys
            from tests.capture.poses import payload, pose_set
            from capture.session import SessionWriter
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            writer = SessionWriter(sys.argv[1], "rig")
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_001, 100_001))
            kept = sum(writer.add_pose(payload(pose_set(i))) for i in range(1000))
            print(kept, writer.close()["stopped"])
            """
        )
        done = subprocess.run(
            [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        kept = int(done.stdout.split()[0])
        assert 50 < kept < 1000 and "File too large" in done.stdout
        assert "RECORDING STOPPED" in done.stderr
        reader = SessionReader(next(tmp_path.iterdir()))
        assert [pose.set_index for pose in reader.poses()] == list(range(kept))


RECORDING = textwrap.dedent(
    """
    import itertools, sys, time
    from tests.capture.poses import payload, picture, pose_set, stride, subject
    from capture.session import SessionWriter
    writer = SessionWriter(sys.argv[1], "killed")
    print(writer.path, flush=True)
    for i in itertools.count():
        assert writer.add_frame(picture("cam0", i))
        assert writer.add_pose(payload(pose_set(i, (subject(stride(i / 10)),))))
        print(i, flush=True)
        time.sleep(0.002)
    """
)


@pytest.fixture
def killed(tmp_path):
    """A session whose process was killed with SIGKILL in the middle, and the last set that it had kept."""
    process = subprocess.Popen([sys.executable, "-c", RECORDING, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        path = Path(process.stdout.readline().strip())
        for line in process.stdout:
            if int(line) >= 200:
                os.kill(process.pid, signal.SIGKILL)
                break
        last = int([line, *process.stdout.read().split()][-1])
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    return path, last


@pytest.mark.process
class TestKilled:
    def test_every_set_that_was_taken_can_be_read(self, killed, caplog):
        path, last = killed
        reader = SessionReader(path)
        indices = [pose.set_index for pose in reader.poses()]
        assert indices[: last + 1] == list(range(last + 1)) and len(indices) <= last + 2
        assert not reader.closed and "was not closed" in caplog.text
        assert reader.recording()["closed"] is False and reader.recording()["lost"] is None
        assert reader.pose(-1).set_index == indices[-1]

    def test_the_video_can_be_read_up_to_its_last_second(self, killed):
        path, last = killed
        pictures = decoded(path / "cam0.mp4")
        assert last + 1 - len(pictures) <= 60 + 10, (
            "a group of pictures at 60 a second, and what waited for the encoder"
        )
        for i, image in enumerate(pictures):
            assert image.mean() == pytest.approx(i % 200 + 30, abs=2)

    def test_recover_makes_a_finished_file_beside(self, killed):
        path, last = killed
        before = (path / "session.mcap").read_bytes()
        finished = recover(path)
        assert (path / "session.mcap").read_bytes() == before
        with open(finished, "rb") as file:
            assert make_reader(file).get_summary().statistics.message_count > 2 * last
        reader = SessionReader(path)
        assert reader.log_path == finished and reader.n_sets > last
        assert reader.closed and reader.recording()["closed"] is False, "readable, but it says that it was cut"
        assert recover(path) == finished


class TestRecover:
    def test_a_closed_session_needs_nothing(self, tmp_path):
        with SessionWriter(tmp_path, "rig") as writer:
            pass
        assert recover(writer.path) == writer.path / "session.mcap"
        assert len(list(writer.path.iterdir())) == 2

    @pytest.mark.parametrize("cut", [1, 9, 40, 300])
    def test_a_torn_last_record_is_no_record(self, tmp_path, cut):
        """Whatever the byte at which a machine lost its power: whole records or none."""
        writer = SessionWriter(tmp_path, "rig")
        for i in range(5):
            writer.add_pose(payload(pose_set(i)))
        data = (writer.path / "session.mcap").read_bytes()
        writer.close()
        for tail in (b"", b"\0" * 4096):
            (writer.path / "session.mcap").write_bytes(data[:-cut] + tail)
            sets = list(SessionReader(writer.path).poses())
            assert [pose.set_index for pose in sets] == list(range(4))


class TestErrors:
    def test_no_such_folder(self, tmp_path):
        with pytest.raises(ConfigError, match="no such folder"):
            SessionReader(tmp_path / "nowhere")

    def test_not_a_session(self, tmp_path):
        with pytest.raises(ConfigError, match=r"is not a session: it has no session.json"):
            SessionReader(tmp_path)

    def test_a_newer_schema(self, tmp_path):
        (tmp_path / "session.json").write_text('{"schema": 2}')
        with pytest.raises(ConfigError, match=r"schema 2, this program reads up to 1 \(use a newer rigpose\)"):
            SessionReader(tmp_path)

    def test_a_newer_reader_ignores_keys_that_it_does_not_know(self, tmp_path):
        with SessionWriter(tmp_path, "rig") as writer:
            pass
        path = writer.path / "session.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "weather": "rain"}))
        assert SessionReader(writer.path).info.schema_ == 1

    def test_an_empty_session(self, tmp_path):
        with SessionWriter(tmp_path, "rig") as writer:
            pass
        reader = SessionReader(writer.path)
        assert reader.n_sets == 0 and list(reader.poses()) == []
        with pytest.raises(RigposeError, match="holds no pose set"):
            reader.pose(0)

    def test_a_set_that_does_not_exist(self, tmp_path):
        with SessionWriter(tmp_path, "rig") as writer:
            writer.add_pose(payload(pose_set(0)))
        with pytest.raises(ConfigError, match=r"has no set 5 \(it has 1, 0 to 0\)"):
            SessionReader(writer.path).pose(5)

    def test_a_log_that_is_something_else(self, tmp_path):
        with SessionWriter(tmp_path, "rig") as writer:
            pass
        (writer.path / "session.mcap").write_bytes(b"something else entirely")
        with pytest.raises(RigposeError, match="is not an MCAP file"):
            _ = SessionReader(writer.path).n_sets

    def test_a_rig_document_that_is_none(self):
        with pytest.raises(ConfigError, match="is not the document of a rig"):
            rig_from_document({"cameras": [{"name": "a"}]})


class TestOldSchemas:
    """Sessions that older versions wrote stay readable: these files were committed and never change."""

    def test_schema_1(self):
        reader = SessionReader(Path(__file__).parent / "sessions" / "schema1")
        assert reader.info.schema_ == 1 and reader.info.subject == "M12" and reader.info.model == {"id": "stick"}
        assert reader.closed and reader.recording()["lost"] == 0
        assert [pose.set_index for pose in reader.poses()] == [0, 1, 2]
        (subject,) = reader.pose(2).subjects
        np.testing.assert_allclose(subject.position_mm[:9], stride(2.0)[:9], atol=1e-3)
        assert np.isnan(subject.position_mm[9]).all()
        assert reader.rig().calibration_id == ring(4).calibration_id and reader.rig().metadata["world"] == "floor"
        assert reader.skeletons()[subject.skeleton].joints[9] == "left_wrist"
        stamps = list(reader.stamps())
        assert [(s["camera"], s["video_file"], s["video_frame_index"]) for s in stamps[-2:]] == [
            ("cam0", "cam0.mp4", 2),
            ("cam1", "/data/cam1.mp4", 2),
        ]
        assert len(decoded(reader.path / "cam0.mp4")) == 3
        assert {"lamp"} <= {event["name"] for event in reader.events()}
        assert reader.summary() == {"schema": 1, "sets": 3}
