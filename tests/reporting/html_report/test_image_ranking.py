"""Galleries begin with the worst image; where there is no room for all, the worst half is kept."""

from __future__ import annotations

import math
import random

from hypothesis import given
from hypothesis import strategies as st

from modise_lightning.reporting.html_report.image_ranking import choose_ranked, rank_images
from modise_lightning.reporting.html_report.outcomes import ImageOutcome


def image(number: int, iou: float) -> ImageOutcome:
    return ImageOutcome(number, f"{number:04d}.png", 0, (), (), 0, iou, math.nan)


@given(st.lists(st.one_of(st.floats(0, 1), st.just(math.nan)), max_size=30), st.randoms())
def test_the_worst_come_first_whatever_their_order(values: list[float], shuffler: random.Random) -> None:
    images = [image(number, value) for number, value in enumerate(values)]
    ranked = rank_images(images)
    defined = [each.iou for each in ranked if not math.isnan(each.iou)]
    assert defined == sorted(defined)
    assert all(math.isnan(each.iou) for each in ranked[len(defined) :])
    shuffled = images.copy()
    shuffler.shuffle(shuffled)
    assert [each.image_id for each in rank_images(shuffled)] == [each.image_id for each in ranked]


@given(st.integers(0, 60), st.integers(0, 60))
def test_the_chosen_are_the_worst_half_and_a_spread(number: int, most: int) -> None:
    ranked = [image(index, index / 60) for index in range(number)]
    chosen = [each.image_id for each in choose_ranked(ranked, most)]
    assert len(chosen) == min(number, most)
    assert chosen == sorted(set(chosen))
    worst = math.ceil(most / 2)
    assert chosen[:worst] == list(range(min(worst, number)))
    if 2 <= most < number:
        assert chosen[-1] == number - 1
        gaps = [second - first for first, second in zip(chosen[worst:], chosen[worst + 1 :], strict=False)]
        assert not gaps or max(gaps) - min(gaps) <= 1
