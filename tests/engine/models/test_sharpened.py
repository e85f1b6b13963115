"""A volume's answer and the views' points together: against the equations in float64, and what they must give."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from calib.rig import RigArrays  # noqa: E402
from engine.models.sharpened import Sharpened, sharpened  # noqa: E402
from tests.engine.models.reference.sharpened import most_likely  # noqa: E402
from tests.engine.models.test_volume import BASE, arrays, rig  # noqa: E402

TRUTH = BASE + np.array([[100.0, -150, 60], [-260, 40, 200], [20, 210, -190]])
MATRIX = np.array([[6.0, 0.2, 128], [-0.3, 6.5, 40]])
SIGMA, POWER, SIZE = np.array([1.0, 1.5, 2.0]), np.array([0.5, 1.0, 2.0]), 64
UPPER = np.triu_indices(3)


def seen(truth: np.ndarray = TRUTH, noise_px: float = 0.0, seed: int = 0) -> np.ndarray:
    points = np.stack([camera.project(truth) for camera in rig().cameras])
    return points + noise_px * np.random.default_rng(seed).normal(size=points.shape)


def prior(seed: int = 1, deviation_mm: float = 60.0) -> tuple[np.ndarray, np.ndarray]:
    """Means off the truth and full covariances."""
    rng = np.random.default_rng(seed)
    roots = deviation_mm * (np.eye(3) + 0.4 * rng.normal(size=(3, 3, 3)))
    covariance = roots @ roots.transpose(0, 2, 1)
    return TRUTH + np.einsum("jab,jb->ja", roots, rng.normal(size=(3, 3))), covariance


def answer(
    mean: Any, covariance: Any, points: Any, confidence: Any, dtype: Any = torch.float64, sigma: Any = SIGMA
) -> Sharpened:
    six = np.asarray(covariance)[:, UPPER[0], UPPER[1]]
    m, c, p, w = (torch.as_tensor(np.asarray(each)[None], dtype=dtype) for each in (mean, six, points, confidence))
    matrix = torch.as_tensor(MATRIX, dtype=dtype).expand(1, 4, 2, 3)
    cameras = RigArrays(*(array.to(dtype) for array in arrays(rig())))
    return sharpened(
        m, c, p, w, matrix, torch.as_tensor(sigma, dtype=dtype), torch.as_tensor(POWER, dtype=dtype), SIZE, cameras
    )


class TestAnswer:
    @pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
    def test_is_that_of_the_equations(self, dtype: Any) -> None:
        mean, covariance = prior()
        points, confidence = seen(noise_px=8.0), np.random.default_rng(3).uniform(0.2, 0.95, (4, 3))
        points[1, 2] += 200
        confidence[3, 1] = 0
        got = answer(mean, covariance, points, confidence, dtype)
        position, spread = most_likely(mean, covariance, rig(), points, confidence, [MATRIX] * 4, SIGMA, POWER, SIZE)
        assert np.abs(got.position_mm[0].numpy() - position).max() < (1e-4 if dtype == torch.float64 else 0.01)
        assert got.covariance_mm2[0].numpy() == pytest.approx(spread[:, UPPER[0], UPPER[1]], rel=1e-3, abs=0.05)

    def test_views_that_see_well_triangulate(self) -> None:
        mean, covariance = prior(deviation_mm=80.0)
        got = answer(mean, covariance, seen(), np.full((4, 3), 0.95), sigma=SIGMA / 10)
        off = np.linalg.norm(mean - TRUTH, axis=-1)
        assert (np.linalg.norm(got.position_mm[0].numpy() - TRUTH, axis=-1) < 0.05 * off).all()

    def test_without_a_view_the_volume_stays(self) -> None:
        mean, covariance = prior()
        points = seen()
        points[:] = np.nan
        got = answer(mean, covariance, points, np.zeros((4, 3)))
        assert np.abs(got.position_mm[0].numpy() - mean).max() < 1e-6
        assert got.covariance_mm2[0].numpy() == pytest.approx(covariance[:, UPPER[0], UPPER[1]], rel=1e-3, abs=1.0)

    def test_one_view_leaves_what_is_known_of_the_depth(self) -> None:
        mean, covariance = prior()
        confidence = np.zeros((4, 3))
        confidence[2] = 0.95
        got = answer(mean, covariance, seen(), confidence, sigma=SIGMA / 10)
        camera = rig().cameras[2]
        off = np.linalg.norm(camera.project(got.position_mm[0].numpy()) - seen()[2], axis=-1)
        before = np.linalg.norm(camera.project(mean) - seen()[2], axis=-1)
        assert (off < 0.1 * before).all()
        axis = camera.R[2]
        six = got.covariance_mm2[0].numpy()[:, [0, 1, 2, 1, 3, 4, 2, 4, 5]].reshape(3, 3, 3)
        largest = np.linalg.eigh(six)[1][..., -1]
        assert (np.abs(largest @ axis) > 0.9).all()

    def test_one_view_that_is_sure_and_wrong_is_not_believed(self) -> None:
        mean, covariance = prior(deviation_mm=30.0)
        points = seen()
        points[0] += [150, -120]
        got = answer(mean, covariance, points, np.full((4, 3), 0.9)).position_mm
        without = np.full((4, 3), 0.9)
        without[0] = 0
        assert torch.allclose(got, answer(mean, covariance, points, without).position_mm, atol=1.0)

    def test_a_rig_for_each_is_the_same_as_one_for_all(self) -> None:
        mean, covariance = prior()
        six = torch.tensor(covariance[:, UPPER[0], UPPER[1]])[None].expand(2, 3, 6)
        m, p, w = (torch.tensor(np.stack([each, each])) for each in (mean, seen(), np.full((4, 3), 0.8)))
        matrix, sigma, power = torch.tensor(MATRIX).expand(2, 4, 2, 3), torch.tensor(SIGMA), torch.tensor(POWER)
        one = RigArrays(*(array.double() for array in arrays(rig())))
        each = RigArrays(*(array.expand(2, *array.shape) for array in one))
        apart, together = (sharpened(m, six, p, w, matrix, sigma, power, SIZE, cameras) for cameras in (each, one))
        assert torch.allclose(apart.position_mm, together.position_mm)
        assert torch.allclose(apart.covariance_mm2, together.covariance_mm2)


class TestDegenerate:
    @pytest.mark.parametrize("case", ["behind", "nowhere", "absent", "sharp", "flat"])
    def test_value_and_gradients_are_finite(self, case: str) -> None:
        mean, covariance = prior()
        points, confidence = seen(), np.full((4, 3), 0.9)
        matrix = torch.as_tensor(MATRIX, dtype=torch.float32).repeat(1, 4, 1, 1)
        if case == "behind":
            mean = mean + 3 * (np.array(rig().cameras[0].center_mm) - mean)
        elif case == "nowhere":
            points[1] = 1e9
        elif case == "absent":
            points[3], confidence[3], matrix[0, 3] = np.nan, 0, 0
        elif case == "sharp":
            covariance = covariance * 1e-9
        else:
            axis = rig().cameras[0].R[2]
            covariance = np.tile(1e6 * np.outer(axis, axis) + np.eye(3), (3, 1, 1))
        six = covariance[:, UPPER[0], UPPER[1]]
        numbers = [
            torch.as_tensor(each[None], dtype=torch.float32).requires_grad_()
            for each in (mean, six, points, confidence)
        ]
        sigma, power = (torch.as_tensor(each, dtype=torch.float32).requires_grad_() for each in (SIGMA, POWER))
        m, c, p, w = numbers
        got = sharpened(m, c, p, w, matrix, sigma, power, SIZE, arrays(rig()))
        (got.position_mm.square().mean() + got.covariance_mm2.mean()).backward()
        assert torch.isfinite(got.position_mm).all() and torch.isfinite(got.covariance_mm2).all()
        assert all(torch.isfinite(each.grad).all() for each in (*numbers, sigma, power))
        whole = got.covariance_mm2[0][:, [0, 1, 2, 1, 3, 4, 2, 4, 5]].reshape(3, 3, 3).detach().double().numpy()
        assert (np.linalg.eigvalsh(whole) > 0).all()

    def test_the_gradient_is_that_of_finite_differences(self) -> None:
        mean, covariance = prior()
        six = covariance[:, UPPER[0], UPPER[1]]
        confidence = np.random.default_rng(3).uniform(0.2, 0.95, (4, 3))
        numbers = [torch.tensor(each[None]).requires_grad_() for each in (mean, six, seen(noise_px=5.0), confidence)]
        sigma, power = torch.tensor(SIGMA).requires_grad_(), torch.tensor(POWER).requires_grad_()
        cameras = RigArrays(*(array.double() for array in arrays(rig())))
        matrix = torch.tensor(MATRIX).expand(1, 4, 2, 3)

        def position(m: Any, c: Any, p: Any, w: Any, s: Any, k: Any) -> Any:
            return sharpened(m, c, p, w, matrix, s, k, SIZE, cameras).position_mm

        assert torch.autograd.gradcheck(position, (*numbers, sigma, power), eps=1e-4, atol=1e-3, rtol=1e-3)
