"""The diffusion backbone's formulas, what it trains, and where its gradients go."""

import copy
import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor

from modise_lightning.backbones.diffusion import DiffusionBackbone
from modise_lightning.errors import UserError
from modise_lightning.structures import Conditioning, FeaturePyramid

Build = Callable[..., DiffusionBackbone]


def random_conditioning(backbone: DiffusionBackbone, batch: int, scale: float = 1.0) -> Conditioning:
    shape = backbone.conditioning_shape
    assert shape is not None
    generator = torch.Generator().manual_seed(7)
    context = torch.randn(batch, shape.context_length, shape.context_channels, generator=generator)
    time = torch.randn(batch, shape.timesteps, shape.time_channels, generator=generator)
    return Conditioning((scale * context).requires_grad_(), (scale * time).requires_grad_())


def loss_of(pyramid: FeaturePyramid) -> Tensor:
    total: Tensor = sum((level * level.detach().cos()).sum() for level in pyramid.levels)  # type: ignore[assignment]
    return total


def test_shapes(build: Build) -> None:
    backbone = build(timesteps=[0, 100])
    pyramid = backbone(torch.rand(2, 3, 64, 96), None)
    assert [tuple(level.shape) for level in pyramid.levels] == [
        (2, 16, 16, 24),
        (2, 16, 8, 12),
        (2, 16, 4, 6),
        (2, 16, 2, 3),
    ]
    assert backbone.feature_channels == (16, 16, 16, 16)
    assert backbone.conditioning_shape is not None
    assert backbone.conditioning_shape.timesteps == 2
    assert backbone.conditioning_shape.context_channels == 24
    assert backbone.conditioning_shape.time_channels == 32


def test_the_latent_is_the_scaled_posterior_mean(build: Build, vae: AutoencoderKL) -> None:
    backbone = build()
    images = torch.rand(1, 3, 64, 64)
    seen: list[Tensor] = []
    backbone.unet.register_forward_pre_hook(lambda module, arguments: seen.append(arguments[0]))
    backbone(images, None)
    with torch.no_grad():
        mean = vae.encode(images * 2 - 1).latent_dist.mode()
    assert torch.equal(seen[0], backbone.noisy_latents(mean * 0.18215)[0])


def test_the_noise_formula_by_hand(build: Build) -> None:
    """Betas of Stable Diffusion: squares of 1000 steps from sqrt(0.00085) to sqrt(0.012)."""
    timesteps = [0, 500, -1]
    latents = torch.randn(2, 4, 64, 64)
    noise = torch.randn(1, 4, 64, 64, generator=torch.Generator().manual_seed(42))
    start, end = math.sqrt(0.00085), math.sqrt(0.012)
    alphas = []
    product = 1.0
    for step in range(1000):
        product *= 1 - (start + (end - start) * step / 999) ** 2
        alphas.append(product)
    noisy = build(timesteps=timesteps).noisy_latents(latents)
    for result, step in zip(noisy[:2], timesteps, strict=False):
        expected = math.sqrt(alphas[step]) * latents + math.sqrt(1 - alphas[step]) * noise
        torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(noisy[2], latents)


def test_noise_for_other_sizes_is_resized(build: Build) -> None:
    backbone = build(timesteps=[999])
    noise = torch.randn(1, 4, 64, 64, generator=torch.Generator().manual_seed(42))
    resized = F.interpolate(noise, (32, 48), mode="bicubic", align_corners=False)
    noisy = backbone.noisy_latents(torch.zeros(1, 4, 32, 48))
    torch.testing.assert_close(noisy[0], backbone.noise_scale[0] * resized)


def test_results_are_deterministic(build: Build) -> None:
    images = torch.rand(1, 3, 64, 64)
    first, second = build()(images, None), build()(images, None)
    assert all(torch.equal(a, b) for a, b in zip(first.levels, second.levels, strict=True))
    other = build(noise_seed=43, timesteps=[900])(images, None)
    same = build(timesteps=[900])(images, None)
    assert not torch.equal(other.s5, same.s5)


def test_no_conditioning_is_zero_conditioning(build: Build) -> None:
    backbone = build(timesteps=[0, 300])
    images = torch.rand(2, 3, 64, 64)
    without = backbone(images, None)
    zero = backbone(images, random_conditioning(backbone, 2, scale=0.0))
    other = backbone(images, random_conditioning(backbone, 2))
    assert all(torch.equal(a, b) for a, b in zip(without.levels, zero.levels, strict=True))
    assert not torch.allclose(without.s5, other.s5, atol=1e-3)


