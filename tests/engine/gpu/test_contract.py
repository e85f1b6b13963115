"""What of TensorRT is used is there, with these signatures, in real bindings of 10.15 and of 11."""

from __future__ import annotations

import json
import re
import shutil
import subprocess

import pytest

ENVIRONMENTS = {".venv-tensorrt10": "10.15", ".venv-tensorrt11": "11."}


@pytest.mark.process
@pytest.mark.parametrize("environment", list(ENVIRONMENTS))
def test_every_member_is_in_the_real_bindings(root, environment):
    python = root / environment / "bin" / "python"
    if not python.exists():
        pytest.skip(f"there is no {environment}: make env-tensorrt makes it")
    if not all(map(shutil.which, ("gcc", "nm", "objdump"))):
        pytest.skip("there is no gcc to build stubs of the libraries with")
    script = root / "tests" / "engine" / "gpu" / "contract.py"
    answer = subprocess.run(
        [str(python), str(script), str(root / "engine" / "gpu")], capture_output=True, text=True, timeout=100
    )
    assert answer.returncode == 0, answer.stderr
    said = json.loads(answer.stdout.splitlines()[-1])
    assert said["version"].startswith(ENVIRONMENTS[environment])
    assert said["wrong"] == []
    assert said["checked"] > 30


def test_no_flag_that_is_gone_in_11_is_used(root):
    text = "\n".join(path.read_text() for path in (root / "engine").rglob("*.py"))
    assert set(re.findall(r"BuilderFlag\.(\w+)", text)) == {"TF32"}
    for name in ("EXPLICIT_BATCH", "int8_calibrator", "IInt8", "platform_has_fast_fp16", "max_workspace_size"):
        assert name not in text
