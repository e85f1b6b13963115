"""Files of other programs, made here as their own code writes or projects them: no code is shared with the readers."""

import json
import struct

import cv2
import numpy as np
import pytest

from calib.convert import read_any
from calib.rig import Rig
from rigpose.errors import ConfigError
from tests.calib.formats.rigs import BARREL, FISHEYE, assert_same_cameras, check_of, rig_of
from tests.calib.scenes import cloud, views

FOUR = BARREL[:4]


def opencv_px(rig, points):
    """(V, N, 2) by OpenCV."""
    return views(rig, points)


class TestJarvis:
    def write(self, folder, rig):
        folder.mkdir()
        for camera in rig.cameras:
            store = cv2.FileStorage(str(folder / f"{camera.name}.yaml"), cv2.FILE_STORAGE_WRITE)
            store.write("intrinsicMatrix", np.ascontiguousarray(camera.K.T))
            store.write("distortionCoefficients", camera.dist[None])
            store.write("R", np.ascontiguousarray(camera.R.T))
            store.write("T", camera.t[:, None])
            store.release()
        return folder

    def test_the_annotation_tools_projection(self, tmp_path):
        """points (R, T stacked) K, then k1 and k2 about the principal point, as its HybridNet projects."""
        rig = rig_of((-0.2, 0.05, 0, 0, 0), (-0.1, 0.02, 0, 0, 0))
        back = read_any(self.write(tmp_path / "set", rig), size=(1280, 1024)).rig
        points = cloud(rig, 20, 200)
        for camera in back.cameras:
            store = cv2.FileStorage(str(tmp_path / "set" / f"{camera.name}.yaml"), cv2.FILE_STORAGE_READ)
            K, D, R, T = (store.getNode(k).mat() for k in ("intrinsicMatrix", "distortionCoefficients", "R", "T"))
            px = np.column_stack([points, np.ones(20)]) @ np.vstack([R, T.T]) @ K
            off = px[:, :2] / px[:, 2:] - K[2, :2]
            r2 = ((off / [K[0, 0], K[1, 1]]) ** 2).sum(-1, keepdims=True)
            seen = off * (1 + (D[0, 0] + D[0, 1] * r2) * r2) + K[2, :2]
            np.testing.assert_allclose(camera.project(points), seen, atol=1e-9)

    def test_a_folder_without_its_key_is_none(self, tmp_path):
        (tmp_path / "a.yaml").write_text("x: 1\n")
        with pytest.raises(ConfigError, match="no cameras that rigpose can read"):
            read_any(tmp_path)


class TestEasyMocap:
    INTRI = """%YAML:1.0
---
names:
  - "01"
  - "2"
K_01: !!opencv-matrix
  rows: 3
  cols: 3
  dt: d
  data: [1000.5, 0.000000, 640.250000, 0., 1001.5, 360., 0.000000, 0.000000, 1.000000]
dist_01: !!opencv-matrix
  rows: 1
  cols: 5
  dt: d
  data: [-0.1, 0.02, 0.001, -0.002, 0.003]
K_2: !!opencv-matrix
  rows: 3
  cols: 3
  dt: d
  data: [900., 0., 320., 0., 900., 240., 0., 0., 1.]
dist_2: !!opencv-matrix
  rows: 5
  cols: 1
  dt: d
  data: [0., 0., 0., 0., 0.]
H_2: 480
W_2: 640
"""
    EXTRI = """%YAML:1.0
---
names:
  - "01"
  - "2"
""" + "".join(
        f"R_{n}: !!opencv-matrix\n  rows: 3\n  cols: 1\n  dt: d\n  data: [0.1, {y}, 0.3]\n"
        f"T_{n}: !!opencv-matrix\n  rows: 3\n  cols: 1\n  dt: d\n  data: [0.5, -1., 2.5]\n"
        for n, y in (("01", 0.2), ("2", -0.2))
    )

    def folder(self, tmp_path, intri=INTRI, extri=EXTRI):
        # Its own writer ends lines as Windows does.
        (tmp_path / "intri.yml").write_bytes(intri.replace("\n", "\r\n").encode())
        (tmp_path / "extri.yml").write_bytes(extri.replace("\n", "\r\n").encode())
        return tmp_path

    def test_names_with_a_leading_zero_and_metres(self, tmp_path):
        back = read_any(self.folder(tmp_path), size=(1280, 720))
        first, second = back.rig.cameras
        assert back.rig.names == ("01", "2")
        assert (first.size, second.size) == ((1280, 720), (640, 480))
        np.testing.assert_allclose(first.K[[0, 1, 0, 1], [0, 1, 2, 2]], [1000.5, 1001.5, 640.25, 360])
        np.testing.assert_allclose(first.dist, [-0.1, 0.02, 0.001, -0.002, 0.003])
        np.testing.assert_allclose(first.rvec, [0.1, 0.2, 0.3], atol=1e-15)
        np.testing.assert_allclose(first.t, [500, -1000, 2500])

    def test_one_of_the_files_stands_for_both(self, tmp_path):
        assert read_any(self.folder(tmp_path) / "extri.yml").format == "easymocap"

    def test_a_missing_size_is_said(self, tmp_path):
        assert any("no picture size for 01" in note for note in read_any(self.folder(tmp_path)).notes)

    def test_a_camera_without_pose_is_named(self, tmp_path):
        with pytest.raises(ConfigError, match=r"extri.yml, 2: has no R_2"):
            read_any(self.folder(tmp_path, extri=self.EXTRI.replace("R_2:", "Q_2:")))


