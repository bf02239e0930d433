"""ODISE's checkpoints, as its authors' code writes them, become checkpoints of this library."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig
from torch import Tensor

from modise_lightning.backbones.pyramid import PyramidProjection, Tap
from modise_lightning.captioners.implicit import ImplicitCaptioner
from modise_lightning.configuration.command_line import instantiate
from modise_lightning.configuration.importing import load_published
from modise_lightning.configuration.trained_model import load_trained
from modise_lightning.errors import UserError
from modise_lightning.import_checkpoint import import_checkpoint
from modise_lightning.pretrained.odise_names import ODISE
from modise_lightning.pretrained.published import read_published
from modise_lightning.segmenter import Segmenter
from modise_lightning.structures import ConditioningShape, FeaturePyramid, MaskGeneratorOutput
from modise_lightning.training.checkpoint import METADATA_KEY, read_checkpoint
from odise.narrow_model import PROMPT_CATEGORIES, NarrowBackbone, NoTower
from odise.narrow_settings import NARROW
from odise.recorded_numbers import read

Compose = Callable[..., DictConfig]
# Before the narrow settings' choices, which stay.
CAPTION = ["experiment=odise_caption"]


def write_label_model(path: Path) -> Path:
    """Write it with what the trainer of ODISE puts beside the weights."""
    optimizer = {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 1e-4, "params": [0]}]}
    trainer = {"iteration": 3, "_trainer": {"optimizer": optimizer}, "hooks": {}}
    torch.save({"model": read("checkpoint"), "trainer": trainer, "iteration": 3}, path)
    return path


@pytest.fixture
def run_import(compose_config: Compose, tmp_path: Path) -> Callable[..., Path]:
    def run(source: Path, *overrides: str) -> Path:
        settings = [*NARROW, *overrides, f"source={source}", f"output={tmp_path / 'imported.ckpt'}"]
        return import_checkpoint(compose_config("import_checkpoint", settings, tmp_path / "run"))

    return run


@torch.no_grad()
def test_the_label_model_computes_what_was_recorded(
    run_import: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = run_import(write_label_model(tmp_path / "label.pth"))
    printed = capsys.readouterr().out
    assert "398 of 399 tensors taken; not needed: criterion.empty_weight" in printed
    assert "no home" not in printed

    checkpoint = read_checkpoint(path)
    about = checkpoint[METADATA_KEY]["published"]
    assert (about["kind"], about["file"], about["homeless"]) == ("ODISE", "label.pth", [])
    for name, tensor in read("checkpoint").items():
        for own, part in ODISE.own_tensors(name, tensor).items():
            assert torch.equal(checkpoint["state_dict"][f"segmenter.{own}"], part), own

    module, config, dataset = load_trained(path, {})
    assert dataset == {"name": "the images of 'label.pth'", "synthetic": False}
    assert [category.name for category in config.data.categories][:2] == ["benign mass", "malignant mass"]
    forward = read("forward")
    levels = FeaturePyramid(*(forward[f"features.projected.{level}"] for level in ("s2", "s3", "s4", "s5")))
    output = module.segmenter.mask_generator(levels)
    difference = output.mask_embeddings - forward["decoder.mask_embeddings"][:, :1]
    assert difference.norm() < 2e-3 * forward["decoder.mask_embeddings"][:, :1].norm()  # levels are float16
    # With the recorded texts in the place of the categories' own.
    classifier = module.segmenter.classifier
    classifier.text_embeddings = forward["text.embeddings"]
    classifier.prompt_categories = PROMPT_CATEGORIES
    logits = classifier(
        MaskGeneratorOutput(
            forward["decoder.hidden_states"],
            forward["decoder.mask_embeddings"],
            forward["decoder.mask_features"],
        )
    )
    assert (logits - forward["head.class_logits"]).norm() < 2e-3 * forward["head.class_logits"].norm()


def write_caption_model(path: Path) -> dict[str, Tensor]:
    """Make it of the recorded one, which differs in the names of the texts' layer and in "no object"."""
    weights = read("checkpoint")
    for ending in ("weight", "bias"):
        weights[f"word_head.text_proj.{ending}"] = weights.pop(f"category_head.text_proj.{ending}")
    del weights["category_head.null_embed"]
    generator = torch.Generator().manual_seed(0)
    weights["sem_seg_head.predictor.class_embed.weight"] = torch.randn(2, 64, generator=generator)
    weights["sem_seg_head.predictor.class_embed.bias"] = torch.randn(2, generator=generator)
    weights["criterion.empty_weight"] = torch.tensor([1.0, 0.1])
    torch.save({"model": weights}, path)
    return weights


