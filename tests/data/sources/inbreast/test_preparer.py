"""INbreast from small downloads in the release's layout, with its quirks."""

from __future__ import annotations

import json
import plistlib
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openpyxl
import pytest
from omegaconf import DictConfig

from modise_lightning.configuration.config_check import check_config
from modise_lightning.data.prepared.dataset import PreparedDataset
from modise_lightning.data.sources.inbreast.annotations import finding_of
from modise_lightning.data.sources.inbreast.preparer import InbreastPreparer
from modise_lightning.data.sources.inbreast.selection import NAMES, Labels
from modise_lightning.errors import UserError
from modise_lightning.prepare import prepare_and_tell
from modise_lightning.train import train
from prepared_folders import digests, open_prepared
from tiny_runs import ONE_STEP
from vindr_mammo_download import make_dicom, write_dicom

SIZE = (160, 120)  # height and width
HEADER = "Patient ID;Patient age;Laterality;View;Acquisition date;File Name;ACR;Bi-Rads"
CATEGORIES: dict[str, list[dict[str, Any]]] = {
    labels: [{"name": name, "prompts": [name], "isthing": True, "color": [1, 2, 3]} for name in names]
    for labels, names in NAMES.items()
}
ARGUMENTS: dict[str, Any] = {
    "labels": "finding",
    "categories": CATEGORIES["finding"],
    "point_radius": 3.0,
    "normals": "none",
    "num_folds": 2,
    "fold_seed": 0,
    "num_processes": 1,
    "strict": False,
    "minimum_visible_fraction": 0.05,
}
Compose = Callable[..., DictConfig]
Points = Sequence[tuple[float, float]]
SQUARE = [(20.0, 30.0), (60.0, 30.0), (60.0, 80.0), (20.0, 80.0)]
SMALL = [(70.0, 100.0), (90.0, 100.0), (90.0, 120.0), (70.0, 120.0)]
# Number, patient, side, view in the file's name, view in the table, ACR, BI-RADS, outlines.
CASES: list[tuple[int, str, str, str, str, str, str, list[tuple[str | None, Points]] | None]] = [
    (20586908, "6c613a14b80a8591", "R", "CC", "CC", "4", "4a", [
        ("Mass", SQUARE),
        ("Espiculated Region", SMALL),
    ]),
    (20586934, "6c613a14b80a8591", "L", "ML", "MLO", "", "6", [("Calcification", [(50.0, 60.0)])]),
    (20587054, "b6a4f750c6df4f90", "R", "CC", "CC", "    ", "4c", [
        ("Cluster", SQUARE),
        ("Point 1", [(30.0, 50.0)]),
        ("Calcifications", [(40.0, 60.0), (44.0, 60.0), (44.0, 64.0), (40.0, 64.0)]),
        ("Calcification", [(50.0, 70.0), (52.0, 70.0)]),
    ]),
    (20587080, "b6a4f750c6df4f90", "R", "ML", "MLO", "2", "2", [
        ("Assymetry", SMALL),
        (None, [(30.0, 30.0)]),
    ]),
    (20587148, "fd746d25eb40b3dc", "L", "CC", "CC", "3", "1", None),
    (20587174, "fd746d25eb40b3dc", "L", "ML", "MLO", "3", "5", [("Distortion", SQUARE)]),
    (20587200, "fd746d25eb40b3dc", "L", "FB", "FB", "1", "3", []),
]  # fmt: skip


def roi(name: str | None, points: Points, **changes: Any) -> dict[str, Any]:
    """Give a region as OsiriX exports it."""
    texts = [f"({x:.6f}, {y:.6f})" for x, y in points]
    region = {
        "Area": 0.5,
        "Center": "(1.0, 2.0, 0.0)",
        "IndexInImage": 0,
        "NumberOfPoints": len(points),
        "Point_mm": texts,
        "Point_px": texts,
        "Type": 15,
    }
    return region | ({} if name is None else {"Name": name}) | changes


