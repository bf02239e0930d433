"""Every shipped configuration is composed, checked, and run for a step."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest
import torch
import yaml
from omegaconf import DictConfig, OmegaConf

from coco_folder import write_coco
from joint_sources import joint_overrides
from modise_lightning.backbones.pyramid import PyramidProjection, Tap
from modise_lightning.captioners.implicit import ImplicitCaptioner
from modise_lightning.configuration.assembly import check_weights
from modise_lightning.configuration.command_line import config_directory, instantiate
from modise_lightning.configuration.config_check import check_config
from modise_lightning.errors import UserError
from modise_lightning.evaluate import evaluate
from modise_lightning.metrics.records.evaluation_records import read_records
from modise_lightning.structures import ConditioningShape
from modise_lightning.train import train
from tiny_runs import ONE_STEP, phantom_overrides

EXPERIMENTS = ["m2f_swin_l", "m2f_sd", "odise", "odise_biomedclip", "odise_caption", "odise_mame", "m_odise"]
OF_COCO = ["m2f_swin_l_coco", "odise_coco"]
# An experiment at tiny scale: the same composition, every part replaced by the tiny one of its class.
TINY = {
    "m2f_swin_l": ["backbone=swin_tiny"],
    "m2f_sd": ["backbone=sd_tiny"],
    # With ODISE's rules, which the tiny backbone would not choose.
    "odise": ["backbone=sd_tiny", "text=clip_tiny", "captioner=clip_tiny", "protocol=odise"],
    "odise_caption": ["backbone=sd_tiny", "text=clip_tiny", "captioner=clip_tiny", "protocol=odise"],
    "odise_biomedclip": ["backbone=sd_tiny", "text=clip_tiny", "captioner=clip_tiny"],
    "odise_mame": ["backbone=sd_tiny", "text=clip_tiny", "captioner=clip_tiny"],
    "m_odise": ["backbone=sd_tiny", "text=clip_tiny", "captioner=clip_tiny"],
    "m2f_swin_l_coco": ["backbone=swin_tiny"],
    "odise_coco": ["backbone=sd_tiny", "text=clip_tiny", "captioner=clip_tiny", "protocol=odise"],
}
Compose = Callable[..., DictConfig]


def choices(group: str) -> list[str]:
    found = sorted(file.stem for file in (config_directory() / group).glob("*.yaml"))
    assert found
    return found


def test_every_experiment_is_tested() -> None:
    assert sorted([*EXPERIMENTS, *OF_COCO]) == choices("experiment")


@pytest.mark.parametrize("experiment", [*EXPERIMENTS, *OF_COCO])
def test_a_real_size_experiment_composes_and_checks(
    experiment: str, compose_config: Compose, tmp_path: Path
) -> None:
    config = compose_config("train", [f"experiment={experiment}"], tmp_path)
    check_config(config)
    assert config.name == experiment
    assert config.mask_generator.num_queries == (200 if experiment.startswith("m2f_swin_l") else 100)
    assert config.optimizer.learning_rate == 1e-4
    assert config.criterion.num_points == 12544
    # The paper's protocol, and PQ at a T that is not chosen on the test folds beside it.
    assert config.metrics.matching == "panopticapi"
    assert config.metrics.fixed_thresholds == [0.1, 0.25, 0.5]


@pytest.mark.parametrize(
    ("overrides", "rules"),
    [
        ([], "small_data"),
        (["backbone=swin_tiny"], "small_data"),
        (["experiment=odise"], "odise"),
        (["experiment=odise_biomedclip"], "odise"),
        (["experiment=odise_mame"], "odise"),
        (["experiment=m_odise"], "odise"),
        (["experiment=m2f_sd"], "mask2former"),
        (["experiment=m2f_swin_l"], "mask2former"),
        (["experiment=m_odise", "protocol=small_data"], "small_data"),
    ],
)
def test_whose_rules_a_model_follows(
    overrides: list[str], rules: str, compose_config: Compose, tmp_path: Path
) -> None:
    config = compose_config("train", overrides, tmp_path)
    assert config.protocol == OmegaConf.load(config_directory() / "protocol" / f"{rules}.yaml")
    expected = {"odise": (0.0, True), "mask2former": (0.8, True), "small_data": (0.5, False)}[rules]
    assert (config.inference.score_threshold, config.inference.no_object_competes) == expected
    assert config.optimizer.decayed == config.protocol.decayed
    assert config.data.module.size_multiple == config.protocol.size_multiple
    assert config.mask_generator.initialization == config.protocol.initialization


def test_real_size_odise_trains_as_many_parameters_as_the_published_model(
    compose_config: Compose, tmp_path: Path
) -> None:
    """28.067 million, counted without memory for weights."""
    config = compose_config("train", ["experiment=odise"], tmp_path)
    with torch.device("meta"):
        generator = instantiate(config.mask_generator)(feature_channels=(512,) * 4)
        projection = PyramidProjection(
            taps=[Tap(channels, "s2") for channels in (512, 512, 512, 512, 2560, 1920, 960, 640)],
            channels=config.backbone.projection_channels,
            bottleneck_channels=config.backbone.bottleneck_channels,
            normalization_groups=config.backbone.normalization_groups,
            identity_shortcut=config.backbone.identity_shortcut,
        )
        captioner = ImplicitCaptioner(
            image_encoder=ImageTower(),  # type: ignore[arg-type]
            shape=ConditioningShape(77, 768, 1280, 1),
        )
        classifier = instantiate(config.text.classifier)(
            text_embeddings=torch.zeros(1, 768),
            prompt_categories=torch.zeros(1, dtype=torch.int64, device="cpu"),
            null_embedding=torch.zeros(768),
            hidden_channels=256,
        )
    parts = (generator, projection, captioner, classifier)
    trained = sum(parameter.numel() for part in parts for parameter in part.parameters())
    assert round(trained / 1e6, 3) == 28.067


class ImageTower(torch.nn.Module):
    """CLIP ViT-L/14's width, and nothing else."""

    embedding_dim = 768
    preprocessing: ClassVar[dict[str, object]] = {}


