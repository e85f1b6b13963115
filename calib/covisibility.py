"""Which cameras saw the board together: what ties a rig, and which pair to film next where it does not hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

FEW = 5
"""Common moments below which a pair hangs by a thread: each gives six equations for the six unknowns between two
cameras, and the two poses of a flat board are told apart only by several moments."""


@dataclass(frozen=True, eq=False)
class Covisibility:
    """The graph of common views.

    Attributes:
        names: V cameras.
        shared: (V, V) moments at which two cameras both placed the board; the diagonal holds each one's own.
        groups: Cameras that hang together, as indices, the largest group first.
        tree: (parent, child) pairs of the largest group's maximum-weight spanning tree, from its root on.
        missing: What to film next, in words; empty where the whole rig hangs together well.
    """

    names: tuple[str, ...]
    shared: Int[np.ndarray, "V V"]
    groups: tuple[tuple[int, ...], ...]
    tree: tuple[tuple[int, int], ...]
    missing: tuple[str, ...]

    @property
    def connected(self) -> bool:
        """Whether all cameras hang together."""
        return len(self.groups) == 1


def covisibility(
    usable: Bool[np.ndarray, "V F"], names: Sequence[str], weight: Float[np.ndarray, "V V"] | None = None
) -> Covisibility:
    """The graph of common views.

    Args:
        usable: Which views place the board, as `calib.observations.BoardViews.usable`.
        names: Of the cameras.
        weight: How much a link is worth, zero = none; else the number of common moments.
    """
    seen = usable.astype(np.int64)
    shared = seen @ seen.T
    value = shared.astype(np.float64) if weight is None else np.asarray(weight, dtype=np.float64).copy()
    np.fill_diagonal(value, 0)
    groups = _groups(value > 0)
    root = max(groups[0], key=lambda v: (value[v].sum(), -v))
    tree = _tree(value, root)
    return Covisibility(tuple(names), shared, groups, tree, _missing(shared, groups, tree, names))


def _groups(linked: np.ndarray) -> tuple[tuple[int, ...], ...]:
    left = set(range(len(linked)))
    groups = []
    while left:
        group, new = set(), {min(left)}
        while new:
            group |= new
            new = {int(b) for a in new for b in np.flatnonzero(linked[a])} - group
        left -= group
        groups.append(tuple(sorted(group)))
    return tuple(sorted(groups, key=lambda group: (-len(group), group)))


def _tree(value: np.ndarray, root: int) -> tuple[tuple[int, int], ...]:
    """Prim's: always the heaviest link from what is reached to what is not."""
    reached = np.zeros(len(value), dtype=bool)
    reached[root] = True
    links: list[tuple[int, int]] = []
    while True:
        open_links = np.where(reached[:, None] & ~reached, value, 0.0)
        parent, child = np.unravel_index(open_links.argmax(), open_links.shape)
        if open_links[parent, child] <= 0:
            return tuple(links)
        links.append((int(parent), int(child)))
        reached[child] = True


def _missing(
    shared: np.ndarray, groups: tuple[tuple[int, ...], ...], tree: tuple[tuple[int, int], ...], names: Sequence[str]
) -> tuple[str, ...]:
    said = []
    main = groups[0]
    own = np.diag(shared)
    for group in groups[1:]:
        blind = [v for v in group if own[v] == 0]
        for v in blind:
            said.append(f"{names[v]} never saw enough of the board: hold it before {names[v]} and another camera")
        rest = [v for v in group if own[v]]
        if not rest:
            continue
        # Film the two that are seen most: they look where the board was.
        a = max(main, key=lambda v: own[v])
        b = max(rest, key=lambda v: own[v])
        common = int(shared[a, b])
        how = "never saw the board at the same moment" if not common else f"agree on none of {common} common moments"
        others = f" (that ties {', '.join(names[v] for v in group)} to the others)" if len(group) > 1 else ""
        said.append(f"{names[a]} and {names[b]} {how}: hold it where both see it, {2 * FEW} times or more{others}")
    for parent, child in tree:
        common = int(shared[parent, child])
        if common < FEW:
            few = f"{names[child]} hangs on {common} common moments with {names[parent]}"
            said.append(f"{few}: hold the board where both see it")
    return tuple(said)
