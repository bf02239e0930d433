"""The Swin backbone loads what transformers publishes and takes any size that is a multiple of 32."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from omegaconf import DictConfig, OmegaConf
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import SwinConfig, SwinForImageClassification

from modise_lightning.backbones.swin import SwinBackbone, load_swin_backbone
from modise_lightning.configuration.config_check import check_config
from modise_lightning.errors import UserError
from modise_lightning.structures import Conditioning

Compose = Callable[..., DictConfig]
TINY: dict[str, Any] = {
    "image_size": 128,
    "embed_dim": 16,
    "depths": [2, 2, 2, 2],
    "num_heads": [1, 2, 4, 8],
    "window_size": 4,
}


def load(weights: Path | str, **changes: object) -> SwinBackbone:
    arguments: dict[str, Any] = {
        "weights": str(weights),
        "repository": "someone/something",
        "files": [],
        "seed": 0,
        "architecture": TINY,
        "drop_path_rate": 0.0,
        "learning_rate_multiplier": 0.1,
    }
    return load_swin_backbone(**{**arguments, **changes})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Write a classifier as it is published."""
    torch.manual_seed(3)
    model = SwinForImageClassification(SwinConfig(**TINY, num_labels=5))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(tmp_path / "swin")
    return tmp_path / "swin"


def in_timm_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename published transformers weights to timm's names."""
    renamed: dict[str, Tensor] = {}
    for key, value in state.items():
        name = key.removeprefix("swin.").replace("encoder.", "")
        for theirs, ours in (
            ("embeddings.patch_embeddings.projection", "patch_embed.proj"),
            ("embeddings.norm", "patch_embed.norm"),
            ("attention.output.dense", "attn.proj"),
            ("attention.self.relative_position_bias_table", "attn.relative_position_bias_table"),
            ("layernorm_before", "norm1"),
            ("layernorm_after", "norm2"),
            ("intermediate.dense", "mlp.fc1"),
            ("output.dense", "mlp.fc2"),
        ):
            name = name.replace(theirs, ours)
        if ".downsample." in name:  # transformers downsamples after a stage, timm before the next one
            stage = int(name.split(".")[1])
            name = name.replace(f"layers.{stage}.", f"layers.{stage + 1}.")
        renamed[name] = value
    for name in [name for name in renamed if "attention.self.query" in name]:
        parts = [renamed.pop(name.replace("query", part)) for part in ("query", "key", "value")]
        renamed[name.replace("attention.self.query", "attn.qkv")] = torch.cat(parts)
    return renamed


