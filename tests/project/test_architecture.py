"""The map of the calibration in docs/architecture.md names its modules and none that is gone."""

import re

import pytest


def table(text: str, start: str) -> set[str]:
    """What stands in backticks in the table behind some words."""
    rows = text[text.index(start) :].split("\n\n")[1]
    assert rows.startswith("|")
    return set(re.findall(r"`(\w+)`", rows))


@pytest.mark.parametrize(
    ("start", "folder"),
    [("Where what is, in `calib`:", "calib"), ("In `nodes/calibrate`:", "nodes/calibrate")],
)
def test_the_map_of_the_calibration_names_what_is_there(root, start, folder):
    there = {path.stem for path in (root / folder).glob("*.py")} - {"__init__"}
    there |= {path.parent.name for path in (root / folder).glob("*/__init__.py")}
    named = table((root / "docs/architecture.md").read_text(), start)
    assert not named - there
    # A module or two may be newer than the map; more, and it is no map.
    assert len(there - named) <= 3, f"not named: {sorted(there - named)}"


def test_files_that_are_named_are_there(root):
    text = (root / "docs/architecture.md").read_text()
    named = set(re.findall(r"`((?:calib|capture|engine|nodes|rigpose|training)/[\w/.]+)`", text))
    assert len(named) > 20
    gone = [name for name in named if not (root / name).exists() and not (root / f"{name}.py").exists()]
    assert not gone
