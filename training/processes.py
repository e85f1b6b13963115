"""Processes that train one network together: each makes its part of every batch.

``torchrun`` starts them. Losses are normalised over the whole batch and gradients averaged, so that a step is the one
that a single process makes with all of it; only batch normalisation, which each process does over its own part, is
not the same (`training.config.OptimiserSection.freeze_norm`, or group normalisation in the backbone).
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import distributed

from rigpose.errors import ConfigError

_TIMEOUT = timedelta(minutes=10)
"""A process that says nothing for so long is dead, and the others end."""
Item = TypeVar("Item")


@dataclass(frozen=True)
class Group:
    """This process among those of the run; by default it is alone.

    Attributes:
        rank: Its number.
        size: How many there are.
        local_rank: Its number on this machine: that of its GPU.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def main(self) -> bool:
        """Whether it is the one that writes and decides."""
        return self.rank == 0

    def part(self, items: Sequence[Item]) -> list[Item]:
        """The items of a list that are this process's."""
        return list(items[self.rank :: self.size])

    def share(self, count: int, what: str) -> int:
        """Its part of a number.

        Raises:
            ConfigError: The processes cannot share it evenly.
        """
        if count % self.size:
            raise ConfigError(what, f"is {count}, which {self.size} processes cannot share evenly", "give a multiple")
        return count // self.size

    def mean(self, value: torch.Tensor) -> torch.Tensor:
        """The mean over the processes, without gradient."""
        if self.size == 1:
            return value.detach()
        total = value.detach().clone()
        distributed.all_reduce(total)
        return total / self.size

    def decided(self, values: Sequence[float]) -> list[float]:
        """What the main process has: clocks and signals differ, and all must do the same."""
        if self.size == 1:
            return list(values)
        carried = torch.tensor(values, dtype=torch.float64, device=self._device())
        distributed.broadcast(carried, src=0)
        return [float(value) for value in carried]

    def gathered(self, mine: list[Item]) -> list[Item]:
        """The items of all, those of the first process first."""
        if self.size == 1:
            return mine
        everyone: list[Any] = [None] * self.size
        distributed.all_gather_object(everyone, mine)
        return [item for part in everyone for item in part]

    def _device(self) -> torch.device:
        return torch.device("cuda", self.local_rank) if distributed.get_backend() == "nccl" else torch.device("cpu")


ALONE = Group()


@contextmanager
def joined(device: str) -> Iterator[Group]:
    """The group that ``torchrun`` started this process in, or one of its own.

    Args:
        device: ``cpu`` or ``cuda``; by it the processes talk through gloo or nccl.

    Raises:
        ConfigError: There are more processes than GPUs on this machine.
    """
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        yield ALONE
        return
    group = Group(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]), int(os.environ.get("LOCAL_RANK", "0")))
    if device == "cuda":
        if group.local_rank >= torch.cuda.device_count():
            found = f"this machine has {torch.cuda.device_count()} GPUs"
            raise ConfigError("--nproc_per_node", f"is above what is here: {found}", "start one process a GPU")
        torch.cuda.set_device(group.local_rank)
    distributed.init_process_group("nccl" if device == "cuda" else "gloo", timeout=_TIMEOUT)
    try:
        yield group
        # None leaves while another still talks, and what is wrapped is gone before the group is: gloo's threads
        # end the process with an abort otherwise.
        distributed.barrier()
    finally:
        gc.collect()
        distributed.destroy_process_group()
