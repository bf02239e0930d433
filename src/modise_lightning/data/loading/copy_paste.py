"""Copies lesions of training images into the breasts of others (Ghiasi et al. 2021, Simple Copy-Paste)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, PositiveInt
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from modise_lightning.data.images.background import find_breast_pixels
from modise_lightning.data.loading.transforms import crop, luminance, resize_ids, resize_image
from modise_lightning.data.prepared.dataset import PreparedDataset
from modise_lightning.errors import UserError
from modise_lightning.structures import PanopticSegmentation, Region

Example = tuple[NDArray[np.float32], PanopticSegmentation]


class CopyPaste:
    """How lesions are pasted into another breast: inside, on nothing that is labelled, its border soft."""

    def __init__(
        self,
        *,
        probability: Annotated[float, Field(ge=0, le=1)],
        maximum_lesions: PositiveInt,
        scale_range: tuple[float, float],
        feather: Annotated[float, Field(ge=0, le=0.5)],
        match_brightness: bool,
        attempts: PositiveInt,
    ) -> None:
        """Set the ranges.

        Args:
            probability: That an image is given lesions of another one.
            maximum_lesions: How many it is given at most; those that touch count as one.
            scale_range: A lesion's size in the new breast, as a multiple of the size that it has in its own,
                both images' longer sides being alike.
            feather: Width of the border in which a lesion's surround fades into the breast, as a share of
                the image's longer side.
            match_brightness: Whether a lesion becomes as much brighter or darker as the breast around it is.
            attempts: How many places are tried for each lesion before it is left out.

        Raises:
            UserError: The range is none of positive factors.
        """
        if not 0 < scale_range[0] <= scale_range[1] < math.inf:
            raise UserError(
                f"copy_paste.scale_range: {list(scale_range)}; give two positive factors, the smaller first."
            )
        self.probability = probability
        self.maximum_lesions = maximum_lesions
        self.scale_range = scale_range
        self.feather = feather
        self.match_brightness = match_brightness
        self.attempts = attempts

    def __call__(
        self, example: Example, donor: Example, is_thing: Sequence[bool], generator: np.random.Generator
    ) -> Example:
        """Paste some of a donor's lesions.

        Args:
            example: (H, W) or (H, W, 3) in [0, 1], and its segments.
            donor: Likewise; of any size.
            is_thing: Of each class. Things are copied; they and void are never covered.
            generator: Where all randomness comes from.

        Returns:
            The example with the lesions as further segments, at the end. Outside of them and their borders no
            pixel changes.
        """
        image, ids = example[0].copy(), example[1].segment_ids.numpy().astype(np.int32)
        labels = example[1].labels.tolist()
        free = find_breast_pixels(luminance(image)) & ~_covered(ids, labels, is_thing)
        groups = touching_things(donor[1], is_thing)
        hidden = _covered(donor[1].segment_ids.numpy(), donor[1].labels.tolist(), is_thing)
        hidden |= ~find_breast_pixels(luminance(donor[0]))
        number = int(generator.integers(1, min(len(groups), self.maximum_lesions) + 1)) if groups else 0
        for position in generator.permutation(len(groups))[:number]:
            patch, patch_ids, alpha = self._cut_out(donor, groups[position], hidden, image.shape, generator)
            corner = self._find_place(free, alpha > 0, generator)
            if corner is None:
                continue
            region = Region(*corner, *alpha.shape)
            self._blend(crop(image, region), patch, alpha)
            for segment in np.unique(patch_ids[patch_ids > 0]):
                labels.append(int(donor[1].labels[segment - 1]))
                crop(ids, region)[patch_ids == segment] = len(labels)
            crop(free, region)[alpha > 0] = False
        segments = replace(
            example[1],
            segment_ids=torch.from_numpy(ids.astype(np.int64)),
            labels=torch.tensor(labels, dtype=torch.int64),
        )
        return image, segments

    def _cut_out(
        self,
        donor: Example,
        group: Sequence[int],
        hidden: NDArray[np.bool_],
        shape: tuple[int, ...],
        generator: np.random.Generator,
    ) -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.float32]]:
        """Give a group's pixels with their surround, its ids, and the weights of both, as they are pasted."""
        image, target = donor
        ids = target.segment_ids.numpy().astype(np.int32)
        own = np.isin(ids, group)
        low, high = np.log(self.scale_range)
        factor = max(shape[:2]) / max(ids.shape) * math.exp(generator.uniform(low, high))
        feather = self.feather * max(shape[:2])
        region = Region(*_box(own))
        margin = math.ceil(feather / factor) + 1
        top, left = max(0, region.top - margin), max(0, region.left - margin)
        bottom = min(ids.shape[0], region.top + region.height + margin)
        right = min(ids.shape[1], region.left + region.width + margin)
        region = Region(top, left, bottom - top, right - left)
        height, width = (max(1, round(side * factor)) for side in (region.height, region.width))
        patch = resize_image(crop(image, region), height, width)
        patch_ids = resize_ids(crop(np.where(own, ids, 0), region), height, width)
        seen = resize_ids(crop((own | ~hidden).astype(np.int32), region), height, width) > 0
        if generator.random() < 0.5:
            patch, patch_ids, seen = patch[:, ::-1], patch_ids[:, ::-1], seen[:, ::-1]
        return patch, patch_ids, _weights(patch_ids > 0, seen, feather)

    def _find_place(
        self, free: NDArray[np.bool_], support: NDArray[np.bool_], generator: np.random.Generator
    ) -> tuple[int, int] | None:
        """Find the upper left corner of a place where all of the support is free."""
        height, width = support.shape
        candidates = np.flatnonzero(free)
        if not len(candidates) or not support.any():
            return None
        for candidate in generator.choice(candidates, self.attempts):
            row, column = divmod(int(candidate), free.shape[1])
            top, left = row - height // 2, column - width // 2
            inside = 0 <= top <= free.shape[0] - height and 0 <= left <= free.shape[1] - width
            if inside and free[top : top + height, left : left + width][support].all():
                return top, left
        return None

    def _blend(
        self, below: NDArray[np.float32], patch: NDArray[np.float32], alpha: NDArray[np.float32]
    ) -> None:
        """Paste into a view of the image."""
        border = (alpha > 0) & (alpha < 1)
        if self.match_brightness and border.any():
            patch = patch + (below[border].mean(axis=0) - patch[border].mean(axis=0))
        weights = alpha if below.ndim == 2 else alpha[..., None]
        mixed = (weights * patch + (1 - weights) * below).clip(0, 1)
        below[alpha > 0] = mixed[alpha > 0]


