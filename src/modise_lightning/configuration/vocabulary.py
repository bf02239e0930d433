"""Classes that are named when a model is used, in words, rather than when it was trained."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import yaml  # type: ignore[import-untyped]
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from modise_lightning.configuration.command_line import config_directory
from modise_lightning.data.prepared.categories import categories_from_config
from modise_lightning.errors import UserError
from modise_lightning.regular_files import check_regular
from modise_lightning.structures import Category
from modise_lightning.text.prompts import flatten_prompts

# What fits into memory as class logits and can be told apart in a table; LVIS has 1,203 classes.
MAXIMUM_CATEGORIES = 2000
MAXIMUM_TEXTS = 20_000
_MAXIMUM_BYTES = 4 * 2**20


def read_vocabulary(setting: object) -> tuple[Category, ...] | None:
    """Read the classes that ``vocabulary=`` names.

    Args:
        setting: None for the checkpoint's own; a list of classes (see ``vocabulary_from``); a YAML file of
            such a list; a vocabulary that is shipped (``coco``, ``ade20k``); or a dataset, for the classes of
            its configuration (``vindr_mammo``, or ``cdd_cesm:finding`` for other than its usual labels).

    Raises:
        UserError: Says what is wrong, and of an unknown name which there are.
    """
    if setting is None:
        return None
    if not isinstance(setting, str):
        plain = OmegaConf.to_container(setting, resolve=True) if OmegaConf.is_config(setting) else setting
        return vocabulary_from(plain, "vocabulary")
    if Path(setting).suffix.lower() in {".yaml", ".yml"}:
        return vocabulary_from(_read_file(Path(setting)), setting)
    shipped = config_directory() / "vocabularies" / f"{setting}.yaml"
    if re.fullmatch(r"\w+", setting) and shipped.is_file():
        return vocabulary_from(_read_file(shipped), setting)
    return _of_dataset(setting)


def _read_file(path: Path) -> object:
    """Read a YAML file as plain values."""
    try:
        if check_regular(path).stat().st_size > _MAXIMUM_BYTES:
            raise UserError(f"vocabulary: '{path}' has more than {_MAXIMUM_BYTES} bytes.")
        text = path.read_text(encoding="utf-8-sig")
        # Aliases make a small text unfold into any size.
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text)):
            raise UserError(f"vocabulary: '{path}' has YAML aliases; write the texts out.")
        content: object = yaml.safe_load(text)
    except OSError as error:
        raise UserError(f"vocabulary: '{path}' cannot be read ({error.strerror or error}).") from error
    except UnicodeDecodeError as error:
        raise UserError(f"vocabulary: '{path}' is not UTF-8 ({error.reason}); save it as that.") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"vocabulary: '{path}' is no YAML ({reason}).") from error
    return content["categories"] if isinstance(content, dict) and list(content) == ["categories"] else content


def _of_dataset(setting: str) -> tuple[Category, ...]:
    name, _, labels = setting.partition(":")
    is_running = GlobalHydra.instance().is_initialized()
    with (
        nullcontext()
        if is_running
        else initialize_config_dir(config_dir=str(config_directory()), version_base="1.3")
    ):
        datasets = GlobalHydra.instance().config_loader().get_group_options("data")
        known = [each for each in datasets if each != "base"]
        if name not in known:
            shipped = sorted(path.stem for path in (config_directory() / "vocabularies").glob("*.yaml"))
            raise UserError(
                f"vocabulary: '{setting}' is neither a vocabulary ({', '.join(shipped)}), nor a dataset "
                f"({', '.join(known)}), nor a file that ends in .yaml. A list of names needs brackets: "
                f"'vocabulary=[{setting}]'."
            )
        chosen = [f"data.labels={labels}"] if labels else []
        config = compose("train", overrides=[f"data={name}", *chosen])
    nodes = OmegaConf.select(config, "data.categories")
    if nodes is None:
        raise UserError(f"vocabulary: the classes of '{setting}' stand in its files; give a list of them.")
    return vocabulary_from(OmegaConf.to_container(nodes, resolve=True), setting)


def vocabulary_for(
    vocabulary: Sequence[Category] | None, categories: tuple[Category, ...]
) -> tuple[Category, ...]:
    """Give a dataset's classes the texts of a vocabulary, so that its annotations can be evaluated.

    Args:
        vocabulary: Classes of the same names, in any order; None for the dataset's own texts.
        categories: Of the dataset.

    Raises:
        UserError: The names differ.
    """
    if vocabulary is None:
        return categories
    prompts = {category.name: category.prompts for category in vocabulary}
    names = [category.name for category in categories]
    if set(prompts) != set(names):
        differing = sorted(set(prompts) ^ set(names))[0]
        what = "lacks the dataset's" if differing in names else "has what the dataset does not annotate,"
        raise UserError(
            f"vocabulary: {what} '{differing}'. An evaluation needs the dataset's own classes "
            f"({', '.join(names)}), with any texts."
        )
    return tuple(replace(category, prompts=prompts[category.name]) for category in categories)


def vocabulary_from(nodes: object, where: str) -> tuple[Category, ...]:
    """Read classes from plain values.

    Args:
        nodes: A list of names, or of what ``categories_from_config`` takes.
        where: What they were read from, for messages.

    Returns:
        The classes in their order.

    Raises:
        UserError: Names the entry that is wrong: of another type, named twice, without a text, sharing a text
            with another one, or beyond the largest number.
    """
    if not isinstance(nodes, Sequence) or isinstance(nodes, str) or not nodes:
        raise UserError(
            f"{where}: expected a list of at least one class, each a name or "
            f"{{name: ..., prompts: [...], isthing: true, color: [R, G, B]}}; found {str(nodes)[:100]!r}."
        )
    if len(nodes) > MAXIMUM_CATEGORIES:
        raise UserError(f"{where}: {len(nodes)} classes, more than {MAXIMUM_CATEGORIES}; leave some out.")
    named = [{"name": node} if isinstance(node, str) else node for node in nodes]
    categories = categories_from_config(named, where)
    number = sum(len(category.prompts) for category in categories)
    if number > MAXIMUM_TEXTS:
        raise UserError(f"{where}: {number} texts, more than {MAXIMUM_TEXTS}; leave some out.")
    try:
        flatten_prompts(categories)
    except UserError as error:
        raise UserError(str(error).replace("categories:", f"{where}:", 1)) from error
    return categories


def fingerprint_of(categories: Sequence[Category]) -> str:
    """Identify names and texts of classes: 12 hexadecimal digits."""
    content = json.dumps([[category.name, *category.prompts] for category in categories])
    return hashlib.sha256(content.encode()).hexdigest()[:12]
