"""Ranks the images of a gallery, and chooses those that it has room for."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from modise_lightning.reporting.html_report.outcomes import ImageOutcome


def rank_images(outcomes: Sequence[ImageOutcome]) -> list[ImageOutcome]:
    """Order images by IoU, the worst first; those without an IoU (nothing there or predicted) come last.

    Args:
        outcomes: Of one model; among equal ones the file's name decides, then fold and id.
    """
    return sorted(
        outcomes,
        key=lambda image: (
            math.isnan(image.iou),
            0.0 if math.isnan(image.iou) else image.iou,
            image.file_name,
            image.fold,
            image.image_id,
        ),
    )


def choose_ranked(ranked: Sequence[ImageOutcome], most: int) -> list[ImageOutcome]:
    """Choose images where there are too many: half are the worst, half are spread over the other ranks.

    Args:
        ranked: The worst first.
        most: How many to choose; not negative.

    Returns:
        At most so many, the worst first.
    """
    if len(ranked) <= most:
        return list(ranked)
    if most == 0:
        return []
    worst = math.ceil(most / 2)
    # Both ends are among them: the rank after the worst ones, and the very last.
    spread = np.linspace(len(ranked) - 1, worst, most - worst, endpoint=most - worst > 1).round().astype(int)
    return [ranked[position] for position in [*range(worst), *sorted(spread.tolist())]]
