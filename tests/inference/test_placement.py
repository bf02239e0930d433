"""A prediction that is put back is the prediction of its part, and nothing around it."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from modise_lightning.inference.placement import place_prediction
from modise_lightning.structures import InstanceSegmentation, PanopticSegmentation, Prediction, Region


def prediction(height: int, width: int, seed: int) -> Prediction:
    generator = torch.Generator().manual_seed(seed)
    return Prediction(
        PanopticSegmentation(
            torch.randint(0, 3, (height, width), generator=generator),
            torch.tensor([1, 0]),
            torch.tensor([0.5, 0.9]),
        ),
        InstanceSegmentation(
            torch.rand(4, height, width, generator=generator) > 0.5, torch.arange(4), torch.rand(4)
        ),
        torch.rand(3, height, width, generator=generator),
    )


@settings(max_examples=40, deadline=None)
@given(
    top=st.integers(0, 9),
    left=st.integers(0, 9),
    bottom=st.integers(0, 9),
    right=st.integers(0, 9),
    seed=st.integers(0, 100),
)
def test_inside_is_exact_and_outside_is_nothing(
    top: int, left: int, bottom: int, right: int, seed: int
) -> None:
    part = prediction(7, 11, seed)
    height, width = 7 + top + bottom, 11 + left + right
    placed = place_prediction(part, Region(top, left, 7, 11), height, width)
    for whole, own in (
        (placed.panoptic.segment_ids, part.panoptic.segment_ids),
        (placed.instances.masks, part.instances.masks),
        (placed.semantic, part.semantic),
    ):
        assert whole.shape[-2:] == (height, width)
        assert whole.dtype == own.dtype
        assert torch.equal(whole[..., top : top + 7, left : left + 11], own)
        assert whole.count_nonzero() == own.count_nonzero()
    assert torch.equal(placed.panoptic.labels, part.panoptic.labels)
    assert torch.equal(placed.panoptic.scores, part.panoptic.scores)
    assert torch.equal(placed.instances.scores, part.instances.scores)
