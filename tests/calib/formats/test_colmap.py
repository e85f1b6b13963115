"""COLMAP's models, text and binary, made here as its pages say."""

import struct

import numpy as np
import pytest

from calib.convert import read_any
from calib.rig import Rig
from rigpose.errors import ConfigError
from tests.calib.formats.rigs import BARREL, FISHEYE, assert_same_cameras, check_of, rig_of
from tests.calib.scenes import cloud, views


class TestColmap:
    """X to px as COLMAP's pages say, with (0.5, 0.5) the centre of the first pixel."""

    def project(self, camera, points):
        return views(Rig((camera,)), points)[0] + 0.5

    def quaternion(self, R):
        w = np.sqrt(1 + np.trace(R)) / 2
        return np.array([w, *(np.array([R[2, 1] - R[1, 2], R[0, 2] - R[2, 0], R[1, 0] - R[0, 1]]) / (4 * w))])

    def rig(self):
        rig = rig_of(BARREL[:4], FISHEYE, fisheye=[1], names=("a", "b"))
        # So that w of the quaternions is far from zero.
        return Rig(tuple(c for c in rig.cameras if np.trace(c.R) > -0.9))

    def text(self, folder, rig, points):
        folder.mkdir(parents=True)
        lenses, images = ["# Camera list"], ["# Image list"]
        for i, camera in enumerate(rig.cameras, start=7):
            fx, fy, cx, cy = camera.K[[0, 1, 0, 1], [0, 1, 2, 2]]
            model = "OPENCV_FISHEYE" if camera.fisheye else "OPENCV"
            lenses.append(f"{i} {model} {camera.size[0]} {camera.size[1]} {fx} {fy} {cx + 0.5} {cy + 0.5} "
                          + " ".join(map(str, camera.dist)))  # fmt: skip
            q, t = self.quaternion(camera.R), camera.t / 1000
            images.append(f"{i} {' '.join(map(str, q))} {' '.join(map(str, t))} {i} rig/{camera.name}.jpg")
            px = self.project(camera, points)
            images.append(" ".join(f"{x} {y} {n if n % 3 else -1}" for n, (x, y) in enumerate(px)))
        (folder / "cameras.txt").write_text("\n".join(lenses) + "\n")
        (folder / "images.txt").write_text("\n".join(images) + "\n")
        lines = [f"{n} {' '.join(map(str, p / 1000))} 1 2 3 0.5 7 {n} 8 {n}" for n, p in enumerate(points)]
        (folder / "points3D.txt").write_text("\n".join(lines) + "\n")
        return folder

    def binary(self, folder, rig, points):
        folder.mkdir(parents=True)
        lenses, images = struct.pack("<Q", len(rig)), struct.pack("<Q", len(rig))
        for i, camera in enumerate(rig.cameras, start=7):
            fx, fy, cx, cy = camera.K[[0, 1, 0, 1], [0, 1, 2, 2]]
            lenses += struct.pack("<iiQQ8d", i, 5 if camera.fisheye else 4, *camera.size,
                                  fx, fy, cx + 0.5, cy + 0.5, *camera.dist)  # fmt: skip
            images += struct.pack("<i7di", i, *self.quaternion(camera.R), *(camera.t / 1000), i)
            images += f"rig/{camera.name}.jpg".encode() + b"\0"
            px = self.project(camera, points)
            images += struct.pack("<Q", len(px))
            images += b"".join(struct.pack("<ddq", x, y, n if n % 3 else -1) for n, (x, y) in enumerate(px))
        cloud3d = struct.pack("<Q", len(points))
        for n, p in enumerate(points):
            cloud3d += struct.pack("<qdddBBBd", n, *(p / 1000), 1, 2, 3, 0.5)
            cloud3d += struct.pack("<Qiiii", 2, 7, n, 8, n)
        for name, data in (("cameras", lenses), ("images", images), ("points3D", cloud3d)):
            (folder / f"{name}.bin").write_bytes(data)
        return folder

    @pytest.mark.parametrize("kind", ["text", "binary"])
    def test_the_model_and_its_points(self, tmp_path, kind):
        rig = self.rig()
        points = cloud(rig, 30, 300)
        getattr(self, kind)(tmp_path / "sparse" / "0", rig, points)
        back = read_any(tmp_path, units="m")
        assert back.format == "colmap"
        assert_same_cameras(rig.cameras, back.rig.cameras, px=1e-6)
        assert check_of(back).n == len(rig) * 20
        assert check_of(back).median_px < 1e-6

    def test_it_has_no_unit_of_its_own(self, tmp_path):
        self.text(tmp_path / "m", self.rig(), cloud(self.rig(), 5, 300))
        with pytest.raises(ConfigError, match="COLMAP's scale is free"):
            read_any(tmp_path / "m")

    @pytest.mark.parametrize("file", ["cameras.bin", "images.bin", "points3D.bin"])
    def test_a_file_that_is_cut_off_is_one_line(self, tmp_path, file):
        folder = self.binary(tmp_path / "m", self.rig(), cloud(self.rig(), 5, 300))
        data = (folder / file).read_bytes()
        for end in (0, 4, 11, len(data) // 2, len(data) - 1):
            (folder / file).write_bytes(data[:end])
            with pytest.raises(ConfigError, match=f"{file}.*(cut off|without an end)"):
                read_any(folder, units="m")

    def test_a_count_that_promises_too_much_allocates_nothing(self, tmp_path):
        folder = self.binary(tmp_path / "m", self.rig(), cloud(self.rig(), 5, 300))
        (folder / "images.bin").write_bytes(struct.pack("<Q", 2**60) + bytes(200))
        with pytest.raises(ConfigError, match="cut off"):
            read_any(folder, units="m")

    def test_a_lens_that_opencv_has_not_is_named(self, tmp_path):
        folder = self.text(tmp_path / "m", self.rig(), cloud(self.rig(), 5, 300))
        file = folder / "cameras.txt"
        file.write_text(file.read_text().replace("OPENCV ", "FOV "))
        with pytest.raises(ConfigError, match="cameras.txt, line 2: lens model FOV"):
            read_any(folder, units="m")