class TestPanoptic:
    def document(self, rig):
        nodes = [
            {
                "name": camera.name, "type": kind, "resolution": list(camera.size), "panel": 1, "node": i,
                "K": camera.K.tolist(), "distCoef": camera.dist.tolist(), "R": camera.R.tolist(),
                "t": [[value / 10] for value in camera.t],
            }
            for i, (camera, kind) in enumerate(zip(rig.cameras, ("vga", "hd", "hd"), strict=True))
        ]  # fmt: skip
        return {"calibDataSource": "160906_calib_norm", "cameras": nodes}

    def test_centimetres_and_the_hd_cameras(self, tmp_path):
        rig = rig_of(BARREL, BARREL, BARREL, names=("01_01", "00_00", "00_01"))
        (tmp_path / "calibration.json").write_text(json.dumps(self.document(rig)))
        back = read_any(tmp_path / "calibration.json")
        assert_same_cameras(rig.cameras[1:], back.rig.cameras)
        assert any("1 of type vga" in note for note in back.notes)
        assert read_any(tmp_path / "calibration.json", pick="vga").rig.names == ("01_01",)
        with pytest.raises(ConfigError, match="hd, vga"):
            read_any(tmp_path / "calibration.json", pick="kinect")


class TestHuman36m:
    """The intrinsics of one of the data set's cameras are public; its projection is that of its MATLAB code."""

    K = np.array([[1145.0494, 0, 512.5415], [0, 1143.7811, 515.4515], [0, 0, 1]])
    DIST = (-0.2070989, 0.2477752, -0.0014245, -0.0009757, -0.0030752)

    def document(self, subjects=("S1", "S9")):
        rig = rig_of((), (), names=("54138969", "other"))
        node = {"calibration_matrix": self.K.tolist(), "distortion": list(self.DIST)}
        poses = {c.name: {"R": c.R.tolist(), "t": c.t[:, None].tolist()} for c in rig.cameras}
        return rig, {"intrinsics": {n: node for n in rig.names}, "extrinsics": {s: poses for s in subjects}}

    def project(self, camera, points):
        k1, k2, p1, p2, k3 = self.DIST
        seen = points @ camera.R.T + camera.t
        xy = seen[:, :2] / seen[:, 2:]
        r2 = (xy**2).sum(-1)
        radial = 1 + k1 * r2 + k2 * r2**2 + k3 * r2**3
        tangential = p1 * xy[:, 1] + p2 * xy[:, 0]
        bent = xy * (radial + tangential)[:, None] + np.outer(r2, (p2, p1))
        return bent * self.K[[0, 1], [0, 1]] + self.K[:2, 2]

    def test_its_own_tangential_terms(self, tmp_path):
        rig, document = self.document()
        (tmp_path / "camera-parameters.json").write_text(json.dumps(document))
        back = read_any(tmp_path / "camera-parameters.json", pick="S9").rig
        assert back["54138969"].size == (1000, 1002)
        points = cloud(rig, 200, 900)
        for ours, theirs in zip(rig.cameras, back.cameras, strict=True):
            np.testing.assert_allclose(theirs.project(points), self.project(ours, points), atol=1e-9)

    def test_opencv_with_the_same_five_numbers_is_off_by_a_pixel_in_the_corners(self):
        """Why the reader does not simply copy them."""
        rig, _ = self.document()
        camera = rig.cameras[0]
        corner = np.array([[0.0, 0.0]])
        _, ray = rig_of(self.DIST, self.DIST).cameras[0].rays(corner)
        point = camera.center_mm + 3000 * ray
        theirs = self.project(camera, point)
        copied = cv2.projectPoints(point, camera.rvec, camera.t, self.K, np.array(self.DIST))[0].reshape(-1, 2)
        assert 0.3 < np.linalg.norm(theirs - copied) < 3

    def test_the_labels_of_learnable_triangulation(self, tmp_path):
        rig, document = self.document()
        kind = np.dtype(
            [("R", np.float32, (3, 3)), ("t", np.float32, (3, 1)), ("K", np.float32, (3, 3)), ("dist", np.float32, 5)]
        )
        cameras = np.empty((2, 2), kind)
        for i, camera in enumerate(rig.cameras):
            cameras["R"][:, i], cameras["t"][:, i] = camera.R, camera.t[:, None]
            cameras["K"][:, i], cameras["dist"][:, i] = self.K, self.DIST
        table = np.zeros(5, [("subject_idx", np.int8), ("keypoints", np.float32, (17, 3))])
        labels = {"subject_names": ["S1", "S9"], "camera_names": list(rig.names), "action_names": ["A"],
                  "cameras": cameras, "table": table}  # fmt: skip
        np.save(tmp_path / "human36m-multiview-labels-GTbboxes.npy", np.array(labels, dtype=object))
        with pytest.raises(ConfigError, match="--pick one of S1, S9"):
            read_any(tmp_path / "human36m-multiview-labels-GTbboxes.npy")
        back = read_any(tmp_path / "human36m-multiview-labels-GTbboxes.npy", pick="S9").rig
        points = cloud(rig, 50, 500)
        for ours, theirs in zip(rig.cameras, back.cameras, strict=True):
            np.testing.assert_allclose(theirs.project(points), self.project(ours, points), atol=2e-3)

    def test_a_plain_array_is_no_label_file(self, tmp_path):
        np.save(tmp_path / "x.npy", np.zeros(3))
        with pytest.raises(ConfigError, match="no .npy file with a pickled value"):
            read_any(tmp_path / "x.npy", "human36m")

    def test_several_subjects_ask_for_one(self, tmp_path):
        (tmp_path / "c.json").write_text(json.dumps(self.document()[1]))
        with pytest.raises(ConfigError, match="--pick one of S1, S9"):
            read_any(tmp_path / "c.json")


