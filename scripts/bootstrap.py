"""Make the environment that a make target needs, and nothing when it stands already.

Runs with any Python 3 and the standard library alone. A stamp inside the environment holds what it
was made from; a change of pyproject.toml, constraints.txt or the interpreter installs again.

    python3 scripts/bootstrap.py --venv .venv --extras web,dev
    python3 scripts/bootstrap.py --venv .venv-peers --packages aniposelib
    python3 scripts/bootstrap.py --apt apt.txt
"""

import argparse
import ctypes
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OLDEST, NEWEST = (3, 11), (3, 13)
CANDIDATES = ("python3.13", "python3.12", "python3.11")
# What the wheel of opencv-python links but does not hold.
OPENCV_LIBRARIES = {
    "libGL.so.1": "libgl1",
    "libxcb.so.1": "libgl1",
    "libgthread-2.0.so.0": "libglib2.0-0",
    "libglib-2.0.so.0": "libglib2.0-0",
}
PACKAGE_RENAMES = {"libglib2.0-0": "libglib2.0-0t64"}


def fail(line):
    """End with one line."""
    sys.exit("rigpose: " + line)


def fits(version):
    """Whether rigpose runs on a Python of this version."""
    return OLDEST <= tuple(version[:2]) <= NEWEST


def use_fitting_python(explicit):
    """Go on with a Python that rigpose runs on, else end with one line."""
    if fits(sys.version_info):
        return
    here = "{}.{}".format(*sys.version_info)
    if not explicit:
        for name in CANDIDATES:
            path = shutil.which(name)
            if path:
                os.execv(path, [path, *sys.argv])
    fail(f"needs Python 3.11, 3.12 or 3.13, and {sys.executable} is {here} (give one: make PYTHON=python3.12 ...)")


