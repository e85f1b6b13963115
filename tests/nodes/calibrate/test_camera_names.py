"""Names of cameras in files, matched with those of a rig."""

from __future__ import annotations

import pytest

from nodes.calibrate.camera_names import known_name, listed, match_names
from rigpose.errors import ConfigError


@pytest.mark.parametrize(
    ("found", "known"),
    [
        ("cam-01", "cam1"),
        ("Camera_1", "cam01"),
        ("int_cam01_img", "cam01"),
        ("int_cam01_img", ""),
        ("cam11", ""),
        ("left", ""),
    ],
)
def test_a_name_is_known_by_its_words_and_numbers(found: str, known: str) -> None:
    rig = [known, "cam2"] if known else ["cam1", "cam01", "cam2"]
    assert known_name(found, rig) == known


def test_names_that_the_rig_has_stay_and_others_are_said() -> None:
    assert match_names(["b", "a"], ["a", "b", "c"], "here") == (["b", "a"], {})
    assert match_names(["cam_1", "cam2"], ["cam1", "cam2"], "here") == (["cam1", "cam2"], {"cam_1": "cam1"})
    assert match_names(["anything"], [], "here") == (["anything"], {})


def test_two_that_would_be_one_camera_are_refused() -> None:
    with pytest.raises(ConfigError, match="here: holds pictures of cam_1, cam-1, but the rig knows cam1"):
        match_names(["cam_1", "cam-1"], ["cam1"], "here")


def test_many_names_are_not_all_listed() -> None:
    assert listed("ab") == "a, b"
    assert listed("abcdefghij") == "a, b, c, d, e, f, g, h and 2 more"
