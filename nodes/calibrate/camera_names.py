"""Names of cameras as files have them, matched with those that a rig knows."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from rigpose.errors import ConfigError

_SHOWN = 8


def match_names(found: list[str], known: Sequence[str], where: str) -> tuple[list[str], dict[str, str]]:
    """The rig's name for each camera that was found; what is not known keeps its own.

    Args:
        found: Names as files have them.
        known: Those of the rig; empty = any will do.
        where: What the user named, for errors.

    Returns:
        The names, and of those that changed the new one by the old one.

    Raises:
        ConfigError: Some are no camera of the rig, or two are the same one.
    """
    if not known or set(found) <= set(known):
        return found, {}
    names: list[str] = []
    for name in found:
        names.append(known_name(name, known))
    if "" in names or len(set(names)) < len(names):
        raise ConfigError(
            where,
            f"holds pictures of {listed(found)}, but the rig knows {listed(known)}",
            f"say which is which: --camera {known[0]}=PATH, once for each",
        )
    return names, {old: new for old, new in zip(found, names, strict=True) if old != new}


def known_name(name: str, known: Sequence[str]) -> str:
    """The one known camera whose name is, or stands in, another name; empty where none or several do."""
    words = _words(name)
    fits = [other for other in known if _words(other) == words]
    if not fits:
        fits = [other for other in known if _stands_in(_words(other), words)]
    return fits[0] if len(fits) == 1 else ""


def listed(names: Iterable[str]) -> str:
    """Names for a sentence; of many the first."""
    names = list(names)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _words(name: str) -> list[str]:
    """A name's words and numbers, without case, signs and leading zeros."""
    words = re.findall(r"[a-z]+|\d+", name.lower())
    return [{"camera": "cam"}.get(word, word.lstrip("0") or "0") for word in words]


def _stands_in(some: list[str], words: list[str]) -> bool:
    return any(words[i : i + len(some)] == some for i in range(len(words) - len(some) + 1)) and bool(some)
