"""What a source does not annotate has no part in the losses of its images, nor in the matching."""

from typing import Any

import pytest
import torch
from torch import nn

from modise_lightning.classifiers.learned import LearnedClassifier
from modise_lightning.classifiers.text_similarity import TextSimilarityClassifier
from modise_lightning.losses.annotated_classes import among_annotated
from modise_lightning.losses.criterion import SetCriterion
from modise_lightning.structures import MaskGeneratorOutput, PanopticSegmentation, SegmenterOutput

NUM_CLASSES = 4
# Of each of three images; the last one annotates everything.
ANNOTATED = [[True, False, True, False], [False, False, False, True], [True, True, True, True]]
LABELS = [[0, 2], [3], [1]]
CHANNELS = 8


def criterion() -> SetCriterion:
    return SetCriterion(
        class_weight=2.0,
        mask_weight=5.0,
        dice_weight=5.0,
        no_object_weight=0.1,
        num_points=64,
        oversample_ratio=3.0,
        importance_ratio=0.75,
    )


def make_output(images: int = 3, queries: int = 6, seed: int = 0) -> SegmenterOutput:
    generator = torch.Generator().manual_seed(seed)
    return SegmenterOutput(
        torch.randn(2, images, queries, NUM_CLASSES + 1, generator=generator).requires_grad_(),
        torch.randn(2, images, queries, CHANNELS, generator=generator),
        torch.randn(images, CHANNELS, 8, 8, generator=generator),
    )


def make_targets(annotated: list[list[bool]] | None = ANNOTATED) -> list[PanopticSegmentation]:
    targets = []
    for image, labels in enumerate(LABELS):
        ids = torch.zeros(32, 32, dtype=torch.int64)
        for segment in range(len(labels)):
            ids[4 + 14 * segment : 14 + 14 * segment, 6:20] = segment + 1
        asked = None if annotated is None else torch.tensor(annotated[image])
        targets.append(PanopticSegmentation(ids, torch.tensor(labels), annotated=asked))
    return targets


def losses_of(output: SegmenterOutput, targets: list[PanopticSegmentation]) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = criterion()(output, targets, torch.Generator().manual_seed(1))
    return found


def test_the_gradient_of_an_unannotated_class_is_exactly_zero_in_every_query() -> None:
    output, targets = make_output(), make_targets()
    losses_of(output, targets)["loss"].backward()
    gradient = output.class_logits.grad
    assert gradient is not None
    queries = criterion().matcher(
        SegmenterOutput(
            among_annotated(output.class_logits, targets), output.mask_embeddings, output.mask_features
        ),
        [target.masks.float() for target in targets],
        [target.labels for target in targets],
        torch.Generator().manual_seed(1),
    )
    for image, annotated in enumerate(ANNOTATED):
        asked = torch.tensor([*annotated, True])
        own = gradient[:, image]  # matched queries and the others
        assert (own[..., ~asked] == 0).all()
        assert (own[..., asked] != 0).all(), "an annotated class, and no object, learn from every query"
    # The queries of image 0 that match its segments are among those checked.
    assert (queries[:, :2] >= 0).all()


def test_without_the_annotated_classes_their_gradient_is_not_zero() -> None:
    """The test above can fail."""
    output = make_output()
    losses_of(output, make_targets(None))["loss"].backward()
    assert output.class_logits.grad is not None
    assert (output.class_logits.grad != 0).all()


@pytest.mark.parametrize("value", [-50.0, 0.0, 80.0, 1e4])
def test_an_unannotated_logit_changes_nothing(value: float) -> None:
    targets, output = make_targets(), make_output()
    before = losses_of(output, targets)
    changed = output.class_logits.detach().clone()
    for image, annotated in enumerate(ANNOTATED):
        changed[:, image][..., [*(not each for each in annotated), False]] = value
    after = losses_of(SegmenterOutput(changed, output.mask_embeddings, output.mask_features), targets)
    assert {key: found.item() for key, found in after.items()} == {
        key: found.item() for key, found in before.items()
    }


def test_the_losses_of_an_image_are_those_of_a_problem_of_its_annotated_classes_alone() -> None:
    output = make_output(images=1)
    target = make_targets()[0]
    found = losses_of(output, [target])
    kept = [0, 2, NUM_CLASSES]
    smaller = SegmenterOutput(output.class_logits[..., kept], output.mask_embeddings, output.mask_features)
    alone = PanopticSegmentation(target.segment_ids, torch.tensor([0, 1]))
    expected = losses_of(smaller, [alone])
    for key, value in found.items():
        assert value.item() == pytest.approx(expected[key].item(), rel=1e-6), key


def test_annotating_everything_is_saying_nothing() -> None:
    output = make_output()
    everything = [[True] * NUM_CLASSES] * 3
    found, expected = (losses_of(output, make_targets(each)) for each in (everything, None))
    assert {key: value.item() for key, value in found.items()} == {
        key: value.item() for key, value in expected.items()
    }
    assert among_annotated(output.class_logits, make_targets(None)) is output.class_logits


def text_classifier() -> TextSimilarityClassifier:
    generator = torch.Generator().manual_seed(3)
    return TextSimilarityClassifier(
        text_embeddings=torch.randn(NUM_CLASSES + 1, 6, generator=generator).requires_grad_(),
        prompt_categories=torch.tensor([0, 1, 1, 2, 3]),
        null_embedding=torch.randn(6, generator=generator),
        hidden_channels=CHANNELS,
        mask_embedding_channels=5,
        num_layers=2,
        temperature=0.07,
        maximum_scale=100.0,
    )


def learned_classifier() -> LearnedClassifier:
    return LearnedClassifier(num_categories=NUM_CLASSES, hidden_channels=CHANNELS)


@pytest.mark.parametrize("build", [text_classifier, learned_classifier])
def test_both_heads_learn_nothing_of_a_class_that_no_image_annotates(build: Any) -> None:
    """Class 1 is in no image here; its row, or its texts, get no gradient, and those of the others do."""
    torch.manual_seed(0)
    classifier: nn.Module = build()
    rows: torch.Tensor
    if isinstance(classifier, TextSimilarityClassifier):
        rows = classifier.text_embeddings = classifier.text_embeddings.requires_grad_()
        of_class = classifier.prompt_categories
    else:
        assert isinstance(classifier, LearnedClassifier)
        rows, of_class = classifier.linear.weight, torch.arange(NUM_CLASSES + 1)
    state = make_output(images=2)
    masks = MaskGeneratorOutput(torch.randn(2, 2, 6, CHANNELS), state.mask_embeddings, state.mask_features)
    output = SegmenterOutput(classifier(masks), state.mask_embeddings, state.mask_features)
    losses_of(output, make_targets()[:2])["loss"].backward()
    assert rows.grad is not None
    is_unknown = of_class == 1
    assert (rows.grad[is_unknown] == 0).all()
    assert (rows.grad[~is_unknown].abs().sum(1) > 0).all()
