"""Batches for the loop: samples made by worker processes, as tensors on the device."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import cv2
import torch

from calib.rig import RigArrays
from rigpose.errors import RigposeError
from training.losses import Batch
from training.processes import ALONE, Group
from training.samples import Sample, stack
from training.sources import Judged, Samples, Source

_KEYS = "keys"


def as_tensors(samples: list[Sample]) -> dict[str, Any]:
    """Samples as the tensors of a batch, by the names of their parts; ``keys`` are what they show."""
    tensors = {name: torch.from_numpy(array) for name, array in stack(samples).items()}
    return tensors | {_KEYS: tuple(sample.key for sample in samples)}


def as_batch(tensors: dict[str, Any], device: torch.device) -> Batch:
    """Tensors of a sample's parts on a device."""
    keys = tuple(tensors[_KEYS])
    there = {name: value.to(device, non_blocking=True) for name, value in tensors.items() if name != _KEYS}
    rigs = RigArrays(*(there.pop(name) for name in RigArrays._fields))
    return Batch(**there, rigs=rigs, keys=keys)


def on(batch: Batch, device: torch.device) -> Batch:
    """A batch on a device."""
    rigs = RigArrays(*(array.to(device) for array in batch.rigs))
    moved = {name: getattr(batch, name).to(device) for name in Batch._fields if name not in ("rigs", _KEYS)}
    return batch._replace(**moved, rigs=rigs)


def _one_thread(_: int) -> None:
    cv2.setNumThreads(1)
    torch.set_num_threads(1)


class _Part:
    """The part of each batch that is this process's."""

    def __init__(self, whole: Iterable[Sequence[Any]], group: Group) -> None:
        self._whole, self._group = whole, group

    def __iter__(self) -> Iterator[list[Any]]:
        return (self._group.part(batch) for batch in self._whole)


class _Told:
    """Samples, or the error instead of one: torch would make a traceback of it on its way out of a worker."""

    def __init__(self, samples: Samples) -> None:
        self._samples = samples

    def __getitem__(self, order: Any) -> Sample | RigposeError:
        try:
            return self._samples[order]
        except RigposeError as error:
            return error


def _collate(samples: list[Sample | RigposeError]) -> dict[str, Any] | RigposeError:
    made: list[Sample] = []
    for sample in samples:
        if isinstance(sample, RigposeError):
            return sample
        made.append(sample)
    return as_tensors(made)


def _loaded(samples: Samples, sampler: Any, device: torch.device, workers: int) -> Iterator[Batch]:
    options: dict[str, Any] = {}
    if workers:
        # Never forked: the parent has threads. A worker that hangs is an error, not a wait without end.
        options = {"multiprocessing_context": "spawn", "timeout": 300, "prefetch_factor": 3}
    loader = torch.utils.data.DataLoader(
        _Told(samples),  # type: ignore[arg-type]  # its keys are orders
        batch_sampler=sampler,
        num_workers=workers,
        collate_fn=_collate,
        worker_init_fn=_one_thread,
        pin_memory=device.type == "cuda",
        **options,
    )
    for tensors in loader:
        if isinstance(tensors, RigposeError):
            raise tensors
        yield as_batch(tensors, device)


def batches(
    source: Source,
    device: torch.device,
    first_step: int,
    batch_size: int,
    workers: int,
    size_at: Callable[[int], int],
    group: Group = ALONE,
) -> Iterator[Batch]:
    """Batches from a step on, without end.

    Args:
        source: Where samples come from.
        device: Where they are wanted.
        first_step: The step that the first batch is for.
        batch_size: Samples in a batch, of all processes together.
        workers: Processes that make samples; 0 = this one does.
        size_at: Side of the crops for a step.
        group: Who share a batch; this process makes its part.

    Raises:
        ConfigError: A picture is damaged, while the batches are asked for.
    """
    samples, sampler = source.taught(first_step, batch_size, size_at)
    yield from _loaded(samples, _Part(sampler, group), device, workers)


def judged(part: Judged, device: torch.device, workers: int = 0) -> Iterator[Batch]:
    """Batches to be judged by; ``base_mm`` is NaN where a network is to find it itself.

    Args:
        part: This process's.
        device: Where they are wanted.
        workers: Processes that make samples; 0 = this one does.

    Raises:
        ConfigError: A picture is damaged, while the batches are asked for.
    """
    for batch in _loaded(part.samples, part.batches, device, workers):
        own = part.base == "own"
        yield batch._replace(base_mm=torch.full_like(batch.base_mm, torch.nan)) if own else batch
