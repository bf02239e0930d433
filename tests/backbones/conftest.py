"""Small random diffusion models and pipeline folders in the published layout."""

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel

from modise_lightning.backbones.diffusion import DiffusionBackbone
from modise_lightning.backbones.frozen_execution import FrozenExecution

TOKENS, CONTEXT_CHANNELS = 7, 24
UNET: dict[str, Any] = {
    "block_out_channels": (8, 16, 24, 24),
    "norm_num_groups": 4,
    "attention_head_dim": 2,
    "cross_attention_dim": CONTEXT_CHANNELS,
}
VAE: dict[str, Any] = {
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "block_out_channels": (8, 8, 16, 24),
    "layers_per_block": 2,
    "norm_num_groups": 4,
    "latent_channels": 4,
}
SCHEDULER: dict[str, Any] = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
TEXT_ENCODER: dict[str, Any] = {
    "vocab_size": 10,
    "hidden_size": CONTEXT_CHANNELS,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": TOKENS,
    "bos_token_id": 8,
    "eos_token_id": 9,
    "pad_token_id": 9,
}


@pytest.fixture(scope="session")
def unet() -> UNet2DConditionModel:
    torch.manual_seed(1)
    return UNet2DConditionModel(**UNET).eval()


@pytest.fixture(scope="session")
def vae() -> AutoencoderKL:
    torch.manual_seed(2)
    return AutoencoderKL(**VAE).eval()


@pytest.fixture(scope="session")
def context() -> Tensor:
    return torch.randn(1, TOKENS, CONTEXT_CHANNELS, generator=torch.Generator().manual_seed(3))


@pytest.fixture(scope="session")
def alphas_cumprod() -> Tensor:
    return DDPMScheduler(num_train_timesteps=1000, **SCHEDULER).alphas_cumprod


@pytest.fixture
def build(
    unet: UNet2DConditionModel, vae: AutoencoderKL, context: Tensor, alphas_cumprod: Tensor
) -> Callable[..., DiffusionBackbone]:
    """Build a backbone on copies, so that the models stay untouched."""

    def build_backbone(**changes: object) -> DiffusionBackbone:
        torch.manual_seed(4)
        arguments: dict[str, Any] = {
            "unet": copy.deepcopy(unet),
            "vae": copy.deepcopy(vae),
            "unconditional_context": context,
            "alphas_cumprod": alphas_cumprod,
            "timesteps": [0],
            "noise_seed": 42,
            "projection_channels": 16,
            "bottleneck_channels": 8,
            "normalization_groups": 4,
            "identity_shortcut": False,
            "window_size": None,
            "enlarge_small_images": False,
            "max_windows": None,
            "gradient_checkpointing": False,
            "execution": FrozenExecution(precision="trainer", channels_last=False, compile=None),
            "learning_rate_multiplier": 1.0,
        }
        return DiffusionBackbone(**{**arguments, **changes})

    return build_backbone


@pytest.fixture(scope="session")
def text_encoder() -> CLIPTextModel:
    torch.manual_seed(5)
    return CLIPTextModel(CLIPTextConfig(**TEXT_ENCODER)).eval()


@pytest.fixture(scope="session")
def published_folder(
    tmp_path_factory: pytest.TempPathFactory,
    unet: UNet2DConditionModel,
    vae: AutoencoderKL,
    text_encoder: CLIPTextModel,
) -> Path:
    """Write a pipeline folder as diffusers and transformers publish it."""
    folder = tmp_path_factory.mktemp("published")
    unet.save_pretrained(folder / "unet")
    vae.save_pretrained(folder / "vae")
    text_encoder.save_pretrained(folder / "text_encoder")
    DDPMScheduler(**SCHEDULER).save_pretrained(folder / "scheduler")
    (folder / "tokenizer").mkdir()
    vocabulary = ["a", "b", "c", "d", "a</w>", "b</w>", "c</w>", "d</w>", "<|startoftext|>", "<|endoftext|>"]
    special = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
    special["pad_token"] = "<|endoftext|>"
    for name, content in {
        "vocab.json": {token: index for index, token in enumerate(vocabulary)},
        "special_tokens_map.json": special,
        "tokenizer_config.json": {**special, "model_max_length": TOKENS, "tokenizer_class": "CLIPTokenizer"},
    }.items():
        (folder / "tokenizer" / name).write_text(json.dumps(content))
    (folder / "tokenizer" / "merges.txt").write_text("#version: 0.2\n")
    return folder


@pytest.fixture
def pipeline_folder(published_folder: Path, tmp_path: Path) -> Path:
    """Copy the pipeline folder, so that a test may damage it."""
    return Path(shutil.copytree(published_folder, tmp_path / "pipeline"))
