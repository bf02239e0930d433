"""What each setting of the frozen parts, and compiling, bring to the training step, alone and together."""

from __future__ import annotations

import copy
import gc
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

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
HALF: Changes = {"frozen_precision": "bfloat16", "channels_last": False, "compile": None}
LAST: Changes = {**HALF, "channels_last": True}
FIRST = "float32 frozen weights under bf16-mixed"
# Name, trainer's mixed precision, changed settings of the backbone.
VARIANTS: tuple[tuple[str, str, Changes], ...] = (
    (FIRST, "bf16", {**HALF, "frozen_precision": "trainer"}),
    ("frozen bfloat16", "bf16", HALF),
    ("frozen bfloat16, channels last", "bf16", LAST),
    ("frozen float16", "bf16", {**HALF, "frozen_precision": "float16"}),
    ("frozen bfloat16, gradient checkpointing", "bf16", {**HALF, "gradient_checkpointing": True}),
    ("frozen bfloat16, 4 windows at a time", "bf16", {**HALF, "max_windows": 4}),
    ("frozen bfloat16, 1 window at a time", "bf16", {**HALF, "max_windows": 1}),
    ("16-mixed", "fp16", {**HALF, "frozen_precision": "trainer"}),
    ("float32, no mixed precision", "fp32", {**HALF, "frozen_precision": "trainer"}),
)


class Bench:
    """Times training steps of one segmenter whose backbone is exchanged."""

    def __init__(self, part: Part) -> None:
        """Build the segmenter."""
        self.part = part
        self.config = compose_config("m_odise", part.tiny, [], Path("."))
        self.weights = DiffusionWeights.random(self.config, part.device)
        backbone = build_backbone(self.config, copy.deepcopy(self.weights), part.device, **HALF)
        self.segmenter = build_segmenter(self.config, backbone, part.device)
        self.size = int(self.config.image_size)
        self.first = 0.0

    def take(self, changes: Changes, store: FeatureStore | None = None) -> None:
        """Exchange the backbone."""
        self.segmenter.backbone = torch.nn.Identity()  # type: ignore[assignment]
        gc.collect()
        self.segmenter.backbone = build_backbone(
            self.config, copy.deepcopy(self.weights), self.part.device, feature_store=store, **changes
        )

    def time_step(self, name: str, precision: str = "bf16", *, images: int = 2) -> None:
        """Add images a second, memory, and the share of the time that the card computes."""
        step = TrainingStep(self.config, self.segmenter, self.part.device, precision)
        batch = make_batch(self.size, images, self.part.device)
        self.part.forget_peak()
        start = time.perf_counter()
        step(*batch)
        self.part.synchronize()
        begun = time.perf_counter() - start
        seconds = median_seconds(lambda: step(*batch), self.part, repeats=4, warmup=1) / images
        self.first = self.first or seconds
        self.part.add(name, 1 / seconds, "images/s", ratio=self.first / seconds, beside=FIRST)
        self.part.add_peak(name)
        if begun > 10:
            self.part.add(f"{name}: first step", begun, "s")
        if self.part.device.type == "cuda":
            busy = _busy_seconds(step, batch) / images
            self.part.add(f"{name}: the card computes", 100 * busy / seconds, "% of the time")


def measure(part: Part) -> None:
    """Measure the variants one after the other against the first one."""
    bench = Bench(part)
    for name, precision, changes in VARIANTS[:3] if part.tiny else VARIANTS:
        bench.take(changes)
        bench.time_step(name, precision)
    with tempfile.TemporaryDirectory() as folder:
        stores: dict[str, FeatureStore] = {
            "memory": MemoryFeatureStore(max_gigabytes=20, precision="float16"),
            "disk": DiskFeatureStore(folder=folder, max_gigabytes=20, precision="float16"),
        }
        for where, store in stores.items():
            bench.take(HALF, store)
            bench.time_step(f"frozen bfloat16, VAE's features stored in {where}")
    bench.take(LAST)
    _vae_as_graph(part, bench.segmenter.backbone.vae)  # type: ignore[arg-type]
    _compiled(bench)


def _compiled(bench: Bench) -> None:
    """Compile the VAE, which takes half a minute, then the UNet too."""
    part = bench.part
    backend = "eager" if part.tiny else "inductor"
    name = ""
    for name, parts, seconds in (("VAE", ["vae"], 40), ("VAE and UNet", ["vae", "unet"], 120)):
        if part.seconds_left < seconds or (part.tiny and "unet" in parts):
            return
        bench.take({**HALF, "compile": backend, "compiled_parts": parts})
        bench.time_step(f"frozen bfloat16, compiled {name}")
    for images in () if part.tiny else (4, 8):
        if part.seconds_left > 30:
            bench.time_step(f"frozen bfloat16, compiled {name}, batch {images}", images=images)


def _busy_seconds(step: TrainingStep, batch: tuple[Tensor, Any]) -> float:
    """Sum the kernels of a step."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        step(*batch)
        torch.cuda.synchronize()
    return sum(event.self_device_time_total for event in profile.key_averages()) / 1e6


def _vae_as_graph(part: Part, vae: TruncatedVae) -> None:
    """Compare the VAE as launched operator by operator with its CUDA graph: what launches cost."""
    size = 512 if not part.tiny else 64
    windows = torch.rand(8, 3, size, size, device=part.device).to(torch.bfloat16)
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
        ratio=eager / replay,
        beside="operator by operator",
    )
