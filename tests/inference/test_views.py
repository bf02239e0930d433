"""Flipped and scaled views are brought back to where they were."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from modise_lightning.errors import UserError
from modise_lightning.inference.views import PlacedLogits, View, ViewSettings, bring_back, make_view


@given(
    st.sampled_from(["none", "horizontal", "vertical", "both"]),
    st.integers(1, 40),
    st.integers(1, 40),
    st.integers(0, 9),
)
@settings(max_examples=60, deadline=None)
def test_a_flip_and_back_is_the_image_itself(flip: str, height: int, width: int, more: int) -> None:
    """A network that gives each pixel as a logit sees the view; its padding is zero."""
    images = torch.zeros(2, 3, 64, 64)
    sizes = [(height, width), (min(40, height + more), width)]
    for image, (high, wide) in zip(images, sizes, strict=True):
        image[:, :high, :wide] = torch.rand(3, high, wide)
    view = View(flip, 1.0)  # type: ignore[arg-type]
    made, seen = make_view(images, sizes, view, 32)
    assert seen == sizes
    assert made.shape[-1] % 32 == made.shape[-2] % 32 == 0
    for image, own, size in zip(images, made, sizes, strict=True):
        assert not own[:, size[0] :].any()
        assert not own[:, :, size[1] :].any()
        back = bring_back(PlacedLogits(own, (made.shape[-2], made.shape[-1]), size), view, size)
        assert torch.equal(back.at_image_size(), image[:, : size[0], : size[1]])


def test_a_flipped_view_is_flipped_by_hand() -> None:
    image = torch.tensor([[1.0, 2.0, 0.0], [3.0, 4.0, 0.0]]).expand(1, 3, 2, 3)
    made, _ = make_view(image, [(2, 2)], View("horizontal", 1.0), 1)
    assert made[0, 0].tolist() == [[2.0, 1.0], [4.0, 3.0]]
    made, _ = make_view(image, [(2, 2)], View("both", 1.0), 3)
    assert made[0, 0].tolist() == [[4.0, 3.0, 0.0], [2.0, 1.0, 0.0], [0.0, 0.0, 0.0]]


@pytest.mark.parametrize("scale", [0.5, 0.75, 1.25, 2.0])
@pytest.mark.parametrize("flip", ["none", "vertical"])
def test_a_scaled_view_comes_back_where_it_was(scale: float, flip: str) -> None:
    rows, columns = torch.meshgrid(torch.arange(48.0), torch.arange(36.0), indexing="ij")
    smooth = torch.sin(rows / 9) + torch.cos(columns / 7)
    images = torch.zeros(1, 3, 64, 64)
    images[0, :, :48, :36] = smooth
    view = View(flip, scale)  # type: ignore[arg-type]
    made, ((height, width),) = make_view(images, [(48, 36)], view, 32)
    assert (height, width) == (round(48 * scale), round(36 * scale))
    seen = PlacedLogits(made[0], (made.shape[-2], made.shape[-1]), (height, width))
    back = bring_back(seen, view, (48, 36)).at_image_size()[0]
    # A shift by a pixel would be 0.14; smoothing is 0.025, and the rim has no neighbours on one side.
    assert (back - smooth)[2:-2, 2:-2].abs().max() < 0.03


@pytest.mark.parametrize(
    ("flips", "scales", "message"),
    [
        ([], [1.0], r"views\.flips"),
        (["none", "none"], [1.0], r"views\.flips"),
        (["sideways"], [1.0], "sideways"),
        (["none"], [], r"views\.scales"),
        (["none"], [0.0], r"views\.scales"),
        (["none"], [1.0, float("nan")], r"views\.scales"),
    ],
)
def test_wrong_views_are_told(flips: Sequence[str], scales: Sequence[float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        ViewSettings(flips, scales)  # type: ignore[arg-type]


def test_views_are_all_flips_at_all_scales() -> None:
    settings_ = ViewSettings(["none", "horizontal"], [1.0, 0.5])
    assert settings_.views == [View(f, s) for s in (1.0, 0.5) for f in ("none", "horizontal")]  # type: ignore[arg-type]
    assert not settings_.is_plain
    assert ViewSettings(["none"], [1]).is_plain
