"""Categories come from the configuration alone, and a mistake there names its entry."""

from typing import Any

import pytest

from modise_lightning.data.prepared.categories import categories_from_config
from modise_lightning.errors import UserError
from modise_lightning.structures import Category

MASS: dict[str, Any] = {"name": "mass", "prompts": ["mass", "lump"], "isthing": True, "color": [1, 2, 3]}


def test_right_entries_are_converted() -> None:
    assert categories_from_config([MASS]) == (Category("mass", ("mass", "lump"), True, (1, 2, 3)),)


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([], r"data\.categories: empty"),
        (3, r"data\.categories: expected a list of categories, found '3'"),
        (MASS, r"data\.categories: expected a list of categories"),
        (["mass"], r"categories\[0\]: expected the key name"),
        ([MASS, MASS], "the name 'mass' stands 2 times"),
        ([{"prompts": ["mass"]}], r"categories\[0\]: expected the key name"),
        ([{**MASS, "colour": [1, 2, 3]}], r"of prompts, isthing, color any; found .*colour"),
        ([MASS, {**MASS, "name": ""}], r"categories\[1\]\.name"),
        ([{**MASS, "prompts": []}], r"categories\[0\]\.prompts"),
        ([{**MASS, "prompts": "mass"}], r"categories\[0\]\.prompts"),
        ([{**MASS, "isthing": "yes"}], r"categories\[0\]\.isthing"),
        ([{**MASS, "color": [1, 2]}], r"categories\[0\]\.color"),
        ([{**MASS, "color": [1, 2, 256]}], r"categories\[0\]\.color"),
    ],
)
def test_a_mistake_names_its_entry(nodes: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        categories_from_config(nodes)


def test_what_is_left_out_has_its_usual_value() -> None:
    categories = categories_from_config([{"name": f"class {number}"} for number in range(30)])
    assert all(category.prompts == (category.name,) and category.isthing for category in categories)
    assert len({category.color for category in categories}) == 21
    assert all(0 <= value <= 255 for category in categories for value in category.color)
