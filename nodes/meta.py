"""The engine's meta message: what a listener that came late, and has no file, learns of the run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rigpose.errors import ProtocolError
from rigpose.skeleton import Skeleton


def info_of(meta: Mapping[str, Any]) -> dict[str, Any]:
    """What an engine's meta message says for ``session.json``: rig, model and skeletons.

    Raises:
        ProtocolError: A skeleton in it is none.
    """
    skeletons = meta.get("skeletons") or {}
    documents = list(skeletons.values()) if isinstance(skeletons, Mapping) else list(skeletons)
    try:
        known = tuple(Skeleton.model_validate(document) for document in documents)
    except ValueError as error:
        raise ProtocolError("meta message", f"holds no skeleton: {error}") from None
    return {"rig": meta.get("rig"), "model": meta.get("model"), "skeletons": known}
