"""Reads several prepared datasets as one, in the classes of a label space."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from modise_lightning.data.prepared.categories import categories_from_config
from modise_lightning.data.prepared.dataset import PreparedDataset
from modise_lightning.data.prepared.index import IndexedImage
from modise_lightning.data.prepared.label_space import JointSource, joint_sources, shared_classes
from modise_lightning.data.prepared.writing import INDEX_NAME
from modise_lightning.errors import UserError
from modise_lightning.structures import Category, PanopticSegmentation

# Whether a source's silence about a class that it does not annotate says nothing, or that there is none.
Absence = Literal["unknown", "negative"]
_VOID = -1


@dataclass(frozen=True)
class _Member:
    """A source that was opened.

    Attributes:
        dataset: With its own classes.
        labels: (k + 1,) index of the shared class of each of its k, -1 for none; the last one stands for no
            segment.
        annotated: (K,) bool; None for all.
    """

    dataset: PreparedDataset
    labels: NDArray[np.int64]
    annotated: Tensor | None


@dataclass(frozen=True)
class JointDataset(PreparedDataset):
    """Images of several prepared datasets, one after the other, each in the fold that it has there.

    File names, patients and image ids are unique over all sources: names begin with that of the source.

    Attributes:
        members: The sources.
        places: Of each image, its source's index and its own one there.
    """

    members: tuple[_Member, ...] = ()
    places: tuple[tuple[int, int], ...] = field(default=(), repr=False)

    @property
    def note(self) -> str | None:
        """The line that pictures and tables carry: the sources' own ones."""
        told = [(str(member.dataset.info["name"]), member.dataset.note) for member in self.members]
        notes = [note if note.startswith(name) else f"{name}: {note}" for name, note in told if note]
        return " ".join(dict.fromkeys(notes)) or None

    def read_image(self, index: int) -> NDArray[np.float32]:
        """Read an image, as ``PreparedDataset`` does."""
        member, own = self.places[index]
        return self.members[member].dataset.read_image(own)

    def read_input(self, index: int) -> NDArray[np.float32]:
        """Read what the network sees of an image, as ``PreparedDataset`` does."""
        member, own = self.places[index]
        return self.members[member].dataset.read_input(own)

    def read_target(self, index: int) -> PanopticSegmentation:
        """Read an image's ground truth in the shared classes, with those that its source annotates.

        Segments of classes that the label space lacks are void.

        Raises:
            UserError: It cannot be read, or does not fit the index.
        """
        number, own = self.places[index]
        member = self.members[number]
        target = member.dataset.read_target(own)
        labels = torch.from_numpy(member.labels)[target.labels]
        kept = labels >= 0
        # From ids -1, 0 and 1..N to those that are left; the last entry is that of -1.
        table = torch.full((len(kept) + 2,), _VOID, dtype=torch.int64)
        table[0] = 0
        table[1:-1] = torch.where(kept, kept.cumsum(0), _VOID)
        crowd = target.crowd
        if crowd is not None:
            crowd = torch.from_numpy(member.labels)[crowd]  # -1 takes the last entry, which is -1
        return PanopticSegmentation(
            table[target.segment_ids], labels[kept], crowd=crowd, annotated=member.annotated
        )


