"""Translates the names of published tensors into this library's, and accounts for every one of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from modise_lightning.errors import UserError

Replacement = str | Callable[[re.Match[str]], str]
# In an own name: the tensor holds the projections to query, key and value one below the other.
PROJECTIONS = "{qkv}"


@dataclass(frozen=True)
class Translation:
    """Published tensors by this library's names.

    Attributes:
        state: By own name.
        origins: The published name of each of them, for messages.
        not_needed: Published names of what this library has no use for, as is known.
        unknown: Published names that no rule knows.
    """

    state: Mapping[str, Tensor]
    origins: Mapping[str, str]
    not_needed: tuple[str, ...]
    unknown: tuple[str, ...]


@dataclass(frozen=True)
class NameRules:
    """How a project's names become this library's.

    Attributes:
        rules: Regular expressions for the beginning of a name (or all of it) and what stands there instead;
            the first one that matches holds.
        not_needed: Regular expressions for whole names of tensors that are no weights of the model.
        reshaped: By own name, how a tensor gets this library's shape.
    """

    rules: Sequence[tuple[str, Replacement]]
    not_needed: Sequence[str] = ()
    reshaped: Mapping[str, Callable[[Tensor], Tensor]] = field(default_factory=dict)

    def own_name(self, name: str) -> str | None:
        """Translate a name, which may hold ``PROJECTIONS``; None where no rule knows it."""
        for pattern, replacement in self.rules:
            if match := re.match(pattern, name):
                own = match.expand(replacement) if isinstance(replacement, str) else replacement(match)
                return own + name[match.end() :]
        return None

    def own_tensors(self, name: str, tensor: Tensor) -> dict[str, Tensor]:
        """Translate a tensor, which may be several here; none where no rule knows it.

        Args:
            name: Published name.
            tensor: A weight, or its gradient.

        Raises:
            UserError: It cannot be the three projections that its name says it is.
        """
        own = self.own_name(name)
        if own is None:
            return {}
        if PROJECTIONS not in own:
            reshape = self.reshaped.get(own)
            return {own: tensor if reshape is None else reshape(tensor)}
        if tensor.ndim == 0 or len(tensor) % 3:
            raise UserError(
                f"source: '{name}' is {tuple(tensor.shape)}, which cannot be the projections to query, key "
                "and value one below the other. Download the file again."
            )
        return {
            own.replace(PROJECTIONS, letter): part
            for letter, part in zip("qkv", tensor.chunk(3), strict=True)
        }

    def translate(self, tensors: Mapping[str, Tensor]) -> Translation:
        """Translate all tensors of a file.

        Raises:
            UserError: Two of them have one name here, or one cannot be what its name says.
        """
        state: dict[str, Tensor] = {}
        origins: dict[str, str] = {}
        not_needed, unknown = [], []
        for name, tensor in tensors.items():
            if any(re.fullmatch(pattern, name) for pattern in self.not_needed):
                not_needed.append(name)
                continue
            own = self.own_tensors(name, tensor)
            if not own:
                unknown.append(name)
            for own_name, part in own.items():
                if own_name in state:
                    raise UserError(
                        f"source: '{name}' and '{origins[own_name]}' are the same weight, {own_name}. "
                        "Download the file again."
                    )
                state[own_name], origins[own_name] = part, name
        return Translation(state, origins, tuple(not_needed), tuple(unknown))
