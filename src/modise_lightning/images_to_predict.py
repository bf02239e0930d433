"""A batch of images without ground truth, on its way from the loader through the network to the writer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from modise_lightning.structures import Region


@dataclass
class ImagesToPredict:
    """Images without ground truth whose windows go through the network together.

    Attributes:
        groups: (B, C, H, W) float32 in [0, 1] each, zero-padded on the right and at the bottom, grey (C is 1)
            or in colours; the images of a group are equally large.
        members: For each group, the positions of its images in the lists below.
        image_sizes: (height, width) of each image inside the padding.
        regions: The part of the whole image that each shows.
        numbers: Which images they are, in the caller's list.
        pictures: (H, W) uint8, each whole image as it is drawn; stays where it is.
        notes: What is to be told of each.
        unreadable: The numbers of images that could not be read, and why.
    """

    groups: list[Tensor]
    members: list[list[int]]
    image_sizes: list[tuple[int, int]]
    regions: list[Region]
    numbers: list[int]
    pictures: list[Tensor]
    notes: list[tuple[str, ...]]
    unreadable: list[tuple[int, str]]

    def to(self, device: torch.device | str, non_blocking: bool = False) -> ImagesToPredict:
        """Copy what the network sees to a device."""
        return replace(self, groups=[group.to(device, non_blocking=non_blocking) for group in self.groups])

    def pin_memory(self) -> ImagesToPredict:
        """Copy what the network sees to page-locked memory."""
        return replace(self, groups=[group.pin_memory() for group in self.groups])
