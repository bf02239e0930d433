"""Lets several models hold the frozen weights that they have in common once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn


def share_frozen(modules: Sequence[nn.Module]) -> int:
    """Replace frozen parameters by those of an earlier module that have the same name and the same values.

    A parameter that several modules own moves to another device once.

    Args:
        modules: Models, which are changed.

    Returns:
        The bytes that are held once instead of again.
    """
    known: dict[str, list[nn.Parameter]] = {}
    saved = 0
    for module in modules:
        for name, parameter in list(module.named_parameters()):
            if parameter.requires_grad:
                continue
            same = next((each for each in known.get(name, []) if _equal(each, parameter)), None)
            if same is None:
                known.setdefault(name, []).append(parameter)
            elif same is not parameter:
                owner, _, own_name = name.rpartition(".")
                module.get_submodule(owner).register_parameter(own_name, same)
                saved += parameter.nbytes
    return saved


def _equal(one: nn.Parameter, other: nn.Parameter) -> bool:
    return (
        one.shape == other.shape
        and one.dtype == other.dtype
        and one.stride() == other.stride()
        and torch.equal(one, other)
    )
