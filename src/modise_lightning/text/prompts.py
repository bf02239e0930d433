"""The prompts of all categories as one list."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from modise_lightning.errors import UserError
from modise_lightning.structures import Category


def flatten_prompts(categories: Sequence[Category]) -> tuple[list[str], Tensor]:
    """List the prompts of all categories.

    Args:
        categories: In the order of their class indices.

    Returns:
        P prompts, and (P,) int64 class index in [0, K) of each.

    Raises:
        UserError: A category has no prompt, an empty one, or one of another category.
    """
    category_of: dict[str, str] = {}
    for category in categories:
        if not category.prompts:
            raise UserError(
                f"categories: '{category.name}' has no prompts. Give at least one text that describes it."
            )
        for prompt in category.prompts:
            if not prompt.strip():
                raise UserError(
                    f"categories: '{category.name}' has an empty prompt, which means no object. Remove it."
                )
            other = category_of.setdefault(prompt.strip().lower(), category.name)
            if other != category.name:
                raise UserError(
                    f"categories: '{category.name}' and '{other}' share the prompt '{prompt}', so they "
                    "cannot be told apart. Change one of them."
                )
    prompts = [prompt for category in categories for prompt in category.prompts]
    indices = [index for index, category in enumerate(categories) for _ in category.prompts]
    return prompts, torch.tensor(indices)
