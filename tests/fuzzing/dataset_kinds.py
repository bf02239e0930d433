"""Prepared datasets, COCO's layout, the preparation's journal, categories."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fuzzing.image_kinds import mutate_png
from fuzzing.kinds import InsaneResultError, Kind, check_finite
from fuzzing.tree_mutations import mutate_json, mutate_json_lines
from modise_lightning.data.preparation.journal import FinishedImage, PreparationJournal
from modise_lightning.data.prepared.categories import categories_from_config
from modise_lightning.data.prepared.dataset import PreparedDataset, open_prepared
from modise_lightning.data.prepared.writing import write_entry, write_index
from modise_lightning.data.sources.coco_panoptic.reader import open_coco_panoptic
from modise_lightning.structures import Category, ImageRecord

CATEGORIES: list[dict[str, Any]] = [
    {"name": "benign", "prompts": ["benign"], "isthing": True, "color": [1, 2, 3]},
    {"name": "malignant", "prompts": ["malignant", "cancer"], "isthing": True, "color": [4, 5, 6]},
]
_COCO = {
    "name": "coco",
    "synthetic": False,
    "annotations": "coco.json",
    "id_maps": "panoptic",
    "images": "images",
    "categories": None,
    "prompts": {},
    "unlabelled_is_void": True,
    "num_folds": 2,
    "fold_seed": 0,
}


def dataset_kinds(folder: Path) -> list[Kind]:
    """Give a kind a file of a dataset.

    Args:
        folder: For a dataset that the valid files are taken from.
    """
    write_dataset(folder)
    content = {
        name: (folder / name).read_bytes()
        for name in ("panoptic.json", "folds.json", "panoptic/0.png", "images/0.png")
    }
    journal = (folder / "preparation.jsonl").read_bytes()
    coco = json.loads(content["panoptic.json"])
    coco["images"][0]["tags"] = ["none"]
    return [
        Kind(
            "prepared-index", "panoptic.json", _read, [content["panoptic.json"]], [mutate_json], write_dataset
        ),
        Kind("prepared-folds", "folds.json", _read, [content["folds.json"]], [mutate_json], write_dataset),
        Kind(
            "prepared-id-map",
            "panoptic/0.png",
            _read,
            [content["panoptic/0.png"]],
            [mutate_png],
            write_dataset,
        ),
        Kind("prepared-image", "images/0.png", _read, [content["images/0.png"]], [mutate_png], write_dataset),
        Kind(
            "coco-index",
            "coco.json",
            _coco_reader(None),
            [json.dumps(coco).encode()],
            [mutate_json],
            write_dataset,
        ),
        Kind(
            "coco-patients",
            "coco.json",
            _coco_reader("folds.json"),
            [json.dumps(coco).encode()],
            [mutate_json],
            write_dataset,
        ),
        Kind("journal", "preparation.jsonl", _read_journal, [journal], [mutate_json_lines], write_dataset),
        Kind(
            "categories",
            "categories.json",
            _read_categories,
            [json.dumps(CATEGORIES).encode()],
            [mutate_json],
        ),
    ]


def write_dataset(folder: Path) -> None:
    """Write a dataset of four images with its journal."""
    entries = []
    for number in range(4):
        ids = np.zeros((20, 16), np.int64)
        ids[2:8, 2:8] = 1
        ids[10:18, 5:12] = 2
        pixels = np.random.default_rng(number).integers(0, 65535, ids.shape, dtype=np.uint16)
        record = ImageRecord(number, f"{number}.png", f"P{number // 2}", 20, 16)
        entries.append(write_entry(folder, record, pixels, ids, [0, number % 2], {"view": "CC"}))
    info = {"name": "d", "synthetic": True, "description": "made up", "license": "CC0"}
    write_index(folder, info, categories_from_config(CATEGORIES), entries, [0, 0, 1, 1], 0)
    PreparationJournal(folder).write(
        FinishedImage(str(n), entry, (10, 10), [{"row": 1, "area": 2, "visible": 1}], ["x"], [], {"y": 1})
        for n, entry in enumerate(entries)
    )


def _read(folder: Path) -> None:
    check_dataset(open_prepared(root=str(folder), categories=CATEGORIES))


def _coco_reader(folds: str | None) -> Callable[[Path], None]:
    key = None if folds is None else "patient_id"

    def read(folder: Path) -> None:
        check_dataset(open_coco_panoptic(root=str(folder), folds=folds, patient_key=key, **_COCO))  # type: ignore[arg-type]

    return read


def check_dataset(dataset: PreparedDataset) -> None:
    """Read all of a dataset.

    Raises:
        InsaneResultError: Images, segments or folds are not what they can be.
    """
    if not isinstance(dataset.note, str | None) or min(dataset.folds) < 0:
        raise InsaneResultError(f"note {dataset.note!r}, folds {dataset.folds}")
    for index, record in enumerate(dataset.records):
        image, target = dataset.read_image(index), dataset.read_target(index)
        check_finite(image, 0, 1, "an image")
        if image.shape != target.segment_ids.shape or image.shape != (record.height, record.width):
            raise InsaneResultError(f"image {image.shape}, target {target.segment_ids.shape}, {record}")
        if int(target.segment_ids.max()) > len(target.labels) or int(target.segment_ids.min()) < -1:
            raise InsaneResultError("segment ids without a label")
        check_finite(target.labels.to(torch.float64), 0, len(dataset.categories) - 1, "labels")


def _read_journal(folder: Path) -> None:
    journal = PreparationJournal(folder)
    finished = journal.read()
    for name, image in finished.items():
        image.is_complete(folder)
        if name != image.entry.record.file_name or not isinstance(name, str):
            raise InsaneResultError(f"{name!r} is the image {image.entry.record.file_name!r}")
        if not isinstance(image.key, str) or not all(isinstance(s.area, int) for s in image.entry.segments):
            raise InsaneResultError(f"a line of other types was believed: {image}")
        if not all(isinstance(text, str) for text in [*image.problems, *image.notes]):
            raise InsaneResultError("problems or notes that are no texts were believed")
        if not all(isinstance(value, int) for value in image.counts.values()):
            raise InsaneResultError("counts that are no numbers were believed")


def _read_categories(folder: Path) -> None:
    try:
        nodes = json.loads((folder / "categories.json").read_bytes())
    except (ValueError, RecursionError):
        return
    categories = categories_from_config(nodes)
    for category in categories:
        if not isinstance(category, Category) or not category.prompts:
            raise InsaneResultError(f"a category {category!r}")
        check_finite(category.color, 0, 255, "a colour")
