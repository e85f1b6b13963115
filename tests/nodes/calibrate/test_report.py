"""The report: one page that needs nothing beside itself, drawn in a real browser."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from calib.quality import Finding
from calib.rig import Rig
from nodes.calibrate.report import Context, mean_up, page_data, scene_of, write_report
from rigpose.errors import MissingError, RigposeError
from tests.nodes.browser import Browser, Tab
from tests.nodes.calibrate import filmed, outcomes

REASONS = (
    Finding("suspect", ("cam02",), "no points at the left of the picture", "hold the board there"),
    Finding("note", (), "a wrong square size cannot be seen", "measure"),
)
COLOURS_BGR = ((178, 114, 0), (0, 94, 213), (115, 158, 0))


def context(**changes: object) -> Context:
    values: dict[str, object] = {
        "title": "Calibration of rig 7", "source": "/data/boards", "board": outcomes.board(),
        "matched": "equal frame numbers", "notes": ("b has two frames more",),
        "made": {"command": "rigpose calibrate all"},
    }  # fmt: skip
    return Context(**{**values, **changes})  # type: ignore[arg-type]


class TestData:
    def test_is_json_without_nan(self) -> None:
        data = page_data(outcomes.outcome(reasons=REASONS), context())
        text = json.dumps(data, allow_nan=False)
        assert json.loads(text)["outcome"]["verdict"] == "suspect"

    def test_many_residuals_are_drawn_in_part_and_every_rejected_one(self, monkeypatch: pytest.MonkeyPatch) -> None:
        outcome = outcomes.outcome()
        assert outcome.residuals is not None
        rejected = int((~outcome.residuals.used).sum())
        monkeypatch.setattr("nodes.calibrate.report.MOST_RESIDUALS", rejected + 50)
        data = page_data(outcome, context())
        used = data["outcome"]["residuals"]["used"]
        assert used.count(False) == rejected and used.count(True) == 50
        assert "Drawn are 50 of" in data["sampled"]

    def test_a_calibration_that_found_no_rig_has_no_scene(self) -> None:
        from calib.outcome import Outcome

        failed = Outcome(None, "bad", (Finding("bad", (), "the cameras do not hang together", "film cam1 and cam3"),))
        data = page_data(failed, context())
        assert data["scene"] is None and "none could be solved" in data["made"]["rig"]


class TestScene:
    def test_up_is_z_on_the_floor(self) -> None:
        rig = Rig(filmed.rig(3).cameras, {"units": "mm", "world": "floor"})
        assert scene_of(rig, None, None)["up"] == {"x": 0.0, "y": 0.0, "z": 1.0}

    def test_up_is_where_the_pictures_have_it_before_a_floor_is_known(self) -> None:
        # These cameras stand upright in a world whose y is down.
        assert mean_up(filmed.rig(3)) @ (0, -1, 0) > 0.98

    def test_the_view_comes_from_above(self) -> None:
        scene = scene_of(filmed.rig(3), None, None)
        up, eye = (np.array([scene[key][axis] for axis in "xyz"]) for key in ("up", "eye"))
        assert eye @ up > 0.5

    def test_pyramids_open_where_the_camera_looks(self) -> None:
        rig = filmed.rig(3)
        for camera, drawn in zip(rig.cameras, scene_of(rig, None, None)["cameras"], strict=True):
            corners = np.array(drawn["corners"])
            assert ((corners - camera.center_mm) @ camera.axis > 0).all()
            px = camera.project(corners)
            assert np.allclose(px, [[0, 0], [639, 0], [639, 479], [0, 479]], atol=0.05)

    def test_boards_lie_where_they_were(self) -> None:
        poses = filmed.poses(5)
        outlines = np.array(scene_of(filmed.rig(3), poses, filmed.board())["boards"])
        side = np.linalg.norm(outlines[:, 1] - outlines[:, 0], axis=-1)
        assert outlines.shape == (5, 4, 3) and np.allclose(side, 7 * 60, atol=0.1)


class TestFile:
    def test_without_the_extra_it_is_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "plotly.offline", None)
        with pytest.raises(MissingError, match=r"rigpose\[calibrate\]"):
            write_report(outcomes.outcome(), tmp_path / "r.html", context())

    def test_a_place_that_cannot_be_written_is_one_line(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(RigposeError, match="cannot be written"):
            write_report(outcomes.outcome(), tmp_path / "file" / "r.html", context())

    def test_needs_nothing_from_elsewhere(self, tmp_path: Path) -> None:
        write_report(outcomes.outcome(), tmp_path / "r.html", context())
        head = (tmp_path / "r.html").read_text().split("<script>")[0]
        assert "http" not in head and "src=" not in head


def opened(browser: Browser, outcome: object, folder: Path, **changes: object) -> Tab:
    """The report of an outcome in a tab, once it is drawn."""
    path = folder / "r.html"
    write_report(outcome, path, context(**changes))  # type: ignore[arg-type]
    tab = browser.tab(path.as_uri())
    tab.until(lambda _: tab.evaluate("document.body && document.body.dataset.ready") == "yes", 60)
    return tab


@pytest.mark.gui
class TestBrowser:
    @pytest.fixture(scope="class")
    @classmethod
    def browser(cls) -> Iterator[Browser]:
        with Browser((1200, 900)) as browser:
            yield browser

    @pytest.fixture(scope="class")
    @classmethod
    def tab(cls, browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
        tab = opened(browser, outcomes.outcome(reasons=REASONS), tmp_path_factory.mktemp("page"))
        yield tab
        tab.close()

    def test_tells_the_verdict_its_reasons_and_the_tape(self, tab: Tab) -> None:
        text = tab.text()
        for words in (
            "Calibration of rig 7", "suspect", "cam02: no points at the left of the picture – hold the board there",
            "cam01 to cam03: 1 812 mm", "0.444 px", "0.81 mm", "equal frame numbers", "b has two frames more",
        ):  # fmt: skip
            assert words in text, words
        errors = [said for said in tab.said if "GL Driver" not in said and "willReadFrequently" not in said]
        assert not errors

    def test_draws_every_plot_with_labelled_axes(self, tab: Tab) -> None:
        # The rig; coverage and residuals of three cameras; their distribution; each moment; shared moments.
        assert tab.evaluate("document.querySelectorAll('.js-plotly-plot').length") == 1 + 2 * 3 + 3
        titles = tab.evaluate("[...document.querySelectorAll('.xtitle, .ytitle')].map(e => e.textContent)")
        assert titles.count("x, px") == titles.count("y, px") == 6
        assert "residual, px" in titles and "rms, px" in titles
        # Nothing is wider than the page.
        assert tab.evaluate("document.documentElement.scrollWidth <= window.innerWidth")

    def test_draws_the_rig_with_each_camera_in_its_colour(self, tab: Tab) -> None:
        tab.evaluate("document.getElementById('rig').scrollIntoView()")
        labels = tab.evaluate("[...document.querySelectorAll('#rig .annotation-text')].map(e => e.textContent)")
        assert sorted(labels) == ["cam01", "cam02", "cam03"]
        end = time.monotonic() + 20
        while True:
            picture = tab.picture().astype(int)
            counts = [int((np.abs(picture - colour).sum(axis=-1) < 40).sum()) for colour in COLOURS_BGR]
            if min(counts) > 200:
                break
            assert time.monotonic() < end, counts
            time.sleep(0.3)

    def test_a_name_that_is_html_stays_a_name(self, browser: Browser, tmp_path: Path) -> None:
        evil = "</script><img src=x onerror=\"document.title='owned'\">"
        reasons = (Finding("note", (evil,), evil, ""),)
        tab = opened(browser, outcomes.outcome(reasons=reasons), tmp_path, title=evil, source=evil)
        assert evil in tab.text() and tab.evaluate("document.title") == evil
        assert tab.evaluate("document.querySelectorAll('img').length") == 0
        tab.close()

    def test_a_bad_one_without_a_rig_says_why(self, browser: Browser, tmp_path: Path) -> None:
        from calib.outcome import Outcome

        failed = Outcome(None, "bad", (Finding("bad", (), "cam1 and cam3 share no view", "film both at once"),))
        tab = opened(browser, failed, tmp_path)
        assert "cam1 and cam3 share no view – film both at once" in tab.text() and "Do not use it" in tab.text()
        tab.close()
