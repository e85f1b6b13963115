"""Build PyCUDA for the tests that hold rigpose's calls against it, and nothing when it stands already.

Runs with the Python that the tests run with, which the build is for. It stays out of every environment: it is linked to
no driver and without cuRAND, so that NVIDIA's headers, which are on PyPI, and a C++ compiler are all that it needs.

    .venv/bin/python scripts/build_pycuda.py .pycuda
"""

import hashlib
import os
import shutil
import sys
import sysconfig
from pathlib import Path

from bootstrap import ROOT, Lock, apt_install, run

PACKAGE = "pycuda"
HEADERS = {"cuda.h": "nvidia-cuda-runtime", "cudaProfiler.h": "nvidia-cuda-profiler-api"}
MADE_FROM = (PACKAGE, *HEADERS.values(), "numpy", "setuptools", "wheel")
STAMP = "rigpose-stamp"
# PyCUDA reads its configuration in the home folder. Optimised it would be built in twice the time.
CONFIG_NAME = ".aksetup-defaults.py"
CONFIG = """\
CUDA_ENABLE_CURAND = False
CUDA_INC_DIR = [{include!r}]
CUDADRV_LIB_DIR = []
CUDADRV_LIBNAME = []
CXXFLAGS = ["-O0", "-w"]
"""


def pins():
    """The version of each package that it is made from."""
    pairs = (line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    return {name: version for name, version in pairs if name in MADE_FROM}


def wanted_stamp():
    """A digest of what the build depends on."""
    parts = [Path(__file__).read_text(), str(sorted(pins().items())), str(sysconfig.get_config_var("SOABI"))]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def lacking():
    """Debian packages of what has to be on this machine and is not."""
    missing = [] if shutil.which("g++") else ["g++"]
    if not (Path(sysconfig.get_path("include")) / "Python.h").is_file():
        missing.append("python{}.{}-dev".format(*sys.version_info))
    return missing


def home_with(config, folder):
    """A home folder that is the user's, for the settings of pip, but for PyCUDA's configuration."""
    folder.mkdir()
    own = Path.home()
    for entry in own.iterdir() if own.is_dir() else ():
        if entry.name != CONFIG_NAME:
            (folder / entry.name).symlink_to(entry)
    (folder / CONFIG_NAME).write_text(config)
    return folder


def build(target):
    """Make a folder that holds PyCUDA, and in ``include`` the headers that it was built with."""
    stamp = wanted_stamp()
    if (target / STAMP).is_file() and (target / STAMP).read_text() == stamp:
        return
    missing = lacking()
    if missing:
        apt_install(missing, "PyCUDA is built with them for some tests; without them those tests skip", needed=False)
        if lacking():
            return
    print(f"rigpose: building PyCUDA {pins()[PACKAGE]} into {target.name}; this takes a minute", flush=True)
    part = target.with_name(target.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    made = part / "made"
    (made / "include").mkdir(parents=True)
    constraints = str(ROOT / "constraints.txt")
    pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps", "-c", constraints]
    run([*pip, "--target", str(part / "headers"), *HEADERS.values()])
    for name in HEADERS:
        (found,) = part.glob(f"headers/nvidia/*/include/{name}")
        shutil.copy(found, made / "include")
    os.environ["HOME"] = str(home_with(CONFIG.format(include=str(made / "include")), part / "home"))
    # It may not stay in pip's cache, from where it would be installed for use.
    from_source = ["--no-binary", PACKAGE, "--no-cache-dir", "--build-constraint", constraints]
    run([*pip, *from_source, "--target", str(made), PACKAGE])
    (made / STAMP).write_text(stamp)
    # It is there as a whole or not at all; the next build throws away what broke off before this.
    shutil.rmtree(target, ignore_errors=True)
    made.rename(target)
    shutil.rmtree(part)


def main():
    """See the docstring of the module."""
    with Lock():
        build(ROOT / sys.argv[1])


if __name__ == "__main__":
    main()
