"""Run lengths against the codes that COCO's own tools write."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray
from pycocotools import mask as peer

from modise_lightning.metrics.segments.run_length import encode_masks, run_lengths, unpack_codes


def codes_of(mask: NDArray[np.bool_]) -> str:
    return str(peer.encode(np.asfortranarray(mask.view(np.uint8)))["counts"].decode())


@given(arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=40), elements=st.booleans()))
def test_codes_are_those_of_pycocotools(mask: NDArray[np.bool_]) -> None:
    written = run_lengths(mask)
    assert written == {"size": list(mask.shape), "counts": codes_of(mask)}
    assert np.array_equal(peer.decode(written), mask)
    packed, lengths = encode_masks([torch.from_numpy(mask.copy()), torch.from_numpy(~mask)])
    assert [code.decode() for code in unpack_codes(packed, lengths)] == [codes_of(mask.T), codes_of(~mask.T)]


@pytest.mark.parametrize("value", [False, True])
def test_a_run_longer_than_any_small_number(value: bool) -> None:
    mask = np.full((3000, 2500), value)
    mask[1500, 1200] = not value
    assert run_lengths(mask)["counts"] == codes_of(mask)
