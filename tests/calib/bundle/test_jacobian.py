"""The lens of the adjustment is that of `calib.lens`, and its derivatives are those of differences."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calib import lens
from calib.bundle.jacobian import LAST_FREE, project

COEFFICIENTS = {
    "straight": [],
    "brown5": [-0.28, 0.09, 0.001, -0.002, 0.01],
    "rational8": [0.3, -0.2, 0.002, 0.001, 0.05, 0.5, -0.15, 0.02],
    "prism12": [-0.2, 0.05, 0.001, -0.001, 0.0, 0.02, 0.01, 0.0, 0.003, -0.002, 0.001, 0.004],
    "tilted14": [-0.2, 0.05, 0.001, -0.001, 0.0, 0.02, 0.01, 0.0, 0.003, -0.002, 0.001, 0.004, 0.02, -0.03],
    "fisheye": [0.03, -0.01, 0.004, -0.001],
}
coordinate = st.floats(-600, 600)


def intrinsics_of(kind):
    return np.array([900.0, 920.0, 640.0, 500.0, *lens.pad(np.array(COEFFICIENTS[kind]))])


def by_lens_module(xyz, intrinsics, fisheye):
    K = np.array([[intrinsics[0], 0, intrinsics[2]], [0, intrinsics[1], intrinsics[3]], [0, 0, 1]])
    normalised = np.stack([xyz[0] / xyz[2], xyz[1] / xyz[2]], axis=-1)
    return lens.distort(normalised.reshape(1, -1, 2), K[None], intrinsics[None, 4:], np.array([float(fisheye)]))[0]


def wanted_of(kind):
    return frozenset(range(8)) if kind == "fisheye" else frozenset(range(LAST_FREE + 1))


@pytest.mark.parametrize("kind", COEFFICIENTS)
@given(x=coordinate, y=coordinate, z=st.floats(500, 3000))
def test_the_values_are_those_of_the_lens_module(kind, x, y, z):
    xyz = np.array([x]), np.array([y]), np.array([z])
    seen = project(xyz, intrinsics_of(kind), kind == "fisheye", frozenset())
    expected = by_lens_module(xyz, intrinsics_of(kind), kind == "fisheye")
    np.testing.assert_allclose(np.stack(seen.px, axis=-1), expected, atol=1e-8)


@pytest.mark.parametrize("kind", COEFFICIENTS)
@given(x=coordinate, y=coordinate, z=st.floats(500, 3000))
def test_the_derivatives_after_the_point_are_those_of_differences(kind, x, y, z):
    is_fisheye, intrinsics = kind == "fisheye", intrinsics_of(kind)
    xyz = np.array([[x], [y], [z]])
    seen = project((xyz[0], xyz[1], xyz[2]), intrinsics, is_fisheye, frozenset())
    for k in range(3):
        step = np.zeros((3, 1))
        step[k] = 1e-3
        up, down = (
            by_lens_module(xyz + step, intrinsics, is_fisheye),
            by_lens_module(xyz - step, intrinsics, is_fisheye),
        )
        found = np.array([seen.by_point[row][k][0] for row in range(2)])
        np.testing.assert_allclose(found, (up - down)[0] / 2e-3, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", COEFFICIENTS)
@given(x=coordinate, y=coordinate, z=st.floats(500, 3000))
def test_the_derivatives_after_the_lens_are_those_of_differences(kind, x, y, z):
    is_fisheye, intrinsics = kind == "fisheye", intrinsics_of(kind)
    xyz = np.array([x]), np.array([y]), np.array([z])
    wanted = wanted_of(kind)
    seen = project(xyz, intrinsics, is_fisheye, wanted)
    assert set(seen.by_lens) == wanted
    for index in wanted:
        h = 1e-3 if index < 4 else 1e-6
        step = np.zeros(18)
        step[index] = h
        up, down = (
            by_lens_module(xyz, intrinsics + step, is_fisheye),
            by_lens_module(xyz, intrinsics - step, is_fisheye),
        )
        found = np.array([seen.by_lens[index][row][0] for row in range(2)])
        np.testing.assert_allclose(found, (up - down)[0] / (2 * h), rtol=1e-5, atol=1e-5)


def test_the_axis_of_a_fisheye_is_no_pole():
    near = np.array([0.0, 1e-9, 1e-6, 1e-4, 2e-4, 1e-2])
    seen = project((near, np.zeros(6), np.ones(6)), intrinsics_of("fisheye"), True, frozenset(range(8)))
    np.testing.assert_allclose(seen.by_point[0][0], 900, rtol=1e-3)
    for du, dv in seen.by_lens.values():
        assert np.isfinite(du).all() and np.isfinite(dv).all()
