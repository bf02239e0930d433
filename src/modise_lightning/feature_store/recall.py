"""Takes the features of frozen parts from a feature store, and computes only those that are not there."""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from modise_lightning.feature_store.store import FeatureEntry, FeatureStore

Compute = Callable[[Tensor], tuple[Tensor, ...]]


class FeatureRecall:
    """Answers for one frozen module from a store, or without one by computing.

    The key of an entry is a digest of the image's values as they enter the module, the module's weights and
    layout, its settings, and the numeric setup of the moment. Whatever changes one of them changes the key,
    so what was computed otherwise is never read.
    """

    def __init__(
        self,
        store: FeatureStore | None,
        *,
        what: str,
        module: nn.Module,
        settings: Mapping[str, object],
    ) -> None:
        """Identify the module; with a store this reads all its weights once.

        Args:
            store: Where features are kept; None computes them each time.
            what: What the features are, as the user reads it.
            module: Frozen, and a function of each image alone.
            settings: Plain values beside the module's layout and weights that its features depend on.
        """
        self.store = store
        self.what = what
        self.module = module
        self._identity = b"" if store is None else _identify(module, settings, store.precision)
        self._announced = False

    def __call__(self, compute: Compute, images: Tensor) -> tuple[Tensor, ...]:
        """Give the features of images.

        Args:
            compute: Images (N, C, H, W) to features, each with N rows; calls the module.
            images: (B, C, H, W), as they enter ``compute``.

        Returns:
            As from ``compute`` without gradients. With a store, rounded to its precision whether or not they
            were there, so that results do not depend on what it holds.
        """
        if self.store is None:
            return compute(images)
        identity = self._identity + _numeric_setup(images).encode()
        keys = [_key(identity, image) for image in images.detach().cpu()]
        entries = [self.store.get(key) for key in keys]
        absent = [index for index, entry in enumerate(entries) if entry is None]
        if absent:
            features = compute(images[_with_company(absent, len(images))])
            for row, index in enumerate(absent):
                entries[index] = self._keep(keys[index], features, row)
        return _batch([entry for entry in entries if entry is not None], images.device)

    def _keep(self, key: str, features: tuple[Tensor, ...], row: int) -> FeatureEntry:
        assert self.store is not None
        # What is made in inference mode could take no part in a later training step.
        with torch.inference_mode(False), torch.no_grad():
            entry = _make_entry(features, row, self.store.precision)
        if not self._announced:
            self.store.announce(self.what, entry.size)
            self._announced = True
        self.store.write(key, entry)
        return entry


def _with_company(absent: list[int], total: int) -> list[int]:
    """Add another image to a single one of several.

    PyTorch convolves one small image on a CPU with another algorithm than several, which rounds otherwise.
    What is left are the last bits of matrix products, which some processors round by the number of images.
    """
    return [*absent, (absent[0] + 1) % total] if len(absent) == 1 < total else absent


def _make_entry(features: tuple[Tensor, ...], row: int, precision: torch.dtype) -> FeatureEntry:
    channels_last = tuple(
        feature.dim() == 4
        and feature.is_contiguous(memory_format=torch.channels_last)
        and not feature.is_contiguous()
        for feature in features
    )
    tensors = tuple(
        _store_as(feature[row].permute(1, 2, 0) if last else feature[row], precision)
        for feature, last in zip(features, channels_last, strict=True)
    )
    return FeatureEntry(tensors, tuple(feature.dtype for feature in features), channels_last)


def _store_as(feature: Tensor, precision: torch.dtype) -> Tensor:
    """Copy to the CPU in a number format; what it cannot hold keeps its own."""
    kept = torch.empty(feature.shape, dtype=precision).copy_(feature)
    if precision == torch.float16 and bool(kept.isinf().any()) and not bool(feature.isinf().any()):
        warnings.warn(
            "feature store: some features are too large for float16 and are kept as they are. "
            "feature_store.precision=bfloat16 holds any.",
            stacklevel=2,
        )
        return torch.empty(feature.shape, dtype=feature.dtype).copy_(feature)
    return kept


def _batch(entries: list[FeatureEntry], device: torch.device) -> tuple[Tensor, ...]:
    features = []
    for column, (dtype, last) in enumerate(zip(entries[0].dtypes, entries[0].channels_last, strict=True)):
        rows = [entry.tensors[column] for entry in entries]
        # Stored in a number format that mixed precision on a CPU does not know.
        with torch.autocast(rows[0].device.type, enabled=False):
            feature = torch.stack(rows).to(device, non_blocking=True).to(dtype)
        features.append(feature.permute(0, 3, 1, 2) if last else feature)
    return tuple(features)


def _identify(module: nn.Module, settings: Mapping[str, object], precision: torch.dtype) -> bytes:
    digest = hashlib.blake2b()
    # Some libraries print a function with its address, which differs in each process.
    layout = re.sub(r" at 0x[0-9a-f]+", "", repr(module))
    digest.update(f"{torch.__version__}|{precision}|{sorted(settings.items())}|{layout}".encode())
    for kind in (module.named_parameters(), module.named_buffers()):
        for name, tensor in kind:
            digest.update(f"|{name}|{tuple(tensor.shape)}|{tensor.dtype}|".encode())
            digest.update(_bytes(tensor))
    return digest.digest()


def _numeric_setup(images: Tensor) -> str:
    """Say what else decides how operators round."""
    device = images.device.type
    autocast = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
    return f"{device}|{autocast}|{torch.get_float32_matmul_precision()}"


def _key(identity: bytes, image: Tensor) -> str:
    digest = hashlib.blake2b(identity, digest_size=20)
    digest.update(f"|{tuple(image.shape)}|{image.dtype}|".encode())
    digest.update(_bytes(image))
    return digest.hexdigest()


def _bytes(tensor: Tensor) -> memoryview:
    return tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data
