"""TOMPEI-CMMD from small downloads in the release's layout, with its quirks."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openpyxl
import pytest
from omegaconf import DictConfig
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence

from modise_lightning.configuration.config_check import check_config
from modise_lightning.data.prepared.dataset import PreparedDataset
from modise_lightning.data.sources.tompei_cmmd.preparer import TompeiCmmdPreparer
from modise_lightning.data.sources.tompei_cmmd.selection import NAMES, Labels
from modise_lightning.errors import UserError
from modise_lightning.prepare import prepare_and_tell
from modise_lightning.train import train
from prepared_folders import digests, open_prepared
from tiny_runs import ONE_STEP
from vindr_mammo_download import make_dicom, write_dicom

SIZE = (150, 130)  # height and width; the breast is in one half
CATEGORIES: dict[str, list[dict[str, Any]]] = {
    labels: [{"name": name, "prompts": [name], "isthing": True, "color": [1, 2, 3]} for name in names]
    for labels, names in NAMES.items()
}
ARGUMENTS: dict[str, Any] = {
    "labels": "pathology",
    "categories": CATEGORIES["pathology"],
    "num_folds": 2,
    "fold_seed": 0,
    "num_processes": 1,
    "strict": False,
    "minimum_visible_fraction": 0.05,
}
Compose = Callable[..., DictConfig]
# Patient, sides with images, class of each side in the workbook, reason to exclude.
BREASTS = [
    ("D1-0001", "L", {"L": "Malignant"}, ""),
    ("D1-0002", "LR", {"L": "Benign", "R": "Normal"}, ""),
    # The headers say L, the workbook has R only.
    ("D1-0252", "L", {"R": "Malignant"}, ""),
    # The headers of both MLO views are swapped.
    ("D2-0224", "LR", {"L": "Malignant", "R": "Normal"}, ""),
    ("D2-0300", "L", {"L": "Exclusion"}, "CV port"),
    ("D2-0301", "R", {"R": "Invisible"}, ""),
]
SWAPPED = "D2-0224"
Points = Sequence[tuple[float, float]]


def box(left: float, top: float, right: float, bottom: float) -> Points:
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


# In the breast: left ones are at the left edge, as CMMD shows them.
OUTLINES: dict[str, list[tuple[str, Points]]] = {
    "D1-0001_MLO_L": [("mass", box(10, 40, 40, 80)), ("calc ", box(20, 50, 30, 60))],
    "D1-0002_MLO_L": [("FAD", box(15, 60, 35, 90))],
    "D1-0252_MLO_R": [("dist", box(90, 50, 120, 80))],
    "D2-0224_MLO_L": [("mass", box(12, 50, 42, 90))],
    "D2-0300_MLO_L": [("mass", box(10, 40, 40, 80))],
}


def breast(side: str, seed: int) -> Any:
    rows, columns = np.indices(SIZE)
    from_edge = columns if side == "L" else SIZE[1] - 1 - columns
    inside = np.hypot((rows - 75) / 70, from_edge / 62) < 1
    noise = np.random.default_rng(seed).integers(60, 200, SIZE)
    return np.where(inside, noise, 0).astype(np.uint8)


def lesion(label: str, points: Points, **changes: Any) -> dict[str, Any]:
    return {
        "_id": "6620",
        "cgPoints": [{"x": x, "y": y} for x, y in points],
        "color": "#FF0000",
        "label": label,
        "type": "Draw",
    } | changes


def image_path(raw: Path, patient: str, side: str, view: str) -> Path:
    """CMMD's files are numbered, and all of a patient lie in one folder."""
    number = ("LCC", "LMLO", "RCC", "RMLO").index(side + view) + 1
    return raw / "CMMD" / patient / "07-18-2010-NA-NA-79377" / "1.000000-NA-70244" / f"1-{number}.dcm"


def write_image(path: Path, patient: str, tag: str, shown: str, view: str) -> None:
    words = Dataset()
    words.CodeMeaning = "medio-lateral oblique" if view == "MLO" else "cranio-caudal"
    dataset = make_dicom(breast(shown, hash((patient, shown)) % 1000), ImagerPixelSpacing=[0.094, 0.094])
    dataset.WindowCenter, dataset.WindowWidth = 128, 256
    dataset.PatientID, dataset.ImageLaterality = patient, tag
    dataset.ViewCodeSequence = DicomSequence([words])
    write_dicom(path, dataset)


