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
        (["mass"], r"categories\[0\]: expected the keys"),
        ([MASS, MASS], "the name 'mass' stands 2 times"),
        ([{"name": "mass"}], r"categories\[0\]: expected the keys"),
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
