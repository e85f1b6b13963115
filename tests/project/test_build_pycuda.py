"""PyCUDA is built for the tests once, as a whole or not at all, and into no environment and no cache."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def script(root: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    monkeypatch.syspath_prepend(str(root / "scripts"))
    spec = importlib.util.spec_from_file_location("build_pycuda", root / "scripts" / "build_pycuda.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (tmp_path / "constraints.txt").write_text((root / "constraints.txt").read_text())
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "lacking", list)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return module


@pytest.fixture
def commands(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that it would run; they leave what pip would."""
    run: list[list[str]] = []

    def keep(command: list[str]) -> None:
        run.append(command)
        target = Path(command[command.index("--target") + 1])
        for name, package in script.HEADERS.items():
            if package in command:
                (target / "nvidia" / "cu13" / "include").mkdir(parents=True, exist_ok=True)
                (target / "nvidia" / "cu13" / "include" / name).write_text(package)
        if command[-1] == script.PACKAGE:
            (target / "pycuda").mkdir()

    monkeypatch.setattr(script, "run", keep)
    return run


def test_it_is_built_once(script: ModuleType, commands: list[list[str]], tmp_path: Path) -> None:
    script.build(tmp_path / "built")
    assert len(commands) == 2
    made = {path.name for path in (tmp_path / "built").iterdir()}
    assert made == {"pycuda", "include", script.STAMP}
    assert {path.name for path in (tmp_path / "built" / "include").iterdir()} == {"cuda.h", "cudaProfiler.h"}
    assert not (tmp_path / "built.part").exists()
    script.build(tmp_path / "built")
    assert len(commands) == 2


def test_what_is_for_tests_alone_stays_out_of_every_environment_and_out_of_pip_s_cache(
    script: ModuleType, commands: list[list[str]], tmp_path: Path
) -> None:
    script.build(tmp_path / "built")
    assert all("--target" in command and str(tmp_path / "constraints.txt") in command for command in commands)
    assert "--no-cache-dir" in commands[-1]


def test_pip_is_asked_with_the_user_s_own_settings(script: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "home" / ".config").mkdir(parents=True)
    (tmp_path / "home" / script.CONFIG_NAME).write_text("CUDA_ENABLE_CURAND = True\n")
    home = script.home_with("CUDA_ENABLE_CURAND = False\n", tmp_path / "other")
    assert (home / ".config").resolve() == tmp_path / "home" / ".config"
    assert "False" in (home / script.CONFIG_NAME).read_text()
    assert "True" in (tmp_path / "home" / script.CONFIG_NAME).read_text()


def test_another_version_of_what_it_is_made_from_builds_again(
    script: ModuleType, commands: list[list[str]], tmp_path: Path
) -> None:
    script.build(tmp_path / "built")
    pins = tmp_path / "constraints.txt"
    pins.write_text(pins.read_text().replace("tqdm==", "tqdm==9"))
    script.build(tmp_path / "built")
    assert len(commands) == 2, "nothing of it has changed"
    pins.write_text(pins.read_text().replace("pycuda==", "pycuda==9"))
    script.build(tmp_path / "built")
    assert len(commands) == 4


def test_a_build_that_broke_off_leaves_what_was_there_and_is_done_again(
    script: ModuleType, commands: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(command: list[str]) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(script, "run", breaks)
        with pytest.raises(KeyboardInterrupt):
            script.build(tmp_path / "built")
    assert not (tmp_path / "built").exists() and (tmp_path / "built.part").exists()
    script.build(tmp_path / "built")
    assert (tmp_path / "built" / script.STAMP).is_file() and not (tmp_path / "built.part").exists()


def test_without_a_compiler_it_says_so_and_the_rest_goes_on(
    script: ModuleType, commands: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []
    monkeypatch.setattr(script, "lacking", lambda: ["g++"])
    monkeypatch.setattr(script, "apt_install", lambda packages, purpose, needed: asked.append(packages))
    script.build(tmp_path / "built")
    assert asked == [["g++"]] and commands == [] and not (tmp_path / "built").exists()


def test_every_package_that_it_is_made_from_is_pinned(script: ModuleType) -> None:
    assert set(script.pins()) == set(script.MADE_FROM)
