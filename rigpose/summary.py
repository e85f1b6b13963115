"""The summary of a run: every frame accounted for, every stage's latency, the quality of the poses.

Percentiles come from logarithmic buckets of 0.1 %, so that memory stays bounded over days and no
sample is left out. A percentile with fewer than three samples beyond it is ``None``.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from rigpose.files import write_json
from rigpose.stamps import ExposedFrom

_BUCKET = math.log(1.001)
_SMALLEST = 1e-6
_BEYOND = 3


class Distribution:
    """Samples counted into logarithmic buckets; exact count, mean and maximum."""

    def __init__(self) -> None:
        self._buckets: Counter[int] = Counter()
        self.n = 0
        self.total = 0.0
        self.max = -math.inf

    def add(self, value: float) -> None:
        """Count one sample; a value that is not finite is ignored, one below 1e-6 counts as 0."""
        if not math.isfinite(value):
            return
        self.n += 1
        self.total += value
        self.max = max(self.max, value)
        self._buckets[-(2**31) if value < _SMALLEST else math.floor(math.log(value) / _BUCKET)] += 1

    def extend(self, values: Iterable[float]) -> None:
        """Count several samples."""
        for value in values:
            self.add(value)

    @property
    def mean(self) -> float | None:
        """Arithmetic mean, ``None`` without samples."""
        return self.total / self.n if self.n else None

    def percentile(self, q: float, *, tail: Literal["upper", "lower"] = "upper") -> float | None:
        """The q-th percentile (0..100), ``None`` with fewer than three samples beyond it."""
        if self.n == 0:
            return None
        beyond = self.n * ((100 - q) if tail == "upper" else q) / 100
        if beyond < _BEYOND:
            return None
        rank = max(1, math.ceil(self.n * q / 100))
        reached = 0
        for bucket in sorted(self._buckets):
            reached += self._buckets[bucket]
            if reached >= rank:
                return 0.0 if bucket == -(2**31) else min(math.exp((bucket + 0.5) * _BUCKET), self.max)
        return self.max


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Percentiles(_Part):
    """Percentiles of one stage's latency in ms."""

    p50: float | None = None
    p95: float | None = None
    p99: float | None = None
    p99_9: float | None = None
    max: float | None = None
    n: int = 0

    @classmethod
    def of(cls, samples: Distribution) -> Percentiles:
        """The percentiles of a distribution."""
        values = {name: samples.percentile(q) for name, q in (("p50", 50), ("p95", 95), ("p99", 99), ("p99_9", 99.9))}
        return cls(**values, max=samples.max if samples.n else None, n=samples.n)


class Skipped(_Part):
    """Frames that were seen and not used, by the place where that was counted."""

    queue_full: int = 0
    lost: int = 0
    late: int = 0
    incomplete: int = 0
    superseded: int = 0
    implausible: int = 0
    misfit: int = 0
    stopping: int = 0
    node_died: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self.model_dump().values())


class CameraAccount(_Part):
    """Where every frame of one camera went."""

    exposed: int
    lost_upstream: int
    seen: int
    used: int
    skipped: Skipped = Skipped()

    @property
    def balanced(self) -> bool:
        """Whether nothing disappeared unaccounted for."""
        return self.exposed == self.lost_upstream + self.seen and self.seen == self.used + self.skipped.total


class LagFrames(_Part):
    """Newest frame received minus the set solved, in frames."""

    p50: float | None = None
    p99: float | None = None
    max: int | None = None


class ResidualPx(_Part):
    """Per joint the mean over all views above the model's score, rejected ones too, before smoothing."""

    median: float | None = None
    p95: float | None = None


class ViewsUsed(_Part):
    """Views that a solved joint was made from."""

    mean: float | None = None
    p5: float | None = None


class SyncSummary(_Part):
    """How sets were formed."""

    kind: str | None = None
    spread_ms: Percentiles = Percentiles()


class Mpjpe(_Part):
    """Mean per joint position error against the truth, where there is one."""

    mean: float | None = None
    median: float | None = None
    p95: float | None = None


class Summary(_Part):
    """What ``--summary`` writes: the account of a run."""

    schema_: Literal[1] = Field(1, alias="schema")
    session_id: str = ""
    started: str = ""
    duration_s: float = 0.0
    cameras: dict[str, CameraAccount] = {}
    sets: int = 0
    poses: int = 0
    fps: float | None = None
    lag_frames: LagFrames = LagFrames()
    joints_solved_share: float | None = None
    joints_lifted_share: float | None = None
    joints_predicted_share: float | None = None
    residual_px: ResidualPx = ResidualPx()
    views_used: ViewsUsed = ViewsUsed()
    latency_ms: dict[str, Percentiles] = {}
    exposed_from: ExposedFrom | None = None
    sync: SyncSummary = SyncSummary()
    mpjpe_mm: Mpjpe | None = None
    recording: dict[str, Any] | None = None
    rig: dict[str, Any] = {}
    model: dict[str, Any] = {}
    nodes: dict[str, Any] = {}
    notes: tuple[str, ...] = ()

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    @model_validator(mode="before")
    @classmethod
    def _known_schema(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("schema", 1) != 1:
            raise ValueError(f"summary schema {data['schema']} is not known, this program reads 1")
        return data

    def write(self, path: Path) -> None:
        """Write as JSON, whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, self.model_dump(by_alias=True))