@pytest.mark.parametrize("size", [(128, 128), (128, 256)])
@torch.no_grad()
def test_published_weights_give_timms_features(folder: Path, size: tuple[int, int]) -> None:
    """Where all levels are multiples of the window, timm's Swin is an independent reference."""
    backbone = load(folder).eval()
    reference = timm.create_model(
        "swin_tiny_patch4_window7_224",
        num_classes=0,
        img_size=size,
        embed_dim=16,
        depths=(2, 2, 2, 2),
        num_heads=(1, 2, 4, 8),
        window_size=4,
        always_partition=True,
    ).eval()
    published = load_file(folder / "model.safetensors")
    state = in_timm_names(
        {key: value for key, value in published.items() if not key.startswith("classifier")}
    )
    state = {key.replace("layernorm.", "norm."): value for key, value in state.items()}
    reference.load_state_dict(state)
    images = torch.rand(2, 3, *size)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    normalised = (images - mean[:, None, None]) / std[:, None, None]
    stages = reference.forward_intermediates(normalised, intermediates_only=True)
    for level, stage in zip(backbone(images, None).levels, stages, strict=True):
        expected = torch.nn.functional.layer_norm(stage.movedim(1, 3), stage.shape[1:2]).movedim(3, 1)
        torch.testing.assert_close(level, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("size", [(32, 32), (96, 160), (224, 64)])
def test_any_multiple_of_32_is_taken_and_everything_is_trained(size: tuple[int, int]) -> None:
    backbone = load("random")
    pyramid = backbone(torch.rand(2, 3, *size), None)
    expected = [(2, 16 * 2**i, size[0] // (4 * 2**i), size[1] // (4 * 2**i)) for i in range(4)]
    assert [tuple(level.shape) for level in pyramid.levels] == expected
    assert backbone.feature_channels == (16, 32, 64, 128)
    assert backbone.window_size is None
    sum(level.cos().sum() for level in pyramid.levels).backward()
    assert all(parameter.grad is not None for parameter in backbone.parameters())


def test_paths_are_dropped_in_training_only() -> None:
    backbone = load("random", drop_path_rate=0.9)
    images = torch.rand(8, 3, 64, 64)
    assert backbone.training
    assert not torch.equal(backbone(images, None).s5, backbone(images, None).s5)
    backbone.eval()
    assert torch.equal(backbone(images, None).s5, backbone(images, None).s5)


def test_random_weights_follow_the_seed_alone() -> None:
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = load("random").state_dict()
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    second, other = load("random").state_dict(), load("random", seed=1).state_dict()
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    assert any(not torch.equal(value, other[name]) for name, value in first.items())


def test_conditioning_is_refused() -> None:
    with pytest.raises(ValueError, match="no conditioning"):
        load("random")(torch.rand(1, 3, 32, 32), Conditioning(torch.zeros(1), torch.zeros(1)))


def test_a_pickle_of_tensors_loads(folder: Path) -> None:
    expected = load(folder).state_dict()
    state = load_file(folder / "model.safetensors")
    # Older transformers also stored what newer ones compute.
    state["swin.encoder.layers.0.blocks.0.attention.self.relative_position_index"] = torch.zeros(
        16, 16
    ).long()
    torch.save(state, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    assert all(torch.equal(value, expected[name]) for name, value in load(folder).state_dict().items())


@pytest.mark.parametrize("change", ["missing", "unexpected", "mismatched", "cut", "no weights", "config"])
def test_damaged_folders_are_refused(folder: Path, change: str) -> None:
    path = folder / "model.safetensors"
    state = load_file(path)
    name = "swin.encoder.layers.2.blocks.1.output.dense.weight"
    if change == "missing":
        del state[name]
    elif change == "unexpected":
        state["swin.encoder.layers.2.blocks.9.output.dense.weight"] = state[name].clone()
    elif change == "mismatched":
        state[name] = torch.zeros(3, 3)
    if change == "cut":
        path.write_bytes(path.read_bytes()[:500])
    elif change == "no weights":
        path.unlink()
    elif change == "config":
        (folder / "config.json").write_text(json.dumps({"depths": "many"}))
    else:
        save_file(state, path, metadata={"format": "pt"})
    with pytest.raises(UserError, match="backbone") as error:
        load(folder)
    assert "\n" not in str(error.value)


def test_the_tiny_configuration_runs(compose_config: Compose, tmp_path: Path) -> None:
    config = compose_config("train", ["backbone=swin_tiny"], tmp_path).backbone
    check_config(config)
    arguments: Any = OmegaConf.to_container(config)
    del arguments["_target_"]
    pyramid = load_swin_backbone(**arguments)(torch.rand(1, 3, 128, 160), None)
    assert [tuple(level.shape[1:]) for level in pyramid.levels] == [
        (32, 32, 40),
        (64, 16, 20),
        (128, 8, 10),
        (256, 4, 5),
    ]


def test_the_real_configuration_is_swin_l(compose_config: Compose, tmp_path: Path) -> None:
    """Built on the meta device: 195 M parameters as published, without its classifier."""
    overrides = ["backbone=swin_l", "backbone.weights=random"]
    config = compose_config("train", overrides, tmp_path).backbone
    check_config(config)
    arguments: Any = OmegaConf.to_container(config)
    del arguments["_target_"]
    with torch.device("meta"):
        backbone = load_swin_backbone(**arguments)
        reference = timm.create_model("swin_large_patch4_window12_384", num_classes=0, pretrained=False)
    published = sum(parameter.numel() for parameter in reference.parameters()) - 2 * 1536
    norms = 2 * (192 + 384 + 768 + 1536)
    assert sum(parameter.numel() for parameter in backbone.parameters()) == published + norms
    assert backbone.feature_channels == (192, 384, 768, 1536)
    assert backbone.learning_rate_multiplier == 0.1
