"""What a kind of input is: valid files, how they are changed, and the reader that gets them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import numpy as np
from numpy.typing import ArrayLike

from fuzzing.byte_mutations import mutate_bytes

Mutate = Callable[[bytes, Random], bytes]


class InsaneResultError(Exception):
    """A reader gave back what it must never give."""


class RefusedError(Exception):
    """A reader refused its input in a way that its caller takes for an answer, not with a ``UserError``."""


@dataclass(frozen=True)
class Kind:
    """A kind of input.

    Attributes:
        name: On the command line and in tables.
        file_name: Where the input lies, relative to the folder of the kind.
        read: Gives the folder to the real reader, and raises ``InsaneResultError`` at a wrong result.
        valid: Valid files; one of them is changed.
        mutations: Changes that know the format; half of the inputs are changed as bytes.
        prepare: Writes what has to lie beside the input.
        turn_seconds: How long it is fuzzed before the next kind's turn; more for slow readers.
    """

    name: str
    file_name: str
    read: Callable[[Path], object]
    valid: Sequence[bytes]
    mutations: Sequence[Mutate] = ()
    prepare: Callable[[Path], None] = field(default=lambda folder: None)
    turn_seconds: float = 0.3

    def make_input(self, seed: int, iteration: int) -> bytes:
        """Make the input of an iteration; the first ones are the valid files as they are."""
        random = Random(f"{seed} {self.name} {iteration}")
        if iteration < len(self.valid):
            return self.valid[iteration]
        data = random.choice(self.valid)
        if self.mutations and random.random() < 0.7:
            try:
                data = random.choice(self.mutations)(data, random)
            except RecursionError:  # nested more deeply than can be written
                return mutate_bytes(data, random)
            return mutate_bytes(data, random) if random.random() < 0.05 else data
        return mutate_bytes(data, random)


def check_finite(values: ArrayLike, low: float, high: float, what: str) -> None:
    """Check that values are finite and in [low, high].

    Raises:
        InsaneResultError: They are not.
    """
    array = np.asarray(values, dtype=np.float64)
    if not np.isfinite(array).all() or (array < low).any() or (array > high).any():
        raise InsaneResultError(f"{what} holds values that are not in [{low:g}, {high:g}]")
