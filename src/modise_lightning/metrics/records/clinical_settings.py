"""What ``metrics=clinical`` measures: which classes are suspicious, rules of a hit, tolerances, strata."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from typing import Any, Literal, get_args

from modise_lightning.errors import UserError
from modise_lightning.metrics.segments.localisation import HitRule

CaseLevel = Literal["breast", "patient"]


@dataclass(frozen=True)
class ClinicalSettings:
    """Each value is explained in ``conf/metrics/clinical.yaml``.

    Attributes:
        suspicious: Names of the classes that make a case positive and give it its score.
        case_levels: What a case is, ``breast`` and ``patient``.
        hit_rules: How a detection hits a lesion in FROC; the first one is also that of FROC by case.
        hit_threshold: IoU of a hit, of masks or boxes.
        false_positive_rates: At which FROC's sensitivities are read.
        low_rate: False-positive rate up to which the first partial area goes.
        high_sensitivity: Sensitivity from which on the second one goes.
        specificities: At which sensitivities of cases are read.
        surface_tolerance_mm: Of the surface Dice where the spacing is known.
        surface_tolerance_pixels: Of the surface Dice elsewhere.
        strip_share: Width of the strips of boundary IoU, as a share of the image's diagonal.
        size_edges_mm: Between the strata of lesion size where all spacings are known: equivalent diameters.
        size_edges_share: Likewise elsewhere: shares of the image's longer side.
        confidence: Of the strata's intervals.
    """

    suspicious: Sequence[str]
    case_levels: Sequence[CaseLevel]
    hit_rules: Sequence[HitRule]
    hit_threshold: float
    false_positive_rates: Sequence[float]
    low_rate: float
    high_sensitivity: float
    specificities: Sequence[float]
    surface_tolerance_mm: float
    surface_tolerance_pixels: float
    strip_share: float
    size_edges_mm: Sequence[float]
    size_edges_share: Sequence[float]
    confidence: float

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            UserError: One of them makes no sense; names it.
        """
        for field in fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, float | int):
                object.__setattr__(self, field.name, tuple(value))
        _check("case_levels", set(self.case_levels) <= set(get_args(CaseLevel)), f"of {get_args(CaseLevel)}")
        known = get_args(HitRule)
        _check(
            "hit_rules",
            bool(self.hit_rules) and set(self.hit_rules) <= set(known),
            f"of {known}, at least one",
        )
        for name in ("hit_threshold", "low_rate", "high_sensitivity", "confidence"):
            _check(name, 0 < getattr(self, name) < 1, "between 0 and 1")
        _check("specificities", all(0 < each < 1 for each in self.specificities), "between 0 and 1")
        _check("strip_share", 0 < self.strip_share <= 1, "above 0 and at most 1")
        for name in ("surface_tolerance_mm", "surface_tolerance_pixels"):
            _check(name, getattr(self, name) >= 0, "not negative")
        for name in ("false_positive_rates", "size_edges_mm", "size_edges_share"):
            values = [0, *getattr(self, name)]
            _check(name, all(low < high for low, high in pairwise(values)), "positive numbers that rise")

    def to_dict(self) -> dict[str, Any]:
        """Give everything as values that JSON can hold."""
        return {
            name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()
        }


def _check(name: str, fits: bool, expected: str) -> None:
    if not fits:
        raise UserError(f"metrics.clinical.{name}: expected {expected}.")
