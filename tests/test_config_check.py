"""Mistakes in a configuration are told before anything is built."""

from typing import Any

import pytest
from omegaconf import OmegaConf

from modise_lightning.config_check import check_config
from modise_lightning.errors import UserError

OPTIMIZER: dict[str, Any] = {
    "_target_": "modise_lightning.optimization.OptimizerFactory",
    "learning_rate": 1e-4,
    "weight_decay": 0.05,
    "betas": [0.9, 0.999],
    "warmup_steps": 500,
    "warmup_factor": 0.067,
    "decay": "step",
    "decay_milestones": [0.89, 0.96],
    "decay_factor": 0.1,
    "fused": False,
}


def test_a_right_configuration_passes() -> None:
    check_config(OmegaConf.create({"optimizer": OPTIMIZER, "seed": 0}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"learning_rate": "fast"}, r"optimizer\.learning_rate: expected float, found 'fast'"),
        ({"learning_rate": "1"}, r"optimizer\.learning_rate: expected float, found '1'"),
        ({"warmup_steps": 2.5}, r"optimizer\.warmup_steps: expected int, found 2\.5"),
        ({"decay": "linear"}, r"optimizer\.decay: expected .*step.*cosine.*'linear'"),
        ({"betas": [0.9]}, r"optimizer\.betas: expected tuple"),
        ({"momentum": 0.9}, r"optimizer\.momentum: .* takes no 'momentum'; it takes learning_rate"),
        ({"_target_": "modise_lightning.optimization.Optimiser"}, r"optimizer\._target_: cannot import"),
    ],
)
def test_a_mistake_names_the_key(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_config(OmegaConf.create({"optimizer": {**OPTIMIZER, **change}}))


def test_missing_arguments_are_named() -> None:
    incomplete = {key: value for key, value in OPTIMIZER.items() if key not in ("decay", "betas")}
    with pytest.raises(UserError, match=r"optimizer: .* also needs betas, decay"):
        check_config(OmegaConf.create({"optimizer": incomplete}))


def test_a_partial_node_may_be_completed_later() -> None:
    incomplete = {key: value for key, value in OPTIMIZER.items() if key != "decay"}
    check_config(OmegaConf.create({"optimizer": {**incomplete, "_partial_": True}}))
