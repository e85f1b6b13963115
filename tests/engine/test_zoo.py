"""The zoo: what is shipped is what its builder builds, and the discs model finds what is drawn."""

from __future__ import annotations

import cv2
import numpy as np
import onnx
import pytest

from capture.drawn import COLOURS_BGR, SKELETON, Drawer, make_rig, truth_of, walk
from engine import decode, zoo
from engine.document import find_model, read_document
from engine.graph import compose
from engine.runtimes import create
from engine.zoo import discs
from rigpose.errors import ConfigError
from tests.engine import reference


@pytest.fixture(autouse=True)
def no_model_of_the_user(tmp_path, monkeypatch):
    monkeypatch.setattr(zoo, "user_folder", lambda: tmp_path / "models")
    return tmp_path / "models"


class TestZoo:
    def test_names_lead_to_files(self):
        assert "discs" in zoo.names()
        for name in zoo.names():
            assert find_model(name).path == zoo.path(name)

    def test_a_name_that_does_not_exist_lists_those_that_do(self):
        with pytest.raises(ConfigError, match="neither a file nor a model of the zoo") as caught:
            zoo.path("horses")
        assert "discs" in caught.value.remedy

    def test_a_model_that_was_added_has_its_name_behind_those_that_are_shipped(self, no_model_of_the_user):
        for name in ("mouse", "discs"):
            (no_model_of_the_user / name).mkdir(parents=True)
            (no_model_of_the_user / name / f"{name}.onnx").write_bytes(zoo.path("discs").read_bytes())
        assert zoo.names() == (*zoo.shipped(), "mouse")
        assert find_model("mouse").path == no_model_of_the_user / "mouse" / "mouse.onnx"
        assert find_model("discs").path == zoo.FOLDER / "discs.onnx", "what is shipped cannot be replaced"

    @pytest.mark.parametrize("name", ["", "a.b", "../discs", "a/b", ".hidden", "-x", "ä", "x" * 65, "a\n"])
    def test_a_name_never_looks_like_a_path(self, name):
        assert not zoo.is_name(name)

    def test_known_documents_are_valid_and_named_by_a_hash(self):
        for file in (zoo.FOLDER / "known").glob("*.yaml"):
            assert len(file.stem) == 64
            assert read_document(file).sha256 in (None, file.stem)

    def test_every_model_says_its_licence(self):
        for name in zoo.names():
            assert find_model(name).document.licence == "Apache-2.0"


def disc(image, centre, radius, colour, shade=1.0):
    """Draw an anti-aliased disc, a little darker towards one side."""
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]]
    cover = np.clip(radius + 0.5 - np.hypot(columns - centre[0], rows - centre[1]), 0, 1)[..., None]
    return image * (1 - cover) + cover * np.asarray(colour, float) * shade


@pytest.fixture(scope="module")
def find():
    """Points (J, 2) and confidence of a 192 x 192 BGR picture."""
    session = reference.session(zoo.path("discs").read_bytes())

    def run(image):
        picture = np.clip(image, 0, 255).astype(np.uint8).transpose(2, 0, 1)[None]
        maps = session.run(None, {"image": picture})[0]
        points, score = decode.heatmap(maps, np.float32(4), np.float32(1.5))
        return points[0], score[0]

    return run


class TestDiscs:
    def test_the_file_is_what_the_builder_builds(self):
        built = discs.build(COLOURS_BGR, SKELETON)
        assert built.SerializeToString(deterministic=True) == zoo.path("discs").read_bytes()
        onnx.checker.check_model(built, full_check=True)

    def test_is_of_drawn_pictures_only(self):
        document = find_model("discs").document
        assert document.domain == "synthetic"
        assert document.skeleton == SKELETON

    @pytest.mark.parametrize("radius", [6, 8, 10, 13])
    @pytest.mark.parametrize("shade", [0.6, 1.0])
    def test_finds_each_colour_within_half_a_pixel(self, find, radius, shade):
        rng = np.random.default_rng(radius)
        for joint, colour in enumerate(COLOURS_BGR):
            centre = rng.uniform(30, 160, 2)
            ground = rng.uniform(60, 180)
            image = disc(np.full((192, 192, 3), ground), centre, radius, colour, shade)
            points, score = find(image + rng.normal(0, 3, image.shape))
            assert np.linalg.norm(points[joint] - centre) < 0.5
            assert score[joint] > find_model("discs").document.output.min_score
            others = np.delete(score, joint)
            assert others.max() < 0.1

    def test_a_hidden_disc_has_no_confidence(self, find):
        rng = np.random.default_rng(0)
        texture = cv2.resize(rng.uniform(40, 200, (24, 24)), (192, 192), interpolation=cv2.INTER_CUBIC)
        _, score = find(texture[..., None] + rng.normal(0, 4, (192, 192, 3)))
        assert score.max() < 0.1

    def test_half_a_disc_is_half_as_sure(self, find):
        whole = disc(np.full((192, 192, 3), 110.0), (90, 90), 9, COLOURS_BGR[0])
        half = whole.copy()
        half[:, 90:] = 110
        assert 0.3 < find(half)[1][0] / find(whole)[1][0] < 0.75

    def test_the_whole_graph_finds_a_drawn_figure_in_3d(self):
        rig = make_rig(seed=3)
        position_mm = walk(10, 5.0, seed=3)
        truth, radius = truth_of(rig, position_mm)
        drawers = [Drawer(camera, index) for index, camera in enumerate(rig.cameras)]
        runtime = create(compose(find_model("discs"), len(rig.cameras)), threads=1)
        apart_mm, apart_px = [], []
        for t in range(0, 10, 2):
            crops, affine = [], []
            for view, drawer in enumerate(drawers):
                image = drawer.draw(t, position_mm[t], truth.points2d[t, view], radius[t, view])
                low, high = truth.points2d[t, view].min(axis=0), truth.points2d[t, view].max(axis=0)
                side = 1.4 * (high - low).max()
                scale = side / 192
                corner = (low + high) / 2 - side / 2 + scale / 2 - 0.5
                matrix = np.array([[scale, 0, corner[0]], [0, scale, corner[1]]])
                crops.append(cv2.warpAffine(image, matrix, (192, 192), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP))
                affine.append(matrix)
            answer = runtime.run(reference.feeds(rig, np.stack(crops), np.stack(affine)))
            apart_mm.append(np.linalg.norm(answer["points3d"][0] - position_mm[t], axis=-1))
            off = np.linalg.norm(answer["points2d"][0] - truth.points2d[t], axis=-1)
            apart_px.append(off[truth.visible[t]])
        assert np.isfinite(apart_mm).all()
        assert np.median(apart_mm) < 3
        assert np.median(np.concatenate(apart_px)) < 0.5

    def test_colours_of_about_the_same_hue_or_grey_are_refused(self):
        with pytest.raises(ValueError, match="grey"):
            discs.build([(120, 120, 120)] * len(SKELETON.joints), SKELETON)