def plist(regions: Sequence[dict[str, Any]], **changes: Any) -> bytes:
    image = {"ImageIndex": 0, "NumberOfROIs": len(regions), "ROIs": list(regions)} | changes
    return plistlib.dumps({"Images": [image]})


def dicom_path(raw: Path, case: int) -> Path:
    number, patient, side, view, *_ = CASES[case]
    return raw / "AllDICOMs" / f"{number}_{patient}_MG_{side}_{view}_ANON.dcm"


def xml_path(raw: Path, case: int) -> Path:
    return raw / "AllXML" / f"{CASES[case][0]}.xml"


@pytest.fixture
def download(tmp_path: Path) -> Path:
    raw = tmp_path / "INbreast Release 1.0"
    (raw / "AllXML").mkdir(parents=True)
    lines = [HEADER]
    for case, (number, _, side, _, view, density, birads, outlines) in enumerate(CASES):
        generator = np.random.default_rng(number)
        stored = generator.integers(500, 3500, SIZE, dtype=np.uint16)
        write_dicom(dicom_path(raw, case), make_dicom(stored, ImagerPixelSpacing=[0.07, 0.07]))
        if outlines is not None:
            xml_path(raw, case).write_bytes(plist([roi(name, points) for name, points in outlines]))
        lines.append(f"removed;removed;{side};{view};201001;{number};{density};{birads}")
    (raw / "INbreast.csv").write_text("\n".join(lines) + "\n")
    (raw / "AllROI").mkdir()
    (raw / "AllROI" / "20586908.roi").write_bytes(b"not read")
    return raw


def prepare(raw: Path, root: Path, **changes: Any) -> Any:
    return InbreastPreparer(**(ARGUMENTS | {"raw": str(raw), "root": str(root)} | changes)).prepare()


def open_dataset(root: Path, labels: str = "finding") -> tuple[PreparedDataset, dict[str, int]]:
    return open_prepared(root, CATEGORIES[labels])


def test_every_quirk_is_repaired_or_told(download: Path, tmp_path: Path) -> None:
    report = prepare(download, tmp_path / "out")
    assert report.problems == []
    assert report.counts == {
        "images in the download": 7,
        "images in the table": 7,
        "images with outlines": 6,
        "outlines": 10,
        "images without outlines (normals)": 2,
        "images selected": 5,
        "outlines selected": 9,
        "patients selected": 3,
        "images prepared": 5,
        "patients prepared": 3,
        "segments prepared": 9,
        "segments partly hidden by smaller ones": 1,
    }
    assert {name: row["outlines annotated"] for name, row in report.tables["categories"].items()} == {
        "mass": 1,
        "spiculated region": 1,
        "cluster": 1,
        "calcification": 5,
        "distortion": 1,
        "asymmetry": 1,
    }
    assert report.tables["names of outlines"]["Espiculated Region"] == {"outlines of spiculated region": 1}
    assert report.tables["names of outlines"]["(none)"] == {"outlines of calcification": 1}
    told = "\n".join(report.notes)
    for expected in (
        "1 outlines left out, being lines of two points.",
        "2 outlines that no one named (Unnamed, Point 1, ...) are calcifications.",
        "2 images without an outline are normals and are left out: 20587148, 20587200.",
        "The release has 410 images; this download has 7.",
    ):
        assert expected in told


def test_images_without_outlines_join_the_folds_of_their_patients(download: Path, tmp_path: Path) -> None:
    """Of two images without an outline one is negative; the other's BI-RADS 3 contradicts it."""
    prepare(download, tmp_path / "none")
    report = prepare(download, tmp_path / "all", normals="all")
    assert report.problems == ["20587200: no outline, but BI-RADS 3, so that it is not normal; left out."]
    assert report.counts["images without outlines (normals)"] == 2
    assert report.counts["normal images selected"] == report.counts["normal images prepared"] == 1
    assert "are normals and are left out" not in "\n".join(report.notes)
    before, _ = open_dataset(tmp_path / "none")
    after, indices = open_dataset(tmp_path / "all")
    assert (after.entries[:-1], after.folds[:-1]) == (before.entries, before.folds)
    normal = after.entries[-1]
    assert normal.record.file_name == "20587148.png"
    assert normal.record.normal is True
    assert normal.record.spacing_mm == (0.07, 0.07)
    assert after.folds[-1] == after.folds[indices["20587174.png"]]
    assert after.read_target(len(indices) - 1).labels.tolist() == []


