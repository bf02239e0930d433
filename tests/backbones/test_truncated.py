"""The truncated networks give what hooks on diffusers' whole models see, and compute nothing else."""

from collections.abc import Callable

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from modise_lightning.backbones.diffusion import DiffusionBackbone
from modise_lightning.backbones.truncated_unet import TruncatedUnet
from modise_lightning.backbones.truncated_vae import TruncatedVae

Build = Callable[..., DiffusionBackbone]
VAE_BLOCKS = (
    "encoder.down_blocks.2.resnets.1",
    "encoder.down_blocks.3.resnets.1",
    "decoder.up_blocks.0.resnets.2",
    "decoder.up_blocks.1.resnets.2",
)
UNET_BLOCKS = tuple(f"up_blocks.{index}.resnets.2" for index in range(4))


def hooked(model: nn.Module, blocks: tuple[str, ...], run: Callable[[], object]) -> list[Tensor]:
    """Run a whole model and catch the inputs of some of its blocks."""
    seen: dict[str, Tensor] = {}

    def catch(name: str) -> Callable[..., None]:
        return lambda module, arguments: seen.update({name: arguments[0]})

    handles = [model.get_submodule(name).register_forward_pre_hook(catch(name)) for name in blocks]
    run()
    for handle in handles:
        handle.remove()
    return [seen[name] for name in blocks]


@pytest.mark.parametrize("size", [(128, 128), (64, 192), (96, 160)])
@torch.no_grad()
def test_vae_taps_are_bit_identical(vae: AutoencoderKL, build: Build, size: tuple[int, int]) -> None:
    images = torch.rand(2, 3, *size) * 2 - 1

    def run() -> Tensor:
        latent = vae.encode(images).latent_dist.mean
        vae.decode(latent)
        return latent

    expected = hooked(vae, VAE_BLOCKS, run)
    latent, taps = build().vae(images)
    assert torch.equal(latent, run())
    assert all(torch.equal(tap, reference) for tap, reference in zip(taps, expected, strict=True))


# 12x20 is halved to odd sizes on the way down; 8x24 is not square.
@pytest.mark.parametrize("size", [(16, 16), (8, 24), (12, 20)])
@pytest.mark.parametrize("timesteps", [[0], [0, 500, -1]])
@torch.no_grad()
def test_unet_taps_are_bit_identical(
    unet: UNet2DConditionModel, build: Build, context: Tensor, size: tuple[int, int], timesteps: list[int]
) -> None:
    backbone = build(timesteps=timesteps)
    latents = torch.randn(2, 4, *size)
    noisy = backbone.noisy_latents(latents).flatten(0, 1)
    steps = torch.tensor([max(step, 0) for step in timesteps for _ in latents])
    expected = hooked(unet, UNET_BLOCKS, lambda: unet(noisy, steps, context.expand(len(noisy), -1, -1)))
    taps = backbone._run_unet(latents, None)
    assert len(taps) == 4 * len(timesteps)
    for index, reference in enumerate(expected):
        assert torch.equal(torch.cat(taps[index::4]), reference)


@torch.no_grad()
def test_taps_have_the_published_channels_and_strides() -> None:
    """ODISE's table, on the architecture of Stable Diffusion 1 at 512 x 512, without memory."""
    unet, vae = real_size()
    _, vae_taps = vae(torch.empty(1, 3, 512, 512, device="meta"))
    unet_taps = run_real_size(unet)
    assert [(tap.shape[1], 512 // tap.shape[2]) for tap in (*vae_taps, *unet_taps)] == [
        (512, 4),
        (512, 8),
        (512, 8),
        (512, 4),
        (2560, 64),
        (1920, 32),
        (960, 16),
        (640, 8),
    ]
    assert vae.tap_channels == (512, 512, 512, 512)
    assert unet.tap_channels == (2560, 1920, 960, 640)


@torch.no_grad()
def test_nothing_is_computed_after_the_last_tap() -> None:
    """The bounds are what was counted up to the last tap of the stock models."""
    unet, vae = real_size()
    assert flops(lambda: run_real_size(unet)) <= 0.741e12
    images = torch.empty(1, 3, 512, 512, device="meta")
    encoder = flops(lambda: vae._encode(images))
    assert encoder == pytest.approx(1.117e12, rel=1e-3)
    assert flops(lambda: vae(images)) - encoder <= 0.624e12


def real_size() -> tuple[TruncatedUnet, TruncatedVae]:
    with torch.device("meta"):
        unet = UNet2DConditionModel(cross_attention_dim=768)
        vae = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(128, 256, 512, 512),
            layers_per_block=2,
        )
    return TruncatedUnet(unet, gradient_checkpointing=False), TruncatedVae(vae)


def run_real_size(unet: TruncatedUnet) -> tuple[Tensor, ...]:
    latents = torch.empty(1, 4, 64, 64, device="meta")
    timesteps = torch.zeros(1, dtype=torch.int64, device="meta")
    taps: tuple[Tensor, ...] = unet(latents, timesteps, torch.empty(1, 77, 768, device="meta"), None)
    return taps


def flops(run: Callable[[], object]) -> int:
    with FlopCounterMode(display=False) as counter:
        run()
    return int(counter.get_total_flops())
