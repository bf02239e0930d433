"""The transformer decoder equals transformers' with the same weights, in values and gradients."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import Mask2FormerConfig
from transformers.models.mask2former.modeling_mask2former import Mask2FormerTransformerModule

from modise_lightning.mask_generator.transformer_decoder import TransformerDecoder


def build(pre_norm: bool, in_features: int = 24) -> tuple[TransformerDecoder, Mask2FormerTransformerModule]:
    config = Mask2FormerConfig(
        feature_size=in_features,
        mask_feature_size=24,
        hidden_dim=24,
        decoder_layers=5,
        num_attention_heads=4,
        dim_feedforward=40,
        dropout=0.0,
        pre_norm=pre_norm,
        num_queries=7,
    )
    torch.manual_seed(0)
    theirs = Mask2FormerTransformerModule(in_features=in_features, config=config).double().train()
    own = TransformerDecoder(in_features=in_features, config=config).double().train()
    own.load_state_dict(theirs.state_dict())
    return own, theirs


def inputs(in_features: int = 24) -> tuple[list[Tensor], Tensor]:
    generator = torch.Generator().manual_seed(1)
    sizes = [(2, 3), (4, 6), (8, 12)]
    levels = [torch.randn(2, in_features, *size, generator=generator).double() for size in sizes]
    return levels, torch.randn(2, 24, 16, 24, generator=generator).double()


def masks_of(embeddings: Tensor, features: Tensor) -> Tensor:
    return torch.einsum("lbqc,bchw->lbqhw", embeddings, features)


@pytest.mark.parametrize("pre_norm", [False, True])
@pytest.mark.parametrize("in_features", [24, 16])
def test_states_masks_and_gradients_equal_transformers(pre_norm: bool, in_features: int) -> None:
    own, theirs = build(pre_norm, in_features)
    levels, mask_features = inputs(in_features)
    found_inputs, expected_inputs = (
        [each.clone().requires_grad_() for each in (*levels, mask_features)] for _ in range(2)
    )
    states, embeddings = own(found_inputs[:3], found_inputs[3])
    expected = theirs(expected_inputs[:3], expected_inputs[3])
    masks = masks_of(embeddings, found_inputs[3])
    expected_masks = torch.stack(expected.masks_queries_logits)
    expected_states = torch.stack(expected.intermediate_hidden_states).transpose(1, 2)
    torch.testing.assert_close(masks, expected_masks)
    torch.testing.assert_close(states, expected_states)

    weights = torch.randn_like(masks), torch.randn_like(states)
    ((masks * weights[0]).mean() + (states * weights[1]).mean()).backward()
    ((expected_masks * weights[0]).mean() + (expected_states * weights[1]).mean()).backward()
    for found, wanted in zip(found_inputs, expected_inputs, strict=True):
        torch.testing.assert_close(found.grad, wanted.grad)
    reference = dict(theirs.named_parameters())
    for name, parameter in own.named_parameters():
        torch.testing.assert_close(parameter.grad, reference[name].grad, msg=name)


def test_a_query_looks_at_its_mask_only() -> None:
    own, _ = build(pre_norm=False)
    own.eval()
    levels, mask_features = inputs()
    # Every mask of the first predictions is empty in the left half, whatever the queries say.
    with torch.no_grad():
        _, embeddings = own(levels, mask_features)
        logits = masks_of(embeddings[:1], mask_features)
        first_level = torch.nn.functional.interpolate(logits[0], (2, 3), mode="bilinear")
        changed = levels[0].clone()
        outside = (first_level < 0).all(1, keepdim=True)
        assert outside.any(), "the example must have a token that no query looks at"
        changed[outside.expand_as(changed)] += 100
        before, after = (own([first, *levels[1:]], mask_features)[0][1] for first in (levels[0], changed))
    seen_by_all = (first_level < 0).flatten(2).all(-1)  # an empty mask looks everywhere
    assert torch.equal(before[~seen_by_all], after[~seen_by_all])


def test_an_empty_mask_looks_everywhere() -> None:
    own, _ = build(pre_norm=False)
    levels, mask_features = inputs()
    with torch.no_grad():
        states, embeddings = own(levels, torch.zeros_like(mask_features) - 0.0)
        everywhere, _ = own(levels, torch.full_like(mask_features, 1e-30))
    assert torch.isfinite(states).all()
    assert torch.isfinite(embeddings).all()
    torch.testing.assert_close(states, everywhere)


def test_half_precision_stays_finite() -> None:
    own, _ = build(pre_norm=False)
    own.float()
    levels, mask_features = inputs()
    with torch.autocast("cpu", torch.bfloat16):
        states, embeddings = own([level.float() for level in levels], mask_features.float())
    (states.float().sum() + embeddings.float().sum()).backward()
    assert all(
        torch.isfinite(parameter.grad).all() for parameter in own.parameters() if parameter.grad is not None
    )


class Shapes(TorchDispatchMode):
    """Remembers the shapes of all tensors that operators make."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[tuple[int, ...]] = set()

    def __torch_dispatch__(  # noqa: D105
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        self.seen |= {tuple(each.shape) for each in tree_leaves(result) if isinstance(each, Tensor)}
        return result


def test_no_mask_is_as_large_as_the_mask_features() -> None:
    own, theirs = build(pre_norm=False)
    levels, mask_features = inputs()
    with Shapes() as ours, torch.no_grad():
        own(levels, mask_features)
    with Shapes() as reference, torch.no_grad():
        theirs(levels, mask_features)
    full_size = {(2, 7, 16, 24), (2, 7, 16 * 24)}
    assert reference.seen & full_size
    assert not ours.seen & full_size
