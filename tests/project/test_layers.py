"""Each floor imports only floors below it, and the light ones load nothing heavy."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("onnxruntime", "torch", "open3d", "openvino", "tensorrt", "viser")
LIGHT_PACKAGES = ("rigpose", "calib", "capture")


def modules_of(package: str, root: Path) -> list[str]:
    files = sorted((root / package).rglob("*.py"))
    names = [".".join(file.relative_to(root).with_suffix("").parts) for file in files]
    return [name.removesuffix(".__init__") for name in names if not name.endswith("__main__")]


def loaded_after_importing(names: list[str], root: Path) -> set[str]:
    code = f"import importlib, sys\nfor name in {names!r}: importlib.import_module(name)\nprint(*sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root)
    assert answer.returncode == 0, answer.stderr
    return set(answer.stdout.split())


def test_import_linter_keeps_every_contract(root: Path) -> None:
    command = "from importlinter.cli import lint_imports; raise SystemExit(lint_imports(cache_dir=None))"
    answer = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, cwd=root)
    assert answer.returncode == 0, answer.stdout + answer.stderr


@pytest.mark.parametrize("package", LIGHT_PACKAGES)
def test_light_packages_load_nothing_heavy(package: str, root: Path) -> None:
    loaded = loaded_after_importing(modules_of(package, root), root)
    assert not loaded & set(HEAVY)


def test_the_camera_node_loads_nothing_heavy(root: Path) -> None:
    assert importlib.util.find_spec("nodes.camera") is not None
    assert not loaded_after_importing(["nodes.camera"], root) & set(HEAVY)
