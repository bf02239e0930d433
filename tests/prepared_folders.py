"""What tests ask of prepared datasets: digests of their files, and the place of each image."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from modise_lightning.data.prepared.categories import categories_from_config
from modise_lightning.data.prepared.dataset import PreparedDataset


def digests(root: Path, without: str = "") -> dict[str, str]:
    """Give the digest of each file below a folder, by its path in it.

    Args:
        root: The folder.
        without: Name of files that are left out.
    """
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name != without
    }


def open_prepared(root: Path, categories: Sequence[dict[str, Any]]) -> tuple[PreparedDataset, dict[str, int]]:
    """Open a prepared dataset; give it, and the index of each image by its file's name."""
    dataset = PreparedDataset.open(root, categories_from_config(categories))
    return dataset, {record.file_name: index for index, record in enumerate(dataset.records)}
