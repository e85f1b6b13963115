"""When a node that keeps the rig's schedule begins: all of them on one tick."""

from __future__ import annotations

from capture.control import NodeControl
from capture.rundir import RunDirectory
from capture.sources.base import StartClock
from rigpose.stamps import now_ns

_LOOK_S = 0.05


def common_clock(control: NodeControl, run_dir: RunDirectory, period_ns: int) -> StartClock | None:
    """The rig's schedule, waiting until launch gives it; ``None`` = the node is to end before that.

    A node that nobody supervises joins the schedule of its run, or begins one of its own.

    Args:
        control: Of the node, which says ``ready`` here.
        run_dir: Of the run.
        period_ns: Between ticks, as the node knows it; 0 = each source keeps its own rate.
    """
    if not control.supervised:
        clock = run_dir.info.get("clock")
        if clock is None:
            return StartClock(now_ns(), period_ns)
        return StartClock(int(clock["start_ns"]), int(clock["period_ns"]) or period_ns)
    # Ready but silent: launch starts all of them on one tick, when everything behind them stands.
    control.state = "ready"
    while not control.started.wait(_LOOK_S):
        if control.stop_requested.is_set():
            return None
    assert control.start_ns is not None
    return StartClock(control.start_ns, period_ns)
