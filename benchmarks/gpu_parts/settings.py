"""What each setting of the frozen parts brings to the training step, alone and together."""

from __future__ import annotations

import copy
import gc
import tempfile
from pathlib import Path
from typing import Any

import torch

from gpu_parts.models import (
    DiffusionWeights,
    TrainingStep,
    build_backbone,
    build_segmenter,
    compose_config,
    make_batch,
)
from gpu_parts.record import Part
from gpu_parts.timing import median_seconds
from modise_lightning.backbones.truncated_vae import TruncatedVae
from modise_lightning.feature_store.disk import DiskFeatureStore
from modise_lightning.feature_store.memory import MemoryFeatureStore
from modise_lightning.feature_store.store import FeatureStore

Changes = dict[str, Any]
HALF: Changes = {"frozen_precision": "bfloat16"}
LAST: Changes = {**HALF, "channels_last": True}
# Name, trainer's mixed precision, changed settings of the backbone.
VARIANTS: tuple[tuple[str, str, Changes], ...] = (
    (
        "as shipped: float32 frozen weights under bf16-mixed",
        "bf16",
        {"frozen_precision": "trainer", "channels_last": False},
    ),
    ("float32, no mixed precision", "fp32", {"frozen_precision": "trainer"}),
    ("16-mixed", "fp16", {"frozen_precision": "trainer"}),
    ("frozen bfloat16", "bf16", HALF),
    ("frozen float16", "bf16", {"frozen_precision": "float16"}),
    ("channels last, float32 frozen weights", "bf16", {"frozen_precision": "trainer", "channels_last": True}),
    ("frozen bfloat16, channels last", "bf16", LAST),
    (
        "frozen bfloat16, channels last, gradient checkpointing",
        "bf16",
        {**LAST, "gradient_checkpointing": True},
    ),
    ("frozen bfloat16, channels last, 4 windows at a time", "bf16", {**LAST, "max_windows": 4}),
    ("frozen bfloat16, channels last, 1 window at a time", "bf16", {**LAST, "max_windows": 1}),
)


def measure(part: Part) -> None:
    """Measure the variants one after the other against the first one."""
    config = compose_config("m_odise", part.tiny, [], Path("."))
    weights = DiffusionWeights.random(config, part.device)
    segmenter = build_segmenter(
        config, build_backbone(config, copy.deepcopy(weights), part.device), part.device
    )
    size, images = int(config.image_size), 2
    batch = make_batch(size, images, part.device)
    first: list[float] = []

    def time_step(name: str, precision: str, repeats: int = 4) -> None:
        step = TrainingStep(config, segmenter, part.device, precision)
        part.forget_peak()
        seconds = median_seconds(lambda: step(*batch), part, repeats=repeats)
        first.append(seconds)
        part.add(name, images / seconds, "images/s", ratio=first[0] / seconds, beside="the first of these")
        part.add_peak(name)

    def take(changes: Changes, store: FeatureStore | None = None) -> None:
        segmenter.backbone = torch.nn.Identity()  # type: ignore[assignment]
        gc.collect()
        segmenter.backbone = build_backbone(
            config, copy.deepcopy(weights), part.device, feature_store=store, **changes
        )

    for name, precision, changes in VARIANTS:
        take(changes)
        time_step(name, precision)
    with tempfile.TemporaryDirectory() as folder:
        stores: dict[str, FeatureStore] = {
            "memory": MemoryFeatureStore(max_gigabytes=20, precision="float16"),
            "disk": DiskFeatureStore(folder=folder, max_gigabytes=20, precision="float16"),
        }
        for where, store in stores.items():
            take(LAST, store)
            time_step(f"frozen bfloat16, channels last, feature store in {where} (VAE only)", "bf16")
    take(LAST)
    _vae_as_graph(part, segmenter.backbone.vae, batch[0])  # type: ignore[arg-type]
    if part.tiny or part.seconds_left > 100:
        take({**LAST, "compile": "aot_eager" if part.tiny else "inductor"})
        time_step("frozen bfloat16, channels last, compiled", "bf16")


def _vae_as_graph(part: Part, vae: TruncatedVae, images: torch.Tensor) -> None:
    """Compare the VAE as launched operator by operator with its CUDA graph: what launches cost."""
    size = 512 if not part.tiny else 64
    windows = images.new_empty(8, 3, size, size).uniform_(-1, 1).to(torch.bfloat16)
    windows = windows.contiguous(memory_format=torch.channels_last)
    eager = median_seconds(lambda: vae(windows), part, repeats=5)
    part.add("VAE of 8 windows, operator by operator", 1000 * eager, "ms")
    if part.device.type != "cuda":
        return
    graph = torch.cuda.CUDAGraph()
    with torch.no_grad(), torch.cuda.graph(graph):
        vae(windows)
    replay = median_seconds(graph.replay, part, repeats=5)
    part.add(
        "VAE of 8 windows, CUDA graph",
        1000 * replay,
        "ms",
        beside="operator by operator",
        ratio=eager / replay,
    )