def root_command():
    """What goes before a command that needs root: nothing, sudo, or None where it is not allowed."""
    if os.name != "posix" or not shutil.which("apt-get"):
        return None
    if os.geteuid() == 0:
        return []
    sudo = shutil.which("sudo")
    if sudo and subprocess.call([sudo, "-n", "true"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) == 0:
        return [sudo, "-n", "env", "DEBIAN_FRONTEND=noninteractive"]
    return None


def is_installed(package):
    """Whether Debian's own record has the package, under its old name or its new one."""
    for name in (package, PACKAGE_RENAMES.get(package, package)):
        query = ["dpkg-query", "-W", "-f=${db:Status-Abbrev}", name]
        answer = subprocess.run(query, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
        if answer.stdout.startswith(b"ii"):
            return True
    return False


def apt_install(packages, purpose, needed):
    """Install Debian packages where that is allowed; else name them in one line and go on, or end if needed."""
    names = " ".join(packages)
    before = root_command()
    if before is not None:
        print(f"rigpose: installing {names} ({purpose})", flush=True)
        environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
        install = [*before, "apt-get", "install", "-y", "-q", "--no-install-recommends", *packages]
        quiet = {"env": environment, "stdout": subprocess.DEVNULL}
        if subprocess.call(install, stderr=subprocess.DEVNULL, **quiet) == 0:
            return
        subprocess.call([*before, "apt-get", "update", "-q"], **quiet)
        if subprocess.call(install, **quiet) == 0:
            return
    line = f"{purpose}: missing are {names} (sudo apt-get install {names})"
    if needed:
        fail(line)
    print("rigpose: " + line, flush=True)


def loads(library):
    """Whether the dynamic linker finds a library."""
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def check_opencv_libraries():
    """See to it that ``import cv2`` will find the system libraries that it links."""
    if not sys.platform.startswith("linux"):
        return
    missing = [library for library in OPENCV_LIBRARIES if not loads(library)]
    if not missing:
        return
    packages = sorted({OPENCV_LIBRARIES[library] for library in missing})
    if shutil.which("apt-get"):
        apt_install(packages, "system libraries that OpenCV links", needed=True)
    else:
        fail("OpenCV needs the system libraries {} (install them with your package manager)".format(", ".join(missing)))


def check_apt_file(path):
    """Install what an apt.txt names, or say what is missing."""
    lines = (line.split("#")[0].strip() for line in path.read_text().splitlines())
    if not shutil.which("dpkg-query"):
        return
    missing = [package for package in lines if package and not is_installed(package)]
    if missing:
        apt_install(missing, "system packages that some tests need; without them those tests skip", needed=False)


def check_venv_module():
    """See to it that ``python -m venv`` works; Debian keeps half of it in another package."""
    if importlib.util.find_spec("ensurepip") is None or importlib.util.find_spec("venv") is None:
        package = "python{}.{}-venv".format(*sys.version_info)
        if shutil.which("apt-get"):
            apt_install([package], "the venv module of this Python", needed=True)
        else:
            fail(f"{sys.executable} has no venv module (install it, or give another Python: make PYTHON=...)")


def interpreter(venv):
    """The Python inside an environment."""
    return venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def wanted_stamp():
    """A digest of what an environment is made from."""
    digest = hashlib.sha256()
    for name in ("pyproject.toml", "constraints.txt", "scripts/bootstrap.py"):
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def read_stamp(venv):
    """What an environment holds, or an empty stamp where it does not run or is not ours."""
    empty = {"digest": "", "root": "", "extras": [], "packages": []}
    try:
        stamp = json.loads((venv / "rigpose-stamp.json").read_text())
    except (OSError, ValueError):
        return empty
    return stamp if isinstance(stamp, dict) and set(empty) <= set(stamp) else empty


def write_stamp(venv, digest, extras, packages):
    """Note in an environment what it was made from."""
    stamp = {"digest": digest, "root": str(ROOT), "extras": extras, "packages": packages}
    (venv / "rigpose-stamp.json").write_text(json.dumps(stamp) + "\n")


def make_environment(venv, extras, packages):
    """Create or bring up to date an environment; what it had before, it keeps."""
    digest = wanted_stamp()
    stamp = read_stamp(venv)
    python = interpreter(venv)
    # The scripts of an environment that was copied from elsewhere name the interpreter of the original.
    has_python = python.exists() and runs_fitting(python) and stamp["root"] in ("", str(ROOT))
    holds_all = set(extras) <= set(stamp["extras"]) and set(packages) <= set(stamp["packages"])
    if has_python and stamp["digest"] == digest and holds_all:
        return
    extras = sorted(set(extras) | set(stamp["extras"]))
    packages = sorted(set(packages) | set(stamp["packages"]))
    if not has_python:
        check_venv_module()
        print("rigpose: making {} with Python {}.{}".format(venv.name, *sys.version_info), flush=True)
        run([sys.executable, "-m", "venv", "--clear", str(venv)])
    # Until the end of the installation the environment counts as unfinished.
    write_stamp(venv, "", extras, packages)
    constraints = ["-c", str(ROOT / "constraints.txt")]
    pip = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", *constraints]
    # The back-end stands in the environment, so that the constraints hold for it as well.
    run([*pip, "pip", "hatchling"])
    if packages:
        print("rigpose: installing {} into {}".format(", ".join(packages), venv.name), flush=True)
        run([*pip, *packages])
    else:
        target = str(ROOT) + ("[{}]".format(",".join(extras)) if extras else "")
        named = "rigpose" + ("[{}]".format(",".join(extras)) if extras else "")
        print(f"rigpose: installing {named} into {venv.name}; this can take a few minutes", flush=True)
        run([*pip, "--no-build-isolation", "-e", target])
    write_stamp(venv, digest, extras, packages)


def runs_fitting(python):
    """Whether the Python of an environment still starts and is one that rigpose runs on."""
    code = "import sys; print(*sys.version_info[:2])"
    try:
        answer = subprocess.run([str(python), "-c", code], stdout=subprocess.PIPE, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return False
    return fits([int(part) for part in answer.split()])


def run(command):
    """Run a command; end with one line where it fails (it has said more itself)."""
    if subprocess.call(command, cwd=str(ROOT)) != 0:
        fail("this failed: {} (see above; the network or the disk may be the cause)".format(" ".join(command)))


class Lock:
    """Only one make at a time changes the environments of a source tree."""

    def __enter__(self):
        """Wait for the other one."""
        (ROOT / ".stamps").mkdir(exist_ok=True)
        self.file = (ROOT / ".stamps" / "lock").open("w")
        if os.name == "posix":
            import fcntl

            fcntl.flock(self.file, fcntl.LOCK_EX)
        return self

    def __exit__(self, *_):
        """Let the next one in."""
        self.file.close()


def names(text):
    """The parts of a comma-separated list."""
    return [part for part in text.split(",") if part]


def main():
    """See the docstring of the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--venv", type=Path, help="the environment to make")
    parser.add_argument("--extras", type=names, default=[], help="extras of rigpose to install in it")
    parser.add_argument("--packages", type=names, default=[], help="install these packages instead of rigpose")
    parser.add_argument("--apt", type=Path, help="install the Debian packages that this file names, or name them")
    parser.add_argument("--explicit", action="store_true", help="this Python was asked for: do not look for another")
    arguments = parser.parse_args()
    use_fitting_python(arguments.explicit)
    with Lock():
        if arguments.apt:
            check_apt_file(arguments.apt)
        if arguments.venv:
            check_opencv_libraries()
            make_environment(ROOT / arguments.venv, arguments.extras, arguments.packages)


if __name__ == "__main__":
    main()
