"""The pixel decoder against transformers': time of forward and backward, and memory on a GPU.

Run ``python benchmarks/pixel_decoder.py``. All sides run in turns in one process, with the same weights, in
float32; ratios are of medians. ``--only tiny`` for the default run's size alone.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from transformers import Mask2FormerConfig
from transformers.models.mask2former.modeling_mask2former import Mask2FormerPixelDecoder

from modise_lightning.mask_generator.pixel_decoder import PixelDecoder

# Image size, batch, channels, heads, layers, feed-forward width, repeats.
SETTINGS = {
    "tiny": (128, 16, 64, 4, 1, 128, 15),
    "256": (256, 2, 256, 8, 6, 1024, 3),
    "512": (512, 2, 256, 8, 6, 1024, 3),
}


def step(decoder: nn.Module, features: list[Tensor]) -> None:
    """Do forward and backward."""
    decoder.zero_grad()
    output = decoder(features)
    sum(each.square().mean() for each in (output.mask_features, *output.multi_scale_features)).backward()


def measure(name: str, device: torch.device, table: Table) -> None:
    """Time one setting and add its rows."""
    size, batch, channels, heads, layers, feedforward, repeats = SETTINGS[name]
    config = Mask2FormerConfig(
        feature_size=channels,
        mask_feature_size=channels,
        encoder_layers=layers,
        encoder_feedforward_dim=feedforward,
        num_attention_heads=heads,
        dropout=0.0,
    )
    theirs = Mask2FormerPixelDecoder(config, feature_channels=[channels] * 4)
    nn.init.normal_(theirs.level_embed)
    theirs.to(device).train()
    own = PixelDecoder(config, [channels] * 4).to(device).train()
    own.load_state_dict(theirs.state_dict())
    features = [
        torch.randn(batch, channels, size // stride, size // stride, device=device, requires_grad=True)
        for stride in (4, 8, 16, 32)
    ]

    sides: dict[str, Callable[[], None]] = {
        "transformers": lambda: step(theirs, features),
        "modise_lightning": lambda: step(own, features),
    }
    seconds: dict[str, list[float]] = {side: [] for side in sides}
    memory: dict[str, float] = {}
    for repeat in range(repeats + 1):
        for side, run in sides.items():
            if device.type == "cuda":
                torch.cuda.synchronize()
                torch.cuda.reset_peak_memory_stats()
            start = time.perf_counter()
            run()
            if device.type == "cuda":
                torch.cuda.synchronize()
                memory[side] = torch.cuda.max_memory_allocated() / 2**20
            if repeat:  # The first one warms up.
                seconds[side].append(time.perf_counter() - start)
    base = statistics.median(seconds["transformers"])
    for side, each in seconds.items():
        median = statistics.median(each)
        table.add_row(
            f"{size} px, batch {batch}, {channels} channels, {layers} layers",
            side,
            f"{median * 1000:.0f}",
            f"{base / median:.2f}",
            f"{memory[side]:.0f}" if side in memory else "-",
        )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=list(SETTINGS))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args()
    table = Table("setting", "decoder", "median ms", "times faster", "peak MiB (CUDA)")
    for name in [arguments.only] if arguments.only else SETTINGS:
        measure(name, torch.device(arguments.device), table)
    Console().print(table)


if __name__ == "__main__":
    main()
