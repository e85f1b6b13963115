"""How far answers lie from the truth: one module a question, put together by `evaluation`."""

from training.metrics.brief import distribution, leg_length_mm, summary
from training.metrics.distances import errors_mm, from_root
from training.metrics.figures import Moment, evaluation, evaluation_of
from training.metrics.tables import table

__all__ = [
    "Moment",
    "distribution",
    "errors_mm",
    "evaluation",
    "evaluation_of",
    "from_root",
    "leg_length_mm",
    "summary",
    "table",
]
