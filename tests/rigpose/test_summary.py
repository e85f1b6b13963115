"""Percentiles in bounded memory, and the account of frames."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rigpose.summary import CameraAccount, Distribution, Percentiles, Skipped, Summary


@given(st.lists(st.floats(1e-3, 1e5), min_size=400, max_size=800), st.sampled_from([50, 95, 99]))
def test_percentiles_are_those_of_the_sorted_samples_to_a_thousandth(samples: list[float], q: int) -> None:
    distribution = Distribution()
    distribution.extend(samples)
    expected = np.sort(samples)[int(np.ceil(len(samples) * q / 100)) - 1]
    assert distribution.percentile(q) == pytest.approx(expected, rel=1.1e-3)
    assert distribution.max == max(samples)
    assert distribution.mean == pytest.approx(np.mean(samples))


def test_a_percentile_with_fewer_than_three_samples_beyond_it_is_none() -> None:
    distribution = Distribution()
    distribution.extend(range(1, 299))
    assert distribution.percentile(99) is None
    distribution.extend((299, 300))
    assert distribution.percentile(99) == pytest.approx(297, rel=2e-3)
    assert Percentiles.of(distribution).p99_9 is None


def test_the_lower_tail_has_its_own_rule() -> None:
    distribution = Distribution()
    distribution.extend([4.0] * 59)
    assert distribution.percentile(5, tail="lower") is None
    distribution.add(4.0)
    assert distribution.percentile(5, tail="lower") == pytest.approx(4.0, rel=2e-3)


def test_zero_counts_as_zero_and_not_finite_does_not_count() -> None:
    distribution = Distribution()
    distribution.extend([0.0] * 10 + [np.nan, np.inf])
    assert distribution.n == 10 and distribution.percentile(50) == 0.0


def test_an_account_balances_only_when_every_frame_has_its_place() -> None:
    account = CameraAccount(exposed=10, lost_upstream=2, seen=8, used=5, skipped=Skipped(queue_full=1, late=2))
    assert account.balanced
    assert not account.model_copy(update={"used": 4}).balanced
    assert not account.model_copy(update={"lost_upstream": 1}).balanced


def test_a_summary_is_written_whole_and_reads_back(tmp_path: Path) -> None:
    summary = Summary(session_id="s", sets=3)
    summary.write(tmp_path / "deep" / "summary.json")
    document = json.loads((tmp_path / "deep" / "summary.json").read_text())
    assert document["schema"] == 1 and document["sets"] == 3
    assert Summary.model_validate(document) == summary
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["summary.json"]


def test_another_schema_is_refused() -> None:
    with pytest.raises(ValueError, match="schema 2"):
        Summary.model_validate({"schema": 2})