def test_the_prepared_dataset_is_what_was_outlined(download: Path, tmp_path: Path) -> None:
    prepare(download, tmp_path / "out")
    dataset, indices = open_dataset(tmp_path / "out")
    assert list(indices) == [f"{CASES[case][0]}.png" for case in (0, 1, 2, 3, 5)]
    entry = dataset.entries[0]
    assert entry.record.patient_id == "6c613a14b80a8591"
    described = (entry.record.laterality, entry.record.view, entry.record.density, entry.record.spacing_mm)
    assert described == ("right", "CC", "D", (0.07, 0.07))
    assert entry.attributes["birads"] == "4a"
    assert dataset.entries[1].record.view == "MLO"
    assert "density" not in dataset.entries[2].attributes
    ids = dataset.read_target(0).segment_ids.numpy()
    assert dataset.read_target(0).labels.tolist() == [0, 1]
    assert (ids[30:81, 20:61] == 1).all()
    assert (ids[100:121, 70:91] == 2).all()
    # A point is a disc of the radius: the pixels whose centres are closer.
    rows, columns = np.indices(SIZE)
    disc = np.hypot(columns - 50, rows - 60) < 3
    assert ((dataset.read_target(1).segment_ids.numpy() == 1) == disc).all()
    # Calcifications lie on top of their cluster.
    target = dataset.read_target(2)
    assert target.labels.tolist() == [2, 3, 3]
    assert target.segment_ids.numpy()[62, 42] == 3
    assert target.segment_ids.numpy()[40, 25] == 1
    assert dataset.folds[0] == dataset.folds[1]


def test_points_are_left_out_if_that_is_wanted(download: Path, tmp_path: Path) -> None:
    report = prepare(download, tmp_path / "out", point_radius=0.0)
    assert "3 outlines left out, being single points." in "\n".join(report.notes)
    assert report.counts["images prepared"] == 4
    assert open_dataset(tmp_path / "out")[0].info["point_radius"] == "points left out"
    large = prepare(download, tmp_path / "large", point_radius=10.0)
    assert large.counts["segments prepared"] == 9
    with pytest.raises(UserError, match=r"data\.point_radius: -1"):
        prepare(download, tmp_path / "never", point_radius=-1.0)


def test_assessments_as_categories(download: Path, tmp_path: Path) -> None:
    some = [each for each in CATEGORIES["birads"] if each["name"] != "BI-RADS 2"]
    report = prepare(download, tmp_path / "out", labels="birads", categories=some)
    assert report.problems == []
    assert report.tables["categories"]["BI-RADS 4c"]["segments prepared"] == 3
    assert "2 outlines left out, being in no category that is prepared: BI-RADS 2." in "\n".join(report.notes)


@pytest.mark.parametrize(
    ("name", "finding"),
    [
        ("Mass", "mass"),
        ("Calcification", "calcification"),
        ("Calcifications", "calcification"),
        ("Unnamed", "calcification"),
        ("Point 3", "calcification"),
        ("", "calcification"),
        ("Cluster", "cluster"),
        ("Spiculated region", "spiculated region"),
        ("Spiculated Region ", "spiculated region"),
        ("Espiculated Region", "spiculated region"),
        ("Asymmetry", "asymmetry"),
        ("Assymetry", "asymmetry"),
        ("Distortion", "distortion"),
        ("Pectoral muscle", None),
    ],
)
def test_spellings_of_findings(name: str, finding: str | None) -> None:
    assert finding_of(name) == finding