def test_a_clip_head_needs_texts(compose_config: Compose, tmp_path: Path) -> None:
    config = compose_config("train", ["text=learned", "inference/clip_head=maskclip"], tmp_path)
    with pytest.raises(UserError, match=r"clip_head: a learned classifier has no texts"):
        check_weights(config)


def test_all_protocols_have_the_same_settings() -> None:
    keys = {
        name: OmegaConf.load(config_directory() / "protocol" / f"{name}.yaml").keys()
        for name in choices("protocol")
    }
    assert sorted(keys) == ["mask2former", "odise", "small_data"]
    assert keys["odise"] == keys["mask2former"] == keys["small_data"]


@pytest.mark.parametrize(
    ("group", "choice"),
    [
        (group, choice)
        for group in (
            "backbone",
            "protocol",
            "captioner",
            "text",
            "mask_generator",
            "criterion",
            "data",
            "optimizer",
            "trainer",
            "logger",
            "callbacks",
            "inference",
            "inference/clip_head",
            "metrics",
            "augmentation",
            "sampling",
            "feature_store",
        )
        for choice in choices(group)
        if choice not in ("base", "default")
    ],
)
def test_every_choice_of_every_group_composes_and_checks(
    group: str, choice: str, compose_config: Compose, tmp_path: Path
) -> None:
    overrides = [f"{group}={choice}"]
    if group == "data" and choice != "phantom":
        overrides.append("data.raw=download")
    config = compose_config("train", overrides, tmp_path)
    check_config(config)


def test_mame_and_biomedclip_are_m_odise(compose_config: Compose, tmp_path: Path) -> None:
    by_parts = compose_config("train", ["backbone=mame", "text=biomedclip"], tmp_path)
    by_name = compose_config("train", ["experiment=m_odise"], tmp_path)
    for config in (by_parts, by_name):
        config.name = config.experiment = "same"
    assert OmegaConf.to_container(by_parts, resolve=True) == OmegaConf.to_container(by_name, resolve=True)


def test_the_captioner_follows_the_text_unless_it_is_set(compose_config: Compose, tmp_path: Path) -> None:
    followed = compose_config("train", ["text=biomedclip"], tmp_path)
    assert "BiomedCLIP" in followed.captioner.repository
    chosen = compose_config("train", ["text=biomedclip", "captioner=clip_tiny"], tmp_path)
    assert chosen.captioner.weights == "random"


@pytest.mark.parametrize("file", sorted(config_directory().rglob("*.yaml")), ids=lambda file: file.stem)
def test_every_value_has_a_comment(file: Path) -> None:
    """A hyper-parameter's comment says what it does and where it is from."""
    text = file.read_text()
    assert text.lstrip().startswith("#"), "the first line says what the file is for"
    assert yaml.safe_load(text) is not None


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_an_experiment_runs_at_tiny_scale(
    experiment: str, compose_config: Compose, phantom_root: Path, tmp_path: Path
) -> None:
    scale = ["mask_generator=tiny", "criterion=tiny", "optimizer=tiny", "trainer=tiny"]
    overrides = [f"experiment={experiment}", *TINY[experiment], *scale]
    config = compose_config("train", [*overrides, *phantom_overrides(phantom_root), *ONE_STEP], tmp_path)
    results = train(config)
    assert set(results) == {"trained", "untrained", "bright blob"}
    assert results["trained"].num_images == 2
    assert (tmp_path / "checkpoints" / "best.ckpt").is_file()
    assert (tmp_path / "results.json").is_file()
    models = sorted(path.name for path in (tmp_path / "records").iterdir())
    assert models == ["bright_blob", "trained", "untrained"]
    for model in models:
        records = read_records(tmp_path / "records" / model)
        assert len(records.images) == results[model.replace("_", " ")].num_images
    assert list((tmp_path / "pictures").glob("*.png"))


