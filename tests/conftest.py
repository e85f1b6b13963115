"""What all tests share: where the real data lie, what a skip means, and that nothing is left running."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import settings

from tests import shared

ROOT = Path(__file__).resolve().parent.parent

# Child processes inherit these: two cores are shared by every process that a test starts.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OPENCV_FOR_THREADS_NUM", "1")

# A skipped test is a failure where everything should be there; a GPU or a camera never is a must.
# "except-data" is for a machine that has all but the real recordings.
STRICT = os.environ.get("RIGPOSE_STRICT", "") not in ("", "0")
MAY_BE_SKIPPED = ("gpu", "hardware") + (("data",) if os.environ.get("RIGPOSE_STRICT") == "except-data" else ())

LEFT_BEHIND_GRACE_S = 3.0

# Cores are shared, so no example has a time limit; where a red test stops others, all runs try the same examples.
settings.register_profile("rigpose", deadline=None, derandomize=STRICT)
settings.load_profile("rigpose")


def _refuse_skip(report: Any, name: str) -> None:
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    report.outcome = "failed"
    report.longrepr = f"{name}: skipped, which RIGPOSE_STRICT does not allow ({reason})"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    """Under ``RIGPOSE_STRICT=1`` report a skip as the failure that it is."""
    report = yield
    excused = hasattr(report, "wasxfail") or any(item.get_closest_marker(name) for name in MAY_BE_SKIPPED)
    if STRICT and report.skipped and not excused:
        _refuse_skip(report, item.nodeid)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Generator[None, Any, Any]:
    """The same for a module that skips as a whole while it is collected."""
    report = yield
    if STRICT and report.outcome == "skipped":
        _refuse_skip(report, collector.nodeid)
    return report


def _folder(variable: str) -> Path:
    value = os.environ.get(variable, "")
    if not value:
        pytest.skip(f"{variable} is not set")
    folder = Path(value).expanduser().resolve()
    if not folder.is_dir():
        pytest.fail(f"{variable} names {folder}, which is no folder")
    return folder


@pytest.fixture(autouse=True, scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The folder of `tests.shared`: a worker's own lies in that of all of them."""
    own = tmp_path_factory.getbasetemp()
    shared.folder = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real recordings."""
    return _folder("RIGPOSE_DATA")


@pytest.fixture(scope="session")
def models_dir() -> Path:
    """The folder of foreign networks."""
    return _folder("RIGPOSE_MODELS")


@pytest.fixture(scope="session")
def root() -> Path:
    """The root of the source tree."""
    return ROOT


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder for run directories: the paths of sockets must be short, which ``tmp_path`` is not everywhere."""
    with tempfile.TemporaryDirectory(prefix="rp", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@pytest.fixture
def free_tcp_port() -> int:
    """A loopback TCP port that nobody uses at this moment."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(autouse=True)
def no_process_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test marked ``process`` that leaves a child process behind, and end that process."""
    if request.node.get_closest_marker("process") is None:
        yield
        return
    me = psutil.Process()
    before = set(me.children(recursive=True))
    yield
    left = [child for child in me.children(recursive=True) if child not in before]
    _, alive = psutil.wait_procs(left, timeout=LEFT_BEHIND_GRACE_S)
    told = []
    for child in alive:
        try:
            told.append(f"{child.pid}: {' '.join(child.cmdline())}")
            child.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(alive, timeout=LEFT_BEHIND_GRACE_S)
    if told:
        pytest.fail("left processes behind: " + "; ".join(told))
