"""How far a run is, and what follows from that: the learning rate."""

from __future__ import annotations

import math

from training.config import OptimiserSection


def learning_rate(config: OptimiserSection, progress: float) -> float:
    """The rate at a share of the run: a linear rise, a level, and a cosine down to a hundredth.

    The level lets a run be lengthened or be fitted to a time budget without having lost anything.
    """
    if progress < config.warmup:
        return config.rate * (progress + 1e-3) / (config.warmup + 1e-3)
    if progress < config.decay_from:
        return config.rate
    fall = min(1.0, (progress - config.decay_from) / max(1e-9, 1 - config.decay_from))
    return config.rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * fall)))


def progress_at(step: int, steps: int, elapsed_s: float, budget_s: float | None) -> float:
    """Share of the run that is done: of its steps, or of its time where that runs out first."""
    by_steps = step / steps
    return by_steps if budget_s is None else max(by_steps, min(1.0, elapsed_s / budget_s))
