"""Reads a dataset's categories from its configuration."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from modise_lightning.errors import UserError
from modise_lightning.structures import Category

_KEYS = ("name", "prompts", "isthing", "color")
# Okabe and Ito's palette (2008) without black, as it is in pictures on a dark ground; classes beyond it take
# the same hues lighter, and then darker.
_COLORS = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (204, 121, 167),
    (213, 94, 0),
    (0, 114, 178),
)
_SHADES = (0.0, 0.45, -0.35)  # share of the way to white, or to black


def categories_from_config(
    nodes: Sequence[Mapping[str, Any]], where: str = "data.categories"
) -> tuple[Category, ...]:
    """Check and convert the configured categories.

    Args:
        nodes: For each category ``name``, and where the usual value does not fit, ``prompts`` (texts that
            describe it; its name), ``isthing`` (true) and ``color`` (RGB in 0-255; the next of a palette).
        where: What holds them, for messages.

    Returns:
        The categories, in the order of their class indices.

    Raises:
        UserError: Names the entry and key that is wrong.
    """
    if not isinstance(nodes, list | tuple):
        raise UserError(f"{where}: expected a list of categories, found {str(nodes)[:100]!r}.")
    if not nodes:
        raise UserError(f"{where}: empty. Give at least one category.")
    categories = tuple(_category(f"{where}[{index}]", node, index) for index, node in enumerate(nodes))
    names = [category.name for category in categories]
    for name, number in Counter(names).items():
        if number > 1:
            raise UserError(f"{where}: the name '{name}' stands {number} times; names are unique.")
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


def color_of(index: int) -> tuple[int, int, int]:
    """Give the RGB colour, 0-255, of the class with this index; after 21 classes they come again."""
    shade = _SHADES[index // len(_COLORS) % len(_SHADES)]
    target = 255 if shade > 0 else 0
    red, green, blue = (
        round(value + abs(shade) * (target - value)) for value in _COLORS[index % len(_COLORS)]
    )
    return red, green, blue


def _category(path: str, node: Mapping[str, Any], index: int) -> Category:
    if not isinstance(node, Mapping) or "name" not in node or not set(node) <= set(_KEYS):
        found = sorted(map(str, node)) if isinstance(node, Mapping) else repr(node)[:100]
        raise UserError(f"{path}: expected the key name, and of {', '.join(_KEYS[1:])} any; found {found}.")
    name, isthing = node["name"], node.get("isthing", True)
    prompts, color = node.get("prompts", [name]), node.get("color", color_of(index))
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
