"""Time offsets from motion: found, with deviations that hold, or said not to be told."""

from typing import Any

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from calib.motion import MotionMeter, MotionSignal, point_motion
from calib.timing_motion import offsets
from rigpose.errors import ConfigError
from tests.calib.moving import shares, subject


def movements(seed, n=300, fps=30.0, views=3, disagree=0.5, noise=0.15, spread_s=0.5):
    """Signals of cameras that see the same movements, each in its own way, and their true offsets in seconds."""
    rng = np.random.default_rng(seed)
    seconds = n / fps
    count = max(3, int(2 * seconds))
    when, width = rng.uniform(-1, seconds + 1, count), rng.uniform(0.08, 0.35, count)
    strength = rng.lognormal(0, 0.5, count)
    true = rng.uniform(-spread_s, spread_s, views)
    true[0] = 0
    time_s = np.arange(n) / fps
    signals = []
    for v in range(views):
        mix = rng.lognormal(0, disagree, (count, 4)) * strength[:, None]
        bumps = np.exp(-0.5 * ((time_s - true[v])[:, None] - when) ** 2 / width**2)
        motion = bumps @ mix + rng.normal(0, noise, (n, 4))
        signals.append(MotionSignal(f"cam{v}", time_s, motion, 1 / fps))
    return signals, true


class TestMotion:
    def test_offsets_and_their_deviations_hold(self):
        pairs: list[Any] = []
        for seed in range(20):
            signals, true = movements(seed)
            pairs += zip(offsets(signals).offsets[1:], true[1:], strict=True)
        one, two, told = shares(pairs)
        assert told > 34
        assert 0.6 < one < 0.95  # wider than it has to be is honest, narrower is not
        assert two > 0.9

    def test_a_shift_by_frames_is_found(self):
        signals, true = movements(3, n=600, spread_s=0.0)
        late = MotionSignal("cam1", signals[1].time_s + 2.5 / 30, signals[1].motion, signals[1].period_s)
        found = offsets([signals[0], late, signals[2]])["cam1"]
        assert found.frames == pytest.approx(2.5, abs=max(0.3, 3 * found.deviation_ms * 0.03))

    def test_unrelated_recordings_tell_nothing(self):
        told = 0
        for seed in range(25):
            one, other = movements(seed)[0][0], movements(seed + 500)[0][1]
            told += offsets([one, other]).offsets[1].told
        assert told <= 2

    def test_where_nothing_moves_it_is_said(self):
        signals, _ = movements(0)
        still = MotionSignal("cam1", signals[1].time_s, np.zeros_like(signals[1].motion), signals[1].period_s)
        found = offsets([signals[0], still])["cam1"]
        assert not found.told
        assert np.isnan(found.offset_ms)
        assert found.why == "nothing moves in cam1"

    def test_two_seconds_are_too_short(self):
        signals, _ = movements(0, n=40)
        assert "too short" in offsets(signals)["cam1"].why

    def test_one_movement_is_not_enough(self):
        time_s = np.arange(300) / 30
        rng = np.random.default_rng(0)
        bump = np.exp(-0.5 * ((time_s - 5) / 0.2) ** 2)[:, None] * np.ones(4)
        signals = [MotionSignal(f"cam{v}", time_s, bump + 0.001 * rng.normal(size=bump.shape), 1 / 30) for v in (0, 1)]
        assert not offsets(signals)["cam1"].told

    def test_cameras_of_different_rates(self):
        signals, _ = movements(5, n=600, spread_s=0.0)
        slow = MotionSignal("cam1", signals[1].time_s[::2] + 0.2, signals[1].motion[::2], 2 / 30)
        found = offsets([signals[0], slow])["cam1"]
        assert found.offset_ms == pytest.approx(200, abs=max(30, 3 * found.deviation_ms))

    def test_the_same_recording_gives_the_same_answer(self):
        signals, _ = movements(7)
        assert offsets(signals) == offsets(signals)

    def test_any_camera_may_be_the_reference(self):
        signals, _ = movements(2, n=600)
        a, b = offsets(signals), offsets(signals, reference="cam2")
        assert b["cam2"].offset_ms == 0
        assert a["cam1"].offset_ms - a["cam2"].offset_ms == pytest.approx(b["cam1"].offset_ms, abs=1e-6)

    def test_one_camera_is_an_error(self):
        with pytest.raises(ConfigError, match="two cameras"):
            offsets(movements(0)[0][:1])

    def test_pictures(self):
        rng = np.random.default_rng(0)
        background = rng.integers(0, 255, (120, 160), dtype=np.uint8)
        path = np.cumsum(gaussian_filter1d(rng.normal(size=(200, 2)), 2, axis=0) * 6, axis=0)
        path = 60 + 40 * np.sin(path / 20)
        meters = MotionMeter("a"), MotionMeter("b")
        for k in range(160):
            for meter, lag in zip(meters, (0, 3), strict=True):
                picture = background.copy()
                x, y = path[k + 10 - lag].astype(int)
                picture[y : y + 20, x : x + 20] = 255
                meter.add(picture, k / 25)
        found = offsets([meter.signal() for meter in meters])["b"]
        assert found.frames == pytest.approx(3, abs=0.2)

    def test_points_without_a_rig(self):
        rig, px, true, time_s = subject(1, n=400, sigma_px=1.0)
        found = offsets([point_motion(c.name, time_s, px[v]) for v, c in enumerate(rig.cameras)])
        for offset, x in zip(found.offsets[1:], true[1:], strict=True):
            assert not offset.told or abs(offset.offset_ms - 1e3 * x) < max(20, 3 * offset.deviation_ms)
        assert sum(offset.told for offset in found.offsets) >= 2


