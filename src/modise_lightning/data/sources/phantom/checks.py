"""Checks the phantom's parameters, so that a mistake is named before anything is generated."""

from __future__ import annotations

from collections.abc import Sequence

from modise_lightning.errors import UserError


def check_range(key: str, value: float, lowest: float, highest: float) -> None:
    """Refuse a value that is out of its range.

    Args:
        key: Name of the parameter.
        value: Its value.
        lowest: Smallest that is allowed.
        highest: Largest that is allowed.

    Raises:
        UserError: If it is out of range.
    """
    if not lowest <= value <= highest:
        raise UserError(f"data.preparer.{key} is {value}, but must be in [{lowest}, {highest}].")


def checked_interval(key: str, values: Sequence[float], lowest: float, highest: float) -> tuple[float, float]:
    """Check a smallest and a largest value.

    Args:
        key: Name of the parameter.
        values: The two values.
        lowest: Smallest that is allowed.
        highest: Largest that is allowed.

    Returns:
        The two values.

    Raises:
        UserError: If they are no interval.
    """
    if len(values) != 2 or not lowest <= values[0] <= values[1] <= highest:
        raise UserError(
            f"data.preparer.{key} is {list(values)}, "
            f"but must be a smallest and a largest value in [{lowest}, {highest}]."
        )
    return float(values[0]), float(values[1])


def checked_probabilities(key: str, values: Sequence[float], length: int | None) -> tuple[float, ...]:
    """Check probabilities.

    Args:
        key: Name of the parameter.
        values: The probabilities.
        length: How many there must be; None for at least one.

    Returns:
        The probabilities.

    Raises:
        UserError: If they are none.
    """
    if len(values) != (length or len(values)) or min(values, default=-1) < 0 or abs(sum(values) - 1) > 1e-6:
        expected = "at least one" if length is None else f"{length}"
        raise UserError(
            f"data.preparer.{key} is {list(values)}, but must be {expected} probabilities that sum to 1."
        )
    return tuple(float(value) for value in values)
