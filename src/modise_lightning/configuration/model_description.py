"""Describes a trained model in tables, from its file alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml  # type: ignore[import-untyped]
from omegaconf import OmegaConf

from modise_lightning.configuration.trained_model import read_trained
from modise_lightning.packages.archive import is_package
from modise_lightning.packages.package import Package, read_package
from modise_lightning.reporting.text_tables.rendering import Line, TextTable
from modise_lightning.structures import Category
from modise_lightning.training.checkpoint import METADATA_KEY

_PARTS = ("backbone", "captioner", "mask_generator", "text.encoder", "text.classifier")
_LONGEST = 500


def describe_model(path: Path, trusted_targets: Sequence[str] = ()) -> list[TextTable]:
    """Give tables of what a package or a checkpoint holds.

    Args:
        path: The file.
        trusted_targets: Plug-ins that it may name.

    Raises:
        UserError: It is missing, damaged or neither.
    """
    trained = read_trained(path, {}, trusted_targets)
    config, metadata = trained.config, trained.checkpoint[METADATA_KEY]
    state = trained.checkpoint["state_dict"]
    number = sum(value.numel() for value in state.values())
    package = read_package(path) if is_package(path) else None
    facts = {
        "kind": "checkpoint" if package is None else "package",
        "name": OmegaConf.select(config, "name"),
        "trained on": f"{trained.dataset['name']}{' (SYNTHETIC)' if trained.dataset['synthetic'] else ''}",
        "licence of the data": trained.dataset.get("license", "not stated"),
        "test fold": OmegaConf.select(config, "fold"),
        "trained weights": f"{number} numbers in {len(state)} tensors",
        "frozen weights": f"fingerprint {metadata['frozen_weights']}",
    }
    for part in _PARTS:
        node = OmegaConf.select(config, part)
        target = None if node is None else node.get("_target_")
        facts[part] = "none" if target is None else f"{target}{_weights(node.get('weights'))}"
    facts["vocabulary"] = "classes can be named" if config.text.encoder is not None else "fixed"
    if package is not None:
        facts |= _of_package(package)
    versions = metadata.get("versions", {})
    facts["versions"] = ", ".join(f"{name} {version}" for name, version in versions.items())
    rows = [[name, str(value)[:_LONGEST]] for name, value in facts.items()]
    tables = [_table(str(path), ["", "what"], rows), _classes(trained.categories)]
    if package is not None and package.evaluation is not None:
        tables += package.evaluation.text_tables()
    return tables


def _weights(weights: object) -> str:
    return "" if weights is None else f", weights: {weights}"


def _of_package(package: Package) -> dict[str, str]:
    facts = {
        f"frozen {part.part}": f"{part.repository or part.weights}"
        + ("" if part.fingerprint is None else f", fingerprint {part.fingerprint}")
        for part in package.manifest.frozen_parts
    }
    facts["tuned settings"] = yaml.safe_dump(package.settings.plain(), default_flow_style=True).strip()
    return facts


def _classes(categories: Sequence[Category]) -> TextTable:
    rows = [
        [each.name, "thing" if each.isthing else "stuff", "; ".join(each.prompts)[:_LONGEST]]
        for each in categories
    ]
    return _table("classes", ["class", "kind", "texts"], rows)


def _table(title: str, columns: list[str], rows: list[list[str]]) -> TextTable:
    return TextTable(title, columns, [Line(row, [False] * len(row), False) for row in rows], [])
