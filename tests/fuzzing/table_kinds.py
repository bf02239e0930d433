"""The tables of downloads: VIA exports, CDD-CESM's sheet, VinDr-Mammo's tables."""

from __future__ import annotations

import csv
import io
import json
import re
import tempfile
from pathlib import Path

import numpy as np
import openpyxl
from PIL import Image

from fuzzing.kinds import InsaneResultError, Kind, check_finite
from fuzzing.table_mutations import mutate_csv, mutate_zip, pack, unpack
from modise_lightning.data.preparation.journal import FinishedImage
from modise_lightning.data.preparation.via import ViaRegion, read_via_regions
from modise_lightning.data.preparation.via_shapes import Point, bears_area, bounds, rasterize
from modise_lightning.data.sources.cdd_cesm.image import ImageTask, convert_image
from modise_lightning.data.sources.cdd_cesm.selection import NAMES as CDD_NAMES
from modise_lightning.data.sources.cdd_cesm.selection import SelectedImage, usable_regions
from modise_lightning.data.sources.cdd_cesm.selection import select_images as select_cdd_cesm
from modise_lightning.data.sources.cdd_cesm.tables import read_regions, read_sheet
from modise_lightning.data.sources.vindr_mammo.selection import NAMES, select_images
from modise_lightning.data.sources.vindr_mammo.tables import read_breasts, read_findings
from vindr_mammo_download import BREASTS, FINDINGS, row, write_tables

_SHAPES = [
    {"name": "polygon", "all_points_x": [1, 30, 30.5, 2], "all_points_y": [1, 2, 40, 38]},
    {"name": "polyline", "all_points_x": [5, 9, 9], "all_points_y": [5, 6, 12]},
    {"name": "ellipse", "cx": 20, "cy": 20, "rx": 9, "ry": 4, "theta": 0.5},
    {"name": "circle", "cx": 10, "cy": 12, "r": 6.5},
    {"name": "rect", "x": 3, "y": 4, "width": 10, "height": 20},
    {"name": "point", "cx": 3, "cy": 3},
    {},
]
_SHEET_HEADER = [
    "Image_name",
    "Patient_ID",
    "Side",
    "Type",
    "Breast density (ACR)",
    "BIRADS",
    "Findings",
    "View",
    "Pathology Classification/ Follow up",
]


def table_kinds() -> list[Kind]:
    """Give a kind a table."""
    rows = [
        [
            "#filename",
            "file_size",
            "file_attributes",
            "region_count",
            "region_id",
            "region_shape_attributes",
            "region_attributes",
        ],
        *(
            [f"P{n}_L_DM_MLO.jpg", 1, "{}", 1, n, json.dumps(shape), "{}"]
            for n, shape in enumerate(_SHAPES, 1)
        ),
    ]
    sheet = [
        _SHEET_HEADER,
        *(
            [f"P{n}_L_DM_CC", n, "L", "DM", "C", "3$2", "Mass", "CC", kind]
            for n, kind in enumerate(("Benign", "Malignant", "Normal"), 1)
        ),
    ]
    findings, breasts = _vindr_tables()
    return [
        Kind("via", "regions.csv", _read_via, [_csv(rows)], [mutate_csv], _write_image),
        Kind("sheet-xlsx", "sheet.xlsx", _sheet_reader("sheet.xlsx"), [_xlsx(sheet)], [mutate_zip]),
        Kind("sheet-csv", "sheet.csv", _sheet_reader("sheet.csv"), [_csv(sheet)], [mutate_csv]),
        Kind(
            "vindr-findings",
            FINDINGS,
            _read_vindr,
            [findings],
            [mutate_csv],
            lambda f: _write(f / BREASTS, breasts),
        ),
        Kind(
            "vindr-breasts",
            BREASTS,
            _read_vindr,
            [breasts],
            [mutate_csv],
            lambda f: _write(f / FINDINGS, findings),
        ),
    ]


def _write_image(folder: Path) -> None:
    Image.fromarray(np.full((48, 40), 99, np.uint8)).save(folder / "image.jpg")


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def _csv(rows: list[list[object]] | list[list[str]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def _xlsx(rows: list[list[object]]) -> bytes:
    book = openpyxl.Workbook()
    sheet = book.create_sheet("all")
    for cells in rows:
        sheet.append(cells)
    stream = io.BytesIO()
    book.save(stream)
    members = unpack(stream.getvalue())
    name = "docProps/core.xml"
    members[name] = re.sub(rb"\d{4}-\d\d-\d\dT[\d:]+Z", b"2000-01-01T00:00:00Z", members[name])
    return pack(members)


def _vindr_tables() -> tuple[bytes, bytes]:
    rows = [
        row(1, 1, (20.5, 30.25, 60.75, 70.5), "BI-RADS 4", "['Mass']"),
        row(1, 2),
        row(2, 3, (60, 20, 100, 60), "", "['Suspicious Lymph Node']", "test"),
        row(3, 4, (10, 20, 90, 120), "BI-RADS 5", "['Mass', 'Skin Thickening']", "test"),
    ]
    with tempfile.TemporaryDirectory() as name:
        write_tables(Path(name), rows)
        return (Path(name) / FINDINGS).read_bytes(), (Path(name) / BREASTS).read_bytes()


def _read_via(folder: Path) -> None:
    regions, _ = read_via_regions(folder / "regions.csv")
    for region in regions:
        check_finite(bounds(region.shape), -1e7, 1e7, "the bounds of a shape")
        mask = rasterize(region.shape, 48, 40)
        if mask.top < 0 or mask.left < 0 or mask.top + mask.mask.shape[0] > 48:
            raise InsaneResultError(f"a mask outside of its image: {region.shape}")
        if mask.area and not bears_area(region.shape):
            raise InsaneResultError(f"pixels of a shape without area: {region.shape}")
    of_image, _ = read_regions(folder / "regions.csv")
    for number, (name, found) in enumerate(of_image.items(), 1):
        usable, _ = usable_regions(found)
        image = SelectedImage(name, number, folder / "image.jpg", "benign", tuple(usable), {})
        converted = convert_image(ImageTask(folder / "prepared", image, 0, 0.1))
        if isinstance(converted, FinishedImage) and not converted.entry.segments:
            raise InsaneResultError(f"an image without a segment of {found}")


def _sheet_reader(name: str):  # noqa: ANN202
    def read(folder: Path) -> None:
        rows, _ = read_sheet(folder / name)
        for labels in ("pathology", "finding"):
            files = {image: folder / f"{image.stem}.jpg" for image in rows}
            regions = {image: [ViaRegion(2, image.stem, Point(1, 1))] for image in rows}
            select_cdd_cesm(files, rows, regions, labels, CDD_NAMES[labels], ["low_energy", "subtracted"])  # type: ignore[arg-type,index]

    return read


def _read_vindr(folder: Path) -> None:
    images, _ = read_findings(folder / FINDINGS)
    breasts, _ = read_breasts(folder / BREASTS)
    for image in images.values():
        check_finite(image.size, 1, 1e7, "the size of an image")
    files = {name: Path(f"{name}.dicom") for name in images}
    for labels in ("birads", "findings"):
        if labels in NAMES:
            select_images(files, images, breasts, labels, NAMES[labels])  # type: ignore[index,arg-type]
