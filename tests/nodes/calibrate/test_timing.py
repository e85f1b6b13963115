"""`rigpose calibrate timing` on films whose cameras did not begin together."""

import json

import cv2
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from nodes.calibrate.timing import run
from rigpose.errors import ConfigError

RATE = 25.0


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """Two cameras that see one thing wander; b began three frames earlier, c runs on for 41."""
    folder = tmp_path_factory.mktemp("films")
    rng = np.random.default_rng(0)
    path = gaussian_filter1d(rng.normal(size=(400, 2)), 6, axis=0)
    path = 100 + 60 * path / np.abs(path).max()
    for name, begin, n in (("a", 10, 200), ("b", 7, 200), ("c", 10, 241)):
        background = rng.integers(60, 180, (200, 240, 3), dtype=np.uint8)
        video = cv2.VideoWriter(str(folder / f"{name}.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), RATE, (240, 200))
        for k in range(n):
            picture = background.copy()
            x, y = path[begin + k].astype(int)
            picture[y - 15 : y + 15, x - 15 : x + 15] = 255
            video.write(picture)
        video.release()
    return folder


def test_the_early_camera_and_the_long_film_are_named(films, capsys):
    assert run(str(films)) == 4
    told = capsys.readouterr().out
    assert "c: has 41 frames more than the others (241, not 200)" in told
    assert "bad: b: runs 1" in told
    assert "(3.0 frames) against a" in told
    assert "first 3 frames of b" in told


def test_json(films, capsys):
    assert run(str(films), json=True) == 4
    document = json.loads(capsys.readouterr().out)
    assert document["offsets"]["b"]["offset_ms"] == pytest.approx(3000 / RATE, abs=10)
    assert document["offsets"]["c"]["offset_ms"] == pytest.approx(0, abs=10)
    assert document["frames"] == {"a": 200, "b": 200, "c": 241}


def test_one_film_is_not_enough(films):
    with pytest.raises(ConfigError, match="one camera"):
        run(None, cameras=[f"a={films / 'a.mp4'}"])


def test_a_rig_without_a_board_tells_nothing(films, tmp_path):
    from calib.rig import write_rig
    from tests.calib.scenes import ring

    write_rig(ring(3), tmp_path / "rig.toml")
    with pytest.raises(ConfigError, match="add --board"):
        run(str(films), rig=tmp_path / "rig.toml")


@pytest.mark.data
def test_corners_of_webcams(data_dir, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("RIGPOSE_CACHE", str(tmp_path))
    folder = data_dir / "charuco4-webcams"
    code = run(
        str(folder / "calibration/extrinsic"),
        rig=folder / "camera_array.toml",
        units="m",
        board="charuco:4x5:54:40.5:4X4_1000:inverted",
        json=True,
        quiet=True,
    )
    document = json.loads(capsys.readouterr().out)
    assert code == 0
    assert document["source"] == "board corners and the rig"
    # USB cameras whose times agree to 3 ms when pictures arrive: what is left is what each takes to make one.
    assert all(abs(o["offset_ms"]) < 100 for o in document["offsets"].values())
