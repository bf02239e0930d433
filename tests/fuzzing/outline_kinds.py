"""The tables and outlines of CBIS-DDSM, INbreast and TOMPEI-CMMD."""

from __future__ import annotations

import io
import json
import plistlib
import re
import tempfile
from pathlib import Path
from typing import Any

import openpyxl

from cbis_ddsm_download import ROWS, TABLE_NAMES, write_tables
from fuzzing.byte_mutations import mutate_bytes
from fuzzing.kinds import InsaneResultError, Kind, check_finite
from fuzzing.table_mutations import mutate_csv, mutate_zip, pack, unpack
from fuzzing.tree_mutations import mutate_json
from modise_lightning.data.preparation.via_shapes import bears_area, bounds, rasterize
from modise_lightning.data.sources.cbis_ddsm.files import INFO_NAME, find_files
from modise_lightning.data.sources.cbis_ddsm.selection import NAMES, select_images
from modise_lightning.data.sources.cbis_ddsm.tables import read_tables
from modise_lightning.data.sources.inbreast.annotations import FINDINGS, read_regions
from modise_lightning.data.sources.inbreast.tables import ASSESSMENTS, read_table
from modise_lightning.data.sources.tompei_cmmd.tables import CLASSES, SHEET, read_breasts, read_outlines

_MASS_TABLE = TABLE_NAMES["mass", "training"]
_SQUARE = [(20.0, 30.0), (60.0, 30.0), (60.0, 80.0)]
_INBREAST = (
    b"Patient ID;Patient age;Laterality;View;Acquisition date;File Name;ACR;Bi-Rads\n"
    b"removed;removed;R;CC;201001;20586908;4;4a\nremoved;removed;L;MLO;201001;20586934;   ;6\n"
)


def outline_kinds() -> list[Kind]:
    """Give a kind a file."""
    info = "file_path,image_path,SeriesInstanceUID\nx,CBIS-DDSM/jpeg/1.2.3.4.5.6.7/1-1.jpg,1.2.3.4.5.6.7\n"
    lesions = [{"label": "calc ", "cgPoints": [{"x": x, "y": y} for x, y in _SQUARE], "type": "Draw"}]
    return [
        Kind("cbis-table", _MASS_TABLE, _read_cbis, [_cbis_table()], [mutate_csv, mutate_bytes]),
        Kind("cbis-jpegs", INFO_NAME, _find_cbis, [info.encode()], [mutate_csv], _write_cbis),
        Kind("inbreast-outlines", "20586908.xml", _read_plist, [_plist()], [mutate_bytes]),
        Kind("inbreast-table", "INbreast.csv", _read_inbreast, [_INBREAST], [mutate_bytes]),
        Kind("tompei-outlines", "o.json", _read_json, [json.dumps(lesions).encode()], [mutate_json]),
        Kind("tompei-workbook", "b.xlsx", _read_breasts, [_workbook()], [mutate_zip]),
    ]


def _cbis_table() -> bytes:
    with tempfile.TemporaryDirectory() as name:
        write_tables(Path(name), ROWS)
        return (Path(name) / _MASS_TABLE).read_bytes()


def _write_cbis(folder: Path) -> None:
    write_tables(folder, ROWS)
    (folder / "1.2.3.4.5.6.7").mkdir()
    (folder / "1.2.3.4.5.6.7" / "1-1.jpg").write_bytes(b"not read")


def _plist() -> bytes:
    texts = [f"({x:.6f}, {y:.6f})" for x, y in _SQUARE]
    regions: list[dict[str, Any]] = [
        {"Name": "Mass", "NumberOfPoints": 3, "Point_px": texts},
        {"Name": "Point 1", "NumberOfPoints": 1, "Point_px": texts[:1]},
    ]
    return plistlib.dumps({"Images": [{"ImageIndex": 0, "NumberOfROIs": 2, "ROIs": regions}]})


def _workbook() -> bytes:
    book = openpyxl.Workbook()
    sheet = book.create_sheet(SHEET)
    titles = ["ID", "LeftRight", "Age", "classification", None, "Breast density", "BI-RADS\nCategory"]
    sheet.append(titles)
    sheet.append([None, None, None, None, "Exclusion reasons"])
    sheet.append(["D1-0001", "L", 47, "Malignant", None, "fatty", 5])
    sheet.append(["D1-0002", "R", 40, "Exclusion", "CV port", "scattered", None])
    stream = io.BytesIO()
    book.save(stream)
    members = unpack(stream.getvalue())
    name = "docProps/core.xml"
    members[name] = re.sub(rb"\d{4}-\d\d-\d\dT[\d:]+Z", b"2000-01-01T00:00:00Z", members[name])
    return pack(members)


def _read_cbis(folder: Path) -> None:
    images, rows, _ = read_tables({_MASS_TABLE: folder / _MASS_TABLE})
    if sum(len(image.abnormalities) for image in images) > rows[_MASS_TABLE]:
        raise InsaneResultError(f"more abnormalities than rows: {rows}")
    for image in images:
        if "/" in image.name or "." in image.name or not image.abnormalities:
            raise InsaneResultError(f"an image {image}")
    series = {uid: [folder / "x.dcm"] for image in images for uid in (image.series, *_masks(image))}
    for labels, names in NAMES.items():
        chosen = select_images(folder, series, images, rows, labels, names)
        if sum(len(image.abnormalities) for image in chosen.images) > rows[_MASS_TABLE]:
            raise InsaneResultError(f"more abnormalities than rows: {chosen.counts}")


def _masks(image: Any) -> list[str]:
    return [uid for each in image.abnormalities for uid in each.series]


def _find_cbis(folder: Path) -> None:
    for paths in find_files(str(folder)).series.values():
        if any(folder not in path.parents for path in paths):
            raise InsaneResultError(f"files outside of the folder: {paths}")


def _read_plist(folder: Path) -> None:
    regions, _ = read_regions(folder / "20586908.xml")
    for region in regions:
        if region.finding is not None and region.finding not in FINDINGS:
            raise InsaneResultError(f"a finding {region.finding!r}")
        shape = region.shape(3.0)
        if shape is not None and bears_area(shape):
            check_finite(bounds(shape), -1e7, 1e7, "the bounds of a shape")
            rasterize(shape, 160, 120)


def _read_inbreast(folder: Path) -> None:
    rows, _, _ = read_table(folder / "INbreast.csv")
    if any(row.birads not in ASSESSMENTS or row.laterality not in "LR" for row in rows.values()):
        raise InsaneResultError(f"rows {rows}")


def _read_json(folder: Path) -> None:
    outlines, _ = read_outlines(folder / "o.json")
    for outline in outlines:
        check_finite(bounds(outline.shape), -1e7, 1e7, "the bounds of a shape")
        rasterize(outline.shape, 160, 120)


def _read_breasts(folder: Path) -> None:
    breasts, _ = read_breasts(folder / "b.xlsx")
    if any(breast.classification not in CLASSES for breast in breasts.values()):
        raise InsaneResultError(f"breasts {breasts}")
