"""`rigpose doctor`: what this machine has for rigpose, what is missing, and the line that gets it."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from capture.rundir import base_folder
from nodes.probe import CORE_MODULES, LIBRARIES
from rigpose import __version__
from rigpose.errors import ExitCode, RigposeError
from rigpose.extras import EXTRAS, Extra, is_there
from rigpose.resources import launch_file

State = Literal["ok", "missing", "absent", "note"]

PROBE_TIMEOUT_S = 60
LITTLE_DISK_GB = 10
PYTHON_RANGE = ((3, 11), (3, 13))


@dataclass(frozen=True, slots=True)
class Part:
    """One thing that was looked at.

    Attributes:
        group: ``core``, ``extras``, ``runtimes``, ``system`` or ``machine``.
        name: What it is.
        state: ``ok``; ``missing`` = rigpose does not work without; ``absent`` = an optional thing that is not
            there; ``note`` = there, but worth knowing.
        detail: What was found.
        remedy: What to do; empty where there is nothing to do.
    """

    group: str
    name: str
    state: State
    detail: str
    remedy: str = ""


def run_probe() -> dict[str, Any]:
    """The answer of ``nodes.probe`` from a process of its own; ``problem`` says why there is none."""
    empty: dict[str, Any] = {"modules": {}, "libraries": {}, "cuda": {}}
    command = [sys.executable, "-m", "nodes.probe"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=PROBE_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        return {**empty, "problem": f"loading them took longer than {PROBE_TIMEOUT_S} s"}
    try:
        # A library may have printed something of its own before.
        return dict(json.loads(answer.stdout.splitlines()[-1]))
    except (ValueError, IndexError):
        return {**empty, "problem": f"the process that tried to load them ended with code {answer.returncode}"}


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version.split("+")[0])[:3])


def _oldest(distribution: str) -> str | None:
    """The oldest version of a core dependency that the installed rigpose asks for."""
    try:
        requirements = importlib.metadata.requires("rigpose") or []
    except importlib.metadata.PackageNotFoundError:
        return None
    for line in requirements:
        match = re.match(r"([A-Za-z0-9._-]+)[^;]*?>=\s*([0-9.]+)", line)
        if match and "extra ==" not in line and _same_name(match[1], distribution):
            return match[2]
    return None


def _same_name(one: str, other: str) -> bool:
    return re.sub(r"[-_.]+", "-", one).lower() == re.sub(r"[-_.]+", "-", other).lower()


def core_parts(found: dict[str, Any]) -> Iterator[Part]:
    """What rigpose cannot do without."""
    here = sys.version_info[:2]
    fits = PYTHON_RANGE[0] <= here <= PYTHON_RANGE[1]
    remedy = "" if fits else "use Python 3.11, 3.12 or 3.13"
    yield Part("core", "Python", "ok" if fits else "missing", platform.python_version(), remedy)
    yield Part("core", "rigpose", "ok", f"{__version__} in {Path(__file__).resolve().parent.parent}")
    if "problem" in found:
        yield Part("core", "libraries", "missing", found["problem"], "python -m nodes.probe shows more")
    for distribution, module in CORE_MODULES.items():
        yield _core_part(distribution, found["modules"].get(module, ""))
    yield from _file_parts()


def _core_part(distribution: str, problem: str) -> Part:
    version, oldest = _version(distribution), _oldest(distribution)
    if version is None:
        return Part("core", distribution, "missing", "not installed", f'pip install "{distribution}"')
    if oldest and _numbers(version) < _numbers(oldest):
        wanted = f"{distribution}>={oldest}"
        return Part("core", distribution, "missing", f"{version}, needs {oldest} or newer", f'pip install "{wanted}"')
    if problem:
        library = re.search(r"lib[\w.+-]+\.so[.\d]*", problem)
        package = LIBRARIES.get(library[0], ("", ""))[0] if library else ""
        remedy = f"sudo apt-get install {package}" if package else f"pip install --force-reinstall {distribution}"
        return Part("core", distribution, "missing", f"{version} does not load: {problem}", remedy)
    return Part("core", distribution, "ok", version)


def _file_parts() -> Iterator[Part]:
    try:
        yield Part("core", "launch.yaml", "ok", str(launch_file()))
    except RigposeError as error:
        yield Part("core", "launch.yaml", "missing", error.what, error.remedy)
    engine = Path(__file__).resolve().parent.parent / "engine"
    heads = sorted(file.stem for file in (engine / "heads").glob("*.onnx"))
    remedy = "" if heads else "install rigpose again"
    yield Part("core", "heads", "ok" if heads else "missing", f"{len(heads)} in {engine / 'heads'}", remedy)


def extra_parts() -> Iterator[Part]:
    """The extras: there, or the line that installs each."""
    for extra in EXTRAS:
        yield _extra_part(extra)


def _extra_part(extra: Extra) -> Part:
    there, gone = [], []
    for module, distributions in extra.modules.items():
        if is_there(module):
            versions = (version for name in distributions if (version := _version(name)) is not None)
            there.append(f"{module} {next(versions, '')}".strip())
        else:
            gone.append(module)
    if not gone:
        return Part("extras", extra.name, "ok", f"{extra.purpose}: {', '.join(there)}")
    found = f" (has {', '.join(there)})" if there else ""
    return Part("extras", extra.name, "absent", f"{extra.purpose}: no {', '.join(gone)}{found}", extra.install)


def system_parts(found: dict[str, Any]) -> Iterator[Part]:
    """System libraries, display and GPU."""
    for library, is_found in found["libraries"].items():
        package, purpose = LIBRARIES[library]
        if is_found:
            yield Part("system", library, "ok", f"for {purpose}")
        else:
            yield Part("system", library, "absent", f"for {purpose}: not found", f"sudo apt-get install {package}")
    variables = ("WAYLAND_DISPLAY", "DISPLAY")
    display = next((f"{name}={os.environ[name]}" for name in variables if os.environ.get(name)), None)
    if sys.platform != "linux":
        display = sys.platform
    detail = display or "none: pictures are drawn off screen (--png), the browser view works"
    yield Part("system", "display", "ok" if display else "absent", detail)
    gpu = found["cuda"]
    devices = [f"{device['name']}, {device['memory_bytes'] / 2**30:.0f} GiB" for device in gpu.get("devices", [])]
    if devices:
        yield Part("system", "NVIDIA GPU", "ok", f"{'; '.join(devices)}; driver for CUDA {gpu['driver']}")
    else:
        yield Part("system", "NVIDIA GPU", "absent", gpu.get("problem") or "not looked for")


def runtime_parts() -> Iterator[Part]:
    """What can run a network here, and for each that cannot what is missing."""
    try:
        from engine.gpu.kernel import find_nvcc
        from engine.runtimes.capabilities import capabilities
    except ImportError:
        return  # The core part names what is gone.
    found = capabilities()
    for runtime in found:
        precisions = ", ".join(runtime.precisions)
        if runtime.present:
            detail = f"{runtime.detail}; {precisions}" + ("" if runtime.suggested else "; only where it is named")
            yield Part("runtimes", runtime.name, "ok", detail)
        else:
            yield Part("runtimes", runtime.name, "absent", runtime.detail, runtime.remedy)
    if any(runtime.device == "cuda" and runtime.present for runtime in found):
        nvcc = find_nvcc()
        there = f"{nvcc}, for crops on the GPU"
        missing = "not found: torch makes the crops of frames on the GPU"
        state: State = "ok" if nvcc else "note"
        yield Part("runtimes", "nvcc", state, there if nvcc else missing, "" if nvcc else "install the CUDA toolkit")


def machine_parts() -> Iterator[Part]:
    """The machine: what frames and recordings will have to live with."""
    yield Part("machine", "platform", "ok", f"{platform.system()} {platform.release()}, {platform.machine()}")
    yield _cores_part()
    try:
        import psutil
        import zmq
    except ImportError:
        return  # The core part names them.
    memory = psutil.virtual_memory()
    detail = f"{memory.total / 2**30:.1f} GiB, {memory.available / 2**30:.1f} GiB free"
    yield Part("machine", "memory", "ok", detail)
    ipc = bool(zmq.has("ipc"))
    detail = f"ZeroMQ {zmq.zmq_version()}, ipc {'yes' if ipc else 'no: loopback tcp is used'}"
    yield Part("machine", "sockets", "ok" if ipc else "note", f"{detail}, curve {'yes' if zmq.has('curve') else 'no'}")
    yield _run_part()
    yield _disk_part(Path.cwd())


def _cores_part() -> Part:
    total = os.cpu_count() or 1
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else total
    detail = f"{usable} cores" if usable == total else f"{usable} of {total} cores may be used"
    return Part("machine", "CPU", "ok" if usable >= 2 else "note", detail)


def _run_part() -> Part:
    base = base_folder()
    try:
        base.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=base):
            pass
    except OSError as error:
        remedy = "set RIGPOSE_RUN to a folder of your own"
        return Part("machine", "run directory", "missing", f"{base}: {error.strerror}", remedy)
    return Part("machine", "run directory", "ok", f"{base} can be written")


def _disk_part(folder: Path) -> Part:
    free_gb = shutil.disk_usage(folder).free / 1e9
    detail = f"{free_gb:.0f} GB free in {folder}"
    if free_gb < LITTLE_DISK_GB:
        return Part("machine", "disk", "note", detail, "record to a bigger disk: --record-to DIR")
    return Part("machine", "disk", "ok", detail)


def examine() -> list[Part]:
    """Everything that doctor looks at, in the order in which it is shown."""
    found = run_probe()
    return [*core_parts(found), *extra_parts(), *runtime_parts(), *system_parts(found), *machine_parts()]


def doctor(as_json: bool = False) -> int:
    """Print what ``examine`` found.

    Returns:
        0 when the core works, 3 when a part of it is missing.
    """
    parts = examine()
    is_whole = all(part.state != "missing" for part in parts)
    if as_json:
        print(json.dumps({"schema": 1, "ok": is_whole, "parts": [asdict(part) for part in parts]}, indent=2))
    else:
        _show(parts, is_whole)
    return int(ExitCode.OK if is_whole else ExitCode.MISSING)


_WORDS: dict[State, str] = {
    "ok": "[green]ok[/]",
    "missing": "[bold red]missing[/]",
    "absent": "[dim]not here[/]",
    "note": "[yellow]note[/]",
}
_TITLES = {"core": "Core", "extras": "Extras", "runtimes": "Runtimes", "system": "System", "machine": "Machine"}


def _show(parts: list[Part], is_whole: bool) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    for group, title in _TITLES.items():
        table = Table(
            title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, show_header=False
        )
        table.add_column(min_width=20, no_wrap=True)
        table.add_column(min_width=8, no_wrap=True)
        table.add_column(overflow="fold")
        for part in parts:
            if part.group == group:
                detail = Text(part.detail)
                if part.remedy:
                    detail.append(f"\n-> {part.remedy}", style="cyan")
                table.add_row(escape(part.name), _WORDS[part.state], detail)
        console.print(table)
        console.print()
    lacking = [part.name for part in parts if part.state == "missing"]
    if is_whole:
        console.print("[green]The core works.[/] Extras are optional; each line above says how to get one.")
    else:
        console.print(f"[bold red]The core does not work:[/] {escape(', '.join(lacking))}")


if __name__ == "__main__":
    # The same command as `rigpose doctor`.
    import sys

    from nodes.cli import main

    main(["doctor", *sys.argv[1:]])
