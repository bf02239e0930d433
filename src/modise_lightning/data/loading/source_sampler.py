"""Draws the images of an epoch from several sources, small ones more often than by their size."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Annotated

import numpy as np
from pydantic import Field, PositiveInt
from torch.utils.data import Sampler

from modise_lightning.errors import UserError


class SourceSampling:
    """How much of an epoch each source has.

    A source of n images has a share in proportion to n^(1/T), T being the temperature (as languages are
    sampled in multilingual BERT, Devlin 2019, and mT5, Xue et al. 2021, whose alpha is 1/T).
    """

    def __init__(
        self,
        *,
        temperature: Annotated[float, Field(ge=1)],
        epoch_images: PositiveInt | None,
    ) -> None:
        """Set both.

        Args:
            temperature: From 1, all images alike, to infinity, all sources alike.
            epoch_images: Images of an epoch; None: as many as all sources have for training.

        Raises:
            UserError: The temperature is below 1.
        """
        if not temperature >= 1:
            raise UserError(f"data.temperature: {temperature}; it must be at least 1.")
        self.temperature = temperature
        self.epoch_images = epoch_images

    def images_of_sources(self, sizes: Sequence[int]) -> list[int]:
        """Divide an epoch's images.

        Args:
            sizes: Training images of each source.

        Returns:
            How many of each source an epoch shows, by largest remainders; each at least one.

        Raises:
            UserError: There are fewer images than sources.
        """
        total = self.epoch_images or sum(sizes)
        if total < len(sizes):
            raise UserError(f"data.epoch_images: {total} images are fewer than the {len(sizes)} sources.")
        weights = np.asarray(sizes, dtype=np.float64) ** (1 / self.temperature)
        wanted = weights / weights.sum() * total
        shares = np.floor(wanted).astype(int)
        for source in np.argsort(shares - wanted, kind="stable")[: total - int(shares.sum())]:
            shares[source] += 1
        while (shares == 0).any():
            shares[np.argmax(shares)] -= 1
            shares[np.argmin(shares)] += 1
        return [int(share) for share in shares]


class SourceSampler(Sampler[tuple[int, int]]):
    """Yields (index, seed) pairs that depend on the seed and the epoch alone.

    Of each source every image comes once before any comes again. Over several processes every one gets the
    same number of images; the first ones of the order fill up the last round.
    """

    def __init__(
        self,
        *,
        sources: Sequence[str],
        sampling: SourceSampling,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        """Set the shares of an epoch.

        Args:
            sources: Source of each image.
            sampling: How much of an epoch each source has.
            seed: Of the order and of the images' seeds.
            rank: Index of this process.
            world_size: Number of processes.
        """
        sizes = Counter(sources)
        self.positions = {name: np.flatnonzero(np.asarray(list(sources)) == name) for name in sorted(sizes)}
        shares = sampling.images_of_sources([len(own) for own in self.positions.values()])
        self.shares = dict(zip(self.positions, shares, strict=True))
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Move to an epoch; Lightning calls it."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Number of images that this process gets."""
        return -(-sum(self.shares.values()) // self.world_size)

    def times_an_epoch(self) -> list[float]:
        """Say how often an epoch shows each image on average."""
        times = np.zeros(sum(len(own) for own in self.positions.values()))
        for name, own in self.positions.items():
            times[own] = self.shares[name] / len(own)
        return [float(each) for each in times]

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Give this process's images of the epoch."""
        generator = np.random.default_rng([self.seed, self.epoch])
        drawn = []
        for name, own in self.positions.items():
            rounds = -(-self.shares[name] // len(own))
            of_source = np.concatenate([generator.permutation(own) for _ in range(rounds)])
            drawn.append(of_source[: self.shares[name]])
        order = generator.permutation(np.concatenate(drawn))
        order = np.resize(order, len(self) * self.world_size)
        seeds = generator.integers(0, 2**62, size=len(order))
        for index, seed in zip(
            order[self.rank :: self.world_size], seeds[self.rank :: self.world_size], strict=True
        ):
            yield int(index), int(seed)
