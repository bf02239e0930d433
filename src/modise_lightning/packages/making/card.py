"""Writes the model card: Markdown that says what a model is, what it was measured with, and its limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import yaml  # type: ignore[import-untyped]

from modise_lightning.packages.package import Evaluation, FrozenPart
from modise_lightning.reporting.text_tables.rendering import to_markdown
from modise_lightning.structures import Category
from modise_lightning.visible_text import visible

_TEMPLATE = Path(__file__).parent / "card.md.jinja"
# Marks that would be markup, links or HTML where a card is shown.
_MARKUP = str.maketrans({sign: f"\\{sign}" for sign in "\\|*_`<>[]#!"})


@dataclass(frozen=True)
class CardContent:
    """What a card is filled from.

    Attributes:
        name: The run's.
        dataset: What the training dataset says of itself.
        categories: Its classes.
        fold: The test fold of the packed model.
        folds: Those that were evaluated.
        num_folds: Of the dataset.
        num_images: Of the dataset; None where it is not known.
        is_official: Whether the test images are the dataset's official ones, in every fold.
        has_vocabulary: Whether other classes can be named.
        frozen_parts: Weights that are not in the package.
        num_weights: Trained numbers.
        versions: Of the libraries.
        settings: Tuned ones, by key.
        evaluation: Of the runs.
        licence: Of the trained weights; None where their maker does not say.
        remarks: Of the maker, sentences.
    """

    name: str
    dataset: dict[str, Any]
    categories: Sequence[Category]
    fold: int
    folds: Sequence[int]
    num_folds: int
    num_images: int | None
    is_official: bool
    has_vocabulary: bool
    frozen_parts: Sequence[FrozenPart]
    num_weights: int
    versions: dict[str, str]
    settings: dict[str, Any]
    evaluation: Evaluation
    licence: str | None
    remarks: Sequence[str]


def write_card(content: CardContent) -> str:
    """Fill the card's template; nothing in names can become markup.

    Args:
        content: What it says.
    """
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False
    )
    environment.filters["text"] = _text
    metadata = yaml.safe_dump(
        {
            "library_name": "modise_lightning",
            "pipeline_tag": "image-segmentation",
            "tags": ["mammography", "panoptic-segmentation", "research-only"],
            **({} if content.licence is None else {"license": content.licence}),
        },
        sort_keys=True,
    )
    tables = [to_markdown(table) for table in content.evaluation.text_tables()]
    template = environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))
    return template.render(content=content, metadata=metadata, tables=tables)


def _text(value: object) -> str:
    """Give a value in one line without markup."""
    return visible(" ".join(str(value).split())).translate(_MARKUP)