@pytest.fixture(scope="module")
def films(data_dir):
    import cv2

    films = []
    for v in range(4):
        video = cv2.VideoCapture(str(data_dir / f"charuco4-webcams/calibration/extrinsic/cam_{v}.mp4"))
        pictures = []
        while True:
            ok, picture = video.read()
            if not ok:
                break
            grey = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
            pictures.append(cv2.resize(grey, (320, 180), interpolation=cv2.INTER_AREA))
        films.append(pictures)
    return films


@pytest.mark.data
class TestRealRecordings:
    @staticmethod
    def of(films, rate):
        meters = []
        for v, pictures in enumerate(films):
            meter = MotionMeter(f"cam_{v}")
            for k, picture in enumerate(pictures):
                meter.add(picture, k / rate)
            meters.append(meter)
        return offsets([meter.signal() for meter in meters])

    @pytest.mark.parametrize("frames", [1, 3])
    def test_pictures_of_webcams_shifted_by_frames(self, films, frames):
        base, found = self.of(films, 6), self.of([*films[:2], films[2][frames:], films[3]], 6)
        assert base.told
        assert found.told
        moved = found["cam_2"].offset_ms - base["cam_2"].offset_ms
        assert moved == pytest.approx(-frames * 1000 / 6, abs=2 * found["cam_2"].deviation_ms)
        # At 6 frames a second the deviation is a fifth of a frame.
        assert found["cam_2"].deviation_ms < 60

    def test_two_and_a_half_frames(self, films):
        """Every second picture is a recording at half the rate; begun one picture later it is half a frame off."""
        even = self.of([pictures[::2] for pictures in films], 3)
        late = self.of([*(p[::2] for p in films[:2]), films[2][5::2], films[3][::2]], 3)
        moved = late["cam_2"].frames - even["cam_2"].frames
        assert moved == pytest.approx(-2.5, abs=0.4)

    def test_a_person_who_balances_for_two_seconds_is_too_short(self, data_dir):
        import cv2

        meters = []
        for name in ("cam01", "cam03"):
            video = cv2.VideoCapture(str(data_dir / f"human4-balance/videos/{name}.mp4"))
            meter = MotionMeter(name)
            for k in range(100):
                meter.add(video.read()[1], k / 60)
            meters.append(meter)
        found = offsets([meter.signal() for meter in meters])["cam03"]
        assert not found.told or abs(found.offset_ms) < 3 * found.deviation_ms
