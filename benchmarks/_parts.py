"""A long benchmark in parts: what was finished is kept, and a run that was broken off goes on behind it.

A part is kept with a hash of all that its figures depend on; where that is another one, the part is done again.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from benchmarks._report import ROOT, Report, Row
from rigpose.files import write_json


def hash_of(patterns: Iterable[str], *also: object) -> str:
    """A hash of the sources whose paths in the repository match, and of what else the figures depend on."""
    digest = hashlib.sha256(repr(also).encode())
    for file in sorted({file for pattern in patterns for file in ROOT.glob(pattern)}):
        digest.update(file.relative_to(ROOT).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


class Parts:
    """The parts of one run.

    Args:
        report: Where their rows and notes go, in the order in which they are asked for.
        folder: Where they are kept; ``None`` = nowhere.
        key: Of all that they depend on, see `hash_of`.
    """

    def __init__(self, report: Report, folder: Path | None = None, key: str = "") -> None:
        self._report, self._folder, self._key = report, folder, key

    def run(self, name: str, body: Callable[[Report], Any]) -> Any:
        """Do a part, or take it from where it is kept.

        Args:
            name: Of the part.
            body: Adds rows and notes to the report that it is given, and returns what JSON can hold.

        Returns:
            What the body returned.
        """
        file = None if self._folder is None else self._folder / (re.sub(r"\W+", "-", name) + ".json")
        kept = self._kept(file)
        if kept is None:
            part = self._report.model_copy(update={"rows": [], "notes": []})
            answer = body(part)
            kept = {"key": self._key, "rows": [row.model_dump() for row in part.rows], "notes": part.notes}
            kept = json.loads(json.dumps(kept | {"answer": answer}))
            if file is not None:
                file.parent.mkdir(parents=True, exist_ok=True)
                write_json(file, kept)
        self._report.rows += [Row.model_validate(row) for row in kept["rows"]]
        self._report.notes += kept["notes"]
        return kept["answer"]

    def _kept(self, file: Path | None) -> dict[str, Any] | None:
        if file is None:
            return None
        try:
            kept = json.loads(file.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return None
        return kept if isinstance(kept, dict) and kept.get("key") == self._key else None
