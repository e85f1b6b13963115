"""docs/camera-files.md says what the code does."""

import re

from calib import formats
from calib.convert import writable


def test_every_format_has_its_row_with_its_unit_and_whether_it_is_written(root):
    rows = {}
    for line in (root / "docs/camera-files.md").read_text().splitlines():
        if found := re.match(r"\| `(\w+)` \|", line):
            rows[found[1]] = [cell.strip() for cell in line.strip("|").split("|")]
    assert set(rows) == set(formats.FORMATS)
    for name, (_, _, unit, lenses, written, lost) in rows.items():
        assert written.startswith("yes") == (name in writable()), name
        if name in ("rigpose", "opencap", "bouguet"):
            continue
        holds = formats.module_of(name).HOLDS
        assert ("unit" in lost) == (not holds.says_unit), name
        assert ("sizes" in lost) == (not holds.size), name
        assert ("names" in lost) == (not holds.names), name
        assert ("fisheye" in lenses) == holds.fisheye, name
        assert ("skew" in lenses) == holds.skew, name
        if name not in ("anipose", "opencv", "colmap"):
            assert unit.startswith(holds.unit), name
