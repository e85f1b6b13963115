"""The command answers at once, says how it is used, and passes its options on unchanged."""

from __future__ import annotations

import subprocess
import sys
import time
import types
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from nodes.cli import app
from rigpose import __version__
from rigpose.errors import ConfigError

COMMANDS = (
    "launch",
    "status",
    "view",
    "record",
    "doctor",
    "demo",
    "labels",
    "models",
    "models list",
    "models show",
    "models add",
    "calibrate",
    "calibrate board",
    "calibrate intrinsics",
    "calibrate extrinsics",
    "calibrate all",
    "calibrate doctor",
    "calibrate convert",
    "calibrate refine",
    "calibrate check",
    "calibrate origin",
    "calibrate timing",
    "calibrate drift",
)
runner = CliRunner()


def stand_in(monkeypatch: pytest.MonkeyPatch, module: str, function: str, answer: int = 0) -> list[tuple[Any, Any]]:
    """Replace the function behind a command by one that keeps what it is called with."""
    calls: list[tuple[Any, Any]] = []

    def keep(*args: Any, **kwargs: Any) -> int:
        calls.append((args, kwargs))
        return answer

    fake = types.ModuleType(module)
    setattr(fake, function, keep)
    monkeypatch.setitem(sys.modules, module, fake)
    return calls


class TestHelp:
    @pytest.mark.parametrize("command", ["", *COMMANDS])
    def test_ends_with_one_example(self, command: str) -> None:
        result = runner.invoke(app, [*command.split(), "--help"])
        assert result.exit_code == 0
        assert result.output.count("Example: ") == 1
        assert f"Example: rigpose {command}".strip() in " ".join(result.output.split())

    @pytest.mark.parametrize("command", COMMANDS)
    def test_the_example_is_accepted_by_the_parser(self, command: str) -> None:
        shown = " ".join(runner.invoke(app, [*command.split(), "--help"]).output.split())
        words = shown.split("Example: rigpose ")[1].split()
        # --help at the end: the options before it are parsed, nothing runs.
        result = runner.invoke(app, [*words, "--help"])
        assert result.exit_code == 0, result.output

    def test_answers_within_half_a_second(self) -> None:
        command = [sys.executable, "-m", "nodes.cli", "--help"]
        best = min(seconds_of(command) for _ in range(5))
        assert best < 0.5

    def test_loads_nothing_heavy(self) -> None:
        code = (
            "import sys\nfrom nodes.cli import main\n"
            "try: main(['--help'])\nexcept SystemExit: pass\n"
            "print('LOADED', *sys.modules)"
        )
        answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        loaded = set(answer.stdout.split("LOADED")[1].split())
        assert "typer" in loaded
        assert not loaded & {"numpy", "cv2", "zmq", "onnx", "onnxruntime", "torch", "open3d", "pydantic", "scipy", "av"}


