"""How far a lifter can be trusted is fitted on sequences, and stands in its file afterwards."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnxscript")

from capture.virtual.scenario import load_scenario  # noqa: E402
from engine.fallback_tuning import METADATA_KEY, FallbackTuning, tuning_of  # noqa: E402
from engine.lift import Lifter  # noqa: E402
from engine.lift_solver import LocatedLifter  # noqa: E402
from engine.lifter_document import read_lifter_document  # noqa: E402
from rigpose.errors import ConfigError  # noqa: E402
from tests.engine import lifters  # noqa: E402
from training.fallback import SCENARIO, Answers, alone_scale, fit, fit_factors, lifted, write  # noqa: E402
from training.fallback_scenes import DetectorNoise, Scene, scenes  # noqa: E402


@pytest.fixture(scope="module")
def found() -> list[Scene]:
    return list(scenes(load_scenario(SCENARIO), 5, 2, frames=20))


@pytest.fixture(scope="module")
def lifter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lifters.write(tmp_path_factory.mktemp("lifter"))


class TestScenes:
    def test_they_follow_from_the_seed(self, found: list[Scene]) -> None:
        again = next(scenes(load_scenario(SCENARIO), 5, 1, frames=20))
        np.testing.assert_array_equal(again.points, found[0].points)
        other = next(scenes(load_scenario(SCENARIO), 6, 1, frames=20))
        assert np.abs(other.truth_mm - again.truth_mm).max() > 10

    def test_what_is_hidden_is_not_seen_and_the_rest_is_as_far_off_as_a_detector(self, found: list[Scene]) -> None:
        scene = found[0]
        assert 0.2 < 1 - scene.sees.mean() < 0.8
        clean = next(scenes(load_scenario(SCENARIO), 5, 1, frames=20, noise=DetectorNoise(1e-9, 1e-9, 0.0)))
        off = (scene.points - clean.points) / (scene.sigma_px[:, :, None, None] / 0.01)
        rms = np.sqrt(np.nanmean(off**2))
        noise = DetectorNoise()
        expected = np.sqrt((1 - noise.tail_share) * noise.core**2 + noise.tail_share * noise.tail**2)
        assert rms == pytest.approx(expected, rel=0.2)

    def test_errors_may_last(self) -> None:
        off = DetectorNoise(lasts=True).draw((5, 3, 17), np.random.default_rng(0))
        assert (off == off[0]).all() and len(np.unique(off[0])) == off[0].size
        own = DetectorNoise().draw((5, 3, 17), np.random.default_rng(0))
        assert not (own == own[0]).all() and own.std() == pytest.approx(DetectorNoise(tail_share=0.119).core, rel=1.0)

    def test_one_view_goes_on_alone(self, found: list[Scene]) -> None:
        alone = found[0].left_alone(1, 10, 15)
        assert len(alone.time_ns) == len(alone.points) == len(alone.truth_mm) == len(alone.sigma_px) == 15
        np.testing.assert_array_equal(alone.points[:10], found[0].points[:10])
        assert not alone.sees[10:, [0, 2, 3]].any()
        np.testing.assert_array_equal(alone.sees[10:, 1], found[0].sees[10:15, 1])


class TestAnswers:
    def test_the_factor_makes_wrong_deviations_right(self) -> None:
        rng = np.random.default_rng(0)
        distance2 = (rng.normal(0, 1.7, (20000, 3)) ** 2).sum(axis=-1)
        assert Answers(distance2, np.zeros(20000)).factor == pytest.approx(1.7, rel=0.03)

    def test_of_honest_answers_the_surer_ones_surprise_less(self) -> None:
        rng = np.random.default_rng(0)
        distance2 = (rng.normal(size=(5000, 3)) ** 2).sum(axis=-1)
        sure, vague = (Answers(distance2, np.full(5000, 6 * np.log(sigma))) for sigma in (10.0, 30.0))
        assert sure.surprise < vague.surprise

    def test_a_few_tell_nothing(self) -> None:
        assert Answers(np.full(3, 99.0), np.zeros(3)).factor == 1.0


class TestFit:
    def test_the_factors_can_be_fitted_alone(self, lifter: Path) -> None:
        noise = (DetectorNoise(), DetectorNoise(lasts=True))
        short, lasting = (list(scenes(load_scenario(SCENARIO), 5, 2, frames=45, noise=n)) for n in noise)
        before, ready = FallbackTuning(pixel_scale=1.1), Lifter.load(lifter)
        after = fit_factors(short, ready, lasting, before)
        names = {"lifted_scale", "predicted_scale", "alone_scale"}
        assert after.model_dump(exclude=names) == before.model_dump(exclude=names)
        assert all(getattr(after, name) != getattr(before, name) for name in ("lifted_scale", "predicted_scale"))
        again = fit_factors(short, ready, lasting, after)
        assert again == after, "what stood there has no say"

    def test_alone_a_view_is_less_sure_by_what_is_missing(self, lifter: Path) -> None:
        lasting = list(scenes(load_scenario(SCENARIO), 5, 2, frames=45, noise=DetectorNoise(lasts=True)))
        ready = Lifter.load(lifter)
        tunings = [FallbackTuning(lifted_scale=s, predicted_scale=s, alone_scale=1.0) for s in (0.5, 0.25, 50.0)]
        one, half, sure = (alone_scale(lasting, LocatedLifter(ready, tuning)) for tuning in tunings)
        assert half == pytest.approx(2 * one, rel=0.05) and one > 1.0 and sure == 1.0

    def test_the_figures_describe_errors_and_motion(self, found: list[Scene], lifter: Path) -> None:
        tuning = fit(found, Lifter.load(lifter))
        speeds = tuning.speeds_mm(Lifter.load(lifter).document)
        moved = np.concatenate([np.diff(s.truth_mm, axis=0) * 30 for s in found])
        np.testing.assert_allclose(speeds, np.sqrt((moved**2).mean(axis=(0, 2))), rtol=0.02, atol=1)
        correlation = tuning.correlations(Lifter.load(lifter).document)
        assert np.linalg.eigvalsh(correlation)[0] > 0 and np.allclose(np.diag(correlation), 1, atol=1e-3)
        assert 0.7 < tuning.pixel_scale < 1.2

    def test_a_view_that_sees_too_little_is_not_lifted(self, found: list[Scene], lifter: Path) -> None:
        points = found[0].points.copy()
        points[:, 1, 4:] = np.nan
        scene = Scene(0, found[0].rig, found[0].time_ns, found[0].truth_mm, points, found[0].sigma_px)
        mean, _ = lifted(scene, Lifter.load(lifter))
        assert np.isnan(mean[:, 1]).all() and np.isfinite(mean[:, 0]).any()


class TestFile:
    def test_figures_come_back_as_they_were_written(self, lifter: Path, tmp_path: Path) -> None:
        path = tmp_path / "lifter.onnx"
        path.write_bytes(lifter.read_bytes())
        tuning = FallbackTuning(lift_scale=1.3, speed_per_s=(0.7,), correlation=tuple(np.eye(17).ravel()))
        for _ in range(2):
            write(path, tuning)
        document, proto = read_lifter_document(path)
        assert tuning_of(proto, document, path) == tuning
        assert sum(entry.key == METADATA_KEY for entry in proto.metadata_props) == 1
        Lifter.load(path)

    def test_a_lifter_without_them_is_trusted_cautiously(self, lifter: Path) -> None:
        document, proto = read_lifter_document(lifter)
        assert tuning_of(proto, document, lifter) == FallbackTuning()

    def test_those_of_another_skeleton_are_refused(self, lifter: Path, tmp_path: Path) -> None:
        path = tmp_path / "lifter.onnx"
        path.write_bytes(lifter.read_bytes())
        write(path, FallbackTuning(speed_per_s=(0.1,) * 5))
        document, proto = read_lifter_document(path)
        with pytest.raises(ConfigError, match="rigpose.fallback is not of 17 joints.*training.fallback"):
            tuning_of(proto, document, path)