def old_workbook(rows: Sequence[Sequence[str | float]]) -> bytes:
    """Write a worksheet in Excel 2's format (BIFF2), the oldest and shortest of those that end in .xls."""
    records = struct.pack("<HHHH", 0x0009, 4, 2, 0x0010)
    for row, cells in enumerate(rows):
        for column, cell in enumerate(cells):
            place = struct.pack("<HH3x", row, column)
            if isinstance(cell, str):
                data = cell.encode("latin-1")
                body = place + bytes([len(data)]) + data
                records += struct.pack("<HH", 0x0004, len(body)) + body
            else:
                body = place + struct.pack("<d", cell)
                records += struct.pack("<HH", 0x0003, len(body)) + body
    return records + struct.pack("<HH", 0x000A, 0)


def workbook_rows() -> list[list[str | float]]:
    """Give the workbook's rows: other columns than the CSV's, numbers, and two rows of sums at the end."""
    titles = ["Patient ID", "Patient age", "Laterality", "View", "Acquisition date", "File Name", "ACR"]
    rows: list[list[str | float]] = [[*titles, "Bi-Rads", "Mass ", "Micros", "Lesion Annotation Status"]]
    for number, _, side, _, view, density, birads, _ in CASES:
        acr: str | float = float(density) if density.strip() else density
        grade: str | float = float(birads) if birads.isdigit() else birads
        rows.append(["removed", "removed", side, view, 201001.0, float(number), acr, grade, "X", "", ""])
    return [
        *rows,
        ["", "", "", "", "", "", "", "", 116.0, 309.0, ""],
        ["", "", "", "", "", "", "", "", "x", "", ""],
    ]


@pytest.mark.parametrize("suffix", ["xls", "xlsx"])
def test_the_workbook_is_read_like_the_table(suffix: str, download: Path, tmp_path: Path) -> None:
    prepare(download, tmp_path / "table")
    (download / "INbreast.csv").unlink()
    if suffix == "xls":
        pytest.importorskip("xlrd")
        (download / "INbreast.xls").write_bytes(old_workbook(workbook_rows()))
    else:
        book = openpyxl.Workbook()
        for row in workbook_rows():
            assert book.active is not None
            book.active.append(row)
        book.save(download / "INbreast.xlsx")
    report = prepare(download, tmp_path / "book")
    assert report.problems == []
    assert sum("no image, such as the sums at the end" in note for note in report.notes) == 2
    assert digests(tmp_path / "book") == digests(tmp_path / "table")


@pytest.mark.parametrize("content", [b"", b"no workbook", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600)])
def test_a_damaged_workbook_is_told(content: bytes, download: Path, tmp_path: Path) -> None:
    pytest.importorskip("xlrd")
    (download / "INbreast.csv").unlink()
    (download / "INbreast.xls").write_bytes(content)
    with pytest.raises(UserError, match=r"INbreast\.xls: (cannot be read as a workbook|no column)") as error:
        prepare(download, tmp_path / "out")
    assert "\n" not in str(error.value)