class Donors:
    """The training images whose lesions may be pasted, and into which; never an image of another split."""

    def __init__(self, dataset: PreparedDataset, indices: Sequence[int], copy_paste: CopyPaste) -> None:
        """Find the images with lesions.

        Args:
            dataset: What is read.
            indices: Training images of the current fold: no others are read.
            copy_paste: How lesions are pasted.

        Raises:
            UserError: No training image has a lesion.
        """
        self.dataset = dataset
        self.copy_paste = copy_paste
        self.is_thing = [category.isthing for category in dataset.categories]
        # A lesion of a subtracted image is none of a low-energy one; other sources annotate other classes.
        self.of_a_kind: dict[tuple[str | None, str | None], list[int]] = {}
        for index in indices:
            if any(self.is_thing[label] for label in dataset.segment_labels(index)):
                self.of_a_kind.setdefault(self._kind(index), []).append(index)
        if not self.of_a_kind:
            raise UserError(
                f"copy_paste: no training image of '{dataset.root}' has a lesion. Leave copy_paste out."
            )

    def _kind(self, index: int) -> tuple[str | None, str | None]:
        record = self.dataset.records[index]
        return record.source, record.modality

    def give(self, index: int, example: Example, seed: int) -> Example:
        """Give an image lesions of another one of the same source and modality, or leave it as it is.

        Args:
            index: Of the image in the dataset.
            example: What was read of it.
            seed: Of the image in this epoch; decides everything.
        """
        # A generator of its own: what else happens to the image is the same as without.
        generator = np.random.default_rng([seed, 1])
        if generator.random() >= self.copy_paste.probability:
            return example
        donors = self.of_a_kind.get(self._kind(index), [])
        others = [donor for donor in donors if donor != index]
        if not others:
            return example
        donor = others[int(generator.integers(len(others)))]
        read = self.dataset.read_input(donor), self.dataset.read_target(donor)
        return self.copy_paste(example, read, self.is_thing, generator)


def touching_things(target: PanopticSegmentation, is_thing: Sequence[bool]) -> list[list[int]]:
    """Group the ids of things that touch, as nested outlines do: one is no lesion without the others."""
    ids = target.segment_ids.numpy()
    things = [
        segment
        for segment, label in enumerate(target.labels.tolist(), start=1)
        if is_thing[label] and bool((ids == segment).any())
    ]
    shown = np.isin(ids, things)
    count, parts = cv2.connectedComponents(shown.astype(np.uint8), connectivity=8)
    # Segments, and behind them connected parts, are the nodes; a pixel joins its segment and its part.
    first_part = len(target.labels) + 1
    graph = np.zeros((first_part + count, first_part + count), dtype=np.bool_)
    graph[ids[shown], first_part + parts[shown]] = True
    _, groups = connected_components(csr_array(graph), directed=False)
    found: dict[int, list[int]] = {}
    for segment in things:
        found.setdefault(int(groups[segment]), []).append(segment)
    return list(found.values())


def _covered(
    ids: NDArray[np.integer[Any]], labels: Sequence[int], is_thing: Sequence[bool]
) -> NDArray[np.bool_]:
    """Find the pixels of things and of void."""
    # By id from 0; void, -1, is the last one.
    table = np.array([False, *(is_thing[label] for label in labels), True])
    return np.asarray(table[ids])


def _box(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    left, top, width, height = cv2.boundingRect(mask.astype(np.uint8))
    return top, left, height, width


def _weights(lesion: NDArray[np.bool_], seen: NDArray[np.bool_], feather: float) -> NDArray[np.float32]:
    """Weigh pixels: 1 in the lesion, above 0 up to ``feather`` pixels from it, 0 where not to be seen."""
    distance = cv2.distanceTransform((~lesion).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    alpha = np.clip(1 - distance / (feather + 1), 0, 1).astype(np.float32)
    return np.where(seen, alpha, np.float32(0))
