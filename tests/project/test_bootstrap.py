"""The script that makes environments does its work once, keeps what is there, and fails with one line."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def bootstrap(root: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("bootstrap", root / "scripts" / "bootstrap.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def commands(bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[list[str]]:
    """The commands that it would run, for a source tree of its own."""
    for name in ("pyproject.toml", "constraints.txt", "scripts/bootstrap.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("as it is")
    run: list[list[str]] = []

    def keep(command: list[str]) -> None:
        run.append(command)
        if "venv" in command:
            (tmp_path / "env" / "bin").mkdir(parents=True)
            (tmp_path / "env" / "bin" / "python").symlink_to(sys.executable)

    monkeypatch.setattr(bootstrap, "ROOT", tmp_path)
    monkeypatch.setattr(bootstrap, "run", keep)
    return run


class TestEnvironment:
    def test_is_made_with_the_constraints_and_then_left_alone(
        self, bootstrap: ModuleType, commands: list[list[str]], tmp_path: Path
    ) -> None:
        bootstrap.make_environment(tmp_path / "env", ["web"], [])
        assert len(commands) == 3
        assert all(str(tmp_path / "constraints.txt") in command for command in commands if "pip" in command)
        assert commands[-1][-1] == f"{tmp_path}[web]"
        commands.clear()
        bootstrap.make_environment(tmp_path / "env", ["web"], [])
        assert commands == []

    def test_a_smaller_wish_changes_nothing_and_a_larger_one_adds(
        self, bootstrap: ModuleType, commands: list[list[str]], tmp_path: Path
    ) -> None:
        bootstrap.make_environment(tmp_path / "env", ["dev", "web"], [])
        commands.clear()
        bootstrap.make_environment(tmp_path / "env", ["web"], [])
        assert commands == []
        bootstrap.make_environment(tmp_path / "env", ["train"], [])
        assert commands[-1][-1] == f"{tmp_path}[dev,train,web]"

    @pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
    def test_a_change_of_what_it_is_made_from_installs_again(
        self, bootstrap: ModuleType, commands: list[list[str]], tmp_path: Path, name: str
    ) -> None:
        bootstrap.make_environment(tmp_path / "env", ["web"], [])
        commands.clear()
        (tmp_path / name).write_text("changed")
        bootstrap.make_environment(tmp_path / "env", ["web"], [])
        assert commands[-1][-1] == f"{tmp_path}[web]"
        assert not any("venv" in command for command in commands), "what is there is kept"

    def test_an_installation_that_broke_off_is_done_again(
        self, bootstrap: ModuleType, commands: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bootstrap.make_environment(tmp_path / "env", ["web"], [])

        def breaks(command: list[str]) -> None:
            raise SystemExit("no network")

        with monkeypatch.context() as broken:
            broken.setattr(bootstrap, "run", breaks)
            with pytest.raises(SystemExit):
                bootstrap.make_environment(tmp_path / "env", ["train"], [])
        commands.clear()
        bootstrap.make_environment(tmp_path / "env", ["web"], [])
        assert commands

    def test_one_that_was_copied_from_elsewhere_is_made_new(
        self, bootstrap: ModuleType, commands: list[list[str]], tmp_path: Path
    ) -> None:
        bootstrap.make_environment(tmp_path / "env", ["web"], [])
        file = tmp_path / "env" / "rigpose-stamp.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), "root": "/elsewhere"}))
        (tmp_path / "env" / "bin" / "python").unlink()
        (tmp_path / "env" / "bin").rmdir()
        commands.clear()
        bootstrap.make_environment(tmp_path / "env", ["web"], [])
        assert any("--clear" in command for command in commands)


class TestPython:
    @pytest.mark.parametrize(
        ("version", "fits"), [((3, 10), False), ((3, 11), True), ((3, 12), True), ((3, 13), True), ((3, 14), False)]
    )
    def test_fits_from_3_11_to_3_13(self, bootstrap: ModuleType, version: tuple[int, int], fits: bool) -> None:
        assert bootstrap.fits(version) is fits

    def test_one_that_was_asked_for_and_does_not_fit_is_one_line(
        self, bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(bootstrap.sys, "version_info", (3, 9, 2))
        with pytest.raises(SystemExit, match=r"rigpose: needs Python 3\.11, 3\.12 or 3\.13"):
            bootstrap.use_fitting_python(explicit=True)


class TestSystemPackages:
    def test_without_root_are_named_in_one_line_and_the_rest_goes_on(
        self, bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(bootstrap, "root_command", lambda: None)
        bootstrap.apt_install(["libgl1", "libusb-1.0-0"], "for some tests", needed=False)
        shown = capsys.readouterr().out
        assert shown.count("\n") == 1 and "sudo apt-get install libgl1 libusb-1.0-0" in shown

    def test_that_nothing_works_without_end_it_with_one_line(
        self, bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(bootstrap, "root_command", lambda: None)
        with pytest.raises(SystemExit, match="sudo apt-get install libgl1"):
            bootstrap.apt_install(["libgl1"], "OpenCV", needed=True)

    @pytest.mark.skipif(os.name != "posix", reason="shared objects have these names on Linux")
    def test_a_library_is_looked_for_where_the_linker_looks(self, bootstrap: ModuleType) -> None:
        assert not bootstrap.loads("libno-such-library.so.1")


def test_help_of_make_names_every_target_of_users(root: Path) -> None:
    answer = subprocess.run(["make", "help"], capture_output=True, text=True, cwd=root, check=True)
    for target in ("demo", "test", "quick", "dev", "peers"):
        assert f"make {target} " in answer.stdout
