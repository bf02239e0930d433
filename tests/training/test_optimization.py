"""The optimizer's groups and schedule."""

import math

import pytest
import torch

from modise_lightning.training.optimization import OptimizerFactory
from one_convolution import segmenter


def factory(**changes: object) -> OptimizerFactory:
    values: dict[str, object] = {
        "learning_rate": 1e-3,
        "weight_decay": 0.05,
        "decayed": "matrices",
        "reference_batch_size": None,
        "betas": (0.9, 0.999),
        "warmup_steps": 10,
        "warmup_factor": 0.1,
        "decay": "step",
        "decay_milestones": [0.89, 0.96],
        "decay_factor": 0.1,
        "fused": False,
    }
    return OptimizerFactory(**{**values, **changes})  # type: ignore[arg-type]


def test_every_trained_parameter_is_in_exactly_one_group() -> None:
    model = segmenter()
    groups = factory().parameter_groups(model)
    grouped = [id(parameter) for group in groups for parameter in group["params"]]  # type: ignore[attr-defined]
    trained = [id(parameter) for parameter in model.parameters() if parameter.requires_grad]
    assert sorted(grouped) == sorted(trained)


def test_only_matrices_are_decayed_and_the_backbone_learns_slower() -> None:
    model = segmenter()
    settings = {
        id(parameter): (group["lr"], group["weight_decay"])
        for group in factory().parameter_groups(model)
        for parameter in group["params"]  # type: ignore[attr-defined]
    }
    found = {name: settings.get(id(parameter)) for name, parameter in model.named_parameters()}
    assert found == {
        "backbone.convolution.weight": (1e-4, 0.05),
        "backbone.convolution.bias": (1e-4, 0.0),
        "backbone.frozen.weight": None,
        "backbone.frozen.bias": None,
        "mask_generator.linear.weight": (1e-3, 0.05),
        "mask_generator.linear.bias": (1e-3, 0.0),
        "mask_generator.norm.weight": (1e-3, 0.0),
        "mask_generator.norm.bias": (1e-3, 0.0),
        "mask_generator.query.weight": (1e-3, 0.0),
        "mask_generator.level": (1e-3, 0.0),
        "mask_generator.attention.in_proj_weight": (1e-3, 0.05),
        "mask_generator.attention.in_proj_bias": (1e-3, 0.0),
        "mask_generator.attention.out_proj.weight": (1e-3, 0.05),
        "mask_generator.attention.out_proj.bias": (1e-3, 0.0),
        "classifier.weight": (1e-3, 0.05),
        "classifier.bias": (1e-3, 0.0),
    }


@pytest.mark.parametrize(
    ("step", "expected"),
    [(0, 0.1), (5, 0.55), (10, 1.0), (88, 1.0), (89, 0.1), (95, 0.1), (96, 0.01), (100, 0.01)],
)
def test_step_decay_with_warmup(step: int, expected: float) -> None:
    assert factory().factor(step, 100) == pytest.approx(expected)


@pytest.mark.parametrize("step", [10, 30, 50, 99, 100])
def test_cosine_decay(step: int) -> None:
    expected = 0.5 * (1 + math.cos(math.pi * step / 100))
    assert factory(decay="cosine").factor(step, 100) == pytest.approx(expected)


def test_schedule_drives_each_group_by_the_same_factor() -> None:
    built = factory()
    optimizer = built.optimizer(segmenter())
    start = [group["lr"] for group in optimizer.param_groups]
    schedule = built.schedule(optimizer, 100)
    for _ in range(3):
        optimizer.step()
        schedule.step()
    ratios = {group["lr"] / first for group, first in zip(optimizer.param_groups, start, strict=True)}
    assert all(ratio == pytest.approx(built.factor(3, 100)) for ratio in ratios)


@pytest.mark.parametrize(("images", "expected"), [(64, 1e-3), (2, 1e-3 / 32), (None, 1e-3)])
def test_the_rate_is_for_a_number_of_images_a_step(images: int | None, expected: float) -> None:
    groups = factory(reference_batch_size=64).optimizer(segmenter(), images).param_groups
    assert sorted({group["lr"] for group in groups}) == pytest.approx([expected / 10, expected])


def test_the_fused_update_is_the_same() -> None:
    trained = []
    for fused in (False, True):
        torch.manual_seed(0)
        model = segmenter()
        optimizer = factory(fused=fused).optimizer(model)
        for _ in range(5):
            model.backbone(torch.rand(2, 3, 4, 4), None).s2.square().sum().backward()
            optimizer.step()
            optimizer.zero_grad()
        trained.append(model.backbone.convolution.weight.detach())
    torch.testing.assert_close(trained[0], trained[1])
    torch.manual_seed(0)
    assert not torch.equal(trained[0], segmenter().backbone.convolution.weight)