def write_workbook(path: Path, rows: Sequence[Sequence[Any]] | None = None) -> None:
    book = openpyxl.Workbook()
    assert book.active is not None
    book.active.title = "README"
    book.active.append(["Imaging Diagnosis Details Sheet: one row a breast"])
    sheet = book.create_sheet("Imaging Diagnosis Details Sheet")
    width = 23
    titles: list[Any] = ["ID", "LeftRight", "Age", "classification", None, "Breast density", "Mass"]
    titles += [None] * (21 - len(titles)) + ["BI-RADS\nCategory", "Notes"]
    second: list[Any] = [None] * width
    second[4], second[6] = "Exclusion reasons", "Location"
    sheet.append(titles)
    sheet.append(second)
    for patient, _, classes, reason in BREASTS:
        for side, name in classes.items():
            row: list[Any] = [patient, side, 47, name, reason or None, "heterogeneous dense"]
            sheet.append(row + [None] * (21 - len(row)) + [4, None])
    for extra in rows or ():
        sheet.append(list(extra) + [None] * (21 - len(extra)) + [4, None])
    book.save(path)


@pytest.fixture
def download(tmp_path: Path) -> Path:
    raw = tmp_path / "raw"
    for patient, sides, *_ in BREASTS:
        for side in sides:
            for view in ("CC", "MLO"):
                shown = side
                if patient == "D1-0252":
                    shown = "R"
                if patient == SWAPPED and view == "MLO":
                    shown = {"L": "R", "R": "L"}[side]
                write_image(image_path(raw, patient, side, view), patient, side, shown, view)
    folder = raw / "TOMPEI-CMMD_v01_20250123"
    folder.mkdir()
    for name, lesions in OUTLINES.items():
        text = json.dumps([lesion(label, points) for label, points in lesions])
        (folder / f"{name}_AnnotationFile.json").write_text(text)
    junk = raw / "__MACOSX" / "TOMPEI-CMMD_v01_20250123"
    junk.mkdir(parents=True)
    (junk / "._D1-0001_MLO_L_AnnotationFile.json").write_bytes(b"\x00\x05\x16\x07")
    write_workbook(raw / "TOMPEI-CMMD_clinical_data_v01_20250121.xlsx")
    return raw


def outlines_path(raw: Path, name: str) -> Path:
    return raw / "TOMPEI-CMMD_v01_20250123" / f"{name}_AnnotationFile.json"


def prepare(raw: Path, root: Path, **changes: Any) -> Any:
    return TompeiCmmdPreparer(**(ARGUMENTS | {"raw": str(raw), "root": str(root)} | changes)).prepare()


def open_dataset(root: Path, labels: str = "pathology") -> tuple[PreparedDataset, dict[str, int]]:
    dataset, indices = open_prepared(root, CATEGORIES[labels])
    return dataset, {name.removesuffix(".png"): index for name, index in indices.items()}


def test_sides_are_corrected_and_exclusions_followed(download: Path, tmp_path: Path) -> None:
    report = prepare(download, tmp_path / "out")
    assert report.problems == []
    assert report.counts == {
        "images in the download": 16,
        "breasts in the workbook": 8,
        "images with outlines": 5,
        "outlines": 6,
        "images selected": 4,
        "outlines selected": 5,
        "patients selected": 4,
        "images prepared": 4,
        "patients prepared": 4,
        "segments prepared": 5,
        "segments partly hidden by smaller ones": 1,
    }
    assert report.tables["breasts in the workbook"]["exclusion"] == {"breasts": 1, "breasts outlined": 1}
    assert report.tables["breasts in the workbook"]["invisible"] == {"breasts": 1, "breasts outlined": 0}
    told = "\n".join(report.notes)
    for expected in (
        "D1-0252: its images say L and the workbook has only R: left and right are corrected.",
        "D2-0224_MLO_L: its outlines are in air, and in the breast of the image that is said to be the other",
        "D2-0300_MLO_L_AnnotationFile.json: its breast should be left out by row 9 of the workbook (CV port)",
        "The release has 1773 outlines in 1385 images; this download has 6 in 5.",
    ):
        assert expected in told
    dataset, indices = open_dataset(tmp_path / "out")
    assert list(indices) == ["D1-0001_MLO_L", "D1-0002_MLO_L", "D1-0252_MLO_R", "D2-0224_MLO_L"]
    for name, outlines in list(OUTLINES.items())[:4]:
        image = np.asarray(dataset.read_image(indices[name]))
        ids = dataset.read_target(indices[name]).segment_ids.numpy()
        (left, top), (right, bottom) = outlines[0][1][0], outlines[0][1][2]
        assert (ids[int(top) : int(bottom) + 1, int(left) : int(right) + 1] > 0).all()
        assert (image[ids > 0] > 0.2).all()  # in the breast, not in air
    assert dataset.read_target(0).labels.tolist() == [1, 1]
    assert dataset.read_target(1).labels.tolist() == [0]
    record = dataset.entries[2].record
    assert (record.patient_id, record.laterality, record.view, record.density) == (
        "D1-0252",
        "right",
        "MLO",
        "C",
    )
    assert dataset.entries[2].attributes["birads"] == "4"


