"""Lets an evaluation measure with other metrics than those that a checkpoint was trained with."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import cast

from omegaconf import DictConfig, OmegaConf, open_dict

from modise_lightning.configuration.config_check import check_parts
from modise_lightning.errors import UserError

# What ``assembly.build_metrics`` adds.
_ADDED = {"metrics": ("category_names", "isthing")}


def take_metrics(config: DictConfig) -> DictConfig | None:
    """Take the chosen metrics out of a command's configuration, whose dataset they cannot refer to.

    Args:
        config: Of ``evaluate``; loses its ``metrics``.

    Returns:
        The metrics as written, references not filled in; None for those of the checkpoint.
    """
    with open_dict(config):
        metrics = cast(DictConfig | None, config.pop("metrics", None))
    return None if metrics is None else copy.deepcopy(metrics)


def with_metrics(
    trained: DictConfig, metrics: DictConfig, suspicious: Sequence[str] | None = None
) -> DictConfig:
    """Put metrics into the configuration of a trained model.

    Args:
        trained: Of a checkpoint.
        metrics: Of ``take_metrics``.
        suspicious: Names of suspicious classes; None for those that the configuration names.

    Raises:
        UserError: A value is wrong, or neither names suspicious classes.
    """
    changed = copy.deepcopy(trained)
    with open_dict(changed):
        changed.metrics = OmegaConf.create(OmegaConf.to_container(metrics, resolve=False))
        if suspicious is not None:
            changed.data.suspicious = list(suspicious)
    clinical = OmegaConf.select(changed, "metrics.clinical", throw_on_resolution_failure=False)
    if clinical is not None and OmegaConf.select(changed, "data.suspicious") is None:
        names = ", ".join(str(category.name) for category in changed.data.categories)
        raise UserError(
            "suspicious: the checkpoint is of a version that did not say which classes make a case positive. "
            f"Give some of {names}, e.g. suspicious=[malignant], or suspicious=[] for no cases."
        )
    check_parts(changed, ["metrics"], _ADDED)
    return changed
