"""Time offsets from rays: found, with deviations that hold, or said not to be told."""

from typing import Any

import numpy as np
import pytest

from calib.timing_rays import ray_offsets
from tests.calib.moving import shares, subject


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

    def test_who_stands_still_tells_nothing(self):
        rig, px, _, time_s = subject(2, speed=0.0)
        assert not any(offset.told for offset in ray_offsets(rig, px, time_s).offsets[1:])

    def test_a_camera_that_sees_nothing(self):
        rig, px, _, time_s = subject(2)
        px[3] = np.nan
        found = ray_offsets(rig, px, time_s)
        assert not found["cam3"].told
        assert found["cam1"].told


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
