"""Mistakes in a configuration are told before anything is built."""

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from modise_lightning.configuration.assembly import build_segmenter
from modise_lightning.configuration.config_check import check_config
from modise_lightning.errors import UserError

OPTIMIZER: dict[str, Any] = {
    "_target_": "modise_lightning.training.optimization.OptimizerFactory",
    "learning_rate": 1e-4,
    "weight_decay": 0.05,
    "betas": [0.9, 0.999],
    "decayed": "matrices",
    "reference_batch_size": None,
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
        ({"learning_rate": -1.0}, r"optimizer\.learning_rate: expected float, found -1\.0 .*greater than 0"),
        ({"learning_rate": float("inf")}, r"optimizer\.learning_rate: .* finite"),
        ({"weight_decay": -0.1}, r"optimizer\.weight_decay: expected float, found -0\.1"),
        ({"warmup_steps": -1}, r"optimizer\.warmup_steps: expected int, found -1"),
        ({"betas": [0.9, 1.0]}, r"optimizer\.betas: .*less than 1"),
        ({"decay_milestones": [2.0]}, r"optimizer\.decay_milestones: .*less than 1"),
        ({"momentum": 0.9}, r"optimizer\.momentum: .* takes no 'momentum'; it takes learning_rate"),
        (
            {"_target_": "modise_lightning.training.optimization.Optimiser"},
            r"optimizer\._target_: cannot import",
        ),
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


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("seed", -1, "greater than or equal to 0"),
        ("seed", 2**32, "less than"),
        ("seed", "zero", "valid integer"),
        ("seed", 0.5, "valid integer"),
        ("seed", True, "valid integer"),
        ("fold", "x", "valid integer"),
        ("fold", -1, "greater than or equal to 0"),
        ("num_threads", 0, "greater than 0"),
        ("batch_size", 0, "greater than 0"),
        ("evaluation_batch_size", -3, "greater than 0"),
        ("num_workers", -1, "greater than or equal to 0"),
        ("image_size", -5, "greater than 0"),
        ("image_size", "large", "valid integer"),
        ("scale_range", [1, "x"], "valid number"),
        ("scale_range", [2, 1], "larger one"),
        ("scale_range", [0, 1], "greater than 0"),
        ("scale_range", 1, "valid tuple"),
        ("baselines", "untrained", "valid list"),
        ("pictures.num_images", -1, "greater than or equal to 0"),
        ("pictures.rows_per_picture", 0, "greater than 0"),
        ("trainer.max_epochs", -2, "greater than or equal to -1"),
        ("trainer.gradient_clip_val", -0.1, "greater than or equal to 0"),
        ("trainer.accumulate_grad_batches", 0, "greater than 0"),
        ("input", 20586908, r"input=\./20586908"),
        ("checkpoint", 1, r"checkpoint=\./1"),
        ("resume", 2.5, r"resume=\./2\.5"),
        ("output_dir", 7, r"output_dir=\./7"),
        ("data.root", 7, r"data\.root=\./7"),
        ("data.raw", True, r"data\.raw=\./True"),
        ("trusted_targets", "a.b", "valid list"),
        ("overrides", [1], "valid dictionary"),
    ],
)
def test_settings_at_the_top_have_types_and_ranges(key: str, value: object, message: str) -> None:
    config = OmegaConf.create({})
    OmegaConf.update(config, key, value, force_add=True)
    with pytest.raises(UserError, match=rf"^{re.escape(key)}: found {re.escape(repr(value))}.*{message}"):
        check_config(config)


@pytest.mark.parametrize("value", ["x", 3, True, [1]])
@pytest.mark.parametrize("group", ["clip_head", "data", "pictures", "trainer"])
def test_a_group_is_no_single_value(group: str, value: object) -> None:
    with pytest.raises(UserError, match=f"^{group}: a group of settings is expected, found "):
        check_config(OmegaConf.create({group: value}))


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("backbone.projection_channels", [0, -1, 0.5]),
        ("backbone.bottleneck_channels", [0, -1]),
        ("backbone.normalization_groups", [0, -1]),
        ("backbone.learning_rate_multiplier", [-1, math.inf, math.nan]),
        ("text.classifier.mask_embedding_channels", [0, -1]),
        ("text.classifier.num_layers", [0, -1]),
        ("text.classifier.temperature", [0, -1, math.inf]),
        ("text.classifier.maximum_scale", [0, -1]),
        *(
            (f"mask_generator.{name}", [0, -1])
            for name in (
                "hidden_channels",
                "num_queries",
                "num_heads",
                "pixel_decoder_layers",
                "pixel_decoder_feedforward",
                "decoder_layers",
                "decoder_feedforward",
            )
        ),
        ("mask_generator.dropout", [-0.1, 1]),
        ("mask_generator.pre_norm", [1, 0]),
        ("metrics.max_detections", [0, -1]),
        ("metrics.best_threshold_limit", [0, -1, 7]),
        ("data.module.size_multiple", [0, -1]),
        ("data.module.train_transform.brightness", [-1, math.nan]),
        ("data.module.train_transform.contrast", [-1]),
        ("data.module.train_transform.padding_value", [-1, 7]),
        ("data.module.evaluation_transform.longer_side", [0, -1]),
        ("data.module.evaluation_transform.shorter_side", [0, -1]),
    ],
)
def test_no_size_or_weight_is_outside_of_its_range(
    key: str, values: list[float], compose_config: Callable[..., DictConfig], tmp_path: Path
) -> None:
    config = compose_config("train", [], tmp_path)
    for value in values:
        OmegaConf.update(config, key, value)
        with pytest.raises(
            UserError, match=rf"^{re.escape(key)}: expected .* found {re.escape(str(value))}[ .]"
        ):
            check_config(config)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("mask_generator.hidden_channels=48", r"a multiple of 32 \(.*num_heads=4.*\), found 48"),
        ("mask_generator.num_heads=3", r"mask_generator.hidden_channels: .* multiple of 96 .*, found 64"),
        ("backbone.projection_channels=68", r"normalization_groups=8, found 68"),
        ("backbone.bottleneck_channels=4", r"backbone.bottleneck_channels: .*, found 4"),
    ],
)
def test_sizes_fit_together(
    override: str, message: str, compose_config: Callable[..., DictConfig], tmp_path: Path
) -> None:
    categories = "data.categories=[{name:a,prompts:[a],isthing:true,color:[1,2,3]}]"
    config = compose_config("train", [override, categories], tmp_path)
    check_config(config)
    with pytest.raises(UserError, match=message):
        build_segmenter(config)


@pytest.mark.parametrize("value", [3, "x", None, {"root": "a"}])
def test_an_object_comes_from_a_target_alone(value: object) -> None:
    node = {"_target_": "modise_lightning.data.loading.datamodule.PanopticDataModule", "dataset": value}
    with pytest.raises(UserError, match=r"^data\.module\.dataset: expected PreparedDataset"):
        check_config(OmegaConf.create({"data": {"module": node}}))


@pytest.mark.parametrize("name", ["train", "evaluate", "predict", "prepare"])
def test_what_is_shipped_has_these_types(
    name: str, compose_config: Callable[..., DictConfig], tmp_path: Path
) -> None:
    given = {"evaluate": ["checkpoint=a"], "predict": ["checkpoint=a", "input=b"]}
    check_config(compose_config(name, given.get(name, []), tmp_path))
