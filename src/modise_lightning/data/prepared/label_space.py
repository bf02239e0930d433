"""The classes that datasets share, and which of them each dataset annotates under which names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modise_lightning.data.prepared.categories import categories_from_config
from modise_lightning.errors import UserError
from modise_lightning.structures import Category

_KEYS = ("name", "axis", "prompts", "isthing", "color")
SOURCE_KEYS = {"name", "labels", "root", "classes"}


@dataclass(frozen=True)
class JointSource:
    """A prepared dataset that takes part, and what its classes are in the label space.

    Attributes:
        name: Of the dataset.
        labels: Which of its labellings it was prepared with.
        root: Its folder.
        classes: Shared class of each of its own; None where there is none.
    """

    name: str
    labels: str
    root: Path
    classes: Mapping[str, str | None]

    @property
    def annotated(self) -> frozenset[str]:
        """Shared classes that it annotates: those that its own map to."""
        return frozenset(each for each in self.classes.values() if each is not None)


def shared_classes(nodes: Sequence[Mapping[str, Any]]) -> tuple[Category, ...]:
    """Read the classes of a label space.

    Args:
        nodes: For each class what ``categories_from_config`` takes, and its ``axis``.

    Raises:
        UserError: Names the entry that is wrong.
    """
    where = "data.label_space.classes"
    for index, node in enumerate(nodes):
        if not isinstance(node, Mapping) or not set(node) <= set(_KEYS) or not node.get("axis"):
            raise UserError(
                f"{where}[{index}]: expected the keys name and axis, and of {', '.join(_KEYS[2:])} any."
            )
    return categories_from_config(
        [{key: value for key, value in node.items() if key != "axis"} for node in nodes], where
    )


def joint_sources(nodes: Sequence[Mapping[str, Any]], classes: Sequence[Category]) -> tuple[JointSource, ...]:
    """Read the sources, and check what they map to.

    Args:
        nodes: For each source ``name``, ``labels``, ``root`` and ``classes``.
        classes: Of the label space.

    Raises:
        UserError: A source stands twice, maps to a class that there is not, or to none.
    """
    known = {category.name for category in classes}
    sources = []
    for index, node in enumerate(nodes):
        where = f"data.members[{index}]"
        if set(node) != SOURCE_KEYS or not isinstance(node["classes"], Mapping):
            raise UserError(f"{where}: expected the keys {', '.join(sorted(SOURCE_KEYS))}.")
        source = JointSource(
            str(node["name"]), str(node["labels"]), Path(node["root"]), dict(node["classes"])
        )
        unknown = sorted(source.annotated - known)
        if unknown:
            raise UserError(
                f"data.label_space.sources.{source.name}.{source.labels}: '{unknown[0]}' is no class of the "
                f"label space; they are {', '.join(category.name for category in classes)}."
            )
        if not source.annotated:
            raise UserError(
                f"data.label_space.sources.{source.name}.{source.labels}: maps to no class of the label "
                "space."
            )
        sources.append(source)
    names = [source.name for source in sources]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(
            f"data.sources: '{twice[0]}' stands twice. Its folds differ by its labels, so that a patient "
            "could be trained on and tested; take one of its labellings."
        )
    return tuple(sources)