BOMB = b"""<?xml version="1.0"?>
<!DOCTYPE plist [<!ENTITY a "aaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;">]>
<plist version="1.0"><dict><key>Images</key><array><string>&c;</string></array></dict></plist>"""
OUTSIDE = b"""<?xml version="1.0"?>
<!DOCTYPE plist [<!ENTITY a SYSTEM "file:///etc/passwd">]>
<plist version="1.0"><dict><key>Images</key><string>&a;</string></dict></plist>"""
DEEP = (
    b'<?xml version="1.0"?><plist version="1.0">' + b"<array>" * 50_000 + b"</array>" * 50_000 + b"</plist>"
)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is no property list in XML (no element found"),
        (b"<plist><dict>", "it is no property list in XML (no element found"),
        (BOMB, "XML entity declarations are not supported"),
        (OUTSIDE, "XML entity declarations are not supported"),
        (DEEP, "it has no list of Images"),
        (plistlib.dumps({"Images": []}, fmt=plistlib.FMT_BINARY), "it is no property list in XML"),
        (plistlib.dumps({"Pictures": []}), "it has no list of Images"),
        (plistlib.dumps({"Images": ["x"]}), "it has no list of Images"),
        (plist([], ROIs="x"), "its ROIs are no list"),
        (plist([roi("Mass", SQUARE)], NumberOfROIs=2), "it has 1 regions and says that it has 2"),
    ],
    ids=["empty", "cut", "bomb", "outside", "deep", "binary", "other", "texts", "text", "number"],
)
def test_an_outline_file_that_cannot_be_read_is_named_and_its_image_left_out(
    content: bytes, message: str, download: Path, tmp_path: Path
) -> None:
    xml_path(download, 0).write_bytes(content)
    report = prepare(download, tmp_path / "out")
    (problem,) = report.problems
    assert problem.startswith("20586908.xml: ")
    assert message in problem
    assert problem.endswith("; its image is left out. Get the file anew.")
    assert "\n" not in problem
    assert report.counts["images prepared"] == 4
    with pytest.raises(UserError, match=r"strict=false goes on"):
        prepare(download, tmp_path / "strict", strict=True)


@pytest.mark.parametrize(
    ("region", "message"),
    [
        (roi("Mass", SQUARE, NumberOfPoints=3), "has 4 points and says that it has 3"),
        (roi("Mass", SQUARE, Point_px=["(1, 2)", "(nan, 2)"], NumberOfPoints=2), "has the point '(nan, 2)'"),
        (roi("Mass", SQUARE, Point_px=["(1e9, 2)"], NumberOfPoints=1), "far outside any image"),
        (roi("Mass", SQUARE, Point_px=["__import__('os')"], NumberOfPoints=1), "expected (x, y)"),
        (roi("Mass", SQUARE, Point_px=[]), "has no Point_px"),
        (roi("Mass", SQUARE, Name=3), "has the name '3', expected a text"),
        (roi("Pectoral muscle", SQUARE), "is called 'Pectoral muscle', which is no finding of the release"),
        (
            roi("Mass", [(300.0, 10.0), (380.0, 10.0), (300.0, 90.0)]),
            "is mostly outside the image of 120 x 160",
        ),
    ],
)
def test_a_broken_outline_is_named_and_the_others_kept(
    region: dict[str, Any], message: str, download: Path, tmp_path: Path
) -> None:
    xml_path(download, 0).write_bytes(plist([roi("Mass", SQUARE), region]))
    report = prepare(download, tmp_path / "out")
    (problem,) = report.problems
    assert problem.startswith("20586908")
    assert "region 2 " in problem
    assert message in problem
    assert report.counts["images prepared"] == 5
    assert report.counts["segments prepared"] == 8


def change_table(raw: Path, old: str, new: str) -> None:
    text = (raw / "INbreast.csv").read_text()
    assert old in text
    (raw / "INbreast.csv").write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (";R;CC;201001;20586908;4;4a", ";R;CC;201001;20586908;4;4d", "Bi-Rads is '4d', expected 1, 2, 3"),
        (
            ";R;CC;201001;20586908",
            ";R;CC;201001;../20586908",
            "File Name is '../20586908', expected a number",
        ),
        (";R;CC;201001;20586908", ";B;CC;201001;20586908", "Laterality is 'B', expected L or R"),
        (";R;CC;201001;20586908", ";L;CC;201001;20586908", "its side is R in its name and L in row 2"),
        (";R;CC;201001;20586908", ";R;MLO;201001;20586908", "its view is CC in its name and MLO in row 2"),
        (";20586908;4;4a", ";20586908;4", "7 cells instead of 8"),
        (";20586934;", ";20586908;", "image 20586908 is in row 2 too"),
    ],
)
def test_a_broken_row_is_named(old: str, new: str, message: str, download: Path, tmp_path: Path) -> None:
    change_table(download, old, new)
    report = prepare(download, tmp_path / "out")
    assert message in "\n".join(report.problems)
    assert report.counts["images prepared"] == 4


