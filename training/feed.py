"""Batches for the loop: samples made by worker processes, as tensors on the device."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import cv2
import torch

from calib.rig import RigArrays
from capture.virtual.scenario import Scenario
from training.config import TrainingConfig
from training.losses import Batch
from training.processes import ALONE, Group
from training.samples import SAMPLE_KEYS, Order, OrderSampler, Sample, VirtualSamples, stack


def as_tensors(samples: list[Sample]) -> dict[str, torch.Tensor]:
    """Samples as the tensors of a batch, by the names of their parts."""
    batch = stack(samples)
    return {key: torch.from_numpy(getattr(batch, key)) for key in SAMPLE_KEYS}


def as_batch(tensors: dict[str, torch.Tensor], device: torch.device) -> Batch:
    """Tensors of a sample's parts on a device."""
    there = {key: value.to(device, non_blocking=True) for key, value in tensors.items()}
    rigs = RigArrays(*(there[key] for key in RigArrays._fields))
    return Batch(**{key: value for key, value in there.items() if key not in RigArrays._fields}, rigs=rigs)


def _one_thread(_: int) -> None:
    cv2.setNumThreads(1)
    torch.set_num_threads(1)


class _Part:
    """The part of each batch that is this process's."""

    def __init__(self, whole: OrderSampler, group: Group) -> None:
        self._whole, self._group = whole, group

    def __iter__(self) -> Iterator[list[Order]]:
        return (self._group.part(batch) for batch in self._whole)


def batches(
    config: TrainingConfig,
    scenario: Scenario,
    device: torch.device,
    first_step: int,
    batch_size: int,
    workers: int,
    size_at: Callable[[int], int],
    group: Group = ALONE,
) -> Iterator[Batch]:
    """Batches from a step on, without end.

    Args:
        config: The run's.
        scenario: What worlds are drawn from.
        device: Where they are wanted.
        first_step: The step that the first batch is for.
        batch_size: Samples in a batch, of all processes together.
        workers: Processes that make samples; 0 = this one does.
        size_at: Side of the crops for a step.
        group: Who share a batch; this process makes its part.
    """
    samples = VirtualSamples(scenario, config.data, config.seed)
    sampler = _Part(OrderSampler(config.data, first_step, batch_size, size_at), group)
    options: dict[str, Any] = {}
    if workers:
        # Never forked: the parent has threads. A worker that hangs is an error, not a wait without end.
        options = {"multiprocessing_context": "spawn", "timeout": 300, "prefetch_factor": 3}
    loader = torch.utils.data.DataLoader(
        samples,  # type: ignore[arg-type]  # its keys are orders
        batch_sampler=sampler,
        num_workers=workers,
        collate_fn=as_tensors,
        worker_init_fn=_one_thread,
        pin_memory=device.type == "cuda",
        **options,
    )
    for tensors in loader:
        yield as_batch(tensors, device)


def validation(
    config: TrainingConfig, scenario: Scenario, device: torch.device, batch_size: int, group: Group = ALONE
) -> list[Batch]:
    """Samples of the training scenario that training never sees, without augmentation: this process's part of them."""
    samples = VirtualSamples(scenario, config.data, config.validation.seed, augment=False)
    mine = group.part(range(config.validation.samples))
    made = [samples[Order(0, index, index, config.size)] for index in mine]
    return [as_batch(as_tensors(made[first : first + batch_size]), device) for first in range(0, len(made), batch_size)]
