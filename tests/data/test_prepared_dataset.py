"""Prepared datasets read back as written, and every contradiction in one is told with its file."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from modise_lightning.data.prepared import write_entry, write_index
from modise_lightning.data.prepared_dataset import PreparedDataset
from modise_lightning.errors import UserError
from modise_lightning.structures import Category, ImageRecord

CATEGORIES = (Category("mass", ("mass",)), Category("calcification", ("calcification",), color=(0, 0, 255)))
INFO = {"name": "test", "synthetic": True, "description": "made by a test", "license": "none"}


def make_map(seed: int) -> NDArray[np.int32]:
    ids = np.zeros((20, 30), dtype=np.int32)
    ids[2:6, 3 + seed : 9 + seed] = 1
    ids[10:15, 1:8] = 2
    return ids


def write_dataset(root: Path, dtype: Any = np.uint8) -> list[NDArray[Any]]:
    generator = np.random.default_rng(0)
    images, entries = [], []
    for index in range(4):
        pixels = generator.integers(0, np.iinfo(dtype).max, size=(20, 30), dtype=dtype, endpoint=True)
        record = ImageRecord(index + 1, f"P{index}_L_CC.png", f"P{index}", 20, 30)
        entries.append(write_entry(root, record, pixels, make_map(index), [1, 0], {"view": "CC"}))
        images.append(pixels)
    write_index(root, INFO, CATEGORIES, entries, folds=[0, 1, 2, 0], fold_seed=0)
    return images


@pytest.mark.parametrize(("dtype", "white"), [(np.uint8, 255), (np.uint16, 65535)])
def test_a_dataset_reads_back_as_written(dtype: Any, white: int, tmp_path: Path) -> None:
    images = write_dataset(tmp_path, dtype)
    dataset = PreparedDataset.open(tmp_path, CATEGORIES)
    assert dataset.folds == [0, 1, 2, 0]
    assert dataset.info == INFO
    for index, pixels in enumerate(images):
        assert np.array_equal(dataset.read_image(index), pixels.astype(np.float32) / white)
        target = dataset.read_target(index)
        assert torch.equal(target.segment_ids, torch.from_numpy(make_map(index)).long())
        assert target.labels.tolist() == [1, 0]
        first, second = dataset.entries[index].segments
        assert (first.area, first.bbox) == (24, (3 + index, 2, 6, 4))
        assert (second.area, second.bbox) == (35, (1, 10, 7, 5))
        assert dataset.entries[index].attributes == {"view": "CC"}


def test_large_ids_follow_the_coco_convention(tmp_path: Path) -> None:
    ids = np.zeros((4, 5), dtype=np.int32)
    ids[1, 2] = 70_000
    record = ImageRecord(1, "P1.png", "P1", 4, 5)
    write_entry(tmp_path, record, np.zeros((4, 5), np.uint8), ids, [0], {})
    blue, green, red = cv2.imread(str(tmp_path / "panoptic" / "P1.png"))[1, 2].astype(int)
    assert red + 256 * green + 65536 * blue == 70_000


def test_crowd_segments_are_void(tmp_path: Path) -> None:
    write_dataset(tmp_path)
    edit(tmp_path / "panoptic.json", lambda index: index["annotations"][0]["segments_info"][0].update(iscrowd=1))
    target = PreparedDataset.open(tmp_path, CATEGORIES).read_target(0)
    ids = make_map(0)
    assert torch.equal(target.segment_ids == -1, torch.from_numpy(ids == 1))
    assert torch.equal(target.segment_ids == 1, torch.from_numpy(ids == 2))
    assert target.labels.tolist() == [0]


def edit(path: Path, change: Callable[[Any], object]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


BREAKS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no index": (lambda root: (root / "panoptic.json").unlink(), "is not a prepared dataset .*prepare data="),
    "no folds": (lambda root: (root / "folds.json").unlink(), r"folds\.json' is missing"),
    "broken JSON": (lambda root: (root / "panoptic.json").write_text("{"), r"panoptic\.json' is not readable JSON"),
    "a list": (lambda root: (root / "folds.json").write_text("[]"), r"folds\.json' holds no JSON object"),
    "no images key": (
        lambda root: edit(root / "panoptic.json", lambda index: index.pop("images")),
        r"panoptic\.json' is not in the prepared layout \(no key 'images'\)",
    ),
    "no image": (lambda root: (root / "images/P1_L_CC.png").unlink(), r"images/P1_L_CC\.png' is missing"),
    "no map": (lambda root: (root / "panoptic/P1_L_CC.png").unlink(), r"panoptic/P1_L_CC\.png' is missing"),
    "a path": (
        lambda root: edit(root / "panoptic.json", lambda index: index["images"][0].update(file_name="../x.png")),
        r"names the image '\.\./x\.png', which is not a plain file name",
    ),
    "other categories": (
        lambda root: edit(root / "panoptic.json", lambda index: index["categories"][0].update(name="lump")),
        r"are \['calcification', 'lump'\], those of data\.categories \['calcification', 'mass'\]",
    ),
    "unknown category": (
        lambda root: edit(
            root / "panoptic.json", lambda index: index["annotations"][0]["segments_info"][0].update(category_id=9)
        ),
        r"gives a segment of P0_L_CC\.png the category id 9",
    ),
    "split patient": (
        lambda root: edit(root / "panoptic.json", lambda index: index["images"][0].update(patient_id="P1")),
        "puts patient P1 into more than one fold",
    ),
    "no fold of an image": (
        lambda root: edit(root / "folds.json", lambda folds: folds["images"].pop("P2_L_CC.png")),
        r"gives no fold of P2_L_CC\.png",
    ),
    "fold out of range": (
        lambda root: edit(root / "folds.json", lambda folds: folds["images"]["P2_L_CC.png"].update(fold=7)),
        r"puts P2_L_CC\.png into fold 7, out of range",
    ),
    "no image listed": (
        lambda root: edit(root / "panoptic.json", lambda index: index.update(images=[])),
        "lists no images",
    ),
}


@pytest.mark.parametrize("name", BREAKS)
def test_a_contradiction_is_told_at_opening(name: str, tmp_path: Path) -> None:
    write_dataset(tmp_path)
    damage, message = BREAKS[name]
    damage(tmp_path)
    with pytest.raises(UserError, match=message):
        PreparedDataset.open(tmp_path, CATEGORIES)


def test_a_bad_file_is_told_when_it_is_read(tmp_path: Path) -> None:
    write_dataset(tmp_path)
    dataset = PreparedDataset.open(tmp_path, CATEGORIES)
    cv2.imwrite(str(tmp_path / "images/P0_L_CC.png"), np.zeros((5, 5), np.uint8))
    with pytest.raises(UserError, match=r"P0_L_CC\.png' is 5 x 5 pixels, panoptic\.json says 20 x 30"):
        dataset.read_image(0)
    path = tmp_path / "panoptic/P1_L_CC.png"
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(UserError, match=r"P1_L_CC\.png' is missing or unreadable"):
        dataset.read_target(1)
    cv2.imwrite(str(tmp_path / "panoptic/P2_L_CC.png"), np.full((20, 30, 3), 5, np.uint8))
    with pytest.raises(UserError, match=r"P2_L_CC\.png' holds ids that panoptic\.json does not"):
        dataset.read_target(2)


def test_an_interrupted_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    record = ImageRecord(1, "P1.png", "P1", 4, 5)
    with pytest.raises(OSError, match="disk full"):
        write_entry(tmp_path, record, np.zeros((4, 5), np.uint8), np.zeros((4, 5), np.int32), [], {})
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("name", ["../P1.png", "folder/P1.png", "P1.jpg"])
def test_a_file_name_cannot_leave_the_dataset(name: str, tmp_path: Path) -> None:
    record = ImageRecord(1, name, "P1", 4, 5)
    with pytest.raises(ValueError, match="is not the name of a PNG file"):
        write_entry(tmp_path, record, np.zeros((4, 5), np.uint8), np.zeros((4, 5), np.int32), [], {})
