"""Geometry and intensity of an image and its segments, for training and for evaluation."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, TypeVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from modise_lightning.data.images.background import find_breast
from modise_lightning.data.loading.elastic import ElasticDeformation
from modise_lightning.data.loading.gamma import GammaChange
from modise_lightning.errors import UserError
from modise_lightning.structures import PanopticSegmentation, Region

Pixel = TypeVar("Pixel", bound=np.generic)


class TrainTransform:
    """Large-scale jitter, random crop, flip and mild intensity changes (Ghiasi et al. 2021, as in ODISE)."""

    def __init__(
        self,
        *,
        crop_size: int,
        scale_range: tuple[float, float],
        flip_probability: float,
        brightness: Annotated[float, Field(ge=0, allow_inf_nan=False)],
        contrast: Annotated[float, Field(ge=0, allow_inf_nan=False)],
        trim_background: bool,
        padding_value: Annotated[float, Field(ge=0, le=1)],
        keep_emptied_segments: bool,
        elastic: ElasticDeformation | None = None,
        gamma: GammaChange | None = None,
    ) -> None:
        """Set the ranges.

        Args:
            crop_size: Side in pixels of the square that a step sees.
            scale_range: The longer side becomes ``crop_size`` times a factor from this range.
            flip_probability: Of a horizontal flip.
            brightness: Largest amount added to or taken from all pixels.
            contrast: Largest relative change of the contrast around the mean.
            trim_background: Whether the air around the breast is cut away first.
            padding_value: Brightness of what a crop has outside of the image, in [0, 1].
            keep_emptied_segments: Whether segments stay of which the crop left no pixel; a query is still
                matched with each, and learns that its mask is empty.
            elastic: Bends what the crop shows; None: it stays.
            gamma: Changes its grey curve; None: it stays.

        Raises:
            UserError: A value is out of its range.
        """
        if crop_size < 1:
            raise UserError(f"train_transform.crop_size: {crop_size} pixels; it must be positive.")
        if not 0 < scale_range[0] <= scale_range[1]:
            raise UserError(
                f"train_transform.scale_range: {list(scale_range)}; give two positive factors, "
                "the smaller first."
            )
        for name, value in (
            ("flip_probability", flip_probability),
            ("brightness", brightness),
            ("contrast", contrast),
            ("padding_value", padding_value),
        ):
            if not 0 <= value <= 1:
                raise UserError(f"train_transform.{name}: {value} is not in [0, 1].")
        self.crop_size = crop_size
        self.scale_range = scale_range
        self.flip_probability = flip_probability
        self.brightness = brightness
        self.contrast = contrast
        self.trim_background = trim_background
        self.padding_value = padding_value
        self.keep_emptied_segments = keep_emptied_segments
        self.elastic = elastic
        self.gamma = gamma

    @property
    def versions(self) -> int | None:
        """How many different pictures a step can see of one image; None if there is no limit."""
        # At a scale of at most 1 the crop is the whole image, so its place is fixed too.
        fixed_geometry = self.scale_range[0] == self.scale_range[1] <= 1
        if not fixed_geometry or self.brightness > 0 or self.contrast > 0:
            return None
        if self.elastic is not None or self.gamma is not None:
            return None
        return 2 if 0 < self.flip_probability < 1 else 1

    def __call__(
        self, image: NDArray[np.float32], target: PanopticSegmentation, generator: np.random.Generator
    ) -> tuple[Tensor, PanopticSegmentation, tuple[int, int]]:
        """Transform one image.

        Args:
            image: (H, W) in [0, 1], or (H, W, 3) in colours.
            target: Its segments.
            generator: Where all randomness comes from.

        Returns:
            (3, crop_size, crop_size) in [0, 1], the segments that are left (ids compacted; or all of them),
            and the (height, width) inside the padding at the right and bottom.
        """
        ids = target.segment_ids.numpy().astype(np.int32)
        if self.trim_background:
            region = find_breast(luminance(image))
            image, ids = crop(image, region), crop(ids, region)
        scale = generator.uniform(*self.scale_range) * self.crop_size / max(image.shape[:2])
        height, width = (max(1, round(side * scale)) for side in image.shape[:2])
        image = resize_image(image, height, width)
        ids = resize_ids(ids, height, width)
        top = int(generator.integers(0, max(0, height - self.crop_size) + 1))
        left = int(generator.integers(0, max(0, width - self.crop_size) + 1))
        image = image[top : top + self.crop_size, left : left + self.crop_size]
        ids = ids[top : top + self.crop_size, left : left + self.crop_size]
        if generator.random() < self.flip_probability:
            image, ids = image[:, ::-1], ids[:, ::-1]
        if self.elastic is not None:
            image, ids = self.elastic(np.ascontiguousarray(image), ids, generator)
        if self.gamma is not None:
            image = self.gamma(image, generator)
        mean = image.mean()
        gain = 1 + self.contrast * generator.uniform(-1, 1)
        offset = self.brightness * generator.uniform(-1, 1)
        image = ((image - mean) * gain + mean + offset).clip(0, 1)
        size = (image.shape[0], image.shape[1])
        padding = ((0, self.crop_size - size[0]), (0, self.crop_size - size[1]))
        image = np.pad(image, (*padding, (0, 0))[: image.ndim], constant_values=self.padding_value)
        ids = np.pad(ids, padding)
        if self.keep_emptied_segments:
            segments = PanopticSegmentation(torch.from_numpy(ids.astype(np.int64)), target.labels)
        else:
            segments = compact(ids, target.labels)
        return to_rgb(image), replace(segments, annotated=target.annotated), size


class EvaluationTransform:
    """Brings a whole image to the size that the network sees it at."""

    def __init__(
        self,
        *,
        image_size: int | None,
        shorter_side: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None,
        longer_side: Annotated[float, Field(gt=0, allow_inf_nan=False)],
        trim_background: bool,
    ) -> None:
        """Set the size.

        Args:
            image_size: Pixels that the next two are multiples of; None keeps the image's own size.
            shorter_side: What the shorter side becomes, unless the longer one would exceed its own limit;
                None: the longer side decides alone.
            longer_side: What the longer side is at most; with no ``shorter_side``, what it becomes.
            trim_background: Whether the air around the breast is cut away first.

        Raises:
            UserError: A value is not positive.
        """
        for name, value in (
            ("image_size", image_size),
            ("shorter_side", shorter_side),
            ("longer_side", longer_side),
        ):
            if value is not None and not 0 < value < float("inf"):
                raise UserError(f"evaluation_transform.{name}: {value}; it must be positive.")
        self.image_size = image_size
        self.shorter_side = shorter_side
        self.longer_side = longer_side
        self.trim_background = trim_background

    def resized(self, height: int, width: int) -> tuple[int, int]:
        """Give the (height, width) that an image gets, or what is left of it after trimming."""
        if self.image_size is None:
            return height, width
        scale = round(self.longer_side * self.image_size) / max(height, width)
        if self.shorter_side is not None:
            scale = min(scale, round(self.shorter_side * self.image_size) / min(height, width))
        return max(1, round(height * scale)), max(1, round(width * scale))

    def __call__(self, image: NDArray[np.float32]) -> tuple[Tensor, Region]:
        """Resize an image.

        Args:
            image: (H, W) in [0, 1], or (H, W, 3) in colours.

        Returns:
            (3, h, w) float32 in [0, 1], and the part of the image that it shows.
        """
        height, width = image.shape[:2]
        region = find_breast(luminance(image)) if self.trim_background else Region(0, 0, height, width)
        return to_rgb(resize_image(crop(image, region), *self.resized(region.height, region.width))), region


def crop(pixels: NDArray[Pixel], region: Region) -> NDArray[Pixel]:
    """Cut a region out of (H, W) or (H, W, 3) pixels, without a copy."""
    rows = slice(region.top, region.top + region.height)
    return pixels[rows, region.left : region.left + region.width]


def resize_image(image: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """Resize without aliasing: area averages when it shrinks, linear when it grows."""
    if image.shape[:2] == (height, width):
        return image
    shrinks = height * width < image.shape[0] * image.shape[1]
    resized = cv2.resize(
        image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    )
    return np.asarray(resized, dtype=np.float32)


def resize_ids(ids: NDArray[np.int32], height: int, width: int) -> NDArray[np.int32]:
    """Resize segment ids to the nearest ones, aligned with ``resize_image``."""
    # The exact variant samples at pixel centres as area and linear do; plain INTER_NEAREST is shifted.
    resized = cv2.resize(ids, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
    return np.asarray(resized, dtype=np.int32)


def luminance(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Give the grey values (H, W) of an image of one or three channels (ITU-R BT.601, as Pillow's)."""
    if image.ndim == 2:
        return image
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), dtype=np.float32)


def to_rgb(image: NDArray[np.float32]) -> Tensor:
    """Give colours (H, W, 3), or grey values (H, W) repeated, as (3, H, W) float32."""
    if image.ndim == 3:
        return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1), dtype=np.float32))
    return torch.from_numpy(np.ascontiguousarray(image, dtype=np.float32)).expand(3, -1, -1).contiguous()


def compact(ids: NDArray[np.int32], labels: Tensor) -> PanopticSegmentation:
    """Renumber the segments that still have pixels to 1..N; void stays -1."""
    present = np.unique(ids)
    present = present[present > 0]
    table = np.zeros(len(labels) + 2, dtype=np.int64)
    table[present] = np.arange(1, len(present) + 1)
    table[-1] = -1
    return PanopticSegmentation(torch.from_numpy(table[ids]), labels[torch.from_numpy(present - 1).long()])
