"""The virtual camera keeps the rig's schedule, counts what it skips, and fails as its scenario says."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

from capture.frame import Frame
from capture.sources.base import StartClock, check, create
from capture.sources.virtual import VirtualSource
from capture.virtual.faults import EXIT_CODE
from capture.virtual.world import World
from rigpose.errors import ConfigError
from rigpose.stamps import now_ns
from tests.capture.virtual.scenarios import scenario

RATE = 50.0
PERIOD = round(1e9 / RATE)


def write(folder: Path, **values) -> Path:
    path = folder / "scenario.yaml"
    document = scenario(rate=RATE, noise=[2, 2], **values).model_dump(mode="json")
    path.write_text(yaml.safe_dump(document))
    return path


def source(folder: Path, faults: dict | None = None, *, lossless: bool = False, **keys) -> VirtualSource:
    path = write(folder, faults={"cam2": faults} if faults else {})
    made = create("cam2", {"kind": "virtual", "scenario": str(path), **keys}, lossless=lossless)
    assert isinstance(made, VirtualSource)
    return made


def play(one: VirtualSource, clock: StartClock) -> list[Frame]:
    one.open(clock)
    frames = []
    while (frame := one.read()) is not None:
        frames.append(frame)
    one.close()
    return frames


class TestConfig:
    def test_facts_are_known_before_it_is_opened(self, tmp_path: Path) -> None:
        facts = check({"kind": "virtual", "scenario": str(write(tmp_path))}).facts()
        assert (facts.size, facts.rate) == ((320, 240), RATE)

    def test_of_cameras_of_different_sizes_its_own(self, tmp_path: Path) -> None:
        cameras = [
            {"name": name, "position_mm": [3000, 0, 900], "focal_px": 300, "size": size}
            for name, size in (("a", [320, 240]), ("b", [640, 480]))
        ]
        config = check({"kind": "virtual", "scenario": str(write(tmp_path, cameras=cameras)), "camera": "b"})
        assert config.facts().size == (640, 480)

    def test_a_camera_that_the_scenario_lacks(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="has no camera left .*cam1, cam2, cam3"):
            create("left", {"kind": "virtual", "scenario": str(write(tmp_path))}).prepare()

    def test_a_scenario_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="no such file"):
            create("cam1", {"kind": "virtual", "scenario": str(tmp_path / "no.yaml")}).prepare()

    def test_paths_are_relative_to_the_config(self, tmp_path: Path) -> None:
        config = check({"kind": "virtual", "scenario": "a/s.yaml"}, "rig.yaml", tmp_path)
        assert config.scenario == tmp_path / "a" / "s.yaml"  # type: ignore[attr-defined]


class TestLossless:
    def test_every_tick_of_the_world_in_order(self, tmp_path: Path) -> None:
        frames = play(source(tmp_path, lossless=True, max_frames=6), StartClock(0, PERIOD))
        world = World(scenario(rate=RATE, noise=[2, 2]))
        assert [frame.tick for frame in frames] == list(range(6))
        for frame in frames:
            assert frame.tick is not None and frame.image is not None
            assert np.array_equal(frame.image, world.render(1, frame.tick / RATE))
            assert frame.exposed_from == "arrival"
        assert (frames[-1].counters.exposed, frames[-1].counters.lost_upstream) == (6, 0)

    def test_another_seed_is_another_world(self, tmp_path: Path) -> None:
        one, other = (
            play(source(tmp_path, lossless=True, max_frames=1, seed=seed), StartClock(0, PERIOD))[0] for seed in (1, 2)
        )
        assert one.image is not None and other.image is not None
        assert not np.array_equal(one.image, other.image)

    def test_what_the_camera_drops_is_lost_there_too(self, tmp_path: Path) -> None:
        one = source(tmp_path, {"drop_ticks": [2, 3, 5]}, lossless=True, max_frames=6)
        frames = play(one, StartClock(0, PERIOD))
        assert [frame.tick for frame in frames] == [0, 1, 4]
        assert [frame.seq for frame in frames] == [0, 1, 2]
        counters = one.counters
        assert (counters.exposed, counters.lost_upstream, counters.seen) == (6, 3, 3)


class TestLive:
    def test_frames_leave_at_their_ticks_and_never_before(self, tmp_path: Path) -> None:
        one = source(tmp_path, max_frames=15)
        one.prepare()
        clock = StartClock(now_ns() + 300_000_000, PERIOD)
        frames = play(one, clock)
        for frame in frames:
            assert frame.tick is not None
            assert frame.exposed_ns == clock.tick_ns(frame.tick)
            assert 0 <= frame.host_ns - frame.exposed_ns <= 2 * PERIOD
            assert (frame.exposed_from, frame.video, frame.size) == ("schedule", None, (320, 240))
            assert frame.exposure_ns > 0
            assert frame.device_ns == frame.exposed_ns
        assert one.first_tick == 0
        assert len(frames) >= 8
        assert (one.counters.exposed, one.counters.seen) == (15, len(frames))

    def test_a_frame_shows_the_world_at_its_tick(self, tmp_path: Path) -> None:
        one = source(tmp_path, max_frames=5)
        one.prepare()
        world = World(scenario(rate=RATE, noise=[2, 2]))
        for frame in play(one, StartClock(now_ns() + 200_000_000, PERIOD)):
            assert frame.tick is not None and frame.image is not None
            assert np.array_equal(frame.image, world.render(1, frame.tick / RATE))

    def test_one_that_comes_later_joins_at_the_current_tick(self, tmp_path: Path) -> None:
        one = source(tmp_path)
        one.prepare()
        clock = StartClock(now_ns() - 1000 * PERIOD, PERIOD)
        one.open(clock)
        frame = one.read()
        one.close()
        assert frame is not None and frame.tick is not None and one.first_tick is not None
        assert 1000 <= one.first_tick <= frame.tick < 1030
        assert frame.counters.exposed == frame.tick - one.first_tick + 1
        assert frame.host_ns >= frame.exposed_ns

    def test_without_a_period_the_scenarios_rate_holds(self, tmp_path: Path) -> None:
        frames = play(source(tmp_path, max_frames=3, lossless=True), StartClock(0, 0))
        assert [frame.exposed_ns for frame in frames] == [0, PERIOD, 2 * PERIOD]

    def test_slow_drawing_is_counted_and_never_late(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        one = source(tmp_path, max_frames=40)
        one.prepare()
        draw = World.render

        def slow(self, *args):
            time.sleep(0.05)
            return draw(self, *args)

        monkeypatch.setattr(World, "render", slow)
        clock = StartClock(now_ns() + 100_000_000, PERIOD)
        frames = play(one, clock)
        assert one.counters.exposed == 40
        assert one.counters.lost_upstream > 10
        assert one.counters.seen == len(frames) > 3
        assert all(frame.host_ns - frame.exposed_ns <= 2 * PERIOD for frame in frames)

    def test_a_failure_to_draw_is_one_line(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        one = source(tmp_path, max_frames=3)
        one.prepare()

        def broken(self, *args):
            raise ValueError("no paint")

        monkeypatch.setattr(World, "render", broken)
        one.open(StartClock(now_ns() + 300_000_000, PERIOD))
        with pytest.raises(Exception, match="drawing failed: no paint"):
            while one.read() is not None:
                pass
        one.close()

    def test_stop_ends_a_waiting_read(self, tmp_path: Path) -> None:
        one = source(tmp_path)
        one.prepare()
        one.open(StartClock(now_ns() + 3_600_000_000_000, PERIOD))
        threading.Timer(0.2, one.stop).start()
        begin = time.monotonic()
        assert one.read() is None
        assert time.monotonic() - begin < 3
        one.close()


class TestFaults:
    def test_dropped_frames_are_lost_upstream(self, tmp_path: Path) -> None:
        one = source(tmp_path, {"drop_ticks": [4, 9]}, max_frames=12)
        one.prepare()
        frames = play(one, StartClock(now_ns() + 200_000_000, PERIOD))
        assert not {4, 9} & {frame.tick for frame in frames}
        assert one.counters.exposed == 12
        assert one.counters.lost_upstream == 12 - len(frames) >= 2

    def test_a_stall_is_a_late_frame_and_a_hole(self, tmp_path: Path) -> None:
        one = source(tmp_path, {"stalls": [{"tick": 5, "ms": 150}]}, max_frames=30)
        one.prepare()
        frames = {frame.tick: frame for frame in play(one, StartClock(now_ns() + 200_000_000, PERIOD))}
        late = frames[5]
        assert late.host_ns - late.exposed_ns >= 150_000_000
        assert not {6, 7, 8, 9, 10} & set(frames)
        assert max(tick for tick in frames if tick is not None) > 13  # it recovers
        assert one.counters.lost_upstream == 30 - len(frames)

    def test_the_devices_clock_is_wrong(self, tmp_path: Path) -> None:
        one = source(tmp_path, {"offset_ms": 7, "drift_ppm": 1000}, max_frames=4, lossless=True)
        for frame in play(one, StartClock(1000, PERIOD)):
            assert frame.device_ns is not None and frame.tick is not None
            expected = frame.exposed_ns + 7_000_000 + round(frame.tick * PERIOD * 1e-3)
            assert abs(frame.device_ns - expected) <= 1

    @pytest.mark.process
    def test_a_camera_that_dies_takes_its_process_with_it(self, tmp_path: Path) -> None:
        path = write(tmp_path, faults={"cam2": {"dies_at": 3}})
        program = textwrap.dedent(
            f"""
            from capture.sources.base import StartClock, create
            from rigpose.stamps import now_ns
            one = create("cam2", {{"kind": "virtual", "scenario": {str(path)!r}}})
            one.prepare()
            one.open(StartClock(now_ns() + 200_000_000, {5 * PERIOD}))
            while (frame := one.read()) is not None:
                print(frame.tick, flush=True)
            """
        )
        answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
        assert answer.returncode == EXIT_CODE
        assert answer.stdout.split() == ["0", "1", "2"]

    def test_one_that_was_started_again_lives_on(self, tmp_path: Path) -> None:
        one = source(tmp_path, {"dies_at": 3})
        one.prepare()
        one.open(StartClock(now_ns() - 20 * PERIOD, PERIOD))
        frame = one.read()
        one.close()
        assert frame is not None and frame.tick is not None and frame.tick >= 20
