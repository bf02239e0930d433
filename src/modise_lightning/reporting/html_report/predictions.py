"""The gallery of images that were predicted without ground truth, as one HTML file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from modise_lightning.reporting.html_report.cards import Outline
from modise_lightning.reporting.html_report.rendering import render_page
from modise_lightning.structures import Category


@dataclass(frozen=True)
class PredictedLesion:
    """A lesion that was found.

    Attributes:
        category: Index of its class.
        score: In [0, 1].
        size: Its longest diameter, with the unit.
        outline: Over the picture.
    """

    category: int
    score: float
    size: str
    outline: Outline


@dataclass(frozen=True)
class PredictedCard:
    """An image of the gallery.

    Attributes:
        name: Of the image.
        exam: It belongs to.
        laterality: ``left``, ``right``, or None where it is not known.
        view: Likewise.
        picture: Data URI.
        width: Of the picture in pixels.
        height: Likewise.
        lesions: From the highest score to the lowest.
    """

    name: str
    exam: str
    laterality: str | None
    view: str | None
    picture: str
    width: int
    height: int
    lesions: tuple[PredictedLesion, ...]

    @property
    def place(self) -> str:
        """Breast and view as one word, for the choice; empty where neither is known."""
        return " ".join(filter(None, [self.laterality, self.view]))

    @property
    def highest_score(self) -> float:
        """Of its lesions; 0 without any."""
        return max((lesion.score for lesion in self.lesions), default=0.0)


def render_predictions(
    cards: Sequence[PredictedCard],
    categories: Sequence[Category],
    *,
    number: int,
    model: str,
    notice: str | None,
) -> str:
    """Write the page.

    Args:
        cards: The images that are shown.
        categories: Names and colours of the classes.
        number: Of all images that were predicted.
        model: What predicted.
        notice: A warning that the page carries.
    """
    return render_page(
        "predictions.html.jinja",
        "predictions.js",
        {},
        cards=cards,
        categories=categories,
        number=number,
        model=model,
        notice=notice,
        places=sorted({card.place for card in cards} - {""}),
    )
