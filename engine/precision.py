"""In what numbers a network is computed: fp32 unless someone named another, or accepted it on this machine.

The same session must not give other poses on another computer without anyone asking, so a lower precision is never
chosen because a machine could do it. It ends at the cut ``head_in`` everywhere (`engine.cut`).
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any, get_args

import platformdirs

from engine.config import Precision
from engine.graph import Graph
from rigpose.errors import ConfigError
from rigpose.files import write_json

log = logging.getLogger(__name__)

PRECISIONS: tuple[str, ...] = get_args(Precision)
LIMIT_MM = 0.5
"""p99 of the drift from ONNX Runtime in fp32 beyond which a lower precision is refused."""
_SCHEMA = 1


def state_folder() -> Path:
    """Where this machine's plans, quantised networks and accepted precisions lie."""
    return Path(platformdirs.user_cache_dir("rigpose", appauthor=False))


def chosen(graph: Graph, wanted: str | None, runtime: str, possible: tuple[str, ...], device: str = "cpu") -> str:
    """The precision that a runtime shall use.

    Args:
        graph: What it runs.
        wanted: What the user named; ``None`` = nothing.
        runtime: Its name.
        possible: What it can.
        device: Where it runs; what was accepted on another says nothing.

    Raises:
        ConfigError: The precision is unknown, the runtime cannot do it, or the network has another by itself.
    """
    where = f"runtime {runtime}"
    if wanted is not None and wanted not in PRECISIONS:
        raise ConfigError("engine.precision", f"there is no precision {wanted}", f"there are: {', '.join(PRECISIONS)}")
    if graph.precision != "fp32":
        if wanted not in (None, graph.precision):
            raise ConfigError(
                where, f"cannot run {graph.document.id} in {wanted}: its file holds an {graph.precision} network",
                "leave the precision out, or export the network in fp32",
            )  # fmt: skip
        return graph.precision
    precision = wanted or accepted(graph.graph_hash, runtime, device) or "fp32"
    if precision not in possible:
        raise ConfigError(where, f"does not compute in {precision}", f"it computes in {', '.join(possible)}")
    return precision


def accepted(graph_hash: str, runtime: str, device: str = "cpu") -> str | None:
    """The precision that ``rigpose build --check`` accepted here for a graph, if any."""
    entry = _entries().get(_key(graph_hash, runtime, device))
    precision = entry.get("precision") if isinstance(entry, dict) else None
    return precision if precision in PRECISIONS else None


def accept(graph_hash: str, runtime: str, precision: str, device: str = "cpu", **figures: Any) -> None:
    """Remember a precision for this machine; with it ``engine.precision`` may be left out.

    Args:
        graph_hash: Of the graph in fp32.
        runtime: That was checked.
        precision: Whose drift was small enough.
        device: Where it ran.
        figures: What was measured.
    """
    entries = _entries()
    entries[_key(graph_hash, runtime, device)] = {"precision": precision, **figures}
    file = _file()
    file.parent.mkdir(parents=True, exist_ok=True)
    write_json(file, {"schema": _SCHEMA, "accepted": entries})


def _key(graph_hash: str, runtime: str, device: str) -> str:
    return f"{graph_hash} {runtime} {device}"


def _file() -> Path:
    return state_folder() / "accepted.json"


def _entries() -> dict[str, Any]:
    try:
        document = json.loads(_file().read_text(encoding="utf-8"))
        entries = document["accepted"] if document["schema"] == _SCHEMA else {}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError):
        log.warning("%s cannot be read: all networks run in fp32", _file())
        return {}
    return dict(entries)
