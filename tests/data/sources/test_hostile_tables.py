"""Tables and indexes of a download that are damaged or wrong: told in one line."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import openpyxl
import pytest
from PIL import Image

from fuzzing.dataset_kinds import CATEGORIES, write_dataset
from modise_lightning.data.preparation.journal import FinishedImage
from modise_lightning.data.preparation.via import ViaRegion
from modise_lightning.data.preparation.via_shapes import Rectangle
from modise_lightning.data.prepared.dataset import open_prepared
from modise_lightning.data.sources.cdd_cesm.image import ImageTask, convert_image
from modise_lightning.data.sources.cdd_cesm.selection import SelectedImage, usable_regions
from modise_lightning.data.sources.cdd_cesm.tables import parse_image_name, read_sheet
from modise_lightning.data.sources.coco_panoptic.reader import open_coco_panoptic
from modise_lightning.errors import UserError


def workbook() -> bytes:
    stream = io.BytesIO()
    openpyxl.Workbook().save(stream)
    return stream.getvalue()


def with_member(name: str, content: bytes | None) -> Callable[[bytes], bytes]:
    """Replace a member of a workbook, or leave it out."""

    def change(data: bytes) -> bytes:
        stream = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(stream, "w") as new:
            for member in old.namelist():
                kept = content if member == name else old.read(member)
                if kept is not None:
                    new.writestr(member, kept)
        return stream.getvalue()

    return change


def with_method(number: int) -> Callable[[bytes], bytes]:
    """Say that all members are compressed by another method."""

    def change(data: bytes) -> bytes:
        changed = bytearray(data)
        for signature, offset in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
            place = changed.find(signature)
            while place >= 0:
                changed[place + offset : place + offset + 2] = struct.pack("<H", number)
                place = changed.find(signature, place + 4)
        return bytes(changed)

    return change


def with_damaged_stream(data: bytes) -> bytes:
    """Overwrite compressed bytes of the first member."""
    name, extra = struct.unpack("<HH", data[26:30])
    start = 30 + name + extra
    return data[:start] + b"\xff" * 8 + data[start + 8 :]


@pytest.mark.parametrize(
    "change",
    [
        lambda data: b"",
        lambda data: data[:200],
        with_damaged_stream,  # zlib.error
        with_method(99),  # NotImplementedError
        with_method(12),  # OSError of bz2
        with_member("[Content_Types].xml", None),  # KeyError
        with_member("xl/workbook.xml", b"<x>"),  # ParseError
        with_member("xl/worksheets/sheet1.xml", b""),
        with_member("xl/styles.xml", b"<a/>"),
    ],
)
def test_a_damaged_workbook_is_told(change: Callable[[bytes], bytes], tmp_path: Path) -> None:
    path = tmp_path / "sheet.xlsx"
    path.write_bytes(change(workbook()))
    with pytest.raises(UserError, match=r"sheet\.xlsx: (cannot be read as a sheet|no column 'Image_name')"):
        read_sheet(path)


@pytest.mark.parametrize("x", [0.0, 5.0, 1e5])
@pytest.mark.parametrize(
    ("width", "height"), [(1e-200, 1e-200), (1e-200, 9), (1e6, 1e-300), (5e-324, 5e-324)]
)
def test_a_rectangle_of_nearly_no_size_holds_the_centres_that_it_holds(
    x: float, width: float, height: float, tmp_path: Path
) -> None:
    Image.fromarray(np.zeros((40, 30), np.uint8)).save(tmp_path / "image.jpg")
    name = parse_image_name("P1_L_DM_CC.jpg")
    assert name is not None
    region = ViaRegion(2, "P1_L_DM_CC.jpg", Rectangle(x, 0.0, width, height))
    image = SelectedImage(name, 1, tmp_path / "image.jpg", "benign", (region,), {})
    told = convert_image(ImageTask(tmp_path / "out", image, 0, 0.1))
    if x == 0 and width < 1:  # it holds the centres of the first column
        assert isinstance(told, FinishedImage)
        assert [segment.area for segment in told.entry.segments] == [9 if height == 9 else 1]
    else:
        assert isinstance(told, str)
        assert "none of its regions can be used" in told


def change_json(path: Path, keys: list[Any], value: object) -> None:
    content = json.loads(path.read_text())
    node = content
    for key in keys[:-1]:
        node = node[key]
    node[keys[-1]] = value
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (["annotations"], [], "has no annotation of image"),
        (["categories"], [], r"the categories of .* are \[\]"),
        (["images", 0, "id"], 10**30, r"images\.0\.id"),
        (["images", 0, "id"], -1, r"images\.0\.id"),
        (["images", 0, "file_name"], "a" * 300, r"images\.0\.file_name: .*longer than file systems allow"),
        (["images", 0, "file_name"], "../0.png", "is not a plain file name"),
        (["images", 0, "file_name"], "1.png", "images.file_name|gives no fold|says that"),
        (
            ["annotations", 0, "segments_info"],
            [{"id": n, "category_id": 1, "area": 1, "bbox": [0, 0, 1, 1]} for n in range(1, 1002)],
            r"panoptic\.json': 0\.png has 1001 segments, more than 1000",
        ),
        (["info", "attribution"], 3, r"info\.attribution"),
        (["info", "synthetic"], "yes", r"info\.synthetic"),
    ],
)
def test_a_wrong_value_in_an_index_is_named(
    keys: list[Any], value: object, message: str, tmp_path: Path
) -> None:
    write_dataset(tmp_path)
    change_json(tmp_path / "panoptic.json", keys, value)
    with pytest.raises(UserError, match=message):
        open_prepared(root=str(tmp_path), categories=CATEGORIES)


def test_an_index_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    write_dataset(tmp_path)
    for name in ("panoptic.json", "folds.json"):
        path = tmp_path / name
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert len(open_prepared(root=str(tmp_path), categories=CATEGORIES).images) == 4


def test_repeated_file_names_of_coco_are_told_before_folds_are_made(tmp_path: Path) -> None:
    write_dataset(tmp_path)
    change_json(tmp_path / "panoptic.json", ["images", 0, "file_name"], "1.png")
    with pytest.raises(UserError, match=r"images\.file_name: '1\.png' stands 2 times"):
        open_coco_panoptic(
            root=str(tmp_path),
            name="coco",
            synthetic=False,
            annotations="panoptic.json",
            id_maps="panoptic",
            images="images",
            categories=None,
            prompts={},
            unlabelled_is_void=True,
            patient_key=None,
            folds=None,
            num_folds=2,
            fold_seed=0,
        )


def regions_in_rows(number: int, side: float) -> tuple[ViaRegion, ...]:
    return tuple(
        ViaRegion(row, "P1_L_DM_CC.jpg", Rectangle(row % 20, row // 20 / 50, side, side))
        for row in range(number)
    )


@pytest.mark.parametrize(
    ("regions", "told"),
    [
        (regions_in_rows(20_000, 5.0), "it has 20000 regions, more than 1000"),
        (regions_in_rows(100, 30.0), "the boxes around its regions have more than 20 times its pixels"),
    ],
)
def test_an_image_with_too_many_regions_is_left_out_by_name(
    regions: tuple[ViaRegion, ...], told: str, tmp_path: Path
) -> None:
    Image.fromarray(np.zeros((40, 30), np.uint8)).save(tmp_path / "image.jpg")
    usable, reasons = usable_regions([*regions, *regions])
    assert (tuple(usable), len(reasons)) == (regions, len(regions))
    name = parse_image_name("P1_L_DM_CC.jpg")
    assert name is not None
    image = SelectedImage(name, 1, tmp_path / "image.jpg", "benign", regions, {})
    assert convert_image(ImageTask(tmp_path / "out", image, 0, 0.1)) == f"image.jpg: left out: {told}."
