"""TensorRT and a plan, tried in a process that may die of it: ``python -m engine.gpu.trial [PLAN]``.

Prints one JSON object: ``version`` and ``problem``, which is empty where all is well. A runtime without a driver, or a
plan of another GPU, ends the interpreter without a word; here it ends nobody else.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from engine.gpu.trt_api import TensorRt, load_tensorrt, logger_of
from rigpose.errors import RigposeError

TIMEOUT_S = 120.0


def problem_of_plan(path: Path, timeout_s: float = TIMEOUT_S) -> str:
    """Why a plan cannot be used here; empty where it can."""
    command = [sys.executable, "-m", "engine.gpu.trial", str(path)]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired:
        return f"reading it took longer than {timeout_s:g} s"
    try:
        return str(json.loads(answer.stdout.splitlines()[-1])["problem"])
    except (ValueError, IndexError, KeyError, TypeError):
        return f"reading it ended the process that tried (code {answer.returncode})"


def trial(trt: TensorRt, data: bytes | None) -> str:
    """What is wrong with TensorRT here, or with a plan; empty where nothing is."""
    logger = logger_of(trt)
    runtime = trt.Runtime(logger)
    if runtime is None or (said := logger.said.take()):
        # A hollow runtime: to use it would end the process.
        return f"TensorRT does not start: {said if runtime is not None else logger.said.take()}"
    if data is None:
        return ""
    engine = runtime.deserialize_cuda_engine(data)
    if engine is None:
        return f"TensorRT {trt.__version__} does not read it: {logger.said.take() or 'it says no more'}"
    if engine.create_execution_context() is None:
        return f"there is no context for it: {logger.said.take() or 'it says no more'}"
    return ""


def main(arguments: list[str]) -> None:
    """Print what was found."""
    version, problem = "", ""
    try:
        trt = load_tensorrt()
        version = trt.__version__
        problem = trial(trt, Path(arguments[0]).read_bytes() if arguments else None)
    except RigposeError as error:
        problem = error.what
    except OSError as error:
        problem = f"{error.filename}: {error.strerror}"
    print(json.dumps({"version": version, "problem": problem}))


if __name__ == "__main__":
    main(sys.argv[1:])
