"""Every way that a program can end is one exit code and at most one line."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rigpose.errors import ConfigError, MissingError, RigposeError, VerdictError
from rigpose.extras import EXTRAS, missing
from rigpose.program import guarded, run


def raises(error: BaseException) -> int:
    raise error


class TestGuarded:
    def test_answers_what_the_main_function_answers(self) -> None:
        assert guarded(lambda: 4) == 4
        assert guarded(lambda: None) == 0

    @pytest.mark.parametrize(
        ("error", "code"),
        [
            (RigposeError("node cam01", "ended"), 1),
            (ConfigError("rig.toml", "has no units", "give --units mm"), 2),
            (MissingError("open3d", "is not installed", 'pip install "rigpose[viewer]"'), 3),
            (VerdictError("rig.toml", "is bad"), 4),
        ],
    )
    def test_an_error_of_ours_is_one_line_and_its_code(
        self, error: RigposeError, code: int, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert guarded(lambda: raises(error)) == code
        assert capsys.readouterr().err == f"rigpose: error: {error}\n"

    def test_ctrl_c_is_130_and_says_nothing(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert guarded(lambda: raises(KeyboardInterrupt())) == 130
        assert capsys.readouterr().err == ""

    @pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGHUP])
    def test_a_kill_and_a_lost_terminal_let_a_program_tidy_up(self, sign: signal.Signals, tmp_path: Path) -> None:
        left = tmp_path / "left"
        code = (
            "import signal, sys, time\nfrom pathlib import Path\nfrom rigpose.program import run\n"
            f"signal.signal({int(sign)}, signal.SIG_DFL)\n"
            "def main():\n    try:\n        print('up', flush=True)\n        time.sleep(30)\n"
            "    finally:\n        Path(sys.argv[1]).touch()\n"
            "run(main)"
        )
        with subprocess.Popen([sys.executable, "-c", code, str(left)], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None and process.stdout.readline() == b"up\n"
            process.send_signal(sign)
            assert process.wait(10) == 130
        assert left.exists()

    def test_a_missing_file_is_named(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert guarded(lambda: (tmp_path / "poses.mcap").open().close()) == 1
        assert capsys.readouterr().err == f"rigpose: error: {tmp_path}/poses.mcap: no such file or directory\n"

    def test_what_may_not_be_used_is_named_with_a_remedy(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert guarded(lambda: raises(PermissionError(13, "Permission denied", "/locked/m.onnx"))) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "/locked/m.onnx: permission denied (" in line

    def test_a_missing_optional_module_names_its_extra(self, capsys: pytest.CaptureFixture[str]) -> None:
        error = ModuleNotFoundError("No module named 'open3d'", name="open3d")
        assert guarded(lambda: raises(error)) == 3
        assert 'pip install "rigpose[viewer]"' in capsys.readouterr().err

    def test_the_unexpected_is_one_line_without_traceback(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert guarded(lambda: raises(ValueError("two\nlines"))) == 1
        line = capsys.readouterr().err
        assert line == "rigpose: error: unexpected ValueError: two lines (RIGPOSE_DEBUG=1 shows the traceback)\n"

    def test_debug_shows_the_traceback(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("RIGPOSE_DEBUG", "1")
        assert guarded(lambda: raises(ValueError("deep"))) == 1
        assert "Traceback" in capsys.readouterr().err

    def test_the_unexpected_keeps_its_traceback_in_the_log(
        self, log_file: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert guarded(lambda: raises(ValueError("deep"))) == 1
        assert str(log_file) in capsys.readouterr().err
        assert "Traceback" in log_file.read_text()

    def test_run_ends_the_process_with_the_code(self) -> None:
        with pytest.raises(SystemExit) as ended:
            run(lambda: 3)
        assert ended.value.code == 3

    def test_a_reader_that_goes_away_is_no_traceback(self) -> None:
        code = "from rigpose.program import run\nrun(lambda: [print('x' * 1000) for _ in range(10000)] and 0)"
        program = subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert program.stdout is not None and program.stderr is not None
        program.stdout.readline()
        program.stdout.close()
        assert program.stderr.read() == ""
        program.stderr.close()
        assert program.wait(timeout=20) == 1


class TestMissing:
    @pytest.mark.parametrize("extra", EXTRAS, ids=lambda extra: extra.name)
    def test_every_module_of_an_extra_is_known(self, extra: object) -> None:
        for module in extra.modules:  # type: ignore[attr-defined]
            error = missing(f"{module}.inner")
            assert error is not None and error.exit_code == 3 and "pip install" in error.remedy

    def test_other_modules_are_not_ours_to_explain(self) -> None:
        assert missing("numpy") is None


@pytest.fixture
def log_file(tmp_path: Path) -> Iterator[Path]:
    handler = logging.FileHandler(tmp_path / "node.log")
    logging.getLogger().addHandler(handler)
    yield tmp_path / "node.log"
    logging.getLogger().removeHandler(handler)
    handler.close()
