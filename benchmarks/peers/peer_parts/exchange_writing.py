"""Writes the prepared dataset's images and truth at the size of the comparison; needs the library."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from modise_lightning.data.loading.transforms import resize_ids, resize_image
from modise_lightning.data.prepared.dataset import PreparedDataset
from peer_parts.exchange import INDEX, Exchange, ExchangedImage, read_exchange, write_png


def make_exchange(dataset: PreparedDataset, folder: Path, size: int) -> Exchange:
    """Write the folder unless it is there, with the library's own resizing.

    Args:
        dataset: The prepared dataset.
        folder: Made if it is missing.
        size: Longer side of the images in pixels.

    Raises:
        ValueError: The folder holds other images.
    """
    if (folder / INDEX).is_file():
        found = read_exchange(folder)
        if (found.size, len(found.images)) != (size, len(dataset.entries)):
            raise ValueError(f"{folder}: holds images of another size or dataset; give another --output.")
        return found
    for part in ("images", "segments"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    images = []
    for position, (entry, fold) in enumerate(zip(dataset.entries, dataset.folds, strict=True)):
        record, image = entry.record, dataset.read_image(position)
        ids = dataset.read_target(position).segment_ids.numpy().astype(np.int32)
        scale = size / max(image.shape)
        height, width = (max(1, round(side * scale)) for side in image.shape)
        key = f"image_{record.image_id:05d}"
        small = resize_image(image, height, width)
        write_png(folder / "images" / f"{key}.png", (small * 255).round().clip(0, 255).astype(np.uint8))
        write_png(folder / "segments" / f"{key}.png", resize_ids(ids, height, width).clip(0).astype(np.uint8))
        labels = dataset.segment_labels(position)
        images.append(ExchangedImage(key, position, fold, record.height, record.width, labels))
    occurring = sorted({label for image in images for label in image.labels})
    names = {label: dataset.categories[label].name for label in occurring}
    exchange = Exchange(folder, size, names, images)
    exchange.write_index()
    return exchange
