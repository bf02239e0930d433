"""Whether the card computes what the CPU does: kernels, and half precision of the network."""

from __future__ import annotations

import copy
import gc
import secrets
from pathlib import Path

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
from modise_lightning.mask_generator.deformable_attention import Levels, sample

# Height and width of the levels, channels a head.
ODD_SIZES = (
    ([(13, 7), (6, 5), (3, 2)], 32),
    ([(1, 1), (33, 65), (1, 3)], 24),
)
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 1e-2, torch.float16: 2e-3}


def measure(part: Part) -> None:
    """Check the kernels on fresh random inputs, then the network."""
    seed = secrets.randbits(31)
    torch.manual_seed(seed)
    for dtype in TOLERANCE:
        errors = [_kernel_errors(part.device, shapes, channels, dtype) for shapes, channels in ODD_SIZES]
        worst = max(max(each) for each in errors)
        kind = str(dtype).removeprefix("torch.")
        part.add(
            f"deformable attention in {kind} against float64, result and gradients, odd sizes, seed {seed}",
            worst,
            "relative",
            goal=f"under {TOLERANCE[dtype]}",
        )
    _network(part)


def _kernel_errors(
    device: torch.device, shapes: list[tuple[int, int]], channels: int, dtype: torch.dtype
) -> list[float]:
    """Give the relative errors of the result and the three gradients."""
    batch, heads, points = 2, 8, 4
    tokens = sum(height * width for height, width in shapes)
    size = (batch, tokens, heads, len(shapes), points)
    cells = torch.tensor([(width, height) for height, width in shapes], device=device)[:, None]
    whole = ((torch.rand(*size, 2, device=device) * 1.4 - 0.2) * cells).floor()
    # Not where derivatives jump, which rounding decides.
    locations = (whole + 0.55 + 0.9 * torch.rand(*size, 2, device=device)) / cells
    inputs = [
        torch.randn(batch, tokens, heads, channels, device=device).to(dtype).requires_grad_(),
        locations.requires_grad_(),
        torch.rand(size, device=device).to(dtype).requires_grad_(),
    ]
    gradient = torch.randn(batch, tokens, heads * channels, device=device).to(dtype)
    result = sample(inputs[0], Levels.of(shapes, device, dtype), *inputs[1:])
    found = [result, *torch.autograd.grad(result, inputs, gradient)]
    exact = [each.detach().double().requires_grad_() for each in inputs]
    expected = sample(exact[0], Levels.of(shapes, device, torch.float64), *exact[1:])
    truth = [expected, *torch.autograd.grad(expected, exact, gradient.double())]
    return [relative_error(one, other) for one, other in zip(found, truth, strict=True)]


def relative_error(found: Tensor, expected: Tensor) -> float:
    """Give the relative norm of a difference; infinite if anything is not a number."""
    error = ((found.double() - expected.double()).norm() / expected.double().norm()).item()
    return error if error == error else float("inf")


def _network(part: Part) -> None:
    """Compare half precisions of the whole network with float32, with the same weights and points."""
    config = compose_config("m_odise", part.tiny, [], Path("."))
    weights = DiffusionWeights.random(config, part.device)
    segmenter = build_segmenter(
        config, build_backbone(config, copy.deepcopy(weights), part.device), part.device
    )
    projection = segmenter.backbone.projection.state_dict()  # type: ignore[union-attr]
    images, targets = make_batch(int(config.image_size), 1, part.device)
    expected: dict[str, Tensor] = {}
    for name, precision, changes in (
        ("float32", "fp32", {"frozen_precision": "float32", "compile": None}),
        ("bf16-mixed", "bf16", {"frozen_precision": "trainer", "compile": None}),
        ("16-mixed", "fp16", {"frozen_precision": "trainer", "compile": None}),
        (
            "bf16-mixed, frozen bfloat16, as shipped",
            "bf16",
            {},
        ),
        ("bf16-mixed, frozen float16", "bf16", {"frozen_precision": "float16", "compile": None}),
    ):
        segmenter.backbone = torch.nn.Identity()  # type: ignore[assignment]
        gc.collect()
        segmenter.backbone = build_backbone(config, copy.deepcopy(weights), part.device, **changes)
        segmenter.backbone.projection.load_state_dict(projection)
        step = TrainingStep(config, segmenter, part.device, precision)
        torch.manual_seed(0)
        with torch.no_grad(), step.autocast():
            pyramid = segmenter.extract_features(images)
            output = segmenter(images)
            losses = step.criterion(output, targets)
        found = {
            **{f"s{index + 2}": level for index, level in enumerate(pyramid.levels)},
            "class logits": output.class_logits[-1],
            "mask logits": output.mask_logits(),
            "loss": losses["loss"],
        }
        if not expected:
            expected = {key: value.float() for key, value in found.items()}
            continue
        for key, value in found.items():
            part.add(f"{name} against float32: {key}", relative_error(value, expected[key]), "relative")
