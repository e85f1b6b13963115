"""The graph of common views, and what it says where it does not hold."""

from __future__ import annotations

import numpy as np

from calib.covisibility import covisibility


def seen_by(*frames, n=20):
    usable = np.zeros((len(frames), n), dtype=bool)
    for camera, of_camera in enumerate(frames):
        usable[camera, list(of_camera)] = True
    return usable


def test_common_moments_are_counted():
    graph = covisibility(seen_by(range(10), range(4, 12), range(11, 15)), "abc")
    assert graph.shared.tolist() == [[10, 6, 0], [6, 8, 1], [0, 1, 4]]
    assert graph.connected


def test_the_tree_takes_the_heaviest_links_from_its_root_on():
    graph = covisibility(seen_by(range(10), range(4, 12), range(8, 15), range(0, 9)), "abcd")
    assert {frozenset(link) for link in graph.tree} == {frozenset(p) for p in ((0, 3), (0, 1), (1, 2))}
    reached = {graph.tree[0][0]}
    for parent, child in graph.tree:
        assert parent in reached and child not in reached
        reached.add(child)


def test_a_weight_of_nothing_is_no_link_although_moments_are_shared():
    weight = np.array([[0, 5.0, 0], [5, 0, 0], [0, 0, 0]])
    graph = covisibility(seen_by(range(10), range(10), range(10)), "abc", weight)
    assert graph.groups == ((0, 1), (2,))
    assert "c" in graph.missing[0] and "agree on none of 10 common moments" in graph.missing[0]


def test_two_groups_name_the_pair_to_film_next():
    graph = covisibility(seen_by(range(10), range(2, 10), range(11, 20), range(12, 20)), ("a", "b", "c", "d"))
    assert graph.groups == ((0, 1), (2, 3))
    assert len(graph.missing) == 1
    assert graph.missing[0].startswith("a and c never saw the board at the same moment")


def test_a_camera_that_saw_nothing_is_told_apart_from_one_that_shares_nothing():
    graph = covisibility(seen_by(range(10), range(10), ()), ("a", "b", "c"))
    assert not graph.connected and graph.missing[0].startswith("c never saw enough of the board")


def test_a_thread_that_holds_is_named():
    graph = covisibility(seen_by(range(10), range(8, 20)), ("a", "b"))
    assert graph.connected and graph.missing[0].startswith("b hangs on 2 common moments with a")
