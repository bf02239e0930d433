"""Models of the shipped configurations with random weights, built on the device; batches; a training step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict
from torch import Tensor, nn

from modise_lightning.backbones.diffusion import DiffusionBackbone
from modise_lightning.backbones.frozen_execution import FrozenExecution
from modise_lightning.configuration.command_line import config_directory, instantiate
from modise_lightning.feature_store.store import FeatureStore
from modise_lightning.segmenter import Segmenter
from modise_lightning.structures import PanopticSegmentation

CLASSES = 3
_TINY = [
    "backbone=sd_tiny",
    "captioner=clip_tiny",
    "text=clip_tiny",
    "image_size=64",
    "criterion.num_points=64",
]


def compose_config(experiment: str, tiny: bool, overrides: list[str], output_dir: Path) -> DictConfig:
    """Compose a shipped experiment with random weights; ``tiny`` takes the tiny parts instead."""
    chosen = [f"experiment={experiment}"]
    if tiny:
        chosen = list(_TINY)
    else:
        chosen += ["backbone.weights=random", "captioner.weights=random", "text.encoder.weights=random"]
    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        config = compose("train", overrides=[*chosen, *overrides], return_hydra_config=True)
    with open_dict(config):
        config.hydra.runtime.output_dir = str(output_dir)
    HydraConfig.instance().set_config(config)
    with open_dict(config):
        del config["hydra"]
    return config


@dataclass
class DiffusionWeights:
    """A diffusion model that several backbones can share."""

    unet: UNet2DConditionModel
    vae: AutoencoderKL

    @classmethod
    def random(cls, config: DictConfig, device: torch.device) -> DiffusionWeights:
        """Make random weights on the device, where that takes no time."""
        architecture: Any = OmegaConf.to_container(config.backbone.architecture, resolve=True)
        with torch.device(device):
            return cls(
                UNet2DConditionModel(**architecture["unet"]).eval(),
                AutoencoderKL(**architecture["vae"]).eval(),
            )


def build_backbone(
    config: DictConfig,
    weights: DiffusionWeights,
    device: torch.device,
    *,
    feature_store: FeatureStore | None = None,
    **changes: Any,  # noqa: ANN401 (settings of the backbone, of several types)
) -> DiffusionBackbone:
    """Build the configuration's diffusion backbone around shared weights, with some settings changed."""
    settings = {**OmegaConf.to_container(config.backbone, resolve=True), **changes}  # type: ignore[dict-item]
    text = settings["architecture"]["text_encoder"]
    # The same in every variant, like the weights.
    generator = torch.Generator().manual_seed(0)
    backbone = DiffusionBackbone(
        unet=weights.unet,
        vae=weights.vae,
        unconditional_context=torch.randn(
            1, text["max_position_embeddings"], text["hidden_size"], generator=generator
        ),
        alphas_cumprod=torch.linspace(0.999, 0.005, 1000),
        execution=FrozenExecution(
            precision=settings["frozen_precision"],
            channels_last=settings["channels_last"],
            compile=settings["compile"],
            compiled_parts=settings["compiled_parts"],
        ),
        feature_store=feature_store,
        **{
            name: settings[name]
            for name in (
                "timesteps",
                "noise_seed",
                "projection_channels",
                "bottleneck_channels",
                "normalization_groups",
                "window_size",
                "max_windows",
                "gradient_checkpointing",
                "learning_rate_multiplier",
                "identity_shortcut",
                "enlarge_small_images",
            )
        },
    )
    return backbone.to(device)


def build_segmenter(
    config: DictConfig, backbone: DiffusionBackbone, device: torch.device, **stored: FeatureStore
) -> Segmenter:
    """Build the rest around a backbone; the texts' embeddings are random."""
    with torch.device(device):
        captioner: nn.Module = instantiate(config.captioner)(shape=backbone.conditioning_shape, **stored)
    mask_generator = instantiate(config.mask_generator)(feature_channels=backbone.feature_channels)
    classifier = instantiate(config.text.classifier)(
        text_embeddings=torch.randn(CLASSES, captioner.image_encoder.embedding_dim),
        prompt_categories=torch.arange(CLASSES),
        null_embedding=torch.randn(captioner.image_encoder.embedding_dim),
        hidden_channels=mask_generator.hidden_channels,
    )
    return Segmenter(
        backbone=backbone, captioner=captioner, mask_generator=mask_generator, classifier=classifier
    ).to(device)


def make_batch(size: int, images: int, device: torch.device) -> tuple[Tensor, list[PanopticSegmentation]]:
    """Make random images with three lesions each."""
    targets = []
    for image in range(images):
        ids = torch.zeros(size, size, dtype=torch.int64)
        for index in range(3):
            top, left = size // 8 + index * size // 4, size // 5 + image % 8 * size // 16
            ids[top : top + size // 6, left : left + size // 7] = index + 1
        targets.append(PanopticSegmentation(ids, torch.arange(3)).to(device))
    return torch.rand(images, 3, size, size, device=device), targets


class TrainingStep:
    """Everything of a training step under a trainer's precision, without the trainer."""

    def __init__(
        self, config: DictConfig, segmenter: Segmenter, device: torch.device, precision: str = "bf16"
    ) -> None:
        """Build the criterion and the optimizer.

        Args:
            config: Composed.
            segmenter: On the device.
            device: Where.
            precision: ``bf16`` or ``fp16`` as the trainer's mixed precision, or ``fp32``.
        """
        self.segmenter = segmenter.train()
        self.device = device
        self.criterion = instantiate(config.criterion)
        self.optimizer = instantiate(config.optimizer).optimizer(segmenter, images_per_step=2)
        self.trained = [each for each in segmenter.parameters() if each.requires_grad]
        self.clip = float(config.trainer.gradient_clip_val)
        types = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
        self.autocast = lambda: torch.autocast(
            device.type, dtype=types[precision] if precision != "fp32" else None, enabled=precision != "fp32"
        )

    def __call__(self, images: Tensor, targets: list[PanopticSegmentation]) -> Tensor:
        """Run one step; returns the loss, on the device."""
        with self.autocast():
            loss: Tensor = self.criterion(self.segmenter(images), targets)["loss"]
        return self.finish(loss.backward, loss)

    def finish(self, backward: Callable[[], object], loss: Tensor) -> Tensor:
        """Differentiate, clip and update."""
        backward()
        torch.nn.utils.clip_grad_norm_(self.trained, self.clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss.detach()
