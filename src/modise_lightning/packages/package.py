"""A trained model as one file: weights, configuration, settings, what it was measured with, and a card."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import safetensors.torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from modise_lightning.errors import UserError
from modise_lightning.inference.tuned_settings import TunedSettings, parse_tuned
from modise_lightning.json_text import parse_json
from modise_lightning.packages.archive import (
    CARD,
    CONFIG,
    EVALUATION,
    MANIFEST,
    SETTINGS,
    WEIGHTS,
    read_members,
    write_members,
)
from modise_lightning.reporting.text_tables.rendering import Line, TextTable
from modise_lightning.training.checkpoint import METADATA_KEY, check_content

_Text = Annotated[str, Field(max_length=1000)]


class FrozenPart(BaseModel):
    """A part whose weights are published elsewhere, and are not in the package.

    Attributes:
        part: Key of the configuration.
        repository: Published id; None where it has none.
        weights: What the run took: ``hub``, ``random``, or the name of a local file or folder.
        fingerprint: Of its frozen weights; None where they are not needed to use the model.
    """

    model_config = ConfigDict(strict=True, extra="forbid")

    part: _Text
    repository: _Text | None
    weights: _Text
    fingerprint: _Text | None


class Manifest(BaseModel):
    """What says how to rebuild the model, and what else is in the package.

    Attributes:
        format: Of packages.
        name: The run's name.
        fold: The test fold: the images that the model was neither trained nor selected on.
        dataset: What the training dataset says of itself.
        frozen_weights: Fingerprint of all frozen weights together.
        frozen_parts: Where they come from.
        versions: Of the libraries in training.
        digests: SHA-256 of every other member.
    """

    model_config = ConfigDict(strict=True, extra="forbid")

    format: Literal[1]
    name: _Text
    fold: Annotated[int, Field(ge=0)]
    dataset: dict[str, Any]
    frozen_weights: _Text
    frozen_parts: Annotated[list[FrozenPart], Field(max_length=100)]
    versions: dict[str, _Text]
    digests: dict[str, _Text]


class _Table(BaseModel):
    model_config = ConfigDict(strict=True)

    title: str
    columns: list[str]
    lines: list[list[str]]
    notes: list[str]


class Evaluation(BaseModel):
    """How the model's runs were measured.

    Attributes:
        numbers: By number: value, lower and upper bound; None where undefined.
        confidence: Of the bounds.
        tables: The same and more, for people.
    """

    model_config = ConfigDict(strict=True, extra="forbid")

    numbers: dict[str, tuple[float | None, float | None, float | None]]
    confidence: float
    tables: list[_Table]

    @classmethod
    def of(
        cls, numbers: Mapping[str, tuple[float | None, ...]], confidence: float, tables: list[TextTable]
    ) -> Evaluation:
        """Take numbers and tables."""
        plain = [
            {
                "title": table.title,
                "columns": table.columns,
                "lines": [line.cells for line in table.lines],
                "notes": table.notes,
            }
            for table in tables
        ]
        return cls.model_validate_json(
            json.dumps({"numbers": dict(numbers), "confidence": confidence, "tables": plain})
        )

    def text_tables(self) -> list[TextTable]:
        """Give the tables as they are printed; lines with too few or too many cells are left out."""
        return [
            TextTable(
                table.title,
                table.columns,
                [
                    Line(cells, [False] * len(cells), False)
                    for cells in table.lines
                    if len(cells) == len(table.columns)
                ],
                table.notes,
            )
            for table in self.tables
        ]


@dataclass(frozen=True)
class Package:
    """What a package holds.

    Attributes:
        manifest: What it says of itself.
        checkpoint: As ``read_checkpoint`` gives it.
        settings: Tuned ones.
        evaluation: How its runs were measured; None where it does not say.
        card: The model card, Markdown; None where there is none.
    """

    manifest: Manifest
    checkpoint: dict[str, Any]
    settings: TunedSettings
    evaluation: Evaluation | None
    card: str | None


def write_package(
    path: Path,
    checkpoint: Mapping[str, Any],
    *,
    name: str,
    fold: int,
    frozen_parts: list[FrozenPart],
    settings: str | None,
    evaluation: Evaluation,
    card: str,
) -> Manifest:
    """Write a package.

    Args:
        path: A ZIP file.
        checkpoint: As ``read_checkpoint`` gave it.
        name: The run's name.
        fold: The test fold.
        frozen_parts: Where the weights come from that are not in it.
        settings: Tuned ones, as the text of an overlay that ``parse_tuned`` takes; None for none.
        evaluation: Of its runs.
        card: Markdown.
    """
    metadata = checkpoint[METADATA_KEY]
    tensors = {key: value.contiguous().clone() for key, value in checkpoint["state_dict"].items()}
    others = {
        WEIGHTS: safetensors.torch.save(tensors),
        CONFIG: metadata["config"].encode("utf-8", "backslashreplace"),
        EVALUATION: evaluation.model_dump_json(indent=1).encode(),
        CARD: card.encode("utf-8", "backslashreplace"),
        **({} if settings is None else {SETTINGS: settings.encode()}),
    }
    manifest = Manifest(
        format=1,
        name=name,
        fold=fold,
        dataset=dict(metadata["dataset"]),
        frozen_weights=metadata["frozen_weights"],
        frozen_parts=frozen_parts,
        versions=dict(metadata.get("versions", {})),
        digests={key: hashlib.sha256(data).hexdigest() for key, data in others.items()},
    )
    write_members(path, {MANIFEST: manifest.model_dump_json(indent=1).encode(), **others})
    return manifest


def read_package(path: Path, setting: str = "model") -> Package:
    """Read a package without running anything in it.

    Args:
        path: A ZIP file.
        setting: The setting that named it, for messages.

    Raises:
        UserError: It is no package, or damaged.
    """
    if not path.is_file():
        raise UserError(f"{setting}: no file '{path}'. `python -m modise_lightning.package` makes packages.")
    members = read_members(path, setting)
    try:
        manifest = Manifest.model_validate(parse_json(members[MANIFEST]))
        _check_digests(manifest, members)
        state = safetensors.torch.load(members[WEIGHTS])
        texts = {name: members[name].decode() for name in (CONFIG, SETTINGS, CARD) if name in members}
        evaluation = None
        if EVALUATION in members:
            evaluation = Evaluation.model_validate_json(members[EVALUATION])
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part)[:100] for part in first["loc"])
        raise UserError(f"{setting}: '{path}' is damaged: {where}: {first['msg']}.") from error
    except (ValueError, KeyError, safetensors.SafetensorError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"{setting}: '{path}' is damaged ({reason}).") from error
    metadata = {
        "config": texts[CONFIG],
        "dataset": manifest.dataset,
        "frozen_weights": manifest.frozen_weights,
        "versions": manifest.versions,
    }
    checkpoint = {"state_dict": state, METADATA_KEY: metadata}
    check_content(checkpoint, path, setting)
    settings = TunedSettings()
    if SETTINGS in texts:
        settings = parse_tuned(texts[SETTINGS], f"{setting}: '{path}': {SETTINGS}")
    return Package(manifest, checkpoint, settings, evaluation, texts.get(CARD))


def _check_digests(manifest: Manifest, members: Mapping[str, bytes]) -> None:
    found = {name: hashlib.sha256(data).hexdigest() for name, data in members.items() if name != MANIFEST}
    names = sorted(found.keys() | manifest.digests)
    differing = [name for name in names if found.get(name) != manifest.digests.get(name)]
    if differing:
        raise ValueError(f"{differing[0][:100]} is not what its manifest says")
