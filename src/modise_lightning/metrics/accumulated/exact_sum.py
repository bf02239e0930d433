"""Sums of fractions that do not depend on the order of adding, so that processes reduce bit for bit.

Floating-point addition rounds, so that a sum depends on its order; sums of integers do not.
"""

from __future__ import annotations

import torch
from torch import Tensor

_STEP = 2.0**31


def to_parts(values: Tensor) -> Tensor:
    """Split numbers into integers whose sums are exact.

    Args:
        values: (...) float64, not negative. Bits below 2^-62 are cut off: those of numbers below 2^-10.

    Returns:
        (3, ...) int64: whole numbers, multiples of 2^-31 and multiples of 2^-62. 2^32 of these can be added.
    """
    whole = values.floor()
    middle = (values - whole) * _STEP
    low = (middle - middle.floor()) * _STEP
    return torch.stack([whole, middle.floor(), low.floor()]).long()


def from_parts(parts: Tensor) -> Tensor:
    """Put sums of parts together; float64."""
    whole, middle, low = parts.double().unbind()
    return whole + (middle + low / _STEP) / _STEP
