"""This library computes what ODISE's published code computed: recorded numbers, see recorded/README.md."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from open_clip.model import _build_vision_tower
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from modise_lightning.backbones.pyramid import LEVEL_STRIDES
from modise_lightning.captioners.image_encoder import ImageEncoder
from modise_lightning.configuration.command_line import config_directory, instantiate
from modise_lightning.inference.clip_head import ClipHead
from modise_lightning.inference.inference import Inference
from modise_lightning.losses.criterion import SetCriterion
from modise_lightning.pretrained.odise_names import ODISE
from modise_lightning.segmenter import Segmenter
from modise_lightning.structures import (
    FeaturePyramid,
    MaskGeneratorOutput,
    PanopticSegmentation,
    SegmenterOutput,
)
from modise_lightning.training.weight_decay import decayed_parameters
from odise.narrow_model import EMBEDDING, ISTHING, ODISES_ORDER, PROMPT_CATEGORIES, TAPS, build
from odise.recorded_numbers import RECORDED, Numbers, read

HALF = 2e-3  # what inputs in float16 change at most, relatively (L2)


def error(found: Tensor, expected: Tensor) -> float:
    assert found.shape == expected.shape
    return float((found.detach() - expected).norm() / expected.norm())


@pytest.fixture(scope="module")
def forward() -> Numbers:
    return read("forward")


@pytest.fixture(scope="module")
def step() -> Numbers:
    return read("training_step")


@pytest.fixture(scope="module")
def segmenter(forward: Numbers) -> Segmenter:
    translation = ODISE.translate(read("checkpoint"))
    assert (translation.not_needed, translation.unknown) == (("criterion.empty_weight",), ())
    return build(dict(translation.state), forward["text.embeddings"])


@pytest.fixture(scope="module")
def odise() -> DictConfig:
    with initialize_config_dir(str(config_directory()), version_base=None):
        return compose("train", ["experiment=odise", "data.root=data"])


def test_every_weight_has_its_home(segmenter: Segmenter) -> None:
    weights = read("checkpoint")
    assert len(weights) == 399
    trained = sum(value.numel() for name, value in weights.items() if name != "criterion.empty_weight")
    assert sum(parameter.numel() for parameter in segmenter.parameters()) == trained


@torch.no_grad()
def test_projections(segmenter: Segmenter, forward: Numbers) -> None:
    """Also where the shortcut is the identity."""
    projections = segmenter.backbone.get_submodule("projection.projections")
    assert isinstance(projections, nn.ModuleList)
    for level in ("s3", "s4", "s5"):
        stride = LEVEL_STRIDES[level]
        parts = [
            projection(forward[f"features.tap.{number}"], (256 // stride, 256 // stride))
            for tap, number, projection in zip(TAPS, ODISES_ORDER, projections, strict=True)
            if tap.level == level
        ]
        assert error(torch.stack(parts).sum(0), forward[f"features.projected.{level}"]) < HALF


@torch.no_grad()
def test_captioner(segmenter: Segmenter, forward: Numbers, step: Numbers) -> None:
    captioner = segmenter.captioner
    assert captioner is not None
    embedding = forward["features.image_embedding"]
    context = captioner.get_submodule("context")(embedding) + forward["features.unconditional_context"]
    assert error(context, forward["features.context"]) < 1e-6
    time = captioner.get_submodule("time_embedding")(embedding)
    assert error(time, forward["features.time_embedding"]) < 1e-6


def clip_tower() -> nn.Module:
    vision = {"image_size": 56, "layers": 2, "width": 128, "patch_size": 14, "head_width": 64}
    tower: nn.Module = _build_vision_tower(EMBEDDING, vision, True)
    prefix = "clip.visual."
    weights = {name.removeprefix(prefix): value for name, value in read("clip_head").items()}
    tower.load_state_dict({name: weights[name] for name in tower.state_dict()})
    return tower


@pytest.mark.parametrize(("antialias", "equal"), [(False, True), (True, False)])
def test_images_are_resized_for_clip_as_in_odise(
    antialias: bool, equal: bool, forward: Numbers, step: Numbers
) -> None:
    encoder = ImageEncoder(
        tower=clip_tower(),
        embedding_dim=EMBEDDING,
        size=56,
        mean=open_clip.OPENAI_DATASET_MEAN,
        std=open_clip.OPENAI_DATASET_STD,
        interpolation="bicubic",
        resize_mode="shortest",
        antialias=antialias,
    )
    found = encoder(step["images"].float() / 255)
    assert (error(found, forward["features.image_embedding"]) < HALF) == equal


@torch.no_grad()
def test_decoders(segmenter: Segmenter, forward: Numbers) -> None:
    levels = [forward[f"features.projected.{level}"] for level in ("s2", "s3", "s4", "s5")]
    output = segmenter.mask_generator(FeaturePyramid(*levels))
    assert error(output.mask_features, forward["decoder.mask_features"][:1]) < HALF
    assert error(output.hidden_states, forward["decoder.hidden_states"][:, :1]) < HALF
    assert error(output.mask_embeddings, forward["decoder.mask_embeddings"][:, :1]) < HALF


def decoded(forward: Numbers) -> MaskGeneratorOutput:
    return MaskGeneratorOutput(
        forward["decoder.hidden_states"],
        forward["decoder.mask_embeddings"],
        forward["decoder.mask_features"],
    )


@torch.no_grad()
def test_classification(segmenter: Segmenter, forward: Numbers) -> None:
    assert error(segmenter.classifier(decoded(forward)), forward["head.class_logits"]) < HALF


def targets_of(step: Numbers) -> list[PanopticSegmentation]:
    targets = []
    for image in (0, 1):
        masks = step[f"target.{image}.masks"]
        assert int(masks.sum(0).max()) == 1
        numbers = torch.arange(1, len(masks) + 1)[:, None, None]
        targets.append(PanopticSegmentation((masks * numbers).sum(0), step[f"target.{image}.labels"]))
    return targets


def recorded_matching(step: Numbers) -> Tensor:
    """Give the (10, 4) queries of the segments of both images."""
    return torch.stack(
        [
            torch.cat(
                [
                    step[f"matching.{prediction}.{image}.queries"][
                        step[f"matching.{prediction}.{image}.segments"].argsort()
                    ]
                    for image in (0, 1)
                ]
            )
            for prediction in range(10)
        ]
    )


def test_matching_losses_and_gradients(
    segmenter: Segmenter, forward: Numbers, step: Numbers, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Tensor] = []

    def recorded_points(*shape: int, **_: object) -> Tensor:
        points = drawn.pop(0)
        assert points.shape == shape
        return points

    points = [step["points.match"], *(step[f"points.{kind}"].flatten(0, 1) for kind in ("cand", "any"))]
    monkeypatch.setattr(torch, "rand", recorded_points)
    masks = decoded(forward)
    output = SegmenterOutput(segmenter.classifier(masks), masks.mask_embeddings, masks.mask_features)
    criterion = SetCriterion(
        class_weight=2.0,
        mask_weight=5.0,
        dice_weight=5.0,
        no_object_weight=0.1,
        num_points=1024,
        oversample_ratio=3.0,
        importance_ratio=0.75,
    )
    targets = targets_of(step)
    drawn[:] = points[:1]
    costs = criterion.matcher.costs(
        output, [target.masks.float() for target in targets], [target.labels for target in targets]
    )
    matched = recorded_matching(step)
    for prediction in range(10):
        for image, own in enumerate(torch.split(matched[prediction], [3, 1])):
            cost = costs[prediction, image, :, : len(own)].detach().numpy()
            best = cost[linear_sum_assignment(cost)].sum()
            # Between queries that are equally good, rounding decides.
            assert cost[own, np.arange(len(own))].sum() == pytest.approx(best, rel=2e-4)

    monkeypatch.setattr(criterion, "matcher", lambda *_: matched)
    drawn[:] = points[1:]
    losses = criterion(output, targets)
    weights = {"class": ("ce", 2.0), "mask": ("mask", 5.0), "dice": ("dice", 5.0)}
    for own, (theirs, weight) in weights.items():
        for ending in ("", *(f"_{number}" for number in range(9))):
            found = weight * losses[f"{own}{ending}"].item()
            assert found == pytest.approx(step[f"weighted.loss_{theirs}{ending}"].item(), rel=5e-3)
    assert losses["loss"].item() == pytest.approx(step["weighted.total"].item(), rel=1e-3)

    segmenter.zero_grad()
    losses["loss"].backward()
    named = dict(segmenter.named_parameters())
    recorded = {name.removeprefix("gradient."): value for name, value in step.items() if "gradient" in name}
    assert len(recorded) == 16
    for name, expected_gradient in recorded.items():
        for own, part in ODISE.own_tensors(name, expected_gradient).items():
            gradient = named[own].grad
            assert gradient is not None
            assert error(gradient, part) < 5e-3, own


@pytest.mark.parametrize("rule", ["odise", "mask2former"])
def test_weight_decay(segmenter: Segmenter, rule: Any) -> None:
    weights = read("checkpoint")
    recorded = json.loads((RECORDED / "optimizer.json").read_text())["weight_decay"][rule]
    expected = {
        own: decay > 0 for name, decay in recorded.items() for own in ODISE.own_tensors(name, weights[name])
    }
    decayed = {id(parameter) for parameter in decayed_parameters(segmenter, rule)}
    assert {name: id(value) in decayed for name, value in segmenter.named_parameters()} == expected


def test_learning_rate(odise: DictConfig) -> None:
    recorded = json.loads((RECORDED / "optimizer.json").read_text())["learning_rate_factor"]
    factory = instantiate(odise.optimizer)
    found = {step: factory.factor(int(step), recorded["total_steps"]) for step in recorded["at"]}
    assert found == pytest.approx(recorded["at"], rel=2e-5)


def test_results_of_an_image(odise: DictConfig) -> None:
    numbers = read("inference")
    inference: Inference = instantiate(odise.inference)(isthing=ISTHING)
    output = SegmenterOutput(
        numbers["class_logits"][None, 1:], numbers["mask_embeddings"][None, 1:], numbers["mask_features"]
    )
    (found,) = inference(output, (256, 256), [(240, 200)], [(480, 400)])
    check_results(found.panoptic, numbers, clip_head=0)
    assert error(found.semantic[:, ::8, ::8], numbers["clip_head_0.image_1.semantic"]) < HALF
    prefix = "clip_head_0.image_1.instances."
    held = numbers[f"{prefix}areas"] > 0  # ours leaves out instances of no pixel
    order = numbers[f"{prefix}scores"][held].argsort(descending=True, stable=True)
    scores = numbers[f"{prefix}scores"][held][order]
    torch.testing.assert_close(found.instances.scores, scores, rtol=HALF, atol=1e-4)
    assert found.instances.labels.bincount().tolist() == (
        numbers[f"{prefix}labels"][held].long().bincount().tolist()
    )
    packed = numbers[f"{prefix}masks_of_best_20_packed"].numpy()
    masks = np.unpackbits(packed, axis=1)[:, : 480 * 400].reshape(-1, 480, 400).astype(bool)
    for mask, score in zip(masks, numbers[f"{prefix}scores"], strict=False):
        own = found.instances.masks[int((found.instances.scores - score).abs().argmin())].numpy()
        assert (own & mask).sum() / (own | mask).sum() > 0.999


def check_results(panoptic: PanopticSegmentation, numbers: Numbers, clip_head: int) -> None:
    results = json.loads((RECORDED / "inference.json").read_text())["images"]
    segments = next(
        each["segments"] for each in results if each["clip_head"] == clip_head and each["image"] == 1
    )
    assert panoptic.labels.tolist() == [segment["category_id"] for segment in segments]
    expected = numbers[f"clip_head_{clip_head}.image_1.panoptic"]
    assert set(expected.unique().tolist()) == {0, 1}
    assert (panoptic.segment_ids == expected).float().mean() > 0.999


def clip_head(numbers: Numbers) -> ClipHead:
    return ClipHead(
        tower=clip_tower(),
        size=56,
        mean=open_clip.OPENAI_DATASET_MEAN,
        std=open_clip.OPENAI_DATASET_STD,
        scale=min(100.0, numbers["clip.logit_scale"].exp().item()),
        text_embeddings=numbers["clip_head.text_embeddings"],
        prompt_categories=PROMPT_CATEGORIES,
        seen=[False, False, True],  # of the three only the last was in the training vocabulary
        alpha=0.3,
        beta=0.7,
    )


@torch.no_grad()
def test_clip_head() -> None:
    numbers, results = read("clip_head"), read("inference")
    head = clip_head(numbers)
    images = numbers["images"].float() / 255
    masks = torch.einsum("bqc,bchw->bqhw", results["mask_embeddings"][1:], results["mask_features"])
    embeddings = head.mask_embeddings(images, masks)
    assert error(embeddings, numbers["clip_head.mask_embeddings"]) < 5e-3
    logits = head.clip_logits(embeddings)
    assert error(logits, numbers["clip_head.logits"]) < 5e-3
    products = head.log_products(results["class_logits"][1:, :, :-1], logits)
    assert error(products, numbers["combined.log_probabilities"]) < 5e-3


def test_results_of_an_image_with_the_clip_head(odise: DictConfig) -> None:
    assert (odise.clip_head.enabled, odise.clip_head.alpha, odise.clip_head.beta) == (True, 0.3, 0.7)
    assert odise.clip_head.template.format("cyst") == "a photo of a cyst."
    numbers, results = read("clip_head"), read("inference")
    inference: Inference = instantiate(odise.inference)(isthing=ISTHING, clip_head=clip_head(numbers))
    output = SegmenterOutput(
        results["class_logits"][None, 1:], results["mask_embeddings"][None, 1:], results["mask_features"]
    )
    images = numbers["images"].float() / 255
    (found,) = inference(output, (256, 256), [(240, 200)], [(480, 400)], images)
    check_results(found.panoptic, results, clip_head=1)
    assert error(found.semantic[:, ::8, ::8], results["clip_head_1.image_1.semantic"]) < 5e-3
    scores = results["clip_head_1.image_1.instances.scores"].sort(descending=True).values
    torch.testing.assert_close(found.instances.scores, scores, rtol=5e-3, atol=1e-3)
