"""Chooses which classes a picture tells apart where a dataset has more than anyone can read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from modise_lightning.structures import Category

MOST_CLASSES = 20  # names that a legend or an axis holds at a readable size; chosen


def shown_in_legend(
    categories: Sequence[Category], labels: Iterable[int], most: int = MOST_CLASSES
) -> tuple[list[Category], int]:
    """Choose the classes of a picture's legend: all, or of many those that occur most often in it.

    Args:
        categories: Names and colours of the classes.
        labels: Class index of each segment in the picture.
        most: Classes that a legend holds.

    Returns:
        The classes in their order, and how many occur in the picture but are left out.
    """
    if len(categories) <= most:
        return list(categories), 0
    counts = Counter(labels)
    chosen = sorted(sorted(counts, key=lambda label: (-counts[label], label))[:most])
    return [categories[label] for label in chosen], len(counts) - len(chosen)


def most_frequent_classes(counts: NDArray[np.int64], most: int = MOST_CLASSES) -> list[int]:
    """Choose the classes of a confusion that stay on their own: all, or of many the most frequent ones.

    Args:
        counts: (K + 1, K + 1) segments, true by predicted class; the last ones stand for nothing.
        most: How many at most.

    Returns:
        The indices, rising; of many classes of those with the most true and predicted segments that occur.
    """
    if len(counts) - 1 <= most:
        return list(range(len(counts) - 1))
    frequency = counts[:-1].sum(axis=1) + counts[:, :-1].sum(axis=0)
    chosen = np.argsort(-frequency, kind="stable")[:most]
    return sorted(chosen[frequency[chosen] > 0].tolist())


def merge_other_classes(
    names: Sequence[str], counts: NDArray[np.int64], chosen: Sequence[int]
) -> tuple[list[str], NDArray[np.int64]]:
    """Put the classes of a confusion that are not chosen together, so that the others can be read.

    Args:
        names: The K classes.
        counts: (K + 1, K + 1), as above.
        chosen: Indices of classes, rising.

    Returns:
        The M names, the last one telling the number of the other classes if there are any, and the
        (M + 1, M + 1) counts, whose sum is the same.
    """
    if len(chosen) == len(names):
        return list(names), counts
    group = np.full(len(names) + 1, len(chosen))
    group[list(chosen)] = np.arange(len(chosen))
    group[-1] = len(chosen) + 1
    merged = np.zeros((len(chosen) + 2, len(chosen) + 2), dtype=counts.dtype)
    np.add.at(merged, (group[:, None], group[None, :]), counts)
    return [*(names[index] for index in chosen), f"{len(names) - len(chosen)} others"], merged
