"""Moments are found by what they are called."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.datasets.index import Index, Key, describe

keys = st.lists(
    st.tuples(st.sampled_from(["S1", "S9", "4"]), st.sampled_from(["Walking-1", "Eating-2"]), st.integers(0, 2**31)),
    unique=True,
    max_size=30,
)


@given(keys)
def test_every_key_is_found_where_it_was_put_and_no_other(listed: list[tuple[str, str, int]]) -> None:
    index = Index.of(Key(*key) for key in listed)
    assert list(index) == listed
    assert [index.row(Key(*key)) for key in listed] == list(range(len(listed)))
    absent = {("S1", "Walking-1", 5), ("S2", "Walking-1", 5), ("S1", "Sitting-1", 5)} - set(listed)
    assert all(index.row(Key(*key)) is None for key in absent)


def test_a_selection_keeps_the_order_it_was_given() -> None:
    index = Index.of([Key("a", "x", 3), Key("b", "x", 1), Key("a", "y", 3)])
    assert list(index.select(np.array([2, 0]))) == [Key("a", "y", 3), Key("a", "x", 3)]
    assert list(index.select(np.array([False, True, False]))) == [Key("b", "x", 1)]


def test_a_key_that_stands_there_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="a x frame 3 stands there twice"):
        Index.of([Key("a", "x", 3), Key("a", "y", 3), Key("a", "x", 3)])
    with pytest.raises(ValueError, match="subject"):
        Index(["a"], ["x"], np.array([1]), np.array([0]), np.array([0]))
    with pytest.raises(ValueError, match="frame"):
        Index(["a"], ["x"], np.array([0]), np.array([0]), np.array([-1]))


def test_many_keys_are_described_by_the_first() -> None:
    assert describe([Key("a", "x", 3)]) == "a x frame 3"
    many = [Key("a", "x", frame) for frame in range(9)]
    assert describe(many) == "a x frames 0, 1, 2, 3, 4, 5 and 3 more"
    assert describe(Key("a", str(action), 0) for action in range(7)).endswith("; and 3 more sequences")
