"""Plans: what TensorRT built, kept by everything that it was built for.

A plan fits one GPU, one version of TensorRT, one network, one precision and one number of pictures; of whatever else it
is stale and is built again. Plans are code: they are read from this machine's own cache alone, and each has its
checksum beside it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from engine.precision import state_folder
from rigpose.files import write_json

log = logging.getLogger(__name__)

_SCHEMA = 1


@dataclass(frozen=True)
class PlanKey:
    """What a plan was built for.

    Attributes:
        graph_hash: Of the graph in fp32.
        network_sha256: Of the very network that TensorRT was given.
        tensorrt: Full version.
        gpu: Name of the GPU.
        arch: Its compute capability, ``sm_90``.
        driver: CUDA version of the driver.
        precision: ``fp32``, ``fp16`` or ``int8``.
        profile: Shape of the network's input: the rig's number of views, its size.
        level: Optimisation level of the builder.
    """

    graph_hash: str
    network_sha256: str
    tensorrt: str
    gpu: str
    arch: str
    driver: str
    precision: str
    profile: tuple[int, ...]
    level: int

    @property
    def digest(self) -> str:
        """12 hex digits that no other key has."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:12]

    @property
    def stem(self) -> str:
        """Of the names of all plans that this one replaces."""
        sides = "x".join(map(str, self.profile))
        return f"{self.graph_hash}-{self.precision}-{sides}-{self.arch}"

    @property
    def path(self) -> Path:
        """Where the plan lies, or would."""
        return folder() / f"{self.stem}-{self.digest}.plan"


def folder() -> Path:
    """Of all plans of this user on this machine."""
    return state_folder() / "plans"


def find(key: PlanKey) -> bytes | None:
    """A plan that was kept for exactly this; ``None`` = there is none, or it is damaged."""
    try:
        data = key.path.read_bytes()
        sidecar = json.loads(key.path.with_suffix(".json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        log.warning("plan %s cannot be read (%s)", key.path, error)
        return None
    wanted = {**asdict(key), "profile": list(key.profile)}
    if not isinstance(sidecar, dict) or sidecar.get("key") != wanted:
        return None
    if sidecar.get("sha256") != hashlib.sha256(data).hexdigest():
        log.warning("plan %s is damaged", key.path)
        return None
    return data


def keep(key: PlanKey, data: bytes, about: Mapping[str, Any] | None = None) -> Path:
    """Write a plan, whole or not at all, and remove those that it replaces.

    Args:
        key: What it was built for.
        data: The plan.
        about: What else is worth knowing of it.

    Raises:
        OSError: The disk refuses it.
    """
    key.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_bytes(key.path, data)
    sidecar = {
        "schema": _SCHEMA,
        "key": asdict(key),
        "sha256": hashlib.sha256(data).hexdigest(),
        "built": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        **(about or {}),
    }
    write_json(key.path.with_suffix(".json"), sidecar)
    for old in stale(key):
        old.unlink(missing_ok=True)
        old.with_suffix(".json").unlink(missing_ok=True)
    return key.path


def stale(key: PlanKey) -> list[Path]:
    """Plans of the same network, precision and pictures for another TensorRT, driver or level."""
    return sorted(path for path in folder().glob(f"{key.stem}-*.plan") if path != key.path)


def discard(key: PlanKey) -> None:
    """Take a plan away that cannot be used."""
    key.path.unlink(missing_ok=True)
    key.path.with_suffix(".json").unlink(missing_ok=True)


def timing_cache_path(key: PlanKey) -> Path:
    """Where the builder's timings of this GPU and version lie."""
    name = "".join(letter if letter.isalnum() else "-" for letter in f"{key.gpu}-{key.tensorrt}-{key.driver}")
    return folder() / f"{name}.timing"


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file so that a reader sees the old one or the new one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(data)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
