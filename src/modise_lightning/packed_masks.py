"""Masks of one image, eight pixels in a byte: as bytes a hundred masks of a mammogram take gigabytes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

_HOST = "cpu"  # where NumPy packs faster


@dataclass(frozen=True)
class PackedMasks:
    """N masks of one size.

    Attributes:
        bits: (M, H, ceil(W / 8)) uint8, packed as ``pack_bits`` does.
        rows: (N,) int64 in [0, M), which of them each mask is; several may be the same.
        width: W.
    """

    bits: Tensor
    rows: Tensor
    width: int

    @classmethod
    def of(cls, masks: Tensor) -> PackedMasks:
        """Pack (N, H, W) bool."""
        return cls(pack_bits(masks), torch.arange(len(masks), device=masks.device), masks.shape[-1])

    @property
    def shape(self) -> tuple[int, int, int]:
        """N, H and W."""
        return len(self.rows), self.bits.shape[1], self.width

    def __len__(self) -> int:
        """Give N."""
        return len(self.rows)

    def __getitem__(self, chosen: Tensor) -> PackedMasks:
        """Choose masks by indices or by (N,) bool, without a copy of their pixels."""
        return replace(self, rows=self.rows[chosen])

    def __iter__(self) -> Iterator[Tensor]:
        """Unpack one (H, W) bool mask after another."""
        return (unpack_bits(self.bits[row], self.width) for row in self.rows.tolist())

    def unpack(self) -> Tensor:
        """Unpack all, (N, H, W) bool."""
        return unpack_bits(self.bits[self.rows], self.width)

    def at(self, pixels: Tensor) -> Tensor:
        """Look some pixels up.

        Args:
            pixels: (P,) indices into the H * W pixels.

        Returns:
            (N, P) uint8, 1 where a pixel belongs to a mask.
        """
        rows, columns = pixels.div(self.width, rounding_mode="floor"), pixels % self.width
        found = self.bits[:, rows, columns // 8] >> (7 - columns % 8).to(torch.uint8) & 1
        return found[self.rows]

    def areas(self) -> Tensor:
        """Count the pixels of each mask, (N,) int64."""
        areas = [unpack_bits(mask, self.width).count_nonzero() for mask in self.bits]
        return torch.stack(areas)[self.rows] if areas else self.rows.new_zeros(len(self.rows))

    def intersect(self, mask: Tensor) -> PackedMasks:
        """Cut all masks with another, (H, W) bool."""
        return replace(self, bits=self.bits & pack_bits(mask))

    def placed(self, left: int, right: int, top: int, bottom: int) -> PackedMasks:
        """Put empty pixels around all masks."""
        height, width = self.bits.shape[1] + top + bottom, left + self.width + right
        placed = empty_bits(len(self.bits), height, width, self.bits.device)
        for own, mask in zip(placed, self.bits, strict=True):
            wider = pad(unpack_bits(mask, self.width), (left, right))
            own[top : height - bottom] = pack_bits(wider)
        return PackedMasks(placed, self.rows, width)


def empty_bits(number: int, height: int, width: int, device: torch.device) -> Tensor:
    """Make packed masks without a pixel, (number, height, ceil(width / 8)) uint8."""
    shape = (number, height, -(-width // 8))
    if device.type != _HOST:
        return torch.zeros(shape, dtype=torch.uint8, device=device)
    # Masks are mostly empty, and NumPy takes pages from the system that are zero without being written.
    return torch.from_numpy(np.zeros(shape, dtype=np.uint8))


def pack_bits(masks: Tensor) -> Tensor:
    """Pack (..., W) bool into (..., ceil(W / 8)) uint8, as ``numpy.packbits`` does.

    The leftmost pixel is the highest bit; the bits behind the last pixel are 0.
    """
    if masks.device.type == _HOST:
        return torch.from_numpy(np.packbits(masks.numpy(), axis=-1))
    padded = pad(masks.view(torch.uint8), (0, -masks.shape[-1] % 8))
    bytewise = padded.view(*padded.shape[:-1], -1, 8)
    return (bytewise << _shifts(masks.device)).sum(-1, dtype=torch.uint8)


def unpack_bits(bits: Tensor, width: int) -> Tensor:
    """Unpack (..., ceil(W / 8)) uint8 into (..., W) bool."""
    if bits.device.type == _HOST:
        return torch.from_numpy(np.unpackbits(bits.numpy(), axis=-1, count=width)).view(torch.bool)
    return (bits[..., None] >> _shifts(bits.device) & 1).flatten(-2)[..., :width].bool()


def _shifts(device: torch.device) -> Tensor:
    return torch.arange(7, -1, -1, dtype=torch.uint8, device=device)
