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
from PIL import Image

from modise_lightning.data.prepared.dataset import PreparedDataset
from modise_lightning.data.prepared.writing import write_entry, write_index
from modise_lightning.errors import UserError
from modise_lightning.structures import Category, ImageRecord

CATEGORIES = (Category("mass", ("mass",)), Category("calcification", ("calcification",), color=(0, 0, 255)))
INFO = {"name": "test", "synthetic": True, "description": "made by a test", "license": "none"}


def make_map(seed: int) -> NDArray[np.int32]:
    ids = np.zeros((20, 30), dtype=np.int32)
    ids[2:6, 3 + seed : 9 + seed] = 1
    ids[10:15, 1:8] = 2
    return ids


def write_dataset(root: Path, dtype: type[np.uint8 | np.uint16] = np.uint8) -> list[NDArray[Any]]:
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
def test_a_dataset_reads_back_as_written(
    dtype: type[np.uint8 | np.uint16], white: int, tmp_path: Path
) -> None:
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
    write_entry(tmp_path, record, np.zeros((4, 5), np.uint8), ids, [0] * 70_000, {})
    blue, green, red = cv2.imread(str(tmp_path / "panoptic" / "P1.png"))[1, 2].astype(int)
    assert red + 256 * green + 65536 * blue == 70_000


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize(
    ("channels", "stored"), [(None, None), (2, [0, 1, 0]), (3, [0, 1, 2])], ids=["grey", "two", "colours"]
)
def test_an_image_has_one_two_or_three_channels(
    channels: int | None, stored: list[int] | None, kind: type, tmp_path: Path
) -> None:
    """Read by another library than the one that wrote them; of 16 bits only grey is, whose upper 8 remain."""
    shape = (4, 5) if channels is None else (4, 5, channels)
    pixels = np.random.default_rng(0).integers(0, np.iinfo(kind).max, shape).astype(kind)
    record = ImageRecord(0, "a.png", "P", 4, 5)
    write_entry(tmp_path, record, pixels, np.zeros((4, 5), np.int32), [], {})
    with Image.open(tmp_path / "images" / "a.png") as image:
        assert image.mode in ({"L", "I;16"} if channels is None else {"RGB"})
        found = np.asarray(image)
    expected = pixels if stored is None else pixels[..., stored]
    if channels is not None and kind is np.uint16:
        expected = expected >> 8
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("shape", [(4, 5, 1), (4, 5, 4), (4, 5, 3, 1), (5, 4, 3), (4,)])
def test_other_channels_are_refused(shape: tuple[int, ...], tmp_path: Path) -> None:
    record = ImageRecord(0, "a.png", "P", 4, 5)
    with pytest.raises(ValueError, match=r"channels|differ in size"):
        write_entry(tmp_path, record, np.zeros(shape, np.uint8), np.zeros((4, 5), np.int32), [], {})


def test_crowd_segments_are_void(tmp_path: Path) -> None:
    write_dataset(tmp_path)
    edit(
        tmp_path / "panoptic.json",
        lambda index: index["annotations"][0]["segments_info"][0].update(iscrowd=1),
    )
    target = PreparedDataset.open(tmp_path, CATEGORIES).read_target(0)
    ids = make_map(0)
    assert torch.equal(target.segment_ids == -1, torch.from_numpy(ids == 1))
    assert torch.equal(target.segment_ids == 1, torch.from_numpy(ids == 2))
    assert target.labels.tolist() == [0]
    assert target.crowd is not None
    expected = torch.where(torch.from_numpy(ids == 1), 1, -1)
    assert torch.equal(target.crowd, expected)
    assert PreparedDataset.open(tmp_path, CATEGORIES).read_target(1).crowd is None


def test_unlabelled_pixels_are_void_where_asked(tmp_path: Path) -> None:
    write_dataset(tmp_path)
    target = PreparedDataset.open(tmp_path, CATEGORIES, unlabelled_is_void=True).read_target(0)
    assert torch.equal(target.segment_ids == -1, torch.from_numpy(make_map(0) == 0))
    assert target.labels.tolist() == [1, 0]