def seconds_of(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def test_version_is_that_of_the_package() -> None:
    assert runner.invoke(app, ["--version"]).output == f"rigpose {__version__}\n"


class TestUsage:
    @pytest.mark.parametrize(
        "arguments",
        [
            ["lunch"],
            ["launch", "--nix"],
            ["launch", "--rate", "fast"],
            ["launch", "--rate", "-3"],
            ["launch", "--rate", "0"],
            ["launch", "--viewer", "paper"],
            ["models", "show"],
        ],
        ids=" ".join,
    )
    def test_what_cannot_be_parsed_ends_with_2(self, arguments: list[str]) -> None:
        result = runner.invoke(app, arguments)
        assert result.exit_code == 2
        assert "Error" in result.output and "Traceback" not in result.output

    @pytest.mark.parametrize("size", ["big", "0x0", "1280", "1280x", "99999x99999", "-1x5"])
    def test_a_size_that_is_none_says_what_one_looks_like(self, size: str) -> None:
        result = runner.invoke(app, ["view", f"--size={size}"])
        assert result.exit_code == 2
        assert result.output == (
            f"rigpose: error: --size {size}: is not a picture's width and height (for example --size 1280x960)\n"
        )

    def test_two_ways_to_name_a_pose_are_one_too_many(self) -> None:
        result = runner.invoke(app, ["view", "session", "--set-index", "3", "--time", "1.5"])
        assert result.exit_code == 2 and "give one of them" in result.output


class TestLaunch:
    def test_passes_every_option_on(self, monkeypatch: pytest.MonkeyPatch) -> None:
        calls = stand_in(monkeypatch, "nodes.launch", "launch", answer=4)
        line = (
            "launch rig.yaml --data D --model M.onnx --method lift --lifter L --runtime openvino --precision bf16 "
            "--lossless --rate 15 --sets 600 --seconds 20 --summary out.json "
            "--no-record --record-to R --viewer none --set a.b=c --set d=1 --accept-bad-rig --force "
            "--subject s1 --experimenter e1 --notes n1 --quiet"
        )
        result = runner.invoke(app, line.split())
        assert result.exit_code == 4
        assert calls == [
            (
                (Path("rig.yaml"),),
                {
                    "data": Path("D"),
                    "model": "M.onnx",
                    "method": "lift",
                    "lifter": "L",
                    "runtime": "openvino",
                    "precision": "bf16",
                    "mode": "lossless",
                    "rate": 15.0,
                    "sets": 600,
                    "seconds": 20.0,
                    "summary": Path("out.json"),
                    "record": False,
                    "record_to": Path("R"),
                    "viewer": "none",
                    "assignments": ["a.b=c", "d=1"],
                    "accept_bad_rig": True,
                    "force": True,
                    "subject": "s1",
                    "experimenter": "e1",
                    "notes": "n1",
                    "quiet": True,
                },
            )
        ]

    def test_what_is_not_given_is_left_to_the_config(self, monkeypatch: pytest.MonkeyPatch) -> None:
        calls = stand_in(monkeypatch, "nodes.launch", "launch")
        assert runner.invoke(app, ["launch"]).exit_code == 0
        (arguments, options) = calls[0]
        given = {name for name, value in options.items() if value not in (None, False, [], "auto")}
        assert arguments == (None,) and not given
        assert options["mode"] is None and options["record"] is None

    def test_live_is_a_mode_of_its_own(self, monkeypatch: pytest.MonkeyPatch) -> None:
        calls = stand_in(monkeypatch, "nodes.launch", "launch")
        runner.invoke(app, ["launch", "--live", "--record"])
        assert calls[0][1]["mode"] == "live" and calls[0][1]["record"] is True


def test_status_view_record_and_demo_pass_their_options_on(monkeypatch: pytest.MonkeyPatch) -> None:
    status = stand_in(monkeypatch, "nodes.status", "status")
    view = stand_in(monkeypatch, "nodes.viewer", "view")
    record = stand_in(monkeypatch, "nodes.recorder", "record")
    demo = stand_in(monkeypatch, "nodes.demo", "demo")
    for line in (
        "status --run-dir R --once --json",
        "view S --png p.png --set-index 7 --size 640x480",
        "record --to T --seconds 3",
        "demo --seconds 15",
    ):
        assert runner.invoke(app, line.split()).exit_code == 0
    assert status == [((Path("R"), True, True), {})]
    options = {"png": Path("p.png"), "set_index": 7, "time_s": None, "size": (640, 480), "run_dir": None}
    assert view == [((Path("S"),), options)]
    assert record == [((None, Path("T"), 3.0), {})]
    assert demo == [((15.0,), {})]


def test_the_browser_shows_the_running_rig_and_no_session(monkeypatch: pytest.MonkeyPatch) -> None:
    web = stand_in(monkeypatch, "nodes.web", "view_web")
    assert runner.invoke(app, ["view", "--web", "--run-dir", "R"]).exit_code == 0
    assert web == [((Path("R"),), {})]
    for line in ("view S --web", "view --web --png p.png"):
        result = runner.invoke(app, line.split())
        assert result.exit_code == 2 and "the running rig alone" in result.output


def test_a_model_is_added_with_what_is_known_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    add = stand_in(monkeypatch, "nodes.models", "add_model")
    line = "models add https://h/a.onnx --document d.yaml --name mouse --sha256 ab"
    assert runner.invoke(app, line.split()).exit_code == 0
    assert add == [(("https://h/a.onnx", Path("d.yaml"), "mouse", "ab"), {})]


def test_an_error_of_ours_is_one_line_and_its_code(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = types.ModuleType("nodes.launch")

    def fails(*args: Any, **kwargs: Any) -> int:
        raise ConfigError("rig.yaml", "key camera: is not a key that exists here", "allowed are: cameras, version")

    fake.launch = fails  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "nodes.launch", fake)
    result = runner.invoke(app, ["launch", "rig.yaml"])
    assert result.exit_code == 2
    expected = "rig.yaml: key camera: is not a key that exists here (allowed are: cameras, version)"
    assert result.output == f"rigpose: error: {expected}\n"


@pytest.mark.process
@pytest.mark.parametrize("name", ["launch", "status", "doctor", "models", "demo"])
def test_the_module_is_the_same_command(name):
    ours = subprocess.run([sys.executable, "-m", f"nodes.{name}", "--help"], capture_output=True, text=True, timeout=30)
    theirs = subprocess.run([sys.executable, "-m", "nodes", name, "--help"], capture_output=True, text=True, timeout=30)
    assert ours.returncode == 0 and "Example:" in ours.stdout
    assert ours.stdout.split("\n", 2)[2] == theirs.stdout.split("\n", 2)[2]