class TestKalibr:
    CHAIN = """cam0:
  camera_model: pinhole
  distortion_coeffs: [-0.277, 0.067, 0.0009, 0.0001]
  distortion_model: radtan
  intrinsics: [461.629, 460.152, 362.680, 246.049]
  resolution: [752, 480]
  rostopic: /cam0/image_raw
cam1:
  T_cn_cnm1:
  - [0.99998854, 0.00216014, 0.00427195, -0.11003785]
  - [-0.00221074, 0.99992702, 0.01187697, 0.00039977]
  - [-0.00424598, -0.01188627, 0.99992034, -0.00057481]
  - [0.0, 0.0, 0.0, 1.0]
  camera_model: pinhole
  distortion_coeffs: [0.01, -0.002, 0.0005, -0.0001]
  distortion_model: equidistant
  intrinsics: [460., 461., 370., 250.]
  resolution: [752, 480]
  rostopic: /right/image_raw
"""

    def read(self, tmp_path, text=CHAIN):
        (tmp_path / "camchain.yaml").write_text(text)
        return read_any(tmp_path / "camchain.yaml")

    def test_the_chain_in_metres(self, tmp_path):
        back = self.read(tmp_path).rig
        assert back.names == ("cam0", "right")
        assert back.metadata["world"] == "camera:cam0"
        assert [camera.fisheye for camera in back.cameras] == [False, True]
        np.testing.assert_allclose(back["right"].t, [-110.03785, 0.39977, -0.57481])
        np.testing.assert_allclose(back["cam0"].center_mm, 0)
        # A left camera sees the right one on its right.
        assert back["right"].center_mm[0] > 100

    def test_poses_add_up_along_the_chain(self, tmp_path):
        third = self.CHAIN[self.CHAIN.index("cam1:") :].replace("cam1:", "cam2:").replace("/right/", "/third/")
        back = self.read(tmp_path, self.CHAIN + third).rig
        step = np.eye(4)
        step[:3, :3], step[:3, 3] = back["right"].R, back["right"].t
        both = step @ step
        np.testing.assert_allclose(back["third"].t, both[:3, 3], atol=1e-6)
        np.testing.assert_allclose(back["third"].R, both[:3, :3], atol=1e-9)

    @pytest.mark.parametrize(
        ("old", "new", "named"),
        [
            (
                "camera_model: pinhole\n  distortion_coeffs: [-0",
                "camera_model: omni\n  distortion_coeffs: [-0",
                "cam0.*omni",
            ),
            ("  T_cn_cnm1:", "  T_other:", "cam1: has no T_cn_cnm1"),
            ("[0.99998854,", "[0.9,", "cam1: T_cn_cnm1 is no rotation"),
            ("  resolution: [752, 480]\n  rostopic: /cam0", "  rostopic: /cam0", "cam0: has no resolution"),
            ("[461.629,", "[", r"cam0: intrinsics has shape \[3\]"),
        ],
    )
    def test_mistakes_name_the_camera_and_the_key(self, tmp_path, old, new, named):
        assert old in self.CHAIN
        with pytest.raises(ConfigError, match=named):
            self.read(tmp_path, self.CHAIN.replace(old, new))