def test_a_dataset_made_elsewhere_reads_with_its_own_ids_and_names(tmp_path: Path) -> None:
    """COCO's ids are any three bytes, its images JPEG, its category ids any numbers in any order."""
    write_dataset(tmp_path)
    ids = make_map(0)
    file_ids = np.where(ids == 1, 16_777_215, np.where(ids == 2, 65_537, 0))
    channels = [(file_ids >> shift) & 255 for shift in (16, 8, 0)]
    cv2.imwrite(str(tmp_path / "panoptic/P0_L_CC.png"), np.stack(channels, -1).astype(np.uint8))
    (tmp_path / "images/P0_L_CC.png").unlink()
    cv2.imwrite(str(tmp_path / "images/first.jpg"), np.full((20, 30), 51, np.uint8))

    def change(index: dict[str, Any]) -> None:
        index["images"][0]["file_name"] = "first.jpg"
        first, second = index["annotations"][0]["segments_info"]
        first["id"], second["id"] = 16_777_215, 65_537
        index["categories"].reverse()
        for category in index["categories"]:
            category["id"] += 40
        for annotation in index["annotations"]:
            for segment in annotation["segments_info"]:
                segment["category_id"] += 40

    edit(tmp_path / "panoptic.json", change)
    edit(
        tmp_path / "folds.json",
        lambda folds: folds["images"].update({"first.jpg": folds["images"]["P0_L_CC.png"]}),
    )
    dataset = PreparedDataset.open(tmp_path, CATEGORIES)
    assert np.allclose(dataset.read_image(0), 0.2, atol=0.005)
    target = dataset.read_target(0)
    assert torch.equal(target.segment_ids, torch.from_numpy(ids).long())
    assert target.labels.tolist() == [1, 0]


