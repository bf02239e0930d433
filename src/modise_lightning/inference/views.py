"""Views of images for test-time augmentation: flipped and scaled images, and their masks brought back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from modise_lightning.errors import UserError
from modise_lightning.inference.resize import resize_mask_logits

Flip = Literal["none", "horizontal", "vertical", "both"]
_AXES: dict[Flip, tuple[int, ...]] = {"none": (), "horizontal": (-1,), "vertical": (-2,), "both": (-2, -1)}


@dataclass(frozen=True)
class View:
    """One way to look at an image.

    Attributes:
        flip: Which axis is turned round.
        scale: Factor of both sides.
    """

    flip: Flip
    scale: float

    @property
    def is_plain(self) -> bool:
        """Whether the image stays as it is."""
        return self == View("none", 1.0)


@dataclass(frozen=True)
class ViewSettings:
    """The views of an image: each flip at each scale; ``conf/views`` explains them.

    Attributes:
        flips: All different.
        scales: All different, above 0.
    """

    flips: Sequence[Flip]
    scales: Sequence[float]

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            UserError: Names the value that is wrong.
        """
        for name, values in (("flips", self.flips), ("scales", self.scales)):
            if not values or len(set(values)) != len(values):
                raise UserError(f"views.{name}: different values are needed; found {list(values)}.")
        wrong = [flip for flip in self.flips if flip not in _AXES]
        if wrong:
            raise UserError(f"views.flips: '{wrong[0]}' is none of {', '.join(_AXES)}.")
        if not all(0.1 <= scale <= 10 for scale in self.scales):
            raise UserError(f"views.scales must be from 0.1 to 10; found {list(self.scales)}.")

    @property
    def views(self) -> list[View]:
        """All of them."""
        return [View(flip, float(scale)) for scale, flip in product(self.scales, self.flips)]

    @property
    def is_plain(self) -> bool:
        """Whether the only view is the image as it is."""
        return [view.is_plain for view in self.views] == [True]


def make_view(
    images: Tensor, sizes: Sequence[tuple[int, int]], view: View, size_multiple: int
) -> tuple[Tensor, list[tuple[int, int]]]:
    """Flip and scale padded images; the padding stays on the right and at the bottom.

    Args:
        images: (B, 3, H, W), zero-padded.
        sizes: Height and width of each image inside the padding.
        view: How.
        size_multiple: What the result is padded to a multiple of, in pixels.

    Returns:
        (B, 3, h, w), and the size of each image in it; of a plain view the images themselves.
    """
    if view.is_plain:
        return images, list(sizes)
    parts = []
    for image, (height, width) in zip(images, sizes, strict=True):
        part = image[:, :height, :width].flip(_AXES[view.flip])
        if view.scale != 1:
            own = max(1, round(height * view.scale)), max(1, round(width * view.scale))
            part = functional.interpolate(part[None], own, mode="bilinear", antialias=True)[0]
        parts.append(part)
    seen = [(part.shape[-2], part.shape[-1]) for part in parts]
    high, wide = (-(-max(sides) // size_multiple) * size_multiple for sides in zip(*seen, strict=True))
    padded = images.new_zeros(len(parts), images.shape[1], high, wide)
    for own, part in zip(padded, parts, strict=True):
        own[:, : part.shape[-2], : part.shape[-1]] = part
    return padded, seen


@dataclass(frozen=True)
class PlacedLogits:
    """Mask logits with where the image is in them.

    Attributes:
        logits: (Q, h, w) over the padded input.
        padded_size: Height and width of the padded input.
        image_size: Height and width of the image inside the padding (top left).
    """

    logits: Tensor
    padded_size: tuple[int, int]
    image_size: tuple[int, int]

    def at_image_size(self) -> Tensor:
        """Give (Q, H, W) at the size of the image inside the padding."""
        return resize_mask_logits(
            self.logits,
            padded_size=self.padded_size,
            image_size=self.image_size,
            output_size=self.image_size,
        )

    def of(self, queries: Tensor) -> PlacedLogits:
        """Keep some of the queries."""
        return PlacedLogits(self.logits[queries], self.padded_size, self.image_size)


def bring_back(seen: PlacedLogits, view: View, image_size: tuple[int, int]) -> PlacedLogits:
    """Turn the masks of a view into masks of the image as it was.

    Args:
        seen: Of the view.
        view: How the image was changed.
        image_size: Height and width of the image before that.

    Returns:
        Of a plain view the same, of another one at the image's size without padding.
    """
    if view.is_plain:
        return seen
    masks = resize_mask_logits(
        seen.logits,
        padded_size=seen.padded_size,
        image_size=seen.image_size,
        output_size=image_size,
    )
    return PlacedLogits(torch.flip(masks, _AXES[view.flip]), image_size, image_size)
