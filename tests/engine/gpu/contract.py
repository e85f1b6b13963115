"""Holds what of TensorRT is used against real bindings; run by the Python of an environment that has them.

The bindings are linked against libraries that are not on PyPI. Libraries of the same names that hold nothing but the
symbols are built by gcc, so that the bindings load and all that Python can see of them can be looked at; what needs the
real libraries fails as it does on a machine without a GPU. Prints a JSON list of what does not hold.

    .venv-tensorrt11/bin/python tests/engine/gpu/contract.py engine/gpu
"""

from __future__ import annotations

import ast
import ctypes
import importlib
import importlib.util
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))
# Classes of engine/gpu/trt_api.py by what they stand for. The lean runtime runs plans and builds none.
REAL = {
    "Tensor": "ITensor", "Network": "INetworkDefinition", "ParserError": "ParserError", "OnnxParser": "OnnxParser",
    "TimingCache": "ITimingCache", "BuilderConfig": "IBuilderConfig", "Builder": "Builder",
    "ExecutionContext": "IExecutionContext", "Engine": "ICudaEngine", "Runtime": "Runtime",
}  # fmt: skip
LEAN = ("ExecutionContext", "Engine", "Runtime")
ENUMS = {
    "BuilderFlag": ("TF32",), "MemoryPoolType": ("WORKSPACE",), "NetworkDefinitionCreationFlag": ("STRONGLY_TYPED",),
    "TensorIOMode": ("INPUT",), "DataType": ("FLOAT", "HALF", "BF16", "INT32", "INT64", "INT8", "UINT8", "BOOL"),
}  # fmt: skip
LEAN_ENUMS = ("TensorIOMode", "DataType")
GONE_IN_11 = ("FP16", "BF16", "INT8", "FP8", "OBEY_PRECISION_CONSTRAINTS")


def load(package, folder):
    """Import a package of bindings, with stubs of the libraries that it is linked against."""
    origin = Path(getattr(importlib.util.find_spec(package), "origin")).parent  # noqa: B009
    (binding,) = origin.glob("*.so")
    listing = subprocess.run(["objdump", "-p", str(binding)], capture_output=True, text=True, check=True).stdout
    needed = [name for name in re.findall(r"NEEDED\s+(\S+)", listing) if name.startswith(("libnv", "libcu"))]
    symbols = subprocess.run(["nm", "-D", "--undefined-only", str(binding)], capture_output=True, text=True, check=True)
    wanted = re.findall(r"U (\w+_INTERNAL|get\w*(?:Plugin|Parser)\w*|init\w*Plugins)$", symbols.stdout, re.MULTILINE)
    for index, name in enumerate(needed):
        # All symbols in one of them; the others need only be there.
        text = "".join(f"void* {symbol}(void) {{ return 0; }}\n" for symbol in wanted) if index == 0 else "int x;\n"
        source, target = folder / f"{name}.c", folder / name
        source.write_text(text)
        subprocess.run(["gcc", "-shared", "-fPIC", f"-Wl,-soname,{name}", str(source), "-o", str(target)], check=True)
        ctypes.CDLL(str(target), mode=ctypes.RTLD_GLOBAL)
    return importlib.import_module(package)


def members(source):
    """Protocols of a file: for each its attributes, and its methods with the names of their arguments."""
    found = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef) and any(
            isinstance(base, ast.Name) and base.id == "Protocol" for base in node.bases
        ):
            attributes = [ast.unparse(item.target) for item in node.body if isinstance(item, ast.AnnAssign)]
            methods = {
                item.name: ([arg.arg for arg in item.args.args[1:]], ast.unparse(item.returns) if item.returns else "")
                for item in node.body
                if isinstance(item, ast.FunctionDef)
            }
            found[node.name] = attributes, methods
    return found


def complaints(trt, protocols, classes, enums):
    """What of the protocols the bindings do not have."""
    wrong = []
    for name in classes:
        real = getattr(trt, REAL[name], None)
        if real is None:
            wrong.append(f"there is no {REAL[name]}")
            continue
        attributes, methods = protocols[name]
        wrong += [f"{REAL[name]} has no {attribute}" for attribute in attributes if not hasattr(real, attribute)]
        for method, (arguments, returned) in methods.items():
            wrong += signature(real, method, arguments, returned)
    for enum in enums:
        wrong += [f"{enum} has no {value}" for value in ENUMS[enum] if not hasattr(getattr(trt, enum), value)]
    return wrong


def signature(real, method, arguments, returned):
    """Whether a bound function can be called so; pybind11 writes its signatures into the docstring."""
    function = getattr(real, method, None)
    if function is None:
        return [f"{real.__name__} has no {method}"]
    lines = [line for line in (function.__doc__ or "").splitlines() if re.match(rf"(\d+\. )?{method}\(", line)]
    for line in lines:
        names = re.findall(r"(\w+): ", line.partition("->")[0])
        if names[1 : 1 + len(arguments)] == arguments and (returned != "bool" or line.endswith("-> bool")):
            return []
    return [f"{real.__name__}.{method}({', '.join(arguments)}) -> {returned}, but the bindings say {lines}"]


def behaviour(trt, api):
    """That our loggers and monitors are what the bindings want, and that a builder that is none is a TypeError."""
    wrong = []
    logger = api.logger_of(trt)
    logger.log(trt.ILogger.Severity.ERROR, "two\nlines")
    if logger.said.take() != "two lines" or logger.said.take() != "":
        wrong.append("a logger of ours does not keep errors")
    phases = []
    monitor = api.monitor_of(trt, lambda *told: phases.append(told))
    for name in ("phase_start", "step_complete", "phase_finish"):
        if not hasattr(trt.IProgressMonitor, name):
            wrong.append(f"IProgressMonitor has no {name}")
    monitor.phase_start("build", None, 2)
    if monitor.step_complete("build", 0) is not True or phases != [("build", 0.5)]:
        wrong.append("a monitor of ours does not tell")
    if 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED) <= 0:
        wrong.append("STRONGLY_TYPED is no flag")
    try:
        trt.Builder(logger)
    except TypeError:
        pass
    else:
        wrong.append("a builder without its library is no TypeError")
    numbers = api.version_of(trt)
    if not (api.OLDEST <= numbers and numbers[0] <= api.NEWEST_MAJOR):
        wrong.append(f"version {trt.__version__} is not taken")
    if numbers[0] == 11:
        wrong += [f"BuilderFlag.{name} is there again" for name in GONE_IN_11 if hasattr(trt.BuilderFlag, name)]
    return wrong


def main(folder):
    """Print the list."""
    from engine.gpu import trt_api

    protocols = members((folder / "trt_api.py").read_text())
    with tempfile.TemporaryDirectory() as stubs:
        trt = load("tensorrt_bindings", Path(stubs))
        wrong = complaints(trt, protocols, REAL, ENUMS)
        wrong += [f"the module has no {name}" for name in protocols["TensorRt"][0] if not hasattr(trt, name)]
        wrong += behaviour(trt, trt_api)
    with tempfile.TemporaryDirectory() as stubs:
        lean = load("tensorrt_lean_bindings", Path(stubs))
        wrong += [f"lean: {what}" for what in complaints(lean, protocols, LEAN, LEAN_ENUMS)]
    checked = sum(len(attributes) + len(methods) for attributes, methods in protocols.values())
    print(json.dumps({"version": trt.__version__, "lean": lean.__version__, "checked": checked, "wrong": wrong}))


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