class TestColmap:
    """X to px as COLMAP's pages say, with (0.5, 0.5) the centre of the first pixel."""

    def project(self, camera, points):
        return opencv_px(Rig((camera,)), points)[0] + 0.5

    def quaternion(self, R):
        w = np.sqrt(1 + np.trace(R)) / 2
        return np.array([w, *(np.array([R[2, 1] - R[1, 2], R[0, 2] - R[2, 0], R[1, 0] - R[0, 1]]) / (4 * w))])

    def rig(self):
        rig = rig_of(FOUR, FISHEYE, fisheye=[1], names=("a", "b"))
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


class TestOpenCV:
    def test_the_calibration_sample_with_a_lens_and_no_pose(self, tmp_path):
        store = cv2.FileStorage(str(tmp_path / "out_camera_data.xml"), cv2.FILE_STORAGE_WRITE)
        camera = rig_of(BARREL, BARREL).cameras[0]
        for key, value in (
            ("calibration_time", "Thu"),
            ("image_width", 1280),
            ("image_height", 1024),
            ("fisheye_model", 0),
        ):
            store.write(key, value)
        store.write("camera_matrix", camera.K)
        store.write("distortion_coefficients", camera.dist[:, None])
        store.release()
        back = read_any(tmp_path / "out_camera_data.xml")
        np.testing.assert_array_equal(back.rig.cameras[0].K, camera.K)
        np.testing.assert_array_equal(back.rig.cameras[0].dist, camera.dist)
        assert back.rig.cameras[0].size == (1280, 1024)
        assert any("lens only" in note for note in back.notes)

    def test_a_stereo_pair_in_two_files(self, tmp_path):
        left, right = rig_of(BARREL, BARREL).cameras
        R, T = right.R @ left.R.T, right.t - right.R @ left.R.T @ left.t
        store = cv2.FileStorage(str(tmp_path / "intrinsics.yml"), cv2.FILE_STORAGE_WRITE)
        for n, camera in ((1, left), (2, right)):
            store.write(f"M{n}", camera.K)
            store.write(f"D{n}", camera.dist[None])
        store.release()
        store = cv2.FileStorage(str(tmp_path / "extrinsics.yml"), cv2.FILE_STORAGE_WRITE)
        store.write("R", R)
        store.write("T", T[:, None] / 10)
        store.release()
        back = read_any(tmp_path / "intrinsics.yml", units="cm").rig
        assert back.names == ("left", "right")
        apart = np.linalg.norm(left.center_mm - right.center_mm)
        np.testing.assert_allclose(np.linalg.norm(back["right"].center_mm), apart)

    def test_ros_camera_info(self, tmp_path):
        (tmp_path / "head.yaml").write_text(
            "image_width: 640\nimage_height: 480\ncamera_name: head\ndistortion_model: equidistant\n"
            "camera_matrix:\n  rows: 3\n  cols: 3\n  data: [300., 0, 320, 0, 301, 240, 0, 0, 1]\n"
            "distortion_coefficients:\n  rows: 1\n  cols: 4\n  data: [0.1, 0.01, 0.001, 0]\n"
        )
        camera = read_any(tmp_path / "head.yaml").rig["head"]
        assert camera.fisheye
        assert camera.size == (640, 480)

    def test_a_pose_needs_its_unit(self, tmp_path):
        eye = "[[1,0,0],[0,1,0],[0,0,1]]"
        (tmp_path / "c.json").write_text(
            f'{{"K": [[900,0,320],[0,900,240],[0,0,1]], "dist": [0.1], "R": {eye}, "t": [1,2,3], "w": 640, "h": 480}}'
        )
        with pytest.raises(ConfigError, match=r"c.json, camera c.*--units mm\|cm\|m"):
            read_any(tmp_path / "c.json")
        camera = read_any(tmp_path / "c.json", units="m").rig["c"]
        np.testing.assert_allclose(camera.t, [1000, 2000, 3000])
        assert list(camera.dist) == [0.1, 0, 0, 0]

    @pytest.mark.parametrize(
        ("R", "named"),
        [
            ("[[1,0,0],[0,1,0],[0,0,-1]]", "R is mirrored"),
            ("[[1,0,0],[0,2,0],[0,0,1]]", "R is no rotation: it stretches by 100.0 %"),
            ("[[1,0],[0,1]]", "R has shape"),
            ('[["a",0,0],[0,1,0],[0,0,1]]', "R is not an array of numbers"),
        ],
    )
    def test_a_rotation_that_is_none_is_refused(self, tmp_path, R, named):
        text = f'{{"K": [[900,0,320],[0,900,240],[0,0,1]], "R": {R}, "t": [1,2,3], "units": "mm"}}'
        (tmp_path / "c.json").write_text(text)
        with pytest.raises(ConfigError, match=named):
            read_any(tmp_path / "c.json")