def test_the_augmentation_of_a_backbone_can_be_taken_back(compose_config: Compose, tmp_path: Path) -> None:
    shared = ["backbone=sd_tiny", "feature_store=none"]
    chosen = compose_config("train", shared, tmp_path)
    assert (chosen.scale_range, chosen.data.module.train_transform.brightness) == ([1.0, 1.0], 0.0)
    taken_back = compose_config("train", [*shared, "augmentation=none", "sampling=none"], tmp_path)
    assert taken_back.scale_range == [0.8, 1.25]
    assert taken_back.data.module.train_transform.brightness == taken_back.protocol.brightness > 0


def test_all_augmentations_and_samplings_run_together(
    compose_config: Compose, phantom_root: Path, tmp_path: Path
) -> None:
    augmentations, samplings = choices("augmentation"), choices("sampling")
    assert (augmentations, samplings) == (
        ["cacheable", "copy_paste", "elastic", "gamma", "none"],
        ["none", "repeat_factor"],
    )
    overrides = [f"augmentation=[{','.join(augmentations)}]", "sampling=repeat_factor", "baselines=[]"]
    overrides += ["feature_store=none", *phantom_overrides(phantom_root), *ONE_STEP]
    config = compose_config("train", overrides, tmp_path)
    assert config.data.module.copy_paste.probability == 0.5
    assert config.data.module.train_transform.gamma.probability == 0.3
    assert config.data.module.train_transform.elastic.grid_size == 3
    assert config.data.module.repeat_threshold == 0.5
    assert train(config)["trained"].num_images == 2


@pytest.mark.parametrize("experiment", OF_COCO)
def test_an_experiment_of_natural_images_runs_at_tiny_scale(
    experiment: str, compose_config: Compose, tmp_path: Path
) -> None:
    write_coco(tmp_path / "coco")
    scale = ["mask_generator=tiny", "criterion=tiny", "optimizer=tiny", "trainer=tiny", "image_size=64"]
    overrides = [f"experiment={experiment}", *TINY[experiment], *scale, "data.num_folds=3", "baselines=[]"]
    config = compose_config(
        "train", [*overrides, f"data.root={tmp_path / 'coco'}", *ONE_STEP], tmp_path / "run"
    )
    assert config.data.channels == "rgb"
    result = train(config)["trained"]
    assert len(result.category_names) == 133
    assert result.num_images == 2


@pytest.mark.parametrize("text", ["clip_tiny", "learned"])
def test_joint_data_runs_at_tiny_scale(
    text: str, compose_config: Compose, phantom_root: Path, tmp_path: Path
) -> None:
    overrides = [*joint_overrides(phantom_root), f"text={text}", "captioner=none", "baselines=[bright_blob]"]
    result = train(compose_config("train", overrides, tmp_path / "run"))["trained"]
    assert result.category_names == ["benign", "malignant", "mass", "calcification"]
    annotated = read_records(tmp_path / "run" / "records" / "trained").annotated_classes
    assert annotated is not None
    assert annotated["category"].tolist() == ["mass", "calcification"] * 2
    # One source alone, asked for all classes of the training.
    checkpoint = f"checkpoint={tmp_path / 'run' / 'checkpoints' / 'best.ckpt'}"
    one = [
        *joint_overrides(phantom_root)[:1],
        "data.sources=[phantom]",
        f"+data.roots.phantom={phantom_root}",
    ]
    limits = ["+trainer.limit_test_batches=1", "trainer.accelerator=cpu", "pictures.num_images=0"]
    config = compose_config("evaluate", [checkpoint, *one, *limits], tmp_path / "evaluated")
    assert evaluate(config).category_names == result.category_names
    content = json.loads((tmp_path / "evaluated" / "results.json").read_text())
    assert content["measurement"]["trained_on_sources"] == "phantom, other"
    assert content["measurement"]["data.sources"] == "phantom"


@pytest.mark.parametrize("logger", choices("logger"))
def test_a_logger_runs(logger: str, compose_config: Compose, phantom_root: Path, tmp_path: Path) -> None:
    overrides = [f"logger={logger}", "baselines=[]", *phantom_overrides(phantom_root), *ONE_STEP]
    train(compose_config("train", overrides, tmp_path))
    written = {"csv": "metrics.csv", "tensorboard": "tensorboard/*tfevents*", "wandb": "wandb/offline-run-*"}
    assert list(tmp_path.glob(written[logger]))