def test_files_that_are_missing_or_broken_are_named(download: Path, tmp_path: Path) -> None:
    whole = dicom_path(download, 0).read_bytes()
    dicom_path(download, 0).write_bytes(whole[: len(whole) // 2])
    dicom_path(download, 5).unlink()
    (download / "AllDICOMs" / "other.dcm").write_bytes(whole)
    (download / "AllXML" / "29999999.xml").write_bytes(plist([roi("Mass", SQUARE)]))
    report = prepare(download, tmp_path / "out")
    told = "\n".join(report.problems)
    for expected in (
        "AllDICOMs/other.dcm: no image name of INbreast",
        "20587174: row 7 of the table, but no image in the download; left out.",
        "29999999: the outlines 29999999.xml, but no image in the download; left out.",
        "20586908_6c613a14b80a8591_MG_R_CC_ANON.dcm: left out: '",
    ):
        assert expected in told
    assert len(report.problems) == 4
    assert report.counts["images prepared"] == 3


def test_what_is_missing_is_told_in_one_line(download: Path, tmp_path: Path) -> None:
    def message() -> str:
        with pytest.raises(UserError) as error:
            prepare(download, tmp_path / "out")
        assert "\n" not in str(error.value)
        assert not (tmp_path / "out").exists()
        return str(error.value)

    text = (download / "INbreast.csv").read_text()
    change_table(download, "Bi-Rads", "Assessment")
    assert "no column 'Bi-Rads'; found Patient ID, Patient age" in message()
    (download / "INbreast.csv").write_text(text.replace(";", ","))
    assert "no column 'Laterality'" in message()
    (download / "INbreast.csv").unlink()
    assert "no INbreast.csv or INbreast.xls in" in message()
    (download / "INbreast.csv").write_text(text)
    for path in list((download / "AllXML").iterdir()):
        path.unlink()
    assert "no outlines (AllXML/20586908.xml)" in message()


def test_processes_and_other_folders_do_not_change_a_byte(download: Path, tmp_path: Path) -> None:
    prepare(download, tmp_path / "one")
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in [path for path in download.rglob("*") if path.is_file()]:
        path.rename(flat / path.name)
    prepare(flat, tmp_path / "two", num_processes=2)
    assert digests(tmp_path / "two") == digests(tmp_path / "one")


@pytest.mark.parametrize("labels", ["finding", "birads"])
def test_the_configuration_has_the_categories_of_the_release(
    labels: Labels, compose_config: Compose, tmp_path: Path
) -> None:
    config = compose_config("prepare", ["data=inbreast", "data.raw=raw", f"data.labels={labels}"], tmp_path)
    check_config(config)
    names = tuple(category.name for category in config.data.categories)
    assert names == tuple(name for name in NAMES[labels] if name != "BI-RADS 1")
    assert set(config.data.suspicious) <= set(names)


def test_a_command_prepares_and_another_trains(
    download: Path, compose_config: Compose, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    xml_path(download, 1).write_bytes(BOMB)
    root = tmp_path / "prepared"
    overrides = ["data=inbreast", f"data.raw={download}", f"data.root={root}"]
    fast = ["data.preparer.num_processes=1", "data.preparer.num_folds=3"]
    with pytest.raises(SystemExit) as ended:
        prepare_and_tell(compose_config("prepare", [*overrides, *fast], tmp_path / "run"))
    assert ended.value.code == 2
    assert "prepared with 1 problems" in capsys.readouterr().err
    assert json.loads((root / "report.json").read_text())["counts"]["images prepared"] == 4
    small = ["image_size=64", "baselines=[]", "batch_size=1"]
    step = [override for override in ONE_STEP if not override.startswith("batch_size")]
    config = compose_config("train", [*overrides, *small, *step], tmp_path / "train")
    assert train(config)["trained"].num_images >= 1
