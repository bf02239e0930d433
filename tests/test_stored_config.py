"""A checkpoint of another version of the library is told from one that this version can rebuild."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig, OmegaConf, open_dict

from modise_lightning.assembly import load_trained
from modise_lightning.checkpoint import METADATA_KEY
from modise_lightning.errors import UserError
from modise_lightning.stored_config import check_stored_config

Compose = Callable[..., DictConfig]


@pytest.mark.parametrize("experiment", ["m2f_swin_l", "m2f_sd", "odise", "m_odise"])
def test_what_is_written_today_can_be_read(experiment: str, compose_config: Compose, tmp_path: Path) -> None:
    config = compose_config("train", [f"experiment={experiment}"], tmp_path)
    check_stored_config(tmp_path / "best.ckpt", config)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("optimizer.fused", r"optimizer: .*OptimizerFactory also needs fused\."),
        ("mask_generator.num_queries", "mask_generator: .*also needs num_queries"),
        ("metrics.matching", "metrics: .*also needs matching"),
        ("text.classifier.temperature", r"text\.classifier: .*also needs temperature"),
        ("backbone.projection_channels", "backbone: .*also needs projection_channels"),
        ("inference", "inference: missing"),
    ],
)
def test_a_key_that_it_lacks_is_named(
    key: str, message: str, compose_config: Compose, tmp_path: Path
) -> None:
    config = compose_config("train", [], tmp_path)
    *parents, last = key.split(".")
    parent = OmegaConf.select(config, ".".join(parents)) if parents else config
    with open_dict(config):
        del parent[last]
    path = tmp_path / "best.ckpt"
    with pytest.raises(UserError, match=f"best.ckpt' was written by another version of .*, {message}"):
        check_stored_config(path, config)


def test_loading_tells_it(compose_config: Compose, tmp_path: Path) -> None:
    config = compose_config("train", [], tmp_path)
    config.optimizer.decay = "never"
    path = tmp_path / "best.ckpt"
    metadata = {"config": OmegaConf.to_yaml(config), "dataset": {}, "frozen_weights": ""}
    torch.save({METADATA_KEY: metadata, "state_dict": {}}, path)
    with pytest.raises(UserError, match=r"another version of .*optimizer\.decay: expected .*'never'") as told:
        load_trained(path, {})
    assert "\n" not in str(told.value)
