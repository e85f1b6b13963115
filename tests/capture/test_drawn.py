"""The drawn recording: true to its rig, the same for the same seed, and its colours can be told apart."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from calib.rig import read_rig
from capture.drawn import COLOURS_BGR, JOINTS, N_CAMERAS, SIZE, SKELETON, draw_recording, main, make_rig, truth_of, walk
from capture.sources.base import StartClock, create
from rigpose.errors import ConfigError

FRAMES = 24


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn") / "discs"
    draw_recording(folder, frames=FRAMES, rate=30, seed=3)
    return folder


def chroma(bgr: np.ndarray) -> np.ndarray:
    """(..., 2) Cb and Cr about 0."""
    b, g, r = np.moveaxis(bgr.astype(float), -1, 0)
    luma = 0.299 * r + 0.587 * g + 0.114 * b
    return np.stack([(b - luma) / 1.772, (r - luma) / 1.402], axis=-1)


def read_picture(path: Path, index: int, pixel_format: str = "BGR8") -> np.ndarray:
    source = create("cam", {"kind": "video", "file": str(path), "pixel_format": pixel_format}, lossless=True)
    source.open(StartClock(0, 1))
    for _ in range(index + 1):
        frame = source.read()
    source.close()
    assert frame is not None and frame.image is not None
    return frame.image


class TestColours:
    def test_there_is_one_for_each_joint(self) -> None:
        assert COLOURS_BGR.shape == (len(JOINTS), 3) and COLOURS_BGR.dtype == np.uint8
        assert SKELETON.joints == JOINTS and SKELETON.name == "discs"

    def test_all_lie_far_from_grey_and_from_each_other(self) -> None:
        points = chroma(COLOURS_BGR)
        apart = np.linalg.norm(points[:, None] - points[None], axis=-1) + 1e3 * np.eye(len(points))
        np.testing.assert_allclose(np.linalg.norm(points, axis=-1), 100, atol=2)
        assert apart.min() > 60


class TestWalk:
    def test_it_stays_inside_the_volume_and_above_the_floor(self) -> None:
        position = walk(600, 30, seed=1)
        assert position.shape == (600, len(JOINTS), 3)
        assert np.abs(position[..., :2]).max() < 800
        assert position[..., 2].min() > 0 and position[..., 2].max() < 1500

    def test_it_is_smooth_and_its_left_is_left(self) -> None:
        position = walk(300, 30)
        assert np.linalg.norm(np.diff(position, axis=0), axis=-1).max() < 100
        ahead = np.diff(position[:, 2], axis=0)
        across = (position[:-1, 3] - position[:-1, 4])[:, :2]
        assert (ahead[:, 0] * across[:, 1] - ahead[:, 1] * across[:, 0] > 0).mean() > 0.95

    def test_other_rates_sample_the_same_walk(self) -> None:
        np.testing.assert_allclose(walk(100, 60)[::2], walk(50, 30), atol=1e-9)


class TestRecording:
    def test_it_holds_what_any_recording_holds(self, recording: Path) -> None:
        assert {path.name for path in recording.iterdir()} == {
            *(f"cam{number + 1}.mp4" for number in range(N_CAMERAS)),
            "rig.toml",
            "truth.npz",
        }
        rig = read_rig(recording / "rig.toml")
        assert rig.names == ("cam1", "cam2", "cam3", "cam4")
        assert rig.calibration_id == make_rig(3).calibration_id
        assert rig.metadata["world"] == "floor"
        truth = np.load(recording / "truth.npz")
        assert truth["position_mm"].shape == (FRAMES, len(JOINTS), 3)
        for number, camera in enumerate(rig.cameras):
            assert camera.size == SIZE
            np.testing.assert_allclose(camera.project(truth["position_mm"]), truth["points2d"][:, number], atol=1e-6)
        assert truth["visible"].mean() > 0.8

    @pytest.mark.parametrize("pixel_format", ["BGR8", "NV12"])
    def test_a_disc_of_its_colour_lies_at_each_visible_joint(self, recording: Path, pixel_format: str) -> None:
        """After H.264, its chroma subsampling and either way of decoding: nearest colour and centre of mass."""
        truth = np.load(recording / "truth.npz")
        errors = []
        for number in range(N_CAMERAS):
            image = read_picture(recording / f"cam{number + 1}.mp4", 9, pixel_format)
            if pixel_format == "NV12":
                image = cv2.cvtColor(image, cv2.COLOR_YUV2BGR_NV12)
            seen = chroma(image)
            distance = np.linalg.norm(seen[:, :, None] - chroma(COLOURS_BGR), axis=-1)
            label = np.where(np.linalg.norm(seen, axis=-1) > 55, distance.argmin(axis=-1), -1)
            alone = np.linalg.norm(truth["points2d"][9, number][:, None] - truth["points2d"][9, number][None], axis=-1)
            alone[np.diag_indices(len(JOINTS))] = np.inf
            for joint in range(len(JOINTS)):
                if not truth["visible"][9, number, joint]:
                    continue
                x, y = truth["points2d"][9, number, joint]
                assert label[round(y), round(x)] == joint
                if alone[joint].min() > 50:
                    rows, columns = np.nonzero(label == joint)
                    errors.append(np.hypot(columns.mean() - x, rows.mean() - y))
        assert len(errors) > 10
        assert np.median(errors) < 0.5 and max(errors) < 1.5

    def test_discs_are_as_large_as_a_finder_needs(self) -> None:
        _, radius = truth_of(make_rig(0), walk(300, 30))
        assert radius.min() > 11 and radius.max() < 24

    def test_nearer_discs_cover_farther_ones(self) -> None:
        rig = make_rig(0)
        camera = rig.cameras[0]
        middle = np.array([0.0, 0.0, 700.0])
        position = np.tile(middle + [0, 0, 5000], (1, len(JOINTS), 1))
        position[0, 4] = middle
        position[0, 5] = middle + 0.1 * (camera.center_mm - middle)
        truth, _ = truth_of(rig, position)
        assert not truth.visible[0, 0, 4] and truth.visible[0, 0, 5]

    def test_the_same_seed_gives_the_same_bytes(self, recording: Path, tmp_path: Path) -> None:
        draw_recording(tmp_path, frames=FRAMES, rate=30, seed=3)
        for name in ("cam1.mp4", "cam4.mp4", "rig.toml"):
            assert (tmp_path / name).read_bytes() == (recording / name).read_bytes()
        draw_recording(tmp_path / "other", frames=2, rate=30, seed=4)
        assert (tmp_path / "other" / "rig.toml").read_bytes() != (recording / "rig.toml").read_bytes()

    def test_nothing_is_overwritten(self, recording: Path) -> None:
        with pytest.raises(ConfigError, match=r"rig.toml.*exists"):
            draw_recording(recording, frames=2)

    @pytest.mark.parametrize("arguments", [["--frames", "0"], ["--rate", "0"]])
    def test_the_command_checks_its_numbers(self, tmp_path: Path, arguments: list[str]) -> None:
        with pytest.raises(ConfigError):
            main([str(tmp_path), *arguments])

    @pytest.mark.process
    def test_the_command_draws_and_refuses_in_one_line(self, tmp_path: Path) -> None:
        command = [sys.executable, "-m", "capture.drawn", str(tmp_path / "out"), "--frames", "3"]
        assert subprocess.run(command, timeout=60).returncode == 0
        again = subprocess.run(command, timeout=60, capture_output=True, text=True)
        assert again.returncode == 2
        assert "exists" in again.stderr and "Traceback" not in again.stderr
