"""Packed masks against NumPy's packing and the same operations on masks of a byte a pixel."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import pad

from modise_lightning import packed_masks
from modise_lightning.packed_masks import PackedMasks, pack_bits, unpack_bits
from modise_lightning.structures import InstanceSegmentation

SHAPES = st.tuples(st.integers(0, 4), st.integers(1, 5), st.integers(1, 26))


def random_masks(shape: tuple[int, int, int], seed: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) > 0.5


@settings(max_examples=60, deadline=None)
@given(shape=SHAPES, seed=st.integers(0, 1000))
def test_packing_loses_nothing(shape: tuple[int, int, int], seed: int) -> None:
    masks = random_masks(shape, seed)
    packed = PackedMasks.of(masks)
    assert np.array_equal(packed.bits.numpy(), np.packbits(masks.numpy(), axis=-1))
    assert torch.equal(packed.unpack(), masks)
    assert len(packed) == len(list(packed)) == shape[0]
    assert packed.shape == shape
    assert all(torch.equal(one, mask) for one, mask in zip(packed, masks, strict=True))
    assert torch.equal(InstanceSegmentation(masks, torch.zeros(0), torch.zeros(0)).masks, masks)


@settings(max_examples=60, deadline=None)
@given(
    shape=SHAPES,
    seed=st.integers(0, 1000),
    margins=st.tuples(*[st.integers(0, 9)] * 4),
    data=st.data(),
)
def test_operations_are_those_of_unpacked_masks(
    shape: tuple[int, int, int], seed: int, margins: tuple[int, int, int, int], data: st.DataObject
) -> None:
    masks = random_masks(shape, seed)
    packed = PackedMasks.of(masks)
    if shape[0]:
        chosen = torch.tensor(
            data.draw(st.lists(st.integers(0, shape[0] - 1), max_size=6)), dtype=torch.int64
        )
        masks, packed = masks[chosen], packed[chosen]  # some more than once, some not at all
    assert torch.equal(packed.unpack(), masks)
    assert torch.equal(packed.areas(), masks.flatten(1).sum(1))
    pixels = torch.tensor(
        data.draw(st.lists(st.integers(0, shape[1] * shape[2] - 1), max_size=9)), dtype=torch.int64
    )
    assert torch.equal(packed.at(pixels), masks.flatten(1)[:, pixels].to(torch.uint8))
    other = random_masks((1, *shape[1:]), seed + 1)[0]
    assert torch.equal(packed.intersect(other).unpack(), masks & other)
    assert torch.equal(packed.placed(*margins).unpack(), pad(masks, margins))
    few = torch.arange(len(masks)) % 2 == 0
    assert torch.equal(packed[few].unpack(), masks[few])


@pytest.mark.parametrize("width", [1, 7, 8, 9, 40])
def test_an_accelerator_packs_the_same_way(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    masks = random_masks((3, 4, width), width)
    expected = pack_bits(masks)
    # The tensors stay on the CPU; what is compared with is the name of the device alone.
    monkeypatch.setattr(packed_masks, "_HOST", "none")
    assert torch.equal(pack_bits(masks), expected)
    assert torch.equal(unpack_bits(expected, width), masks)
