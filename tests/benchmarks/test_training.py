"""The loop and ours do the same work, or nothing is timed; ratios are of calls that met the same machine."""

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from benchmarks import training  # noqa: E402
from benchmarks.training import LOOP, SAME, TRAINED, TRIANGULATION, UNPROJECTION, Size, make_scene  # noqa: E402

TINY = Size(2, 32, 6, 3)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    torch.set_num_threads(1)


class TestCheck:
    def test_both_find_the_same(self):
        off = training.check()
        assert off.same_mm < 1e-6 and off.trained_mm < 1e-4
        # Other units, another answer to noise; not by much.
        assert 1e-4 < off.trained_noisy_mm < 1

    def test_the_loop_finds_the_truth(self):
        """By numpy: the joint that projects to the points is where the loop puts it."""
        scene = make_scene(TINY, sigma_px=0.0)
        found = TRIANGULATION[LOOP](scene).numpy()
        homogeneous = np.concatenate([found, np.ones_like(found[..., :1])], axis=-1)
        px = np.einsum("bvij,bkj->bvki", scene.to_px.numpy(), homogeneous)
        np.testing.assert_allclose(px[..., :2] / px[..., 2:], scene.points.numpy(), atol=1e-6)

    @pytest.mark.parametrize("works, way", [(TRIANGULATION, SAME), (TRIANGULATION, TRAINED), (UNPROJECTION, SAME)])
    def test_nothing_is_timed_where_ours_is_wrong(self, monkeypatch, works, way):
        right = works[way]
        monkeypatch.setitem(works, way, lambda scene: right(scene) * (1 + 1e-6))
        with pytest.raises(AssertionError):
            training.check()

    def test_the_cubes_stick_out_of_the_pictures(self):
        scene = make_scene(Size(4, 64, 12, 2))
        seen = training._lenses(scene).places(scene.grid_mm.flatten(1, 3), 16, 16).seen
        assert 0.5 < seen.double().mean() < 0.98


class TestReport:
    def test_a_step_reaches_all_that_is_learned(self):
        scene = make_scene(TINY)
        for works in (TRIANGULATION, UNPROJECTION):
            for work in works.values():
                slopes = training.step(scene, [work])
                assert len(slopes) == (2 if works is TRIANGULATION else 1)
                assert all(slope.abs().max() > 0 for slope in slopes)
        assert not scene.points.requires_grad

    def test_ratios_have_their_goal(self, monkeypatch, tmp_path, capsys):
        monkeypatch.setattr(training, "QUICK", (TINY,))
        monkeypatch.setattr(training, "SHORT", (0.05, 4))
        path = tmp_path / "out.json"
        training.main(["--quick", "--json", str(path)])
        rows = {(row["case"], row["metric"]): row for row in json.loads(path.read_text())["rows"]}
        times = rows["triangulation, batch 2", f"forward and backward, {SAME}"]
        ratio = rows["triangulation, batch 2", f"forward and backward, {SAME}: quicker"]
        assert (ratio["goal"], ratio["better"], ratio["n"]) == (20.0, "higher", times["n"])
        assert times["peers"]["loop"]["value"] > 0 and times["goal"] is None
        assert {case for case, _ in rows} == {
            "triangulation, batch 2",
            "unprojection, batch 2, 3 channels, 6^3 voxels",
            "both, batch 2, 3 channels, 6^3 voxels",
        }
        assert "training" in capsys.readouterr().out
