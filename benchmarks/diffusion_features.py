"""The frozen diffusion features against ODISE's procedure: FLOPs at real size, time and memory.

Run ``python benchmarks/diffusion_features.py``. ODISE computes all of the VAE and the UNet, reads the
features with hooks, and keeps weight gradients of the checkpointed UNet. FLOPs are counted at real size on
tensors without values; ``--real-size`` also takes time and memory there (about 12 GB and some minutes),
otherwise a narrower model of the same layout is timed.
"""

from __future__ import annotations

import argparse
import ctypes
import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import yaml
from diffusers import AutoencoderKL, UNet2DConditionModel
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from modise_lightning.backbones.truncated_unet import TruncatedUnet
from modise_lightning.backbones.truncated_vae import TruncatedVae
from modise_lightning.feature_store.memory import MemoryFeatureStore
from modise_lightning.feature_store.recall import FeatureRecall

CONFIG = Path(__file__).parents[1] / "conf" / "diffusion" / "stable_diffusion.yaml"
# The narrower model: widths a quarter of Stable Diffusion's.
NARROW_UNET = {"block_out_channels": [80, 160, 320, 320], "norm_num_groups": 8, "attention_head_dim": 4}
NARROW_VAE = {"block_out_channels": [32, 64, 128, 128], "norm_num_groups": 8}
# OpenAI's CLIP ViT-L/14 at 336 pixels, ODISE's captioner.
CLIP = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "image_size": 336,
    "patch_size": 14,
    "projection_dim": 768,
}


def build_models(device: str, narrow: bool) -> tuple[Any, Any]:
    """Build the UNet and the VAE with random weights."""
    architecture = yaml.safe_load(CONFIG.read_text())["architecture"]
    unet, vae = dict(architecture["unet"]), dict(architecture["vae"])
    if narrow:
        unet.update(NARROW_UNET)
        vae.update(NARROW_VAE)
    with torch.device(device):
        return UNet2DConditionModel(**unet).eval(), AutoencoderKL(**vae).eval()


