"""Sources are found by their kind, and share one schedule."""

from __future__ import annotations

import gc
import subprocess
import sys
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from capture.sources import base
from capture.sources.base import SourceConfig, StartClock, Tally, check, create, find, known
from capture.sources.pool import ArrayPool
from capture.sources.video import VideoConfig, VideoSource
from rigpose.errors import ConfigError, MissingError


class PluginConfig(SourceConfig):
    speed: int = 3


class PluginSource:
    Config = PluginConfig

    def __init__(self, camera: str, config: PluginConfig, *, lossless: bool = False) -> None:
        self.camera, self.config, self.lossless = camera, config, lossless


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    points = EntryPoints(
        [
            EntryPoint("theirs", f"{__name__}:PluginSource", base.ENTRY_POINTS),
            EntryPoint("broken", "not_installed_anywhere:Source", base.ENTRY_POINTS),
        ]
    )
    monkeypatch.setattr(base, "entry_points", lambda group: points.select(group=group))
    monkeypatch.setitem(sys.modules, __name__, sys.modules[PluginSource.__module__])


class TestKinds:
    def test_a_kind_has_its_class_and_its_config(self, tmp_path: Path) -> None:
        source = create("left", {"kind": "video", "file": str(tmp_path / "a.mp4"), "rate": 25}, lossless=True)
        assert isinstance(source, VideoSource)
        assert (source.camera, source.lossless, source.config.rate) == ("left", True, 25)

    def test_an_unknown_kind_lists_the_known(self) -> None:
        with pytest.raises(
            ConfigError, match=r"camera a: kind 'basler' is not known \(known are: .*video, .*webcam"
        ) as error:
            create("a", {"kind": "basler"}, where="camera a")
        assert "\n" not in str(error.value)

    @pytest.mark.parametrize("config", [{}, None, {"kind": None}, {"kind": 5}, {"kind": ["video"]}])
    def test_no_kind_is_one_clear_line(self, config: object) -> None:
        with pytest.raises(ConfigError, match="video"):
            create("a", config)

    def test_a_key_that_does_not_exist_names_those_that_do(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"source: key fil: .*allowed are: .*file"):
            create("a", {"kind": "video", "file": "a.mp4", "fil": "b.mp4"})

    def test_paths_are_relative_to_the_config_file(self, tmp_path: Path) -> None:
        config = check({"kind": "video", "file": "videos/a.mp4"}, "rig.yaml", tmp_path)
        assert isinstance(config, VideoConfig)
        assert config.file == tmp_path / "videos" / "a.mp4"

    def test_a_plug_in_is_a_kind_like_any_other(self, plugin: None) -> None:
        assert {"theirs", "broken", "video", "webcam"} <= set(known())
        source = create("a", {"kind": "theirs", "speed": 8})
        assert source.config.speed == 8  # type: ignore[attr-defined]
        with pytest.raises(ConfigError, match="speed"):
            create("a", {"kind": "theirs", "speed": "fast"})

    def test_a_plug_in_that_cannot_be_loaded_says_so(self, plugin: None) -> None:
        with pytest.raises(MissingError, match="'broken' cannot be loaded"):
            find("broken")

    def test_finding_a_source_loads_no_network_runtime(self) -> None:
        program = (
            "import sys; from capture.sources.base import find; find('video'); find('webcam');"
            "assert not {'onnxruntime', 'torch', 'open3d', 'engine'} & set(sys.modules), sys.modules"
        )
        subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


class TestStartClock:
    @given(
        start=st.integers(0, 2**60),
        period=st.integers(1, 10**10),
        after=st.integers(-(10**12), 10**15),
    )
    def test_the_tick_of_a_moment_is_the_last_that_has_come(self, start: int, period: int, after: int) -> None:
        clock = StartClock(start, period)
        tick = clock.tick_at(start + after)
        if after < 0:
            assert tick == -1
        else:
            assert clock.tick_ns(tick) <= start + after < clock.tick_ns(tick + 1)


class TestTally:
    def test_exposed_is_lost_plus_seen(self) -> None:
        tally = Tally()
        tally.lost(3)
        counters = [tally.seen(), tally.lost(), tally.seen()]
        assert [(c.exposed, c.lost_upstream, c.seen) for c in counters] == [(4, 3, 1), (5, 4, 1), (6, 4, 2)]
        assert tally.now == counters[-1]


class TestArrayPool:
    def test_an_array_comes_back_when_nobody_looks_at_it(self) -> None:
        pool = ArrayPool((4, 5))
        first = pool.take()
        address = first.ctypes.data
        second = pool.take()
        assert second.ctypes.data != address
        first.flags.writeable = False
        del first
        third = pool.take()
        assert third.ctypes.data == address
        assert third.flags.writeable

    @pytest.mark.parametrize("hold", [lambda a: a[1:], lambda a: a.data, lambda a: memoryview(a[0]), lambda a: [a]])
    def test_whoever_looks_at_a_part_of_it_keeps_it(self, hold: object) -> None:
        pool = ArrayPool((4, 5))
        first = pool.take()
        address = first.ctypes.data
        held = hold(first)  # type: ignore[operator]
        del first
        assert pool.take().ctypes.data != address
        del held
        gc.collect()
        assert pool.take().ctypes.data == address

    def test_it_keeps_no_more_than_it_may(self) -> None:
        pool = ArrayPool((2,), most=3)
        held = [pool.take() for _ in range(10)]
        assert len({array.ctypes.data for array in held}) == 10
        assert len(pool._arrays) == 3
        assert all(array.dtype == np.uint8 for array in held)