def test_labels_as_categories(download: Path, tmp_path: Path) -> None:
    some = [each for each in CATEGORIES["finding"] if each["name"] != "distortion"]
    report = prepare(download, tmp_path / "out", labels="finding", categories=some)
    assert report.problems == []
    assert "1 outlines left out, being in no category that is prepared: distortion." in "\n".join(
        report.notes
    )
    assert {name: row["segments prepared"] for name, row in report.tables["categories"].items()} == {
        "mass": 2,
        "calcification": 1,
        "focal asymmetry": 1,
        "lipoma": 0,
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "it cannot be read as JSON"),
        ("[" * 100_000, "it cannot be read as JSON"),
        ("{}", "it is no list of lesions"),
        (b"\xff\xfe\x00", "it cannot be read as JSON"),
    ],
    ids=["empty", "deep", "object", "bytes"],
)
def test_outlines_that_cannot_be_read_are_named_and_their_image_left_out(
    content: str | bytes, message: str, download: Path, tmp_path: Path
) -> None:
    path = outlines_path(download, "D1-0001_MLO_L")
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    report = prepare(download, tmp_path / "out")
    (problem,) = report.problems
    assert problem.startswith(f"{path.name}: {message}")
    assert "\n" not in problem
    assert report.counts["images prepared"] == 3
    with pytest.raises(UserError, match=r"strict=false goes on"):
        prepare(download, tmp_path / "strict", strict=True)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (3, "lesion 2 is no object"),
        (lesion("mass", box(1, 1, 9, 9)) | {"label": None}, "lesion 2 has the label 'None', expected a text"),
        (lesion("mass", [], cgPoints="x"), "lesion 2 has no list cgPoints"),
        (lesion("mass", [(1, 1), (9, 9), (1, 1)]), "lesion 2 has 2 different points, at least 3 are needed"),
        (lesion("mass", [(1, 1), (float("nan"), 9), (5, 5)]), "expected x and y in pixels"),
        (lesion("mass", [(1, 1), (1e300, 9), (5, 5)]), "expected x and y in pixels"),
        (lesion("mass", [(1, 1)], cgPoints=[{"x": True, "y": "2"}]), "expected x and y in pixels"),
    ],
)
def test_a_broken_lesion_is_named_and_the_others_kept(
    broken: Any, message: str, download: Path, tmp_path: Path
) -> None:
    first = lesion(*OUTLINES["D1-0001_MLO_L"][0])
    outlines_path(download, "D1-0001_MLO_L").write_text(json.dumps([first, broken]))
    report = prepare(download, tmp_path / "out")
    (problem,) = report.problems
    assert problem.startswith("D1-0001_MLO_L_AnnotationFile.json: ")
    assert message in problem
    assert report.counts["segments prepared"] == 4


def test_labels_and_places_that_cannot_be_are_told(download: Path, tmp_path: Path) -> None:
    write = outlines_path
    write(download, "D1-0001_MLO_L").write_text(json.dumps([lesion("mass", box(90, 5, 120, 30))]))
    write(download, "D1-0002_MLO_L").write_text(json.dumps([lesion("cyst", box(15, 60, 35, 90))]))
    write(download, "D1-0002_MLO_R").write_text(json.dumps([lesion("mass", box(90, 60, 110, 90))]))
    write(download, "D1-0999_MLO_R").write_text(json.dumps([lesion("mass", box(90, 60, 110, 90))]))
    report = prepare(download, tmp_path / "out", labels="finding", categories=CATEGORIES["finding"])
    told = "\n".join(report.problems)
    for expected in (
        "D1-0001_MLO_L: left out: only 0% of what is outlined is tissue and not air or outside.",
        "D1-0002_MLO_L_AnnotationFile.json: lesion 1 is called 'cyst', which is no label of the release",
        "D1-0999_MLO_R_AnnotationFile.json: its breast has no usable row in the workbook; left out.",
    ):
        assert expected in told
    assert len(report.problems) == 3
    report = prepare(download, tmp_path / "pathology")
    assert "row 5 of the workbook calls the breast normal; left out." in "\n".join(report.problems)