class Odise:
    """What ODISE computes for a batch of windows."""

    def __init__(self, unet: Any, vae: Any) -> None:  # noqa: ANN401 (diffusers has no type information)
        """Hook the taps, which are the inputs of these blocks."""
        self.unet, self.vae = unet, vae
        self.taps: dict[nn.Module, Tensor] = {}
        self.hooked: list[nn.Module] = [
            vae.encoder.down_blocks[2].resnets[1],
            vae.encoder.down_blocks[3].resnets[1],
            vae.decoder.up_blocks[0].resnets[2],
            vae.decoder.up_blocks[1].resnets[2],
            *(block.resnets[2] for block in unet.up_blocks),
        ]

    def __call__(self, images: Tensor, context: Tensor, time_offset: Tensor, backward: bool) -> None:
        """Compute the taps, and in training the gradients of the UNet's inputs and weights."""
        taps = self.features(images, context, time_offset, backward)
        if backward:
            torch.stack([tap.mean() for tap in taps[4:]]).sum().backward()
        self.forget()

    def features(self, images: Tensor, context: Tensor, time_offset: Tensor, training: bool) -> list[Tensor]:
        """Compute the VAE's four taps and the UNet's four; ``forget`` ends the step."""
        self.taps.clear()
        handles = [module.register_forward_pre_hook(self._keep) for module in self.hooked]
        self.unet.train(training).requires_grad_(training)
        self.unet.enable_gradient_checkpointing()
        with torch.no_grad():
            latents = self.vae.encode(2 * images - 1).latent_dist.mean
            self.vae.decode(latents)
        # Its own code adds the offset to the time embedding; here it goes in by the same addition.
        handles.append(self.unet.time_embedding.register_forward_hook(lambda _m, _i, out: out + time_offset))
        with torch.set_grad_enabled(training):
            timesteps = torch.zeros(len(images), dtype=torch.int64, device=images.device)
            self.unet(0.18215 * latents, timesteps, context)
        for handle in handles:
            handle.remove()
        taps = [self.taps[module] for module in self.hooked]
        self.taps.clear()
        return taps

    def forget(self) -> None:
        """Drop the gradients of the weights, and leave the modules as the other side expects them."""
        self.unet.zero_grad(set_to_none=True)
        self.unet.requires_grad_(False).eval()
        self.unet.disable_gradient_checkpointing()

    def _keep(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        # Checkpointing calls a module again in the backward pass.
        self.taps.setdefault(module, inputs[0])


class Ours:
    """The same taps by this library's modules, which share the weights with ODISE's side."""

    def __init__(self, unet: Any, vae: Any, recall: FeatureRecall | None, checkpointing: bool) -> None:  # noqa: ANN401
        """Wrap the models."""
        self.unet = TruncatedUnet(unet, gradient_checkpointing=checkpointing)
        self.vae = TruncatedVae(vae)
        self.recall = recall

    def run_vae(self, images: Tensor) -> tuple[Tensor, ...]:
        """Compute the VAE's latents and taps."""
        latents, taps = self.vae(2 * images - 1)
        return latents.contiguous(), *taps

    def __call__(self, images: Tensor, context: Tensor, time_offset: Tensor, backward: bool) -> None:
        """Compute the taps, and in training the gradients of the UNet's inputs."""
        self.unet.requires_grad_(False)
        features = self.run_vae(images) if self.recall is None else self.recall(self.run_vae, images)
        with torch.set_grad_enabled(backward):
            timesteps = torch.zeros(len(images), dtype=torch.int64, device=images.device)
            taps = self.unet(0.18215 * features[0], timesteps, context, time_offset)
            if backward:
                torch.stack([tap.mean() for tap in taps]).sum().backward()


def make_inputs(unet: Any, device: str, size: int, images: int) -> tuple[Tensor, Tensor, Tensor]:  # noqa: ANN401
    """Make images, and the conditioning that gradients flow to."""
    with torch.device(device):
        context = torch.randn(images, 77, unet.config.cross_attention_dim, requires_grad=True)
        time_offset = torch.randn(images, unet.time_embedding.linear_2.out_features, requires_grad=True)
        return torch.rand(images, 3, size, size), context, time_offset


def count(run: Callable[[], object]) -> float:
    """Count TFLOP."""
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops() / 1e12


def count_flops(size: int) -> dict[str, tuple[float, float]]:
    """Count forward passes and training steps of both sides at real size; (ours, ODISE's) in TFLOP."""
    unet, vae = build_models("meta", narrow=False)
    inputs = make_inputs(unet, "meta", size, 1)
    odise, ours = Odise(unet, vae), Ours(unet, vae, None, checkpointing=False)
    with torch.device("meta"), torch.no_grad():
        tower = CLIPVisionModelWithProjection(CLIPVisionConfig(**CLIP)).eval()
        clip = count(lambda: tower(torch.empty(1, 3, 336, 336)))
    vae_only = count(lambda: ours.run_vae(inputs[0]))
    forward = count(lambda: ours(*inputs, False)), count(lambda: odise(*inputs, False))
    training = count(lambda: ours(*inputs, True)) + clip, count(lambda: odise(*inputs, True)) + clip
    return {
        "TFLOP, features forward": forward,
        "TFLOP, training step with captioner": training,
        "TFLOP, training step with captioner, feature store": (training[0] - clip - vae_only, training[1]),
    }


def peak_extra_memory(run: Callable[[], object]) -> float:
    """Measure by how many GB the process's memory grows while something runs."""
    ctypes.CDLL(None).malloc_trim(0)
    start, peak, stop = resident_memory(), 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not stop.wait(0.002):
            peak = max(peak, resident_memory())

    watcher = threading.Thread(target=watch)
    watcher.start()
    run()
    stop.set()
    watcher.join()
    return (peak - start) / 1e9


def resident_memory() -> int:
    """Give the process's resident bytes (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--real-size", action="store_true", help="time the real-size model at 512 pixels")
    parser.add_argument("--images", type=int, default=1, help="windows a step")
    parser.add_argument("--repeats", type=int, default=5, help="timed runs of each side, one after the other")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)

    table = Table(title="Frozen diffusion features, one window")
    for column in ("", "ours", "ODISE's procedure", "ours / ODISE"):
        table.add_column(column, justify="right" if column else "left")

    def add(name: str, ours: float, theirs: float) -> None:
        table.add_row(name, f"{ours:.3g}", f"{theirs:.3g}", f"{100 * ours / theirs:.1f} %")

    for name, pair in count_flops(512).items():
        add(f"{name}, 512 x 512", *pair)

    size = 512 if arguments.real_size else 256
    unet, vae = build_models("cpu", narrow=not arguments.real_size)
    inputs = make_inputs(unet, "cpu", size, arguments.images)
    store = MemoryFeatureStore(max_gigabytes=1.0, precision="float16")
    recall = FeatureRecall(store, what="VAE features", module=TruncatedVae(vae), settings={})
    sides: dict[str, Callable[..., None]] = {
        "feature store": Ours(unet, vae, recall, checkpointing=False),
        "checkpointed": Ours(unet, vae, recall, checkpointing=True),
        "plain": Ours(unet, vae, None, checkpointing=False),
        "ODISE": Odise(unet, vae),
    }
    recall(Ours(unet, vae, None, checkpointing=False).run_vae, inputs[0])  # from here on it is stored
    # With the features stored what is left is the UNet's part; ODISE's weight gradients outgrow its VAE.
    memory = {
        name: peak_extra_memory(lambda name=name: sides[name](*inputs, True))
        for name in ("checkpointed", "feature store", "ODISE")
    }
    timed = ("plain", "feature store", "ODISE")
    walls: dict[str, list[float]] = {name: [] for name in timed}
    processors: dict[str, list[float]] = {name: [] for name in timed}
    for _ in range(arguments.repeats):
        for name in timed:
            wall, processor = time.perf_counter(), time.process_time()
            sides[name](*inputs, True)
            walls[name].append(time.perf_counter() - wall)
            processors[name].append(time.process_time() - processor)
    what = "real size, 512 x 512" if arguments.real_size else "quarter width, 256 x 256"
    for unit, times in (("seconds", walls), ("processor seconds", processors)):
        medians = {name: statistics.median(values) for name, values in times.items()}
        add(f"{unit}, training step, {what}", medians["plain"], medians["ODISE"])
        add(f"{unit}, with feature store, {what}", medians["feature store"], medians["ODISE"])
    add(f"GB at the peak of the UNet's part, {what}", memory["feature store"], memory["ODISE"])
    add(f"GB, with gradient checkpointing, {what}", memory["checkpointed"], memory["ODISE"])
    Console().print(table)


if __name__ == "__main__":
    main()