def test_each_image_and_timestep_has_its_own_conditioning(build: Build) -> None:
    """A batch of two images at two timesteps equals each image and each timestep alone."""
    both = build(timesteps=[10, 700])
    latents = torch.randn(2, 4, 8, 8)
    conditioning = random_conditioning(both, 2)
    with torch.no_grad():
        taps = both._run_unet(latents, conditioning)
        for step, timestep in enumerate([10, 700]):
            alone = build(timesteps=[timestep])
            for image in range(2):
                part = Conditioning(
                    conditioning.context[image : image + 1],
                    conditioning.time_embedding[image : image + 1, step : step + 1],
                )
                expected = alone._run_unet(latents[image : image + 1], part)
                for index in range(4):
                    torch.testing.assert_close(
                        taps[4 * step + index][image : image + 1], expected[index], rtol=1e-4, atol=1e-4
                    )


@pytest.mark.parametrize("training", [True, False])
def test_only_the_projections_are_trained(build: Build, training: bool) -> None:
    backbone = build().train(training)
    assert not any(module.training for part in (backbone.unet, backbone.vae) for module in part.modules())
    assert backbone.projection.training is training
    loss_of(backbone(torch.rand(1, 3, 64, 64), random_conditioning(backbone, 1))).backward()
    for name, parameter in backbone.named_parameters():
        assert parameter.requires_grad == name.startswith("projection.")
        assert (parameter.grad is not None) == name.startswith("projection.")


def test_without_conditioning_no_graph_is_built_below_the_projections(build: Build) -> None:
    backbone = build()
    assert not any(tap.requires_grad for tap in run_taps(backbone, None))
    assert all(tap.requires_grad for tap in run_taps(backbone, random_conditioning(backbone, 1)))


def run_taps(backbone: DiffusionBackbone, conditioning: Conditioning | None) -> list[Tensor]:
    seen: list[Tensor] = []
    hook = backbone.projection.register_forward_pre_hook(
        lambda module, arguments: seen.extend(arguments[0][4:])
    )
    backbone(torch.rand(1, 3, 64, 64), conditioning)
    hook.remove()
    return seen


def test_the_conditioning_gets_the_gradient_of_the_whole_unet(
    build: Build, unet: UNet2DConditionModel, context: Tensor
) -> None:
    backbone = build(timesteps=[200])
    latents = torch.randn(2, 4, 16, 16)
    ours = random_conditioning(backbone, 2)
    sum(tap.sin().sum() for tap in backbone._run_unet(latents, ours)).backward()

    reference = random_conditioning(backbone, 2)
    whole = copy.deepcopy(unet)
    seen: list[Tensor] = []
    for block in whole.up_blocks:
        block.resnets[2].register_forward_pre_hook(lambda module, arguments: seen.append(arguments[0]))
    whole.time_embedding.register_forward_hook(
        lambda module, arguments, output: output + reference.time_embedding[:, 0]
    )
    whole(backbone.noisy_latents(latents)[0], 200, context + reference.context)
    sum(tap.sin().sum() for tap in seen).backward()
    assert ours.context.grad is not None
    assert ours.context.grad.abs().max() > 0
    torch.testing.assert_close(ours.context.grad, reference.context.grad)
    torch.testing.assert_close(ours.time_embedding.grad, reference.time_embedding.grad)


def test_gradient_checkpointing_gives_the_same_bits_with_less_kept(build: Build) -> None:
    results, kept = [], []
    for checkpointing in (False, True):
        backbone = build(gradient_checkpointing=checkpointing, timesteps=[0, 400])
        conditioning = random_conditioning(backbone, 1)
        weights = {parameter.data_ptr() for parameter in backbone.parameters()}
        activations: dict[int, int] = {}

        def keep(
            tensor: Tensor, weights: set[int] = weights, activations: dict[int, int] = activations
        ) -> Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in weights:
                activations[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            taps = backbone._run_unet(torch.ones(1, 4, 16, 16) / 3, conditioning)
        kept.append(sum(activations.values()))
        sum(tap.sin().sum() for tap in taps).backward()
        results.append([*taps, conditioning.context.grad, conditioning.time_embedding.grad])
    assert all(torch.equal(plain, checkpointed) for plain, checkpointed in zip(*results, strict=True))
    assert kept[1] < 0.25 * kept[0]


@pytest.mark.parametrize("timesteps", [[], [1000], [-2], [0, 5000]])
def test_impossible_timesteps_are_refused(build: Build, timesteps: list[int]) -> None:
    with pytest.raises(
        UserError, match=r"backbone\.timesteps: expected at least one value from -1 .* to 999"
    ):
        build(timesteps=timesteps)


@pytest.mark.parametrize("window_size", [0, 100, -32])
def test_impossible_windows_are_refused(build: Build, window_size: int) -> None:
    with pytest.raises(UserError, match=r"backbone\.window_size: expected a multiple of 32"):
        build(window_size=window_size)