def open_joint(
    *,
    root: str,
    name: str,
    categories: Sequence[Mapping[str, Any]] | None,
    classes: Sequence[Mapping[str, Any]],
    sources: Sequence[Mapping[str, Any]] | None,
    absence: Absence,
) -> JointDataset:
    """Open prepared datasets as one.

    Args:
        root: Named in messages.
        name: Of the datasets together.
        categories: The classes to tell apart; None: those of the label space that a source annotates.
        classes: Of the label space, see ``shared_classes``.
        sources: The datasets, see ``joint_sources``.
        absence: Of what a source does not annotate, see ``Absence``.

    Raises:
        UserError: A dataset is missing, contradicts itself or its table, or has other folds than the others.
    """
    if not sources:
        raise UserError("data.sources: empty. Give at least one prepared dataset.")
    shared = shared_classes(classes)
    members = joint_sources(sources, shared)
    annotated = frozenset[str]().union(*(source.annotated for source in members))
    chosen = tuple(category for category in shared if category.name in annotated)
    if categories is not None:
        chosen = categories_from_config(categories)
        lacking = sorted(annotated - {category.name for category in chosen})
        if lacking:
            raise UserError(f"data.categories: lacks '{lacking[0]}', which a source annotates.")
    opened = [_open(source, chosen, absence) for source in members]
    _check_folds(members, opened)
    images, places = _join(members, opened)
    return JointDataset(
        root=Path(root),
        index=Path(root) / INDEX_NAME,
        image_folder=Path(root),
        id_map_folder=Path(root),
        info=_info(name, members, opened, absence),
        categories=chosen,
        images=images,
        unlabelled_is_void=False,
        members=tuple(opened),
        places=tuple(places),
    )


def _open(source: JointSource, chosen: Sequence[Category], absence: Absence) -> _Member:
    own = tuple(Category(name, (name,)) for name in source.classes)
    try:
        dataset = PreparedDataset.open(source.root, own)
    except UserError as error:
        raise UserError(
            f"data.sources: {source.name} (labels {source.labels}): {error} A source's folder is given as "
            f"+data.roots.{source.name}=FOLDER."
        ) from error
    position = {category.name: index for index, category in enumerate(chosen)}
    labels = [-1 if shared is None else position[shared] for shared in source.classes.values()]
    annotated = torch.tensor([category.name in source.annotated for category in chosen])
    everything = absence == "negative" or bool(annotated.all())
    return _Member(dataset, np.array([*labels, -1], dtype=np.int64), None if everything else annotated)


def _check_folds(sources: Sequence[JointSource], opened: Sequence[_Member]) -> None:
    numbers = {
        source.name: max(member.dataset.folds) + 1 for source, member in zip(sources, opened, strict=True)
    }
    if len(set(numbers.values())) > 1:
        told = ", ".join(f"{name} has {number}" for name, number in numbers.items())
        raise UserError(
            f"data.sources: different numbers of folds ({told}). Prepare the sources with the same "
            "data.preparer.num_folds."
        )


def _join(
    sources: Sequence[JointSource], opened: Sequence[_Member]
) -> tuple[list[IndexedImage], list[tuple[int, int]]]:
    images: list[IndexedImage] = []
    places: list[tuple[int, int]] = []
    for number, (source, member) in enumerate(zip(sources, opened, strict=True)):
        for own, image in enumerate(member.dataset.images):
            record = replace(
                image.entry.record,
                image_id=len(images) + 1,
                file_name=f"{source.name}_{image.entry.record.file_name}",
                patient_id=f"{source.name}_{image.entry.record.patient_id}",
                source=source.name,
            )
            segments = tuple(
                replace(segment, label=int(member.labels[segment.label]))
                for segment in image.entry.segments
                if member.labels[segment.label] >= 0
            )
            entry = replace(image.entry, record=record, segments=segments)
            images.append(replace(image, entry=entry))
            places.append((number, own))
    return images, places


def _info(
    name: str, sources: Sequence[JointSource], opened: Sequence[_Member], absence: Absence
) -> dict[str, Any]:
    """Say of the datasets what checkpoints and results keep: all that decides what is trained on."""
    return {
        "name": name,
        # Tables of results mark what rests on synthetic images, if only in part.
        "synthetic": any(member.dataset.info["synthetic"] for member in opened),
        "absence": absence,
        "sources": [
            {
                "name": source.name,
                "labels": source.labels,
                "classes": dict(source.classes),
                "info": dict(member.dataset.info),
            }
            for source, member in zip(sources, opened, strict=True)
        ],
    }
