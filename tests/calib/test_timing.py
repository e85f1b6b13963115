"""Time offsets from motion and from rays: found, with deviations that hold, or said not to be told."""

from typing import Any

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from calib.motion import MotionMeter, MotionSignal, point_motion
from calib.timing import Offset, Timing, frame_counts, offsets
from calib.timing_rays import ray_offsets
from rigpose.errors import ConfigError
from tests.calib.scenes import ring


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


def subject(seed, views=4, n=150, fps=30.0, joints=8, sigma_px=2.0, speed=1.0, outliers=0.05):
    """Points that move before a ring of cameras, each filming a little later or earlier."""
    rng = np.random.default_rng(seed)
    rig = ring(views)
    true = rng.uniform(-0.12, 0.12, views)
    true[0] = 0
    fine = 8

    def walk(*shape, extent, seconds):
        path = gaussian_filter1d(rng.normal(size=(n * fine + 2000, *shape)), fine * fps * seconds, axis=0)
        return path * extent * speed / path.std()

    points = rng.uniform(-400, 400, (joints, 3)) + walk(1, 3, extent=300, seconds=0.25)
    points = points + walk(joints, 3, extent=80, seconds=0.2)
    px = np.empty((views, n, joints, 2))
    for v, camera in enumerate(rig.cameras):
        at = 1000 + fine * (np.arange(n) - true[v] * fps)
        low = np.floor(at).astype(int)
        share = (at - low)[:, None, None]
        px[v] = camera.project(points[low] * (1 - share) + points[low + 1] * share)
    px += rng.normal(0, sigma_px, px.shape)
    wrong = rng.random(px.shape[:3]) < outliers
    px[wrong] += rng.uniform(-100, 100, (int(wrong.sum()), 2))
    px[rng.random(px.shape[:3]) < 0.1] = np.nan
    return rig, px, true, np.arange(n) / fps


def shares(pairs):
    """Share of told offsets within one and two of their deviations, and how many there were."""
    z = np.array([(o.offset_ms - 1e3 * x) / o.deviation_ms for o, x in pairs if o.told])
    return (np.abs(z) < 1).mean(), (np.abs(z) < 2).mean(), len(z)


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

    def test_lamps_that_change_everything_are_no_motion(self):
        meter = MotionMeter("a")
        for k in range(20):
            meter.add(np.full((60, 80), 100 + 50 * (k % 2), np.uint8), k / 10)
        assert not meter.signal().motion.any()

    def test_times_that_do_not_rise(self):
        meter = MotionMeter("a")
        meter.add(np.zeros((8, 8), np.uint8), 1.0)
        with pytest.raises(ConfigError, match="do not rise"):
            meter.add(np.zeros((8, 8), np.uint8), 1.0)

    def test_points_without_a_rig(self):
        rig, px, true, time_s = subject(1, n=400, sigma_px=1.0)
        found = offsets([point_motion(c.name, time_s, px[v]) for v, c in enumerate(rig.cameras)])
        for offset, x in zip(found.offsets[1:], true[1:], strict=True):
            assert not offset.told or abs(offset.offset_ms - 1e3 * x) < max(20, 3 * offset.deviation_ms)
        assert sum(offset.told for offset in found.offsets) >= 2


class TestRays:
    def test_offsets_and_their_deviations_hold(self):
        pairs: list[Any] = []
        errors: list[float] = []
        for seed in range(9):
            rig, px, true, time_s = subject(seed)
            found = ray_offsets(rig, px, time_s).offsets[1:]
            pairs += zip(found, true[1:], strict=True)
            errors += [abs(o.offset_ms - 1e3 * x) for o, x in zip(found, true[1:], strict=True)]
        one, two, told = shares(pairs)
        assert told == 27
        assert one > 0.6
        assert two > 0.9
        assert np.median(errors) < 1.0  # a thirtieth of a frame

    def test_two_cameras(self):
        rig, px, true, time_s = subject(4, views=2)
        found = ray_offsets(rig, px, time_s)["cam1"]
        assert abs(found.offset_ms - 1e3 * true[1]) < 3 * found.deviation_ms

    @pytest.mark.parametrize("frames", [1, 2.5])
    def test_one_frame_is_bad_and_named(self, frames):
        rig, px, _, time_s = subject(3)
        times = np.tile(time_s, (4, 1))
        base = ray_offsets(rig, px, times)
        times[2] += frames / 30
        found = ray_offsets(rig, px, times)
        assert found["cam2"].frames - base["cam2"].frames == pytest.approx(frames, abs=0.1)

    def test_the_finding_says_how_much_and_what_to_do(self):
        timing = Timing("a", (Offset("a", 0, 0, 0), Offset("b", 33.4, 1.0, 1.002)), 33.3, "test", "rays")
        (finding,) = timing.findings()
        assert finding.level == "bad"
        assert finding.cameras == ("b",)
        assert "33 ms +- 1 ms late (1.0 frames)" in finding.what
        assert "the first frame of b" in finding.remedy

    def test_who_stands_still_tells_nothing(self):
        rig, px, _, time_s = subject(2, speed=0.0)
        assert not any(offset.told for offset in ray_offsets(rig, px, time_s).offsets[1:])

    def test_a_camera_that_sees_nothing(self):
        rig, px, _, time_s = subject(2)
        px[3] = np.nan
        found = ray_offsets(rig, px, time_s)
        assert not found["cam3"].told
        assert found["cam1"].told


class TestFrameCounts:
    def test_equal(self):
        assert frame_counts({"a": 100, "b": 100}) == ()

    def test_the_odd_one_is_named_with_what_it_has_more(self):
        (finding,) = frame_counts({"a": 1000, "b": 1041, "c": 1000})
        assert finding.level == "suspect"
        assert finding.cameras == ("b",)
        assert "41 frames more than the others (1041, not 1000)" in finding.what

    def test_one_frame_is_a_note(self):
        assert [f.level for f in frame_counts({"a": 99, "b": 100, "c": 100})] == ["note"]

    def test_two_cameras_do_not_say_which(self):
        (finding,) = frame_counts({"a": 100, "b": 141})
        assert finding.cameras == ("a", "b")
        assert "a 100, b 141" in finding.what


@pytest.fixture(scope="module")
def corners(data_dir):
    from calib.rig import read_rig

    folder = data_dir / "charuco4-corners"
    rig = read_rig(folder / "camera_array.toml", "m")
    rows = np.genfromtxt(folder / "calibration/extrinsic/xy.csv", delimiter=",", names=True)
    frame = rows["sync_index"].astype(int)
    frame -= frame.min()
    px = np.full((4, frame.max() + 1, 12, 2), np.nan)
    px[rows["cam_id"].astype(int), frame, rows["keypoint_id"].astype(int)] = np.stack(
        [rows["img_loc_x"], rows["img_loc_y"]], axis=-1
    )
    return rig, px, np.arange(px.shape[1]) / 6


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
    @pytest.mark.parametrize("frames", [1, 3])
    def test_corners_of_webcams_shifted_by_frames(self, corners, frames):
        rig, px, time_s = corners
        shifted = np.full_like(px, np.nan)
        shifted[:] = px
        shifted[2] = np.nan
        shifted[2, :-frames] = px[2, frames:]
        base, found = ray_offsets(rig, px, time_s), ray_offsets(rig, shifted, time_s)
        assert found.told
        assert found["cam_2"].frames - base["cam_2"].frames == pytest.approx(-frames, abs=0.06)
        assert any("cam_2" in f.cameras and f.level == "bad" for f in found.findings())
        assert not any("cam_3" in f.cameras for f in found.findings())

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