def edit(path: Path, change: Callable[[Any], object]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def segment_of(index: dict[str, Any]) -> dict[str, Any]:
    """First segment of the first image."""
    return index["annotations"][0]["segments_info"][0]


def split_patient(root: Path) -> None:
    edit(root / "panoptic.json", lambda index: index["images"][0].update(patient_id="P1"))
    edit(root / "folds.json", lambda folds: folds["images"]["P0_L_CC.png"].update(patient_id="P1"))


BREAKS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no index": (lambda root: (root / "panoptic.json").unlink(), "is not a prepared dataset .*prepare data="),
    "no folds": (lambda root: (root / "folds.json").unlink(), r"folds\.json' is missing"),
    "broken JSON": (
        lambda root: (root / "panoptic.json").write_text("{"),
        r"panoptic\.json' is not readable JSON",
    ),
    "a list": (
        lambda root: (root / "folds.json").write_text("[]"),
        r"folds\.json' is not in the prepared layout \(the file: Input should be an object",
    ),
    "no images key": (
        lambda root: edit(root / "panoptic.json", lambda index: index.pop("images")),
        r"panoptic\.json' is not in the prepared layout \(images: Field required",
    ),
    "no image": (lambda root: (root / "images/P1_L_CC.png").unlink(), r"images/P1_L_CC\.png' is missing"),
    "no map": (lambda root: (root / "panoptic/P1_L_CC.png").unlink(), r"panoptic/P1_L_CC\.png' is missing"),
    "a path": (
        lambda root: edit(
            root / "panoptic.json", lambda index: index["images"][0].update(file_name="../x.png")
        ),
        r"images\.0\.file_name: Value error, '\.\./x\.png' is not a plain file name",
    ),
    "other categories": (
        lambda root: edit(root / "panoptic.json", lambda index: index["categories"][0].update(name="lump")),
        r"are \['calcification', 'lump'\], those of data\.categories \['calcification', 'mass'\]",
    ),
    "unknown category": (
        lambda root: edit(
            root / "panoptic.json",
            lambda index: index["annotations"][0]["segments_info"][0].update(category_id=9),
        ),
        r"segment 1 of P0_L_CC\.png has the category_id 9",
    ),
    "split patient": (
        lambda root: split_patient(root),
        r"folds\.json' puts patient P1 into more than one fold",
    ),
    "patients that differ": (
        lambda root: edit(root / "panoptic.json", lambda index: index["images"][0].update(patient_id="P9")),
        r"folds\.json' says that P0_L_CC\.png shows patient P0, panoptic\.json says P9",
    ),
    "a number as truth value": (
        lambda root: edit(root / "panoptic.json", lambda index: index["info"].update(synthetic="false")),
        r"info\.synthetic: Input should be a valid boolean",
    ),
    "a name on another system": (
        lambda root: edit(
            root / "panoptic.json", lambda index: index["annotations"][0].update(file_name="..\\x.png")
        ),
        r"annotations\.0\.file_name: Value error, .* is not a plain file name",
    ),
    "a name that no file can have": (
        lambda root: edit(
            root / "panoptic.json", lambda index: index["annotations"][0].update(file_name="x" * 300)
        ),
        r"annotations\.0\.file_name: Value error, a file name is longer than file systems allow",
    ),
    "a negative size": (
        lambda root: edit(root / "panoptic.json", lambda index: index["images"][2].update(width=-3)),
        r"images\.2\.width: Input should be greater than 0",
    ),
    "an endless number": (
        lambda root: (root / "panoptic.json").write_text(
            (root / "panoptic.json").read_text().replace('"width": 30', '"width": Infinity', 1)
        ),
        r"images\.0\.width: Input should be a finite number",
    ),
    "endless nesting": (
        lambda root: (root / "panoptic.json").write_text("[" * 100_000),
        r"panoptic\.json' is not readable JSON",
    ),
    "the background as a segment": (
        lambda root: edit(root / "panoptic.json", lambda index: segment_of(index).update(id=0)),
        r"annotations\.0\.segments_info\.0\.id: Input should be greater than or equal to 1",
    ),
    "an id of four bytes": (
        lambda root: edit(root / "panoptic.json", lambda index: segment_of(index).update(id=2**24)),
        r"annotations\.0\.segments_info\.0\.id: Input should be less than or equal to 16777215",
    ),
    "a segment twice": (
        lambda root: edit(root / "panoptic.json", lambda index: segment_of(index).update(id=2)),
        r"segments_info\.id of P0_L_CC\.png: 2 stands 2 times",
    ),
    "an image twice": (
        lambda root: edit(root / "panoptic.json", lambda index: index["images"][1].update(id=1)),
        r"panoptic\.json': images\.id: 1 stands 2 times",
    ),
    "an annotation twice": (
        lambda root: edit(root / "panoptic.json", lambda index: index["annotations"][1].update(image_id=1)),
        r"annotations\.image_id: 1 stands 2 times",
    ),
    "no annotation": (
        lambda root: edit(root / "panoptic.json", lambda index: index["annotations"].pop()),
        r"has no annotation of image P3_L_CC\.png",
    ),
    "a category id twice": (
        lambda root: edit(root / "panoptic.json", lambda index: index["categories"][1].update(id=1)),
        r"categories\.id: 1 stands 2 times",
    ),
    "an empty fold": (
        lambda root: edit(root / "folds.json", lambda folds: folds.update(num_folds=10**18)),
        r"folds\.json': fold 3 of 1000000000000000000 has no image",
    ),
    "no fold of an image": (
        lambda root: edit(root / "folds.json", lambda folds: folds["images"].pop("P2_L_CC.png")),
        r"gives no fold of P2_L_CC\.png",
    ),
    "fold out of range": (
        lambda root: edit(root / "folds.json", lambda folds: folds["images"]["P2_L_CC.png"].update(fold=7)),
        r"puts P2_L_CC\.png into fold 7 of 3",
    ),
    "no image listed": (
        lambda root: edit(root / "panoptic.json", lambda index: index.update(images=[])),
        "images: List should have at least 1 item",
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
    with pytest.raises(UserError, match=r"P2_L_CC\.png' holds the id 328965, which panoptic\.json"):
        dataset.read_target(2)
    cv2.imwrite(str(tmp_path / "panoptic/P2_L_CC.png"), np.zeros((20, 30, 3), np.uint8))
    with pytest.raises(UserError, match=r"P2_L_CC\.png' has no pixel of segment 1"):
        dataset.read_target(2)
    cv2.imwrite(str(tmp_path / "panoptic/P2_L_CC.png"), np.zeros((20, 30), np.uint8))
    with pytest.raises(UserError, match=r"P2_L_CC\.png' is a L image, COCO's are RGB"):
        dataset.read_target(2)
    cv2.imwrite(str(tmp_path / "panoptic/P2_L_CC.png"), np.zeros((9, 9, 3), np.uint8))
    with pytest.raises(UserError, match=r"P2_L_CC\.png' is 9 x 9 pixels, panoptic\.json says 20 x 30"):
        dataset.read_target(2)
    path = tmp_path / "panoptic/P3_L_CC.png"
    path.write_bytes(path.read_bytes()[:-30])  # the header is whole, the pixels are not
    with pytest.raises(UserError, match=r"P3_L_CC\.png' is damaged"):
        dataset.read_target(3)


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


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pixels": np.zeros((4, 6), np.uint8)}, "differ in size"),
        ({"pixels": np.zeros((4, 5), np.float32)}, "pixels are float32"),
        ({"segment_ids": np.zeros((4, 5), np.float32)}, "segment ids are float32"),
        ({"segment_ids": np.full((4, 5), 2)}, r"segment ids must be 0\.\.1"),
        ({"segment_ids": np.full((4, 5), -1)}, r"segment ids must be 0\.\.1"),
        ({"labels": [-1]}, "found -1"),
        ({"attributes": {"width": 3}}, r"\['width'\] have a place already"),
    ],
)
def test_an_entry_that_contradicts_itself_is_not_written(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    arguments = {
        "record": ImageRecord(1, "P1.png", "P1", 4, 5),
        "pixels": np.zeros((4, 5), np.uint8),
        "segment_ids": np.ones((4, 5), np.int32),
        "labels": [0],
        "attributes": {},
        **changes,
    }
    with pytest.raises(ValueError, match=message):
        write_entry(tmp_path, **arguments)
    assert list(tmp_path.iterdir()) == []


def test_a_segment_without_pixels_is_not_listed(tmp_path: Path) -> None:
    record = ImageRecord(1, "P1.png", "P1", 20, 30)
    entry = write_entry(tmp_path, record, np.zeros((20, 30), np.uint8), make_map(0), [1, 0, 1], {})
    assert [segment.id for segment in entry.segments] == [1, 2]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"info": {"name": "x"}}, r"info lacks \['description', 'license', 'synthetic'\]"),
        ({"folds": [0, 2, 3, 0]}, "without a gap"),
        ({"categories": CATEGORIES[:1]}, "not one of the 1 categories"),
    ],
)
def test_an_index_that_contradicts_itself_is_not_written(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    write_dataset(tmp_path / "other")
    entries = PreparedDataset.open(tmp_path / "other", CATEGORIES).entries
    arguments = {"info": INFO, "categories": CATEGORIES, "entries": entries, "folds": [0, 1, 2, 0], **changes}
    with pytest.raises(ValueError, match=message):
        write_index(tmp_path, fold_seed=0, **arguments)
    with pytest.raises(ValueError, match="two images have the same id"):
        write_index(tmp_path, INFO, CATEGORIES, [entries[0], entries[0]], [0, 1], 0)
    assert not (tmp_path / "panoptic.json").exists()


def test_a_patient_in_two_folds_is_not_written(tmp_path: Path) -> None:
    entries = [
        write_entry(
            tmp_path,
            ImageRecord(index, f"{index}.png", "P1", 4, 5),
            np.zeros((4, 5), np.uint8),
            np.zeros((4, 5), np.int32),
            [],
            {},
        )
        for index in range(2)
    ]
    with pytest.raises(ValueError, match="a patient is in two folds"):
        write_index(tmp_path, INFO, CATEGORIES, entries, [0, 1], 0)
