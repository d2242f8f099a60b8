"""Named sets of criteria: what `validate --standard NAME` holds a forecast against.

A criterion is about the mean over all leads of one band. What each measure is, and of which
targets it can be told, is decided where it is judged (`validate/verdict/standards.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Criterion:
    """What a standard asks of one measure.

    Attributes:
        measure: a key of validate.standards.MEASURES.
        relation: ``<``, ``<=``, ``>`` or ``>=``; ``in`` for a range, both ends included.
        bound: the threshold, or the lower end of the range.
        upper: the upper end of the range.
    """

    measure: str
    relation: str
    bound: float
    upper: float = 0.0

    def holds(self, value: float) -> bool:
        """Whether a value meets it; an undefined one does not."""
        return {
            "<": value < self.bound,
            "<=": value <= self.bound,
            ">": value > self.bound,
            ">=": value >= self.bound,
            "in": self.bound <= value <= self.upper,
        }[self.relation]

    @property
    def wanted(self) -> str:
        """What it asks, such as ``< 0.15`` or ``0.4 to 0.9``."""
        if self.relation == "in":
            return f"{self.bound:g} to {self.upper:g}"
        return f"{self.relation} {self.bound:g}"


NO_STANDARD = "none"
STANDARDS: Mapping[str, tuple[Criterion, ...]] = {
    "general": (
        Criterion("rmse", "<", 0.15),
        Criterion("ssim", ">", 0.85),
        Criterion("r2", ">", 0.8),
        Criterion("moran", "in", 0.4, 0.9),
        Criterion("alignment", "<", 0.5),
    ),
    "ndvi": (Criterion("mae", "<=", 0.05), Criterion("ssim", ">=", 0.88)),
    "flood": (Criterion("iou", ">=", 0.8), Criterion("ssim", ">=", 0.9)),
    "lulc": (Criterion("rmse", "<=", 0.1), Criterion("r2", ">=", 0.85)),
    "urban": (Criterion("f1", ">=", 0.9), Criterion("r2", ">=", 0.9)),
    "drought": (Criterion("rmse", "<=", 0.08),),
}
