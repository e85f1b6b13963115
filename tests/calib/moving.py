"""Points that move before cameras which do not film at the same time, and how well deviations hold."""

import numpy as np
from scipy.ndimage import gaussian_filter1d

from tests.calib.scenes import ring


def subject(seed, views=4, n=150, fps=30.0, joints=8, sigma_px=2.0, speed=1.0, outliers=0.05):
    """Points that move before a ring of cameras, each filming a little later or earlier."""
    rng = np.random.default_rng(seed)
    rig = ring(views)
    true = rng.uniform(-0.12, 0.12, views)
    true[0] = 0
    fine = 8

    def walk(*shape, extent, seconds):
        path = gaussian_filter1d(rng.normal(size=(n * fine + 2000, *shape)), fine * fps * seconds, axis=0)
        return path * extent * speed / path.std()

    points = rng.uniform(-400, 400, (joints, 3)) + walk(1, 3, extent=300, seconds=0.25)
    points = points + walk(joints, 3, extent=80, seconds=0.2)
    px = np.empty((views, n, joints, 2))
    for v, camera in enumerate(rig.cameras):
        at = 1000 + fine * (np.arange(n) - true[v] * fps)
        low = np.floor(at).astype(int)
        share = (at - low)[:, None, None]
        px[v] = camera.project(points[low] * (1 - share) + points[low + 1] * share)
    px += rng.normal(0, sigma_px, px.shape)
    wrong = rng.random(px.shape[:3]) < outliers
    px[wrong] += rng.uniform(-100, 100, (int(wrong.sum()), 2))
    px[rng.random(px.shape[:3]) < 0.1] = np.nan
    return rig, px, true, np.arange(n) / fps


def shares(pairs):
    """Share of told offsets within one and two of their deviations, and how many there were."""
    z = np.array([(o.offset_ms - 1e3 * x) / o.deviation_ms for o, x in pairs if o.told])
    return (np.abs(z) < 1).mean(), (np.abs(z) < 2).mean(), len(z)
