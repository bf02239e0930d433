"""What the paper's study costs on 1, 8 and 32 GPUs: six models, five folds, from counted FLOPs.

Run ``python benchmarks/study_cost.py``; it prints the tables of docs/cost.md. Everything that is not counted
is an assumption with an option: GPU, utilisation, epochs, images.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import (
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    Mask2FormerConfig,
    SwinConfig,
    SwinModel,
)
from transformers.models.mask2former.modeling_mask2former import (
    Mask2FormerPixelDecoder,
)

from diffusion_features import CLIP, Odise, Ours, build_models, count, make_inputs

# BiomedCLIP's image tower: ViT-B/16 at 224 pixels.
BIOMEDCLIP = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "image_size": 224,
    "patch_size": 16,
    "projection_dim": 512,
}
WINDOWS = 4  # of 512 pixels in an image of 1024
FOLDS = 5
# TFLOP an image of transformer decoder and criterion, both ways; decoder_and_criterion.py counts it.
DECODER = 0.145 / 2


@dataclass(frozen=True)
class Cost:
    """TFLOP of one image of 1024 x 1024.

    Attributes:
        training: Of a training step.
        stored: Of a training step whose frozen features come from a feature store.
        inference: Of a prediction.
    """

    training: float
    stored: float
    inference: float


def count_tower(settings: dict[str, int]) -> float:
    """Count the image tower of a captioner on one window, in TFLOP."""
    with torch.device("meta"), torch.no_grad():
        tower = CLIPVisionModelWithProjection(CLIPVisionConfig(**settings)).eval()
        side = settings["image_size"]
        return count(lambda: tower(torch.empty(1, 3, side, side)))


def count_head(channels: list[int]) -> tuple[float, float]:
    """Count the pixel decoder at 1024 x 1024 and add the transformer decoder and the criterion, in TFLOP.

    Returns:
        Forward and backward together, and forward alone.
    """
    config = Mask2FormerConfig()
    with torch.device("meta"):
        pixel_decoder = Mask2FormerPixelDecoder(config, channels).to("meta").eval()
        sides = [1024 // stride for stride in (4, 8, 16, 32)]
        features = [
            torch.empty(1, width, side, side, requires_grad=True)
            for width, side in zip(channels, sides, strict=True)
        ]

    def forward() -> Tensor:
        pixels = pixel_decoder(features)
        return torch.stack(
            [each.mean() for each in (*pixels.multi_scale_features, pixels.mask_features)]
        ).sum()

    with torch.no_grad():
        alone = count(forward)
    return count(lambda: forward().backward()) + DECODER, alone + DECODER / 3


def count_swin() -> tuple[float, float]:
    """Count Swin-L at 1024 x 1024: forward and backward together, and forward alone, in TFLOP."""
    config = SwinConfig(
        embed_dim=192, depths=[2, 2, 18, 2], num_heads=[6, 12, 24, 48], window_size=12, image_size=384
    )
    with torch.device("meta"):
        swin, image = SwinModel(config), torch.empty(1, 3, 1024, 1024)
    with torch.no_grad():
        alone = count(lambda: swin(image, interpolate_pos_encoding=True))
    return (
        count(lambda: swin(image, interpolate_pos_encoding=True).last_hidden_state.mean().backward()),
        alone,
    )


def count_models() -> tuple[dict[str, Cost], float]:
    """Count the paper's six models, and a training step of ODISE as written (with CLIP's captioner)."""
    unet, vae = build_models("meta", narrow=False)
    images, context, time_offset = make_inputs(unet, "meta", 512, 1)
    ours = Ours(unet, vae, None, checkpointing=False)
    vae_cost = count(lambda: ours.run_vae(images))
    forward = count(lambda: ours(images, context, time_offset, False))
    training = count(lambda: ours(images, context, time_offset, True))
    odise = count(lambda: Odise(unet, vae)(images, context, time_offset, True))
    head, head_forward = count_head([512] * 4)
    swin, swin_forward = count_swin()
    swin_head, swin_head_forward = count_head([192, 384, 768, 1536])
    clip, biomedclip = count_tower(CLIP), count_tower(BIOMEDCLIP)

    def diffusion(tower: float) -> Cost:
        return Cost(
            WINDOWS * (training + tower) + head,
            WINDOWS * (training - vae_cost) + head,
            WINDOWS * (forward + tower) + head_forward,
        )

    return {
        "m2f_swin_l": Cost(swin + swin_head, swin + swin_head, swin_forward + swin_head_forward),
        "m2f_sd": Cost(
            WINDOWS * forward + head, WINDOWS * (forward - vae_cost) + head, WINDOWS * forward + head_forward
        ),
        "odise": diffusion(clip),
        "odise_biomedclip": diffusion(biomedclip),
        "odise_mame": diffusion(clip),
        "m_odise": diffusion(biomedclip),
    }, WINDOWS * (odise + clip) + head


def main() -> None:
    """Count and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=1225, help="of the dataset (CDD-CESM in the paper)")
    parser.add_argument("--epochs", type=int, default=100, help="of a training")
    parser.add_argument("--validations", type=int, default=20, help="passes over the validation fold")
    parser.add_argument("--peak", type=float, default=312.0, help="TFLOP/s of a GPU; A100, bfloat16, dense")
    parser.add_argument("--utilisation", type=float, default=0.3, help="share of the peak that is reached")
    parser.add_argument("--gpus", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument(
        "--efficiency", type=float, nargs="+", default=[1.0, 1.0, 1.0], help="of each number of GPUs"
    )
    arguments = parser.parse_args()
    # The models make tensors of their own while they run.
    with torch.device("meta"):
        costs, odise = count_models()

    # Each fold trains on three fifths of the images, validates with one fifth and tests with one.
    steps = 0.6 * arguments.images * arguments.epochs * FOLDS
    looks = 0.2 * arguments.images * (arguments.validations + 1) * FOLDS
    once = (0.6 * 2 + 0.4) * arguments.images * FOLDS  # images and their flips, computed for the store
    speed = arguments.peak * arguments.utilisation * 3600  # TFLOP an hour
    print(
        "| experiment | TFLOP a training image | with a feature store | TFLOP a predicted image | GPU-hours |"
        " with a feature store |"
    )
    print("|---|---|---|---|---|---|")
    total = stored_total = 0.0
    for name, cost in costs.items():
        hours = (steps * cost.training + looks * cost.inference) / speed
        saved = cost.training - cost.stored
        stored = hours - max(0.0, (steps + looks - once)) * saved / speed
        total, stored_total = total + hours, stored_total + stored
        print(
            f"| `{name}` | {cost.training:.2f} | {cost.stored:.2f} | {cost.inference:.2f} | {hours:.0f} |"
            f" {stored:.0f} |"
        )
    print(f"| all six | | | | {total:.0f} | {stored_total:.0f} |\n")
    print("| GPUs | hours | hours with a feature store |")
    print("|---|---|---|")
    for number, efficiency in zip(arguments.gpus, arguments.efficiency, strict=True):
        scale = number * efficiency
        print(f"| {number} | {total / scale:.1f} | {stored_total / scale:.1f} |")
    print(f"\nODISE's procedure: {odise:.2f} TFLOP a training image of `odise`.")


if __name__ == "__main__":
    main()