class TestLabel3D:
    """MATLAB's worldToImage: [X 1] [r; t] K, distorted, pixels from 1."""

    def write(self, path, rig, points, radial=3, skew=0.0):
        from scipy.io import savemat

        n = len(rig)
        params, labels = np.empty((n, 1), object), np.empty((n, 1), object)
        for i, camera in enumerate(rig.cameras):
            k1, k2, p1, p2, k3 = np.pad(camera.dist, (0, 5 - len(camera.dist)))
            K = camera.K.T.copy()
            K[1, 0], K[2, :2] = skew, K[2, :2] + 1
            seen = points @ camera.R.T + camera.t
            xy = seen[:, :2] / seen[:, 2:]
            r2 = (xy**2).sum(-1, keepdims=True)
            bent = xy * (1 + k1 * r2 + k2 * r2**2 + k3 * r2**3)
            x, y = xy.T
            bent = bent + np.stack(
                [2 * p1 * x * y + p2 * (r2[:, 0] + 2 * x * x), p1 * (r2[:, 0] + 2 * y * y) + 2 * p2 * x * y], -1
            )
            px = (np.column_stack([bent, np.ones(len(bent))]) @ K)[:, :2]
            params[i, 0] = {"K": K, "RDistort": np.array([[k1, k2, k3][:radial]]), "TDistort": np.array([[p1, p2]]),
                            "r": camera.R.T, "t": camera.t[None]}  # fmt: skip
            px[0] = np.nan
            labels[i, 0] = {"data_2d": px.reshape(2, -1), "data_3d": points.reshape(2, -1)}
        names = np.empty((1, n), object)
        names[0] = [f"Camera{i}" for i in range(n)]
        savemat(path, {"params": params, "labelData": labels, "camnames": names})
        return path

    @pytest.mark.parametrize("radial", [2, 3])
    def test_two_or_three_radial_terms(self, tmp_path, radial):
        rig = rig_of(
            BARREL[:2] + (0.001, -0.002) + ((0.05,) if radial == 3 else (0.0,)),
            BARREL[:4],
            names=("Camera0", "Camera1"),
        )
        points = cloud(rig, 20, 200)
        back = read_any(self.write(tmp_path / "label3d.mat", rig, points, radial), size=(1280, 1024))
        assert_same_cameras(rig.cameras, back.rig.cameras)
        assert check_of(back).n == 2 * 19
        assert check_of(back).median_px < 1e-9

    def test_a_skew_is_kept_and_said(self, tmp_path):
        rig = rig_of(BARREL, BARREL)
        back = read_any(self.write(tmp_path / "label3d.mat", rig, cloud(rig, 20, 200), skew=-5.0))
        assert back.rig.cameras[0].K[0, 1] == -5
        assert check_of(back).median_px < 1e-9
        assert any("skew" in note and "Camera0 -5" in note for note in back.notes)

    def test_a_folder_of_one_camera_files_in_natural_order(self, tmp_path):
        from scipy.io import savemat

        rig = rig_of(*[BARREL] * 3)
        for number, camera in zip((1, 2, 10), rig.cameras, strict=True):
            K = camera.K.T.copy()
            K[2, :2] += 1
            k1, k2, p1, p2, k3 = camera.dist
            node = {"K": K, "RDistort": [k1, k2, k3], "TDistort": [p1, p2], "r": camera.R.T, "t": camera.t}
            savemat(tmp_path / f"hires_cam{number}_params.mat", node)
        back = read_any(tmp_path, size=(1280, 1024)).rig
        assert back.names == ("hires_cam1", "hires_cam2", "hires_cam10")
        assert_same_cameras(rig.cameras, back.cameras, names=False)

    def test_matlab_73_says_how_to_save(self, tmp_path):
        (tmp_path / "new.mat").write_bytes(b"MATLAB 7.3 MAT-file, Platform: GLNXA64" + bytes(600))
        from rigpose.errors import MissingError

        with pytest.raises(MissingError, match="MATLAB 7.3.*-v7"):
            read_any(tmp_path / "new.mat")

    def test_another_mat_file_is_one_line(self, tmp_path):
        from scipy.io import savemat

        savemat(tmp_path / "x.mat", {"a": 1})
        with pytest.raises(ConfigError, match="holds no cameras"):
            read_any(tmp_path / "x.mat")
        (tmp_path / "y.mat").write_bytes(b"nothing")
        with pytest.raises(ConfigError, match="no .mat file"):
            read_any(tmp_path / "y.mat")


