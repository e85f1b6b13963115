"""Stages are named after what lies between two stamps."""

from __future__ import annotations

from dataclasses import replace

from rigpose.stamps import STAGES, SetStamps

STAMPS = SetStamps(
    exposed_ns=(1_000_000, None, 2_000_000),
    exposed_from="device",
    received_ns=(5_000_000, None, 7_000_000),
    grouped_ns=8_000_000,
    inferred_ns=18_000_000,
    solved_ns=18_500_000,
    published_ns=19_000_000,
)


def test_a_set_counts_from_its_newest_view_and_its_oldest_exposure() -> None:
    assert STAMPS.stages_ms() == {
        "exposed_to_received": 6.0,
        "received_to_grouped": 1.0,
        "grouped_to_inferred": 10.0,
        "inferred_to_solved": 0.5,
        "solved_to_published": 0.5,
        "received_to_published": 12.0,
        "exposed_to_published": 18.0,
    }
    assert set(STAMPS.stages_ms()) == set(STAGES)


def test_from_an_arrival_no_latency_of_the_exposure_is_told() -> None:
    stages = replace(STAMPS, exposed_from="arrival").stages_ms()
    assert not any(name.startswith("exposed") for name in stages) and len(stages) == 5
