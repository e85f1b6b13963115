"""Lifting on the CPU: files are found and checked, views are lifted by themselves, windows are kept."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import onnx
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnxscript")

from engine.lift import Lifter, lifter_names, lifter_path  # noqa: E402
from engine.lifter_document import (  # noqa: E402
    METADATA_KEY,
    LifterDocument,
    RootSet,
    one_root,
    parents_of,
    read_lifter_document,
)
from rigpose.errors import ConfigError, RigposeError  # noqa: E402
from tests.engine.lifters import LEG_ROOTS, RIG, TWO_LEGS, body_mm, seen_px, write  # noqa: E402

SURE = np.ones((3, 17))


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return write(tmp_path_factory.mktemp("lifter"))


@pytest.fixture(scope="module")
def temporal(tmp_path_factory):
    return write(tmp_path_factory.mktemp("lifter"), "temporal")


def changed(file, folder, change):
    proto = onnx.load(file)
    change(proto)
    path = folder / "changed.onnx"
    onnx.save(proto, path)
    return path


class TestDocument:
    def test_roots_name_each_joint_once(self):
        keys = {"id": "x", "domain": "real", "licence": "MIT", "skeleton": TWO_LEGS, "size_mm": 1.0}
        parents = parents_of(TWO_LEGS, LEG_ROOTS)
        assert LifterDocument(**keys, roots=LEG_ROOTS, parents=parents).root_of == (0, 0, 0, 3, 3, 3)
        with pytest.raises(ValueError, match="joint 5 is no root and belongs to none"):
            LifterDocument(**keys, roots=(LEG_ROOTS[0], RootSet(root=3, joints=(4,))), parents=parents)
        with pytest.raises(ValueError, match="name joint 0 twice"):
            LifterDocument(**keys, roots=(LEG_ROOTS[0], RootSet(root=3, joints=(0, 4, 5))), parents=parents)
        with pytest.raises(ValueError, match="there are 6 joints"):
            LifterDocument(**keys, roots=(LEG_ROOTS[0], RootSet(root=3, joints=(4, 5, 6))), parents=parents)

    def test_parents_lead_to_the_roots(self):
        assert parents_of(TWO_LEGS, LEG_ROOTS) == (-1, 0, 1, -1, 3, 4)

    def test_one_root_has_all_other_joints(self):
        assert one_root(TWO_LEGS) == (RootSet(root=0, joints=(1, 2, 3, 4, 5)),)

    def test_it_stands_in_the_file(self, file):
        document, _ = read_lifter_document(file)
        assert document.id == "test_masked" and document.window == 1 and not document.needs_all
        assert document.skeleton.name == "human36m17" and document.roots[0].root == 6

    def test_a_file_without_it_is_no_lifter(self, file, tmp_path):
        path = changed(file, tmp_path, lambda proto: proto.ClearField("metadata_props"))
        with pytest.raises(ConfigError, match="is no lifter"):
            read_lifter_document(path)

    def test_a_document_of_another_window_is_refused(self, file, tmp_path):
        def change(proto):
            proto.metadata_props[0].value = proto.metadata_props[0].value.replace('"window":1', '"window":9')

        with pytest.raises(ConfigError, match="says 9 frames of 17 joints"):
            read_lifter_document(changed(file, tmp_path, change))

    def test_an_unknown_key_is_named(self, file, tmp_path):
        def change(proto):
            proto.metadata_props[0].value = '{"colour": 1}'

        with pytest.raises(ConfigError, match=METADATA_KEY):
            read_lifter_document(changed(file, tmp_path, change))


@pytest.mark.parametrize("name", lifter_names())
def test_what_is_shipped_loads_is_small_and_says_its_licence(name):
    document = Lifter.load(name).document
    assert document.id == name and document.licence == "Apache-2.0"
    assert lifter_path(name).stat().st_size < 2_200_000
    assert lifter_path(name).with_suffix(".md").is_file(), "each has a card"


def test_the_mannequins_lifter_is_shipped():
    assert "lift17" in lifter_names()


class TestLifter:
    def test_is_found_by_path_and_else_the_zoos_names_are_told(self, file, tmp_path):
        assert lifter_path(file) == file
        with pytest.raises(ConfigError, match="the zoo has") as caught:
            lifter_path(tmp_path / "none.onnx")
        for name in lifter_names():
            assert name in caught.value.remedy

    def test_lifts_each_view_by_itself(self, file):
        lifter, px = Lifter.load(file), seen_px(body_mm())
        whole = lifter.lift(px, SURE, RIG.arrays())
        assert whole.lifted_mm.shape == (3, 17, 3) and whole.covariance_mm2.shape == (3, 17, 6)
        alone = lifter.lift(px[1:2], SURE[1:2], RIG.select(["bent"]).arrays())
        np.testing.assert_allclose(whole.lifted_mm[1], alone.lifted_mm[0], atol=2e-3)

    def test_unseen_joints_are_answered_and_views_that_see_too_little_are_nan(self, file):
        px = seen_px(body_mm())
        px[0, 5] = np.nan
        px[2, 2:] = np.nan
        lifted = Lifter.load(file).lift(px, SURE, RIG.arrays())
        assert np.isfinite(lifted.lifted_mm[:2]).all() and np.isnan(lifted.lifted_mm[2]).all()

    def test_a_window_fills_as_frames_come_and_is_forgotten(self, temporal):
        lifter, arrays = Lifter.load(temporal), RIG.arrays()
        frames = [seen_px(body_mm(i)) for i in range(12)]
        first = lifter.lift(frames[0], SURE, arrays).lifted_mm
        answers = [lifter.lift(frame, SURE, arrays).lifted_mm for frame in frames[1:]]
        window = np.stack(frames[3:], axis=1)[None]
        together, _ = lifter.run(window, np.ones(window.shape[:-1]), arrays)
        np.testing.assert_allclose(answers[-1], together[0], atol=1e-3)
        assert not np.allclose(lifter.lift(frames[0], SURE, arrays).lifted_mm, first)
        lifter.reset()
        np.testing.assert_array_equal(lifter.lift(frames[0], SURE, arrays).lifted_mm, first)

    def test_other_joints_are_refused(self, file):
        with pytest.raises(RigposeError, match="knows 17 joints"):
            Lifter.load(file).lift(np.zeros((3, 6, 2)), np.ones((3, 6)), RIG.arrays())

    @pytest.mark.process
    def test_needs_no_torch(self):
        code = "import sys, engine.lift; sys.exit('torch' in sys.modules)"
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