class TestBouguet:
    def test_a_stereo_pair(self, tmp_path):
        from scipy.io import savemat

        left, right = rig_of(BARREL, BARREL, names=("left", "right")).cameras
        R, T = right.R @ left.R.T, right.t - right.R @ left.R.T @ left.t
        document = {"om": cv2.Rodrigues(R)[0], "T": T[:, None], "nx": 1280, "ny": 1024}
        for camera in (left, right):
            k1, k2, p1, p2, k3 = camera.dist
            document |= {
                f"fc_{camera.name}": camera.K[[0, 1], [0, 1]][:, None], f"cc_{camera.name}": camera.K[:2, 2][:, None],
                f"kc_{camera.name}": np.array([[k1, k2, p1, p2, k3]]).T, f"alpha_c_{camera.name}": 0.0,
            }  # fmt: skip
        savemat(tmp_path / "Calib_Results_stereo.mat", document)
        back = read_any(tmp_path / "Calib_Results_stereo.mat")
        points = cloud(Rig((left, right)), 20, 300)
        in_left = points @ left.R.T + left.t
        for ours, theirs in zip((left, right), back.rig.cameras, strict=True):
            np.testing.assert_allclose(theirs.project(in_left), ours.project(points), atol=1e-7)
            assert theirs.size == ours.size


