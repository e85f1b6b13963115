"""Sequence numbers tell what never came."""

from hypothesis import given
from hypothesis import strategies as st

from capture.session import Gaps


def test_nothing_missing():
    gaps = Gaps()
    assert [gaps.add("engine", "a", i) for i in range(5)] == [0] * 5
    assert gaps.total == 0


def test_each_start_of_a_node_counts_from_zero():
    gaps = Gaps()
    for epoch, numbers in (("a", (0, 1, 4)), ("b", (0, 2))):
        for number in numbers:
            gaps.add("engine", epoch, number)
    gaps.add("cam0", "c", 3)
    assert gaps.by_node() == {"engine": 3, "cam0": 3} and gaps.total == 6


def test_a_late_listener_does_not_count_what_was_before_its_time():
    gaps = Gaps(from_start=False)
    gaps.add("engine", "a", 700)
    gaps.add("engine", "a", 702)
    assert gaps.total == 1


@given(st.sets(st.integers(0, 200)), st.randoms())
def test_the_count_is_what_is_missing_below_the_highest(numbers, random):
    """In any order of arrival."""
    order = list(numbers)
    random.shuffle(order)
    gaps = Gaps()
    for number in order:
        gaps.add("n", "e", number)
    assert gaps.total == (max(numbers) + 1 - len(numbers) if numbers else 0)