@torch.no_grad()
def test_the_caption_model_has_its_layer_of_objects(
    run_import: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = write_caption_model(tmp_path / "caption.pth")
    path = run_import(tmp_path / "caption.pth", *CAPTION)
    assert "399 of 400 tensors taken" in capsys.readouterr().out
    module, config, _ = load_trained(path, {})
    assert config.text.template.format("cyst") == "a photo of a cyst."
    forward = read("forward")
    decoded = MaskGeneratorOutput(
        forward["decoder.hidden_states"], forward["decoder.mask_embeddings"], forward["decoder.mask_features"]
    )
    classifier = module.segmenter.classifier
    prompts = [f"a photo of a {prompt}." for each in config.data.categories for prompt in each.prompts]
    embeddings = instantiate(config.text.encoder)(prompts)
    assert torch.equal(classifier.text_embeddings, embeddings)
    classifier.text_embeddings = forward["text.embeddings"]
    classifier.prompt_categories = PROMPT_CATEGORIES
    found = classifier(decoded).softmax(-1)
    # Among the classes as the label model, and "no object" by the layer.
    recorded = forward["head.class_logits"][..., :-1].softmax(-1)
    objects = torch.nn.functional.linear(
        forward["decoder.hidden_states"],
        weights["sem_seg_head.predictor.class_embed.weight"],
        weights["sem_seg_head.predictor.class_embed.bias"],
    ).softmax(-1)
    torch.testing.assert_close(found[..., -1], objects[..., 1], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found[..., :-1], recorded * objects[..., :1], rtol=2e-2, atol=2e-3)


def test_the_other_model_of_odise_is_told(run_import: Callable[..., Path], tmp_path: Path) -> None:
    write_caption_model(tmp_path / "caption.pth")
    with pytest.raises(
        UserError, match=r"missing are 1 \(classifier\.null_embedding\); no home for 2 .*class_embed\.weight"
    ):
        run_import(tmp_path / "caption.pth")
    with pytest.raises(UserError, match=r"missing are 2 .*objectness.*no home for 1 .*null_embed"):
        run_import(write_label_model(tmp_path / "label.pth"), *CAPTION)
    assert not (tmp_path / "imported.ckpt").exists()


# Widths of the narrow model and of the released one, by the beginning of a name.
WIDTHS = {
    r"backbone\.feature_projections\.": {32: 128, 128: 512},
    r"backbone\.feature_extractor\.": {64: 768, 128: 1280, 48: 768},
    r".*\.(sampling_offsets|attention_weights)\.": {64: 256},  # heads, levels and points are the same
    r"sem_seg_head\.pixel_decoder\..*linear": {64: 256, 96: 1024},
    r"sem_seg_head\.pixel_decoder\.": {64: 256, 128: 512},
    r"sem_seg_head\.predictor\.": {64: 256, 192: 768, 128: 2048, 40: 100},
    r"category_head\.": {64: 256, 48: 768},
    r"criterion\.": {4: 134},
}
# In ODISE's order: VAE encoder, UNet, VAE decoder.
TAPS = (512, 512, 2560, 1920, 960, 640, 512, 512)


def released_shape(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    widths = next(table for pattern, table in WIDTHS.items() if re.match(pattern, name))
    released = tuple(widths.get(size, size) for size in shape)
    if match := re.match(r"backbone\.feature_projections\.(\d)\.0\.(conv1|shortcut)\.weight", name):
        released = (released[0], TAPS[int(match[1])], *released[2:])
    return released


def real_size_on_no_device(config: DictConfig) -> Segmenter:
    """Build all that real-size ODISE trains, without memory for weights."""
    backbone = NarrowBackbone()
    with torch.device("meta"):
        order = (0, 1, 6, 7, 2, 3, 4, 5)  # VAE before UNet
        backbone.projection = PyramidProjection(
            taps=[Tap(TAPS[number], "s2") for number in order],
            channels=config.backbone.projection_channels,
            bottleneck_channels=config.backbone.bottleneck_channels,
            normalization_groups=config.backbone.normalization_groups,
            identity_shortcut=config.backbone.identity_shortcut,
        )
        tower = NoTower()
        tower.embedding_dim = 768
        classifier = instantiate(config.text.classifier)(
            text_embeddings=torch.zeros(1, 768),
            prompt_categories=torch.zeros(1, dtype=torch.int64, device="cpu"),
            null_embedding=torch.zeros(768),
            hidden_channels=256,
        )
        return Segmenter(
            backbone=backbone,
            captioner=ImplicitCaptioner(
                image_encoder=tower,  # type: ignore[arg-type]
                shape=ConditioningShape(77, 768, 1280, 1),
            ),
            mask_generator=instantiate(config.mask_generator)(feature_channels=(512,) * 4),
            classifier=classifier,
        )


def test_a_checkpoint_of_real_size_leaves_nothing_missing(compose_config: Compose, tmp_path: Path) -> None:
    """The released label model has 399 tensors and 28.067 million trained parameters."""
    one = torch.zeros(1)
    tensors = {
        name: one.expand(shape) if shape else one[0]
        for name, tensor in read("checkpoint").items()
        for shape in [released_shape(name, tuple(tensor.shape))]
    }
    assert len(tensors) == 399
    trained = sum(tensor.numel() for name, tensor in tensors.items() if name != "criterion.empty_weight")
    assert round(trained / 1e6, 3) == 28.067
    torch.save({"model": tensors}, tmp_path / "label.pth")
    assert (tmp_path / "label.pth").stat().st_size < 300_000, "no memory for weights"

    published = read_published(tmp_path / "label.pth")
    config = compose_config("train", ["experiment=odise", "data.root=data"], tmp_path)
    account = load_published(real_size_on_no_device(config), published)
    assert len(account.taken) == 398
    assert account.not_needed == ("criterion.empty_weight",)
    assert account.homeless == ()