class TestCaliscope:
    """rotation_count turns pictures on its screen; its cameras are those of the video as it is."""

    TABLE = """[cameras.0]
cam_id = 0
size = [1280, 720]
rotation_count = 1
matrix = [[900.0, 0, 640.0], [0, 900.0, 360.0], [0, 0, 1]]
distortions = [0.1, 0, 0, 0, 0]
rotation = [0.1, 0.2, 0.3]
translation = [0.1, 0.2, 1.5]
"""

    def test_is_read_for_the_video_as_it_is_and_says_so(self, tmp_path):
        (tmp_path / "camera_array.toml").write_text(self.TABLE)
        back = read_any(tmp_path / "camera_array.toml", units="m")
        assert back.rig["cam_0"].size == (1280, 720)
        assert any("rotation_count of cam_0" in note for note in back.notes)

    def test_upright_gives_the_camera_of_the_turned_video(self, tmp_path):
        (tmp_path / "camera_array.toml").write_text(self.TABLE)
        plain = read_any(tmp_path / "camera_array.toml", units="m").rig["cam_0"]
        turned = read_any(tmp_path / "camera_array.toml", units="m", upright=True).rig["cam_0"]
        point = plain.center_mm + 1000 * plain.rays(np.array([[100.0, 50.0]]))[1]
        np.testing.assert_allclose(turned.project(point), [[720 - 1 - 50, 100]], atol=1e-9)

    def test_an_ignored_camera_is_left_out_and_an_unplaced_one_named(self, tmp_path):
        second = self.TABLE.replace("cameras.0", "cameras.1").replace("cam_id = 0", "cam_id = 1")
        unplaced = second.replace("rotation = [0.1, 0.2, 0.3]\n", "")
        (tmp_path / "a.toml").write_text(self.TABLE + unplaced + "ignore = true\n")
        assert read_any(tmp_path / "a.toml", units="m").rig.names == ("cam_0",)
        (tmp_path / "b.toml").write_text(self.TABLE + unplaced)
        with pytest.raises(ConfigError, match=r"cameras.1.*not placed"):
            read_any(tmp_path / "b.toml", units="m")
        (tmp_path / "c.toml").write_text(self.TABLE + second.replace("[0.1, 0.2, 0.3]", '"null"'))
        with pytest.raises(ConfigError, match=r"cameras.1.*not placed"):
            read_any(tmp_path / "c.toml", units="m")


def test_optitracks_cal_says_what_to_do(tmp_path):
    (tmp_path / "take.cal").write_bytes(bytes(100))
    with pytest.raises(ConfigError, match="Motive.*rigpose calibrate all"):
        read_any(tmp_path / "take.cal")


def test_a_format_by_name_goes_before_what_is_recognised(tmp_path):
    (tmp_path / "c.json").write_text('{"K": [[900,0,320],[0,900,240],[0,0,1]]}')
    with pytest.raises(ConfigError, match="Panoptic"):
        read_any(tmp_path / "c.json", "panoptic")
    with pytest.raises(ConfigError, match="--from: 'calibio' is not known"):
        read_any(tmp_path / "c.json", "calibio")


class TestOpenCap:
    """A folder per camera with a pickle; height before width."""

    def write(self, folder, rig):
        import pickle

        for camera in rig.cameras:
            place = folder / "Videos" / camera.name
            place.mkdir(parents=True)
            node = {
                "distortion": camera.dist[None], "intrinsicMat": camera.K, "rotation": camera.R,
                "translation": camera.t[:, None], "rotation_EulerAngles": camera.rvec[:, None],
                "imageSize": np.array([[camera.size[1]], [camera.size[0]]]),
            }  # fmt: skip
            (place / "cameraIntrinsicsExtrinsics.pickle").write_bytes(pickle.dumps(node))
        return folder

    def test_a_session(self, tmp_path):
        rig = rig_of(BARREL, BARREL, names=("Cam0", "Cam1"), sizes=[(720, 1280), (1280, 720)])
        back = read_any(self.write(tmp_path / "session", rig))
        assert back.format == "opencap"
        assert_same_cameras(rig.cameras, back.rig.cameras)
        assert back.rig.metadata["world"] == "board"

    def test_one_camera(self, tmp_path):
        rig = rig_of(BARREL, BARREL, names=("Cam0", "Cam1"))
        self.write(tmp_path / "session", rig)
        back = read_any(tmp_path / "session/Videos/Cam1/cameraIntrinsicsExtrinsics.pickle")
        assert_same_cameras(rig.cameras[1:], back.rig.cameras)
