"""Processes of one rig find each other, and nobody else gets in."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from capture import rundir
from capture.rundir import RunDirectory, new_session_id
from rigpose.errors import ConfigError, RigposeError


@pytest.fixture(autouse=True)
def own_base(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    # Not below tmp_path: socket paths must be short.
    with tempfile.TemporaryDirectory(prefix="rp") as folder:
        monkeypatch.setenv("RIGPOSE_RUN", folder)
        yield


def test_the_latest_running_one_is_found_with_its_endpoints() -> None:
    created = RunDirectory.create("20260101T000000-aaaaaa", ["cam01"])
    found = RunDirectory.latest()
    assert found.path == created.path and found.session_id == "20260101T000000-aaaaaa"
    assert found.frames_endpoint("cam01") != found.endpoint("poses")


def test_only_its_owner_may_enter() -> None:
    run = RunDirectory.create(new_session_id())
    assert stat.S_IMODE(run.path.stat().st_mode) == 0o700


def test_a_run_whose_process_ended_and_was_not_waited_for_has_ended() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        run = RunDirectory.create(new_session_id()).update(pid=child.pid)
        assert run.is_running and RunDirectory.latest().session_id == run.session_id
        child.kill()
        # Its parent, this process, is told of the end without asking for the exit code: a zombie stays.
        if hasattr(os, "waitid"):
            os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
            assert psutil.Process(child.pid).status() == psutil.STATUS_ZOMBIE
            os.kill(child.pid, 0)
        assert not run.is_running
        with pytest.raises(RigposeError, match="no rig is running"):
            RunDirectory.latest()
        RunDirectory.create(new_session_id(), path=run.path)
    finally:
        child.kill()
        child.communicate()


def test_a_run_whose_process_is_gone_is_not_the_latest() -> None:
    RunDirectory.create("s").update(pid=2**22 + 1)
    with pytest.raises(RigposeError, match="no rig is running"):
        RunDirectory.latest()


def test_values_can_be_added_and_are_seen_by_others() -> None:
    run = RunDirectory.create("s")
    run.update(clock={"start_ns": 5})
    assert RunDirectory.open(run.path).info["clock"] == {"start_ns": 5}
    assert run.reload().session_id == "s"


def test_a_node_with_any_name_gets_an_address() -> None:
    run = RunDirectory.create("s", ["left camera / 2", "ünïcode" * 20])
    assert len({run.frames_endpoint(name) for name in ("left camera / 2", "ünïcode" * 20)}) == 2
    with pytest.raises(ConfigError, match="no camera node other"):
        run.frames_endpoint("other")


def test_a_path_too_long_for_a_socket_is_said_before_anything_binds(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="too long a path"):
        RunDirectory.create("s", (), tmp_path / ("x" * 120))


def test_a_broken_run_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(ConfigError, match="run.json"):
        RunDirectory.open(tmp_path)


def test_old_runs_that_have_ended_are_forgotten_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rundir, "KEPT_RUNS", 2)
    living = RunDirectory.create("20200101T000000-aaaaaa")
    ended = [RunDirectory.create(f"20200101T00000{i}-aaaaaa") for i in range(1, 6)]
    for run in ended:
        run.remove()
    other = living.path.parent / "notes"
    other.mkdir()
    newest = RunDirectory.create(new_session_id())
    left = {path.name for path in living.path.parent.iterdir()}
    assert left == {living.session_id, "20200101T000004-aaaaaa", "20200101T000005-aaaaaa", "notes", newest.session_id}


def test_the_folder_of_a_run_that_lives_is_not_taken_over() -> None:
    path = rundir.base_folder() / "run"
    first = RunDirectory.create("first", path=path)
    first.update(pid=os.getppid())
    with pytest.raises(ConfigError, match=f"process {os.getppid()}"):
        RunDirectory.create("second", path=path)
    assert RunDirectory.open(path).session_id == "first", "it can still be found"


def test_what_a_dead_run_left_is_used_again() -> None:
    path = rundir.base_folder() / "run"
    RunDirectory.create("first", path=path).update(pid=2**22 + 1)
    assert RunDirectory.create("second", path=path).session_id == "second"


HOLDER = """
import sys, time
from pathlib import Path
from capture.rundir import RunDirectory
with RunDirectory.open(Path(sys.argv[1])).claimed("cam01"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.mark.process
def test_a_name_belongs_to_one_process_until_that_is_dead() -> None:
    run = RunDirectory.create("20260101T000000-aaaaaa", ["cam01", "cam02"])
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(run.path)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        with pytest.raises(RigposeError, match=f"node cam01: runs already in .*process {holder.pid}"):
            with run.claimed("cam01"):
                pass
        with run.claimed("cam02"):
            pass
        holder.kill()
        holder.wait(10)
        with run.claimed("cam01"):
            pass
        with run.claimed("cam01"):
            pass
        run.remove()
        assert not list(run.path.glob("*.pid"))
    finally:
        holder.kill()
        holder.communicate()
