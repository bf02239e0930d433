"""Reads a dataset's categories from its configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from modise_lightning.errors import UserError
from modise_lightning.structures import Category

_KEYS = {"name", "prompts", "isthing", "color"}


def categories_from_config(nodes: Sequence[Mapping[str, Any]]) -> tuple[Category, ...]:
    """Check and convert the configured categories.

    Args:
        nodes: For each category ``name``, ``prompts`` (at least one), ``isthing`` and ``color`` (RGB, 0-255).

    Returns:
        The categories, in the order of their class indices.

    Raises:
        UserError: Names the entry and key that is wrong.
    """
    if not isinstance(nodes, list | tuple):
        raise UserError(f"data.categories: expected a list of categories, found {str(nodes)[:100]!r}.")
    if not nodes:
        raise UserError("data.categories: empty. Give at least one category.")
    categories = tuple(_category(f"data.categories[{index}]", node) for index, node in enumerate(nodes))
    names = [category.name for category in categories]
    for name in names:
        if names.count(name) > 1:
            raise UserError(
                f"data.categories: the name '{name}' stands {names.count(name)} times; names are unique."
            )
    return categories


def categories_to_config(categories: Sequence[Category]) -> list[dict[str, Any]]:
    """Give categories as ``categories_from_config`` reads them."""
    return [
        {
            "name": category.name,
            "prompts": list(category.prompts),
            "isthing": category.isthing,
            "color": list(category.color),
        }
        for category in categories
    ]


def _category(path: str, node: Mapping[str, Any]) -> Category:
    if not isinstance(node, Mapping) or set(node) != _KEYS:
        found = sorted(node) if isinstance(node, Mapping) else node
        raise UserError(f"{path}: expected the keys {sorted(_KEYS)}, found {found}.")
    name, prompts, isthing, color = node["name"], node["prompts"], node["isthing"], node["color"]
    if not isinstance(name, str) or not name.strip():
        raise UserError(f"{path}.name: expected a text, found {name!r}.")
    if (
        not isinstance(prompts, list | tuple)
        or not prompts
        or not all(isinstance(text, str) for text in prompts)
    ):
        raise UserError(f"{path}.prompts: expected a list of at least one text, found {prompts!r}.")
    if not isinstance(isthing, bool):
        raise UserError(f"{path}.isthing: expected true or false, found {isthing!r}.")
    if (
        not isinstance(color, list | tuple)
        or len(color) != 3
        or not all(isinstance(value, int) and 0 <= value <= 255 for value in color)
    ):
        raise UserError(f"{path}.color: expected three numbers of 0-255, found {color!r}.")
    return Category(name=name, prompts=tuple(prompts), isthing=isthing, color=(color[0], color[1], color[2]))
