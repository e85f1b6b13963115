"""Parts of a long benchmark: done once, kept, done again where what they depend on changed."""

import json

import pytest

from benchmarks._parts import Parts, hash_of
from benchmarks._report import ROOT, Report


def measured(report: Report, value: float = 3.0):
    report.add("a case", "a metric", "s", [value, value], n=2)
    report.notes.append("a note")
    return {"seeds": (1, 2)}


def begun() -> Report:
    return Report.begin("calibration")


class TestParts:
    def test_a_part_that_was_kept_is_not_done_again(self, tmp_path):
        first, second = begun(), begun()
        Parts(first, tmp_path, "k").run("a part: one", measured)
        answer = Parts(second, tmp_path, "k").run("a part: one", lambda _: pytest.fail("it was done again"))
        assert second.rows == first.rows and second.notes == first.notes == ["a note"]
        assert answer == {"seeds": [1, 2]}

    def test_it_is_done_again_where_what_it_depends_on_changed(self, tmp_path):
        Parts(begun(), tmp_path, "k").run("part", measured)
        report = begun()
        Parts(report, tmp_path, "another").run("part", lambda r: measured(r, 4.0))
        assert [row.ours for row in report.rows] == [4.0]

    def test_a_part_that_was_broken_off_keeps_nothing(self, tmp_path):
        def broken(report: Report):
            measured(report)
            raise KeyboardInterrupt

        report = begun()
        with pytest.raises(KeyboardInterrupt):
            Parts(report, tmp_path, "k").run("part", broken)
        assert report.rows == [] and list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("text", ["", "{", "[]", "7"])
    def test_a_damaged_file_is_no_part(self, tmp_path, text):
        (tmp_path / "part.json").write_text(text)
        report = begun()
        Parts(report, tmp_path, "k").run("part", measured)
        assert len(report.rows) == 1 and json.loads((tmp_path / "part.json").read_text())["key"] == "k"

    def test_without_a_folder_nothing_is_kept_and_answers_are_alike(self, tmp_path):
        assert Parts(begun()).run("part", measured) == Parts(begun(), tmp_path).run("part", measured)


def test_the_hash_is_of_the_sources_and_of_what_else_counts():
    some = hash_of(["benchmarks/_parts.py"])
    assert some == hash_of([f"benchmarks/{name}" for name in ("_parts.py",)])
    assert some != hash_of(["benchmarks/_report.py"]) and some != hash_of(["benchmarks/_parts.py"], 20)
    assert (ROOT / "benchmarks" / "_parts.py").is_file()
