"""What is computed from a map of segments, against its masks."""

import torch

from modise_lightning.structures import PanopticSegmentation


def test_masks_and_areas_of_segments_are_those_of_their_ids() -> None:
    ids = torch.randint(-1, 5, (9, 11), generator=torch.Generator().manual_seed(0))
    ids[ids == 3] = 0  # a segment without pixels
    segments = PanopticSegmentation(ids, torch.tensor([0, 1, 0, 1]))
    expected = torch.stack([ids == number for number in (1, 2, 3, 4)])
    assert torch.equal(segments.masks, expected)
    assert torch.equal(torch.stack(list(segments.each_mask())), expected)
    assert torch.equal(torch.stack(list(segments.each_mask([2, 0]))), expected[[2, 0]])
    assert segments.areas().tolist() == expected.sum((1, 2)).tolist()