def test_files_that_are_missing_or_broken_are_named(download: Path, tmp_path: Path) -> None:
    image_path(download, "D1-0002", "L", "MLO").unlink()
    whole = image_path(download, "D1-0001", "L", "MLO").read_bytes()
    image_path(download, "D1-0001", "L", "MLO").write_bytes(whole[: len(whole) - 4000])
    (download / "CMMD" / "text.dcm").write_text("no image")
    (download / "other.json").write_text("[]")
    write_image(download / "CMMD" / "odd.dcm", "../D1-0001", "L", "L", "MLO")
    report = prepare(download, tmp_path / "out")
    told = "\n".join(report.problems)
    for expected in (
        "D1-0002_MLO_L_AnnotationFile.json: no image of D1-0002_MLO_L in the download; left out.",
        "D1-0001_MLO_L: left out: '",
        "CMMD/text.dcm: no readable DICOM",
        "CMMD/odd.dcm: its header names no image of CMMD ('../D1-0001', 'L', 'medio-lateral oblique')",
        "other.json: no outlines' name",
    ):
        assert expected in told
    assert len(report.problems) == 5
    assert report.counts["images prepared"] == 2


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (["D9-0001", "L", 40, "Benign", None, ""], "ID is 'D9-0001', which is no patient of CMMD"),
        (["D1-0009", "B", 40, "Benign", None, ""], "LeftRight is 'B', expected L or R"),
        (["D1-0009", "L", 40, "Cancer", None, ""], "classification is 'Cancer', expected malignant, benign"),
        (["D1-0001", "L", 40, "Benign", None, ""], "its breast is in row 3 too"),
    ],
)
def test_a_broken_row_is_named(row: list[Any], message: str, download: Path, tmp_path: Path) -> None:
    path = download / "TOMPEI-CMMD_clinical_data_v01_20250121.xlsx"
    write_workbook(path, [row])
    report = prepare(download, tmp_path / "out")
    (problem,) = report.problems
    assert problem.startswith(f"{path.name}, row 11 (")
    assert message in problem
    assert report.counts["images prepared"] == 4


def test_what_is_missing_is_told_in_one_line(download: Path, tmp_path: Path) -> None:
    def message() -> str:
        with pytest.raises(UserError) as error:
            prepare(download, tmp_path / "out")
        assert "\n" not in str(error.value)
        assert not (tmp_path / "out").exists()
        return str(error.value)

    path = download / "TOMPEI-CMMD_clinical_data_v01_20250121.xlsx"
    whole = path.read_bytes()
    book = openpyxl.load_workbook(path)
    book["Imaging Diagnosis Details Sheet"]["E2"] = "Remarks"
    book.save(path)
    assert "no column 'Exclusion reasons' in its sheet" in message()
    book["Imaging Diagnosis Details Sheet"]["B1"] = "Side"
    book.save(path)
    assert "no column 'LeftRight' in its sheet" in message()
    path.write_bytes(b"no workbook")
    assert "cannot be read as a workbook" in message()
    path.unlink()
    assert "no TOMPEI-CMMD_clinical_data_....xlsx in" in message()
    path.write_bytes(whole)
    for image in list(download.rglob("*.dcm")):
        image.unlink()
    assert "no image of CMMD (.dcm)" in message()


def test_processes_and_a_second_run_do_not_change_a_byte(download: Path, tmp_path: Path) -> None:
    prepare(download, tmp_path / "one")
    prepare(download, tmp_path / "two", num_processes=2)
    assert digests(tmp_path / "two") == digests(tmp_path / "one")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "one").glob("*/*.png")}
    prepare(download, tmp_path / "one")
    assert {path: path.stat().st_mtime_ns for path in before} == before


@pytest.mark.parametrize("labels", ["pathology", "finding"])
def test_the_configuration_has_the_categories_of_the_release(
    labels: Labels, compose_config: Compose, tmp_path: Path
) -> None:
    config = compose_config("prepare", ["data=tompei_cmmd", "data.raw=r", f"data.labels={labels}"], tmp_path)
    check_config(config)
    names = tuple(category.name for category in config.data.categories)
    assert names == NAMES[labels]
    assert set(config.data.suspicious) <= set(names)


def test_a_command_prepares_and_another_trains(
    download: Path, compose_config: Compose, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (download / "CMMD" / "text.dcm").write_text("no image")
    root = tmp_path / "prepared"
    overrides = ["data=tompei_cmmd", f"data.raw={download}", f"data.root={root}"]
    fast = ["data.preparer.num_processes=1", "data.preparer.num_folds=3"]
    with pytest.raises(SystemExit) as ended:
        prepare_and_tell(compose_config("prepare", [*overrides, *fast], tmp_path / "run"))
    assert ended.value.code == 2
    assert "prepared with 1 problems" in capsys.readouterr().err
    small = ["image_size=64", "baselines=[]", "batch_size=1"]
    step = [override for override in ONE_STEP if not override.startswith("batch_size")]
    config = compose_config("train", [*overrides, *small, *step], tmp_path / "train")
    assert train(config)["trained"].num_images >= 1
