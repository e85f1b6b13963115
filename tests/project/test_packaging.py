"""What is installed is what was meant: pins, extras, and the content of the wheel."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest

from nodes.probe import CORE_MODULES
from rigpose import __version__
from rigpose.extras import EXTRAS

PACKAGES = {"rigpose", "calib", "capture", "engine", "nodes", "training"}
NOT_PINNED = {"tensorrt"}  # It must fit the driver of the machine.


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def requirement_name(line: str) -> str:
    match = re.match(r"[A-Za-z0-9._-]+", line)
    assert match, line
    return canonical(match[0])


@pytest.fixture(scope="module")
def project(root: Path) -> dict[str, Any]:
    return tomllib.loads((root / "pyproject.toml").read_text())


@pytest.fixture(scope="module")
def pins(root: Path) -> dict[str, str]:
    lines = (line.strip() for line in (root / "constraints.txt").read_text().splitlines())
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    assert all(len(pair) == 2 and pair[1] for pair in pairs), "each line is NAME==VERSION"
    return {canonical(name): version for name, version in pairs}


class TestConstraints:
    def test_every_dependency_is_pinned_inside_its_range(self, project: dict[str, Any], pins: dict[str, str]) -> None:
        from packaging.requirements import Requirement

        extras = project["project"]["optional-dependencies"]
        wanted = [*project["project"]["dependencies"], *project["build-system"]["requires"], *sum(extras.values(), [])]
        for line in wanted:
            requirement = Requirement(line)
            name = canonical(requirement.name)
            if name == "rigpose" or name in NOT_PINNED:
                continue
            assert name in pins, line
            assert requirement.specifier.contains(pins[name]), f"{line} does not allow {pins[name]}"

    def test_no_line_names_a_host_a_path_or_a_build(self, root: Path) -> None:
        lines = [line for line in (root / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
        assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", line) for line in lines)

    def test_lines_are_sorted_and_unique(self, root: Path, pins: dict[str, str]) -> None:
        lines = [line for line in (root / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
        names = [requirement_name(line) for line in lines]
        assert names == sorted(set(names))

    def test_the_environment_of_the_tests_holds_only_what_is_pinned(self, root: Path, pins: dict[str, str]) -> None:
        if not (Path(sys.prefix) / "rigpose-stamp.json").is_file():
            return  # Somebody's own environment: what else is in it is not ours to judge.
        installed = {canonical(one.metadata["Name"]): one.version for one in importlib.metadata.distributions()}
        installed.pop("rigpose", None)
        loose = {name: version for name, version in installed.items() if pins.get(name) != version.split("+")[0]}
        assert not loose


class TestMetadata:
    def test_doctor_knows_exactly_the_core_dependencies(self, project: dict[str, Any]) -> None:
        names = {requirement_name(line) for line in project["project"]["dependencies"]}
        assert names == {canonical(name) for name in CORE_MODULES}

    def test_doctor_knows_exactly_the_extras_of_users(self, project: dict[str, Any]) -> None:
        extras = project["project"]["optional-dependencies"]
        assert {extra.name for extra in EXTRAS} == set(extras) - {"dev", "all"}
        for extra in EXTRAS:
            brought = {canonical(name) for names in extra.modules.values() for name in names}
            assert {requirement_name(line) for line in extras[extra.name]} == brought

    def test_all_needs_no_gpu_and_no_other_index(self, project: dict[str, Any]) -> None:
        (line,) = project["project"]["optional-dependencies"]["all"]
        parts = set(line.removeprefix("rigpose[").removesuffix("]").split(","))
        assert parts == {"train", "viewer", "web", "calibrate", "openvino", "labels"}

    def test_make_and_ci_never_resolve_the_gpu_extras(self, root: Path) -> None:
        # The bindings alone are real wheels of PyPI, and PyCUDA can be built without CUDA: both are there for the tests
        # that hold our calls against them, and in no environment of ours.
        bindings = r"tensorrt(-lean)?-cu13-bindings==|env-tensorrt|\.venv-tensorrt1[01]\b"
        bindings += r"|env-pycuda|scripts/build_pycuda\.py|\.pycuda\b"
        for name in ("Makefile", ".ci/run", "scripts/bootstrap.py"):
            text = re.sub(bindings, "", (root / name).read_text())
            assert not re.search(r"tensorrt|pycuda|\bcuda\b", text), name


@pytest.mark.slow
class TestWheel:
    @pytest.fixture(scope="class")
    @classmethod
    def wheel(cls, root: Path, tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
        folder = tmp_path_factory.mktemp("wheel")
        command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
        answer = subprocess.run(command, capture_output=True, text=True, cwd=root)
        assert answer.returncode == 0, answer.stdout + answer.stderr
        (file,) = folder.glob("*.whl")
        assert file.name == f"rigpose-{__version__}-py3-none-any.whl"
        return zipfile.ZipFile(file)

    def test_holds_the_packages_and_nothing_else(self, wheel: zipfile.ZipFile) -> None:
        tops = {name.split("/")[0] for name in wheel.namelist()}
        assert tops == PACKAGES | {f"rigpose-{__version__}.dist-info"}
        assert not [name for name in wheel.namelist() if "test" in Path(name).name or "__pycache__" in name]

    def test_holds_the_launch_file_the_heads_and_the_zoo(self, wheel: zipfile.ZipFile, root: Path) -> None:
        names = set(wheel.namelist())
        assert "rigpose/launch.yaml" in names and "training/scenarios/demo.yaml" in names
        for folder in ("engine/heads", "engine/zoo"):
            tracked = subprocess.run(["git", "ls-files", folder], capture_output=True, text=True, cwd=root).stdout
            assert set(tracked.split()) <= names
        assert any(name.startswith("engine/heads/") and name.endswith(".onnx") for name in names)

    def test_offers_the_command_and_the_licence(self, wheel: zipfile.ZipFile) -> None:
        info = f"rigpose-{__version__}.dist-info"
        assert "rigpose = nodes.cli:main" in wheel.read(f"{info}/entry_points.txt").decode()
        assert f"{info}/licenses/LICENSE" in wheel.namelist()
        metadata = wheel.read(f"{info}/METADATA").decode()
        assert "Requires-Python: <3.14,>=3.11" in metadata
        assert re.search(r"torch<3,>=2\.11.*extra == 'train'", metadata)
