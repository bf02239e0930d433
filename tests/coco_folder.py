"""Writes a small dataset in COCO's layout with all of its 133 panoptic categories."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from modise_lightning.configuration.vocabulary import read_vocabulary

SIDE = 64


def write_coco(root: Path, num_images: int = 10) -> None:
    """Write coloured noise with a thing, a piece of stuff and void in each image."""
    categories = read_vocabulary("coco")
    assert categories is not None
    id_maps = root / "annotations" / "panoptic_val2017"
    id_maps.mkdir(parents=True)
    (root / "val2017").mkdir()
    generator = np.random.default_rng(0)
    images, annotations = [], []
    for number in range(num_images):
        name = f"{number:012d}"
        colours = generator.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
        Image.fromarray(colours).save(root / "val2017" / f"{name}.jpg")
        ids = np.zeros((SIDE, SIDE, 3), dtype=np.uint8)
        ids[5:30, 5:30, 0], ids[40:, :, 0] = 1, 2
        Image.fromarray(ids).save(id_maps / f"{name}.png")
        segments = [
            {"id": 1, "category_id": 1 + number, "iscrowd": 0, "area": 625, "bbox": [5, 5, 25, 25]},
            {
                "id": 2,
                "category_id": 100 + number,
                "iscrowd": 0,
                "area": 24 * SIDE,
                "bbox": [0, 40, SIDE, 24],
            },
        ]
        images.append({"id": number, "file_name": f"{name}.jpg", "height": SIDE, "width": SIDE})
        annotations.append({"image_id": number, "file_name": f"{name}.png", "segments_info": segments})
    content = {
        "images": images,
        "annotations": annotations,
        "categories": [
            {"id": index, "name": category.name, "isthing": int(category.isthing)}
            for index, category in enumerate(categories, start=1)
        ],
    }
    (root / "annotations" / "panoptic_val2017.json").write_text(json.dumps(content))
