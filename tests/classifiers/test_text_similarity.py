"""The text-similarity head against loops and numbers worked out by hand."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import cosine_similarity, layer_norm, linear, relu

from modise_lightning.classifiers.text_similarity import TextSimilarityClassifier
from modise_lightning.structures import MaskGeneratorOutput

TEXT_WIDTH, HIDDEN, MASK_WIDTH = 5, 8, 6


def classifier(categories: list[int], embeddings: Tensor | None = None) -> TextSimilarityClassifier:
    torch.manual_seed(0)
    return TextSimilarityClassifier(
        text_embeddings=torch.randn(len(categories), TEXT_WIDTH) if embeddings is None else embeddings,
        prompt_categories=torch.tensor(categories),
        null_embedding=torch.arange(1.0, TEXT_WIDTH + 1),
        hidden_channels=HIDDEN,
        mask_embedding_channels=MASK_WIDTH,
        num_layers=3,
        temperature=0.07,
        maximum_scale=100.0,
    )


def output(seed: int = 0) -> MaskGeneratorOutput:
    generator = torch.Generator().manual_seed(seed)
    return MaskGeneratorOutput(
        hidden_states=torch.randn(2, 3, 4, HIDDEN, generator=generator),
        mask_embeddings=torch.randn(2, 3, 4, HIDDEN, generator=generator),
        mask_features=torch.randn(3, HIDDEN, 6, 7, generator=generator),
    )


def test_equals_the_formula_in_loops() -> None:
    categories = [1, 0, 2, 1]
    head, masks = classifier(categories), output()
    parameters = dict(head.named_parameters())
    texts = torch.cat([head.text_embeddings, parameters["null_embedding"][None]])
    texts = linear(texts, parameters["text_projection.weight"], parameters["text_projection.bias"])
    expected = torch.full((2, 3, 4, 4), -math.inf)
    for level in range(2):
        for image in range(3):
            for query in range(4):
                logits = torch.einsum(
                    "c,chw->hw", masks.mask_embeddings[level, image, query], masks.mask_features[image]
                )
                inside = logits.sigmoid() > 0.5
                pooled = masks.mask_features[image][:, inside].mean(-1)
                pooled = layer_norm(pooled, (HIDDEN,))
                pooled = linear(
                    pooled, parameters["pooled_projection.1.weight"], parameters["pooled_projection.1.bias"]
                )
                state = layer_norm(masks.hidden_states[level, image, query] + pooled, (HIDDEN,))
                layers = [name for name in parameters if name.startswith("mask_embedding.1.")]
                for index, (weight, bias) in enumerate(zip(layers[::2], layers[1::2], strict=True)):
                    state = linear(state, parameters[weight], parameters[bias])
                    state = relu(state) if index < 2 else state
                assert state.shape == (MASK_WIDTH,)
                for prompt, category in enumerate([*categories, 3]):
                    logit = cosine_similarity(state, texts[prompt], dim=0) / 0.07
                    current = expected[level, image, query, category]
                    expected[level, image, query, category] = torch.maximum(current, logit)
    torch.testing.assert_close(head(masks), expected)


def test_by_hand() -> None:
    """With identity projections the logits are the cosines of vectors that one can see."""
    embeddings = torch.tensor([[3.0, 0, 0, 0, 0], [0, 2.0, 0, 0, 0], [-1.0, 0, 0, 0, 0]])
    head = classifier([0, 1, 1], embeddings)
    with torch.no_grad():
        head.null_embedding.copy_(torch.tensor([1.0, 1, 0, 0, 0]))
        head.text_projection.weight.copy_(torch.eye(MASK_WIDTH, TEXT_WIDTH))
        head.text_projection.bias.zero_()
        last = head.mask_embedding[1][-2]  # before a dropout of 0
        last.weight.zero_()
        last.bias.copy_(torch.tensor([5.0, 0, 0, 0, 0, 0]))  # every mask embedding
        head.log_scale.fill_(math.log(10))
    logits = head(output())
    assert logits.shape == (2, 3, 4, 3)
    expected = torch.tensor([10.0, 0.0, 10 / math.sqrt(2)])  # class 0, the larger of 0 and -10, no object
    torch.testing.assert_close(logits, expected.expand_as(logits))


def test_scale_starts_at_clips_and_is_clamped() -> None:
    head = classifier([0])
    assert head.log_scale.exp().item() == pytest.approx(1 / 0.07)
    with torch.no_grad():
        head.log_scale.fill_(20)
    assert head(output()).abs().max() <= 100


def test_null_starts_at_the_empty_text_and_is_trained() -> None:
    head = classifier([0, 1])
    torch.testing.assert_close(head.null_embedding, torch.arange(1.0, TEXT_WIDTH + 1))
    head(output()).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in head.parameters())


@settings(max_examples=30, deadline=None)
@given(
    categories=st.permutations([0, 0, 1, 2, 2, 2]),
    duplicated=st.integers(0, 5),
    seed=st.integers(0, 10_000),
)
def test_a_duplicate_synonym_changes_nothing(categories: list[int], duplicated: int, seed: int) -> None:
    embeddings = torch.randn(6, TEXT_WIDTH, generator=torch.Generator().manual_seed(seed))
    once = classifier(categories, embeddings)
    longer = torch.cat([embeddings, embeddings[duplicated, None]])
    twice = classifier([*categories, categories[duplicated]], longer)
    for head in (once, twice):
        (head(output(seed)) * torch.arange(4)).sum().backward()
    torch.testing.assert_close(twice(output(seed)), once(output(seed)))
    for first, second in zip(once.parameters(), twice.parameters(), strict=True):
        torch.testing.assert_close(second.grad, first.grad, rtol=1e-3, atol=1e-3)


def test_state_holds_the_text_embeddings() -> None:
    head = classifier([0, 1])
    other = classifier([0, 1], torch.zeros(2, TEXT_WIDTH))
    other.load_state_dict(head.state_dict())
    torch.testing.assert_close(other(output()), head(output()))
    assert not {"text_embeddings", "prompt_categories"} & dict(head.named_parameters()).keys()


def test_a_class_without_a_prompt_is_refused() -> None:
    with pytest.raises(ValueError, match=r"0\.\.2 has no prompt"):
        classifier([0, 2])


def test_bfloat16_keeps_the_similarity_exact_and_gradients_finite() -> None:
    head, masks = classifier([0, 1]), output()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = head(masks)
    assert logits.dtype == torch.float32
    assert (logits - head(masks)).abs().max() < 0.5
    logits.sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in head.parameters())


def test_empty_mask_gives_finite_logits_and_gradients() -> None:
    head, masks = classifier([0, 1]), output()
    masks.mask_features.abs_()
    masks.mask_embeddings.fill_(-1)
    masks.mask_features.requires_grad_()
    logits = head(masks)
    logits.square().sum().backward()
    assert logits.isfinite().all()
    assert masks.mask_features.grad is not None
    assert not masks.mask_features.grad.any()
    assert all(parameter.grad.isfinite().all() for parameter in head.parameters())
