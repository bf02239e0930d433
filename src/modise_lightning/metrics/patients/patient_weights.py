"""How often each patient is drawn, summed over what belongs to patients, for rankings."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.stats import rankdata

from modise_lightning.metrics.patients.statistics import Values

Positions = NDArray[np.int64]
RESAMPLES_AT_A_TIME = 128  # so that the numbers of thousands of detections stay in the cache
_SPARSE = 10  # measured: with fewer than one entry in ten, a sparse product is faster


class PatientWeights:
    """How often each patient is drawn, as sums of them need it."""

    def __init__(self, values: Values) -> None:
        """Keep (S, P) weights."""
        self.values = values

    @cached_property
    def _by_patient(self) -> Values:
        return _transposed(self.values)

    def by_column(self, patient: Positions, column: Positions, num_columns: int) -> Values:
        """Add up, of each column, the weights of the patients who are in it.

        Args:
            patient: (N,) position of each entry's patient, who may come again.
            column: (N,) of each entry.
            num_columns: C of them.

        Returns:
            (S, C).
        """
        shape = (num_columns, self.values.shape[1])
        if _SPARSE * len(patient) < shape[0] * shape[1]:
            of_column = csr_array((np.ones(len(patient)), (column, patient)), shape)
            return _transposed(of_column @ self._by_patient)
        flat = np.bincount(column * shape[1] + patient, minlength=shape[0] * shape[1])
        return np.asarray(self.values @ flat.reshape(shape).astype(np.float64).T)


def _transposed(values: Values) -> Values:
    """Copy a matrix with its rows and columns exchanged; NumPy takes three times as long (measured)."""
    return np.asarray(torch.from_numpy(values).t().contiguous().numpy())


def to_ranks(scores: Values) -> Values:
    """Replace scores by minus their rank from the top; equal scores share the mean of theirs."""
    return -np.asarray(rankdata(-scores), dtype=np.float64)


def positions_in(patients: tuple[str, ...], names: Sequence[str]) -> Positions:
    """Find the position of each name among sorted patients that hold it."""
    return np.asarray(np.searchsorted(np.asarray(patients, dtype=np.str_), np.asarray(names, dtype=np.str_)))
