"""Prompts are listed in the order of the classes, and unusable ones are refused."""

import pytest

from modise_lightning.errors import UserError
from modise_lightning.structures import Category
from modise_lightning.text.prompts import flatten_prompts


def test_flat_list_and_category_of_each() -> None:
    categories = [Category("mass", ("a mass", "tumor")), Category("calcification", ("calcifications",))]
    prompts, indices = flatten_prompts(categories)
    assert prompts == ["a mass", "tumor", "calcifications"]
    assert indices.tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ((), "'second' has no prompts"),
        (("  ",), "'second' has an empty prompt"),
        (("ok", " A Mass"), "'second' and 'first' share the prompt ' A Mass'"),
    ],
)
def test_unusable_prompts_are_refused(prompts: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        flatten_prompts([Category("first", ("a mass",)), Category("second", prompts)])
