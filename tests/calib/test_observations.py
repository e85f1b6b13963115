"""Board views: how they are built, kept and chosen."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from calib.observations import BoardViews, choose, coverage, load_views, shapes, views_of, wishes
from rigpose.errors import ConfigError

SQUARE_MM = 30.0
TARGET = np.array([[x * SQUARE_MM, y * SQUARE_MM, 0.0] for y in range(4) for x in range(5)])


def picture(center, scale, turn=0.0):
    """The board's points in a picture, parallel to it."""
    c, s = np.cos(turn), np.sin(turn)
    flat = (TARGET[:, :2] - TARGET[:, :2].mean(axis=0)) @ np.array([[c, s], [-s, c]])
    return flat * scale + center


def some_views(px, **more):
    px = np.asarray(px, float)
    names = tuple(f"cam{i}" for i in range(len(px)))
    return BoardViews(TARGET, names, ((640, 480),) * len(px), np.arange(px.shape[1]), px, **more)


def test_detections_of_all_cameras_meet_at_their_moments():
    whole = SimpleNamespace(ids=np.arange(20), px=picture((320, 240), 1.0))
    part = SimpleNamespace(ids=np.array([3, 7, 99]), px=np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]))
    views = views_of(TARGET, ("a", "b"), ((640, 480), (640, 480)), [{7: whole, 9: None}, {7: part, 4: whole}])
    assert views.frames.tolist() == [4, 7]
    assert views.counts.tolist() == [[0, 20], [20, 2]]
    assert views.px[1, 1, 7].tolist() == [3.0, 4.0]
    assert views.usable.tolist() == [[False, True], [True, False]]


def test_points_in_one_line_do_not_place_a_board():
    px = np.full((1, 1, 20, 2), np.nan)
    px[0, 0, :5] = picture((320, 240), 1.0)[:5]
    assert not some_views(px).usable.any()
    px[0, 0, 5:10] = picture((320, 240), 1.0)[5:10]
    assert some_views(px).usable.all()


def test_half_a_point_is_none():
    px = np.tile(picture((320, 240), 1.0), (1, 1, 1, 1))
    px[0, 0, 3, 1] = np.nan
    assert some_views(px).counts.tolist() == [[19]]


def test_saved_views_come_back_to_the_last_bit(tmp_path):
    px = np.stack([[picture((300, 200), 1.0), picture((310, 200), 0.5)]])
    px[0, 1, 4] = np.nan
    views = some_views(px, board="chessboard:5x4:30", time_s=np.array([[0.1, np.nan]]), still=True)
    views.save(tmp_path / "views.npz")
    back = load_views(tmp_path / "views.npz")
    assert np.array_equal(back.px, views.px, equal_nan=True)
    assert back.time_s is not None and views.time_s is not None
    assert np.array_equal(back.time_s, views.time_s, equal_nan=True)
    assert (back.names, back.sizes, back.board, back.still) == (views.names, views.sizes, views.board, True)
    assert [p.name for p in tmp_path.iterdir()] == ["views.npz"]


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04 broken"])
def test_a_file_that_holds_no_views_is_named(tmp_path, content):
    path = tmp_path / "views.npz"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"views\.npz"):
        load_views(path)
    with pytest.raises(ConfigError, match="no such file"):
        load_views(tmp_path / "other.npz")


def test_values_that_do_not_fit_together_are_refused():
    px = np.zeros((1, 2, 20, 2))
    with pytest.raises(ConfigError, match="increase"):
        BoardViews(TARGET, ("a",), ((640, 480),), np.array([2, 2]), px)
    with pytest.raises(ConfigError, match="flat"):
        BoardViews(TARGET + np.arange(20)[:, None], ("a",), ((640, 480),), np.arange(2), px)
    with pytest.raises(ConfigError, match="shape"):
        BoardViews(TARGET, ("a", "b"), ((640, 480),) * 2, np.arange(2), px)


def test_coverage_counts_the_points_of_each_cell():
    px = np.full((1, 1, 20, 2), np.nan)
    px[0, 0, :3] = [[-0.4, -0.4], [639.4, 479.4], [320.0, 5.0]]
    px[0, 0, 3] = [700.0, 5.0]
    cells = coverage(some_views(px), (2, 4))[0]
    assert cells.tolist() == [[1, 0, 1, 0], [0, 0, 0, 1]]


def test_the_chosen_moments_cover_what_all_moments_cover():
    rng = np.random.default_rng(1)
    # A recording in which the board hardly moves for 200 moments, and goes about in 20.
    still = [picture((320, 240), 1.0) + rng.normal(0, 0.2, (20, 2)) for _ in range(200)]
    about = [picture(rng.uniform((80, 80), (560, 400)), rng.uniform(0.5, 2), rng.uniform(-1, 1)) for _ in range(20)]
    views = some_views([[*still[:100], *about, *still[100:]]])
    chosen = choose(views, 25)
    assert len(chosen) == 25 and (np.diff(chosen) > 0).all()
    assert ((chosen >= 100) & (chosen < 120)).sum() >= 18
    assert (coverage(views.select(chosen)) > 0).sum() > 0.95 * (coverage(views) > 0).sum()


def test_moments_that_two_cameras_share_are_worth_more():
    px = np.full((2, 60, 20, 2), np.nan)
    px[0] = picture((320, 240), 1.0)
    px[1, 40:] = picture((300, 240), 1.0)
    chosen = choose(some_views(px), 12)
    assert (chosen >= 40).sum() >= 8


def test_no_moment_without_a_usable_view_is_chosen():
    px = np.full((1, 4, 20, 2), np.nan)
    px[0, 2] = picture((320, 240), 1.0)
    assert choose(some_views(px), 3).tolist() == [2]


def test_a_slanted_board_has_a_slant_along_the_axis_it_is_turned_about():
    depth = 1 + 0.3 * (TARGET[:, 0] - TARGET[:, 0].mean()) / np.ptp(TARGET[:, 0])
    slanted = (TARGET[:, :2] - TARGET[:, :2].mean(axis=0)) / depth[:, None] + (320, 240)
    look = shapes(some_views([[picture((320, 240), 1.0), slanted]]))[0]
    assert abs(look[0, 1:]).max() < 1e-6
    assert look[1, 1] == pytest.approx(0.3, abs=1e-6) and abs(look[1, 2]) < 1e-6


def test_wishes_say_what_to_do_and_end_when_all_is_there():
    rng = np.random.default_rng(0)
    poor = some_views([[picture((150, 240), 1.0)] * 8])
    said = " ".join(wishes(poor))
    assert "right" in said and "tilt" in said and "nearer" in said
    rich = []
    for x in (70, 200, 330, 460, 570):
        for y in (60, 180, 300, 420):
            depth = 1 + ((TARGET[:, :2] - TARGET[:, :2].mean(axis=0)) / 120) @ rng.uniform(-0.4, 0.4, 2)
            at = (TARGET[:, :2] - TARGET[:, :2].mean(axis=0)) / depth[:, None]
            rich.append(at * rng.uniform(0.7, 1.3) + (x, y))
    assert wishes(some_views([rich])) == ()
