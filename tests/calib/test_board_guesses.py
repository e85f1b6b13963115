"""What a board that is not found could be instead, and what that changes."""

from __future__ import annotations

import pytest

from calib.board_guesses import difference, from_grids, holds, mistakes
from calib.boards import read_board


@pytest.mark.parametrize("text", ["charuco:6x4:36:27:4X4_100", "aprilgrid:5x4:40:0.3", "chessboard:9x6:25"])
def test_mistakes_are_other_boards_and_single_ones_come_first(text: str) -> None:
    board = read_board(text)
    guesses = list(mistakes(board))
    assert guesses and len({(other, mirrored) for other, mirrored, _ in guesses}) == len(guesses)
    assert all(other != board or mirrored for other, mirrored, _ in guesses)
    changed = [change.count(",") for _, _, change in guesses if "(" not in change]
    assert changed == sorted(changed)


def test_grids_are_counted_as_the_description_counts_them() -> None:
    seen = [(9, 6), (6, 9), None, (8, 6)]
    found = [other.name for other, _, _ in from_grids(seen, read_board("chessboard:7x10:25"))]
    assert found == ["chessboard:6x9:25", "chessboard:6x8:25"]
    assert not list(from_grids(seen, read_board("aprilgrid:5x4:40:0.3")))


def test_only_grids_that_hold_the_described_one_where_it_is_there_as_a_part() -> None:
    given = read_board("chessboard:8x5:25")
    found = [other for other, _, _ in from_grids([(9, 6), (9, 4)], given, contain=True)]
    assert [other.name for other in found] == ["chessboard:9x6:25"]
    assert holds(found[0], given) and not holds(given, found[0])


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ("charuco:4x6:36:27:4X4_100", "columns and rows are swapped (4x6, not 6x4)"),
        ("charuco:6x4:36:27:5X5_50:inverted", "the dictionary is 5X5_50, not 4X4_100, black and white are exchanged"),
        ("chessboard:5x3:36", "it is a board of the kind chessboard, not charuco"),
    ],
)
def test_the_difference_is_said_in_words(other: str, words: str) -> None:
    assert difference(read_board("charuco:6x4:36:27:4X4_100"), read_board(other)) == words
