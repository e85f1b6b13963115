"""Messages that never came, found by the sequence numbers of each process start."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass


@dataclass(slots=True)
class _Sequence:
    node: str
    next: int
    lost: int = 0
    late: int = 0


class Gaps:
    """Counts what is missing in streams that are numbered from 0 at every start of their process.

    A number that comes after its successors is taken back from the count: it was late, not lost.

    Args:
        from_start: Whether numbers below the first one seen are missing too (the listener was there
            before the speaker), or were before its time.
    """

    def __init__(self, from_start: bool = True) -> None:
        self._from_start = from_start
        self._sequences: dict[tuple[str, str], _Sequence] = {}

    def add(self, node: str, epoch: str, seq: int) -> int:
        """Note one message; gives how many are missing just before it."""
        key = (node, epoch)
        sequence = self._sequences.get(key)
        if sequence is None:
            sequence = self._sequences[key] = _Sequence(node, 0 if self._from_start else seq)
        missing = seq - sequence.next
        if missing < 0:
            if sequence.late < sequence.lost:
                sequence.late += 1
            return 0
        sequence.lost += missing
        sequence.next = seq + 1
        return missing

    def end(self, node: str, epoch: str, last_seq: int) -> int:
        """Note that a process says which number was its last; gives how many are missing at the end."""
        if last_seq < 0:
            return 0
        key = (node, epoch)
        known = self._sequences.get(key)
        if known is not None and last_seq < known.next:
            return 0
        missing = self.add(node, epoch, last_seq) + 1
        self._sequences[key].lost += 1
        return missing

    def by_node(self) -> dict[str, int]:
        """Missing messages of each node that has any, all its starts together."""
        lost: Counter[str] = Counter()
        for sequence in list(self._sequences.values()):  # other threads ask while one adds
            lost[sequence.node] += sequence.lost - sequence.late
        return {node: missing for node, missing in lost.items() if missing}

    @property
    def total(self) -> int:
        """Missing messages."""
        return sum(self.by_node().values())
