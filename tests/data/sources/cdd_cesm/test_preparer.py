"""CDD-CESM from small downloads with every quirk of the real one, and from its real tables where they are."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import openpyxl
import pytest
from omegaconf import DictConfig
from PIL import Image

from cdd_cesm_download import (
    LOW,
    REGIONS,
    SHEET,
    SIZE,
    SUBTRACTED,
    circle,
    write_image,
    write_regions,
    write_sheet,
)
from modise_lightning.configuration.config_check import check_config
from modise_lightning.data.prepared.categories import categories_from_config
from modise_lightning.data.prepared.dataset import PreparedDataset
from modise_lightning.data.sources.cdd_cesm.findings import kinds_of_finding
from modise_lightning.data.sources.cdd_cesm.preparer import CddCesmPreparer
from modise_lightning.data.sources.cdd_cesm.selection import NAMES, Labels, select_images
from modise_lightning.data.sources.cdd_cesm.tables import Modality, parse_image_name, read_regions, read_sheet
from modise_lightning.errors import UserError
from modise_lightning.prepare import prepare as run_prepare
from modise_lightning.prepare import prepare_and_tell
from modise_lightning.train import train
from prepared_folders import digests
from tiny_runs import ONE_STEP

CATEGORIES: list[dict[str, Any]] = [
    {"name": "benign", "prompts": ["benign"], "isthing": True, "color": [86, 180, 233]},
    {"name": "malignant", "prompts": ["malignant"], "isthing": True, "color": [230, 159, 0]},
]
FINDINGS: list[dict[str, Any]] = [
    {"name": name, "prompts": [name], "isthing": True, "color": [0, 0, 0]}
    for name in ("mass", "non-mass enhancement", "distortion", "asymmetry", "calcification", "other")
]
ARGUMENTS: dict[str, Any] = {
    "labels": "pathology",
    "categories": CATEGORIES,
    "modality": "both",
    "normals": "none",
    "num_folds": 2,
    "fold_seed": 0,
    "num_processes": 1,
    "strict": False,
    "minimum_visible_fraction": 0.05,
}
REAL = Path(__file__).parents[4].parent / "shared" / "data" / "cdd_cesm"


def prepare(raw: Path, root: Path, **changes: Any) -> Any:
    return CddCesmPreparer(**(ARGUMENTS | {"raw": str(raw), "root": str(root)} | changes)).prepare()


@pytest.fixture
def download(tmp_path: Path) -> Path:
    """A small download: two patients a class, and the quirks of the release."""
    raw = tmp_path / "raw"
    raw.mkdir()
    classes = {
        "P1_L_DM_MLO": "Malignant",
        "P1_L_CM_MLO ": "Malignant",
        "P2_R_DM_CC": "Benign",
        "P99_L_DM_MLO_2": "Benign",
        "P281_L_CM_MLO2": "Malignant",
        "P138_L_DM_CC": "Normal",
        "P20_R_DM_CC": "Benign",
        "P6_R_DM_CC": "Benign",
    }
    write_sheet(raw / SHEET, classes)
    write_regions(
        raw / REGIONS,
        {
            "P1_L_DM_MLO": [circle(30, 40, 20), circle(30, 40, 8), {"name": "point", "cx": 3, "cy": 4}],
            "P1_L_CM_MLO": [{"name": "ellipse", "cx": 40, "cy": 60, "rx": 25, "ry": 10}],
            "P2_R_DM_CC": [circle(40, 60, 12), circle(40, 60, 12), circle(10, 10, 6)],
            "P99_L_DM_MLO_2": [
                {"name": "polyline", "all_points_x": [-5, 30, 30, -5], "all_points_y": [10, 10, 50, 50]}
            ],
            "P281_L_CM_MLO2": [circle(40, 60, 20), circle(40, 60, 19.8), circle(70, 20, 7)],
            "P138_L_DM_CC": [circle(40, 60, 12)],
            "P6_R_DM_CC": [{"name": "point", "cx": 30, "cy": 40}],
        },
    )
    for number, name in enumerate(classes):
        folder = SUBTRACTED if "_CM_" in name else LOW
        stray = " " if name.startswith("P2_") else ""
        write_image(raw / folder / f"{name.strip()}{stray}.jpg", number)
    return raw


def test_every_quirk_is_repaired_or_told(download: Path, tmp_path: Path) -> None:
    report = prepare(download, tmp_path / "out")
    assert report.problems == []
    assert report.counts["images prepared"] == 5
    assert report.counts["patients prepared"] == 4
    assert report.counts["regions prepared"] == 8
    assert report.tables["classes"]["malignant"]["regions annotated"] == 7
    assert report.tables["classes"]["benign"]["images prepared"] == 2
    told = "\n".join(report.notes)
    for expected in (
        "P138_L_DM_CC: 1 region although the sheet calls it normal",
        "P6_R_DM_CC: the point in row 14 bears no area",
        "P6_R_DM_CC: no usable region",
        "P2_R_DM_CC: the region in row 7 repeats row 6 exactly",
        "1 benign or malignant images have no region and are left out: P20_R_DM_CC.",
        "P281_L_CM_MLO2: the region in row 10 is left out: smaller ones cover all but",
    ):
        assert expected in told
    covered = report.tables["pixels of regions that smaller ones cover"]["P1_L_DM_MLO, row 2"]
    rows, columns = np.indices(SIZE)
    distance = np.hypot(rows - 40, columns - 30)
    assert covered == {"pixels": (distance < 20).sum(), "left": ((distance < 20) & (distance >= 8)).sum()}


def test_kinds_of_finding(download: Path, tmp_path: Path) -> None:
    findings = {
        "P1_L_DM_MLO": "Architectural distortion with overlying macrocalification",
        "P1_L_CM_MLO ": "Segmental non mass enhancement",
        "P2_R_DM_CC": "Benign macrocalcification$High density  mass with speculated margin",
        "P99_L_DM_MLO_2": "IMLN",
        "P281_L_CM_MLO2": "",
        "P138_L_DM_CC": "Normal",
        "P20_R_DM_CC": "Normal",
        "P6_R_DM_CC": "Normal",
    }
    classes = {name: row.classification.title() for name, row in read_sheet(download / SHEET)[0].items()}
    write_sheet(download / SHEET, {name: classes[parse_image_name(name)] for name in findings}, findings)
    report = prepare(download, tmp_path / "out", labels="finding", categories=FINDINGS)
    assert report.problems == ["P281_L_CM_MLO2: the sheet's row 6 gives no finding; left out."]
    dataset = PreparedDataset.open(tmp_path / "out", categories_from_config(FINDINGS))
    assert dataset.info["labels"] == "finding"
    found = {
        entry.record.file_name: {FINDINGS[label]["name"] for label in dataset.segment_labels(index)}
        for index, entry in enumerate(dataset.entries)
    }
    assert found == {
        "P1_L_DM_MLO.png": {"distortion"},
        "P1_L_CM_MLO.png": {"non-mass enhancement"},
        "P2_R_DM_CC.png": {"mass"},
        "P99_L_DM_MLO_2.png": {"other"},
    }
    assert report.tables["kinds of finding in an image"] == {
        "calcification + distortion": {"images annotated as distortion": 1},
        "non-mass enhancement": {"images annotated as non-mass enhancement": 1},
        "mass + calcification": {"images annotated as mass": 1},
        "other": {"images annotated as other": 2},  # P6's region is a point, so no image of it is prepared
    }
    assert report.tables["classes"]["other"]["images prepared"] == 1
    assert any(note.startswith("2 images with several kinds of finding") for note in report.notes)
    fewer = prepare(download, tmp_path / "fewer", labels="finding", categories=FINDINGS[:3])
    assert fewer.counts["images prepared"] == 3
    assert "2 images left out, being in no category that is prepared: other." in fewer.notes


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("No mass or non mass enhancement", ("other",)),
        ("Heterogenously enhancing mass and  non mass enhancement", ("mass", "non-mass enhancement")),
        ("Non enhancing mass", ("mass",)),
        ("Multiple equal density nodules", ("mass",)),
        ("Nodular increased density", ("other",)),
        ("Two masses$assymetrical increased density", ("mass", "asymmetry")),
        ("Vascular calcifications", ("calcification",)),
        ("Flap with no enhancement", ("other",)),
        ("", ("other",)),
    ],
)
def test_kinds_in_a_text(text: str, kinds: tuple[str, ...]) -> None:
    assert kinds_of_finding(text) == kinds


def test_the_prepared_dataset_is_what_the_reader_expects(download: Path, tmp_path: Path) -> None:
    prepare(download, tmp_path / "out", categories=CATEGORIES[::-1])
    dataset = PreparedDataset.open(tmp_path / "out", categories_from_config(CATEGORIES))
    assert dataset.info["synthetic"] is False
    assert "CC BY 4.0" in str(dataset.note)
    entries = {entry.record.file_name: index for index, entry in enumerate(dataset.entries)}
    assert list(entries) == [
        "P1_L_CM_MLO.png",
        "P1_L_DM_MLO.png",
        "P2_R_DM_CC.png",
        "P99_L_DM_MLO_2.png",
        "P281_L_CM_MLO2.png",
    ]
    index = entries["P1_L_DM_MLO.png"]
    entry = dataset.entries[index]
    assert entry.record.patient_id == "P1"
    assert entry.attributes == {
        "laterality": "L",
        "view": "MLO",
        "modality": "low_energy",
        "classification": "malignant",
        "birads": "3$2",
        "density": "C",
        "findings": "Mass",
    }
    assert "density" not in dataset.entries[entries["P1_L_CM_MLO.png"]].attributes
    target = dataset.read_target(index)
    assert target.labels.tolist() == [1, 1]
    rows, columns = np.indices(SIZE)
    distance = np.hypot(rows - 40, columns - 30)
    np.testing.assert_array_equal(target.segment_ids.numpy(), np.where(distance < 8, 2, distance < 20))
    original = np.asarray(Image.open(download / LOW / "P1_L_DM_MLO.jpg"))
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "out/images/P1_L_DM_MLO.png"), -1), original)
    clipped = dataset.read_target(entries["P99_L_DM_MLO_2.png"]).segment_ids.numpy()
    assert clipped[10:51, :31].all()
    assert clipped.sum() == 41 * 31
    assert len({dataset.folds[0], dataset.folds[1]}) == 1
    assert len({entry.record.image_id for entry in dataset.entries}) == 5


@pytest.mark.parametrize(
    "name",
    [
        "Radiology-manual-annotations.xlsx",
        "Radiology_manual_annotations.xlsx",
        "Radiology manual annotations.csv",
    ],
)
def test_the_sheet_has_several_names(name: str, download: Path, tmp_path: Path) -> None:
    expected = prepare(download, tmp_path / "one")
    classes = {name.stem: row.classification.title() for name, row in read_sheet(download / SHEET)[0].items()}
    (download / SHEET).unlink()
    write_sheet(download / name, classes)
    report = prepare(download, tmp_path / "two")
    assert report.counts == expected.counts
    assert digests(tmp_path / "two") == digests(tmp_path / "one")


def test_a_flat_folder_gives_the_same_bytes(download: Path, tmp_path: Path) -> None:
    prepare(download, tmp_path / "one")
    for path in list(download.glob("*/*.jpg")):
        path.rename(download / path.name)
    prepare(download, tmp_path / "two")
    assert digests(tmp_path / "two") == digests(tmp_path / "one")


def test_the_number_of_processes_does_not_change_a_byte(download: Path, tmp_path: Path) -> None:
    prepare(download, tmp_path / "one")
    prepare(download, tmp_path / "two", num_processes=2)
    assert digests(tmp_path / "two") == digests(tmp_path / "one")


@pytest.mark.parametrize(("modality", "number"), [("low_energy", 3), ("subtracted", 2)])
def test_one_modality(modality: str, number: int, download: Path, tmp_path: Path) -> None:
    prepare(download, tmp_path / "out")
    report = prepare(download, tmp_path / "out", modality=modality)
    assert report.counts["images prepared"] == number
    assert len(list((tmp_path / "out" / "images").iterdir())) == number
    prepare(download, tmp_path / "fresh", modality=modality)
    assert digests(tmp_path / "out") == digests(tmp_path / "fresh")


def break_download(raw: Path) -> None:
    """Truncate an image, replace one, remove one; add a broken row, a misplaced and an unlabelled region."""
    whole = (raw / LOW / "P1_L_DM_MLO.jpg").read_bytes()
    (raw / LOW / "P1_L_DM_MLO.jpg").write_bytes(whole[: len(whole) // 2])
    (raw / SUBTRACTED / "P1_L_CM_MLO.jpg").write_text("not an image")
    (raw / SUBTRACTED / "P281_L_CM_MLO2.jpg").unlink()
    with (raw / REGIONS).open("a", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["P2_R_DM_CC.jpg", 1, "{}", 4, 3, '{"name":"circle",', "{}"])
        writer.writerow(["P2_R_DM_CC.jpg", 1, "{}", 4, 3, json.dumps(circle(400, 400, 30)), "{}"])
        writer.writerow(["P77_R_DM_CC.jpg", 1, "{}", 1, 0, json.dumps(circle(40, 40, 30)), "{}"])


def test_what_is_broken_is_named_and_the_rest_prepared(download: Path, tmp_path: Path) -> None:
    break_download(download)
    report = prepare(download, tmp_path / "out")
    told = "\n".join(report.problems)
    for expected in (
        "P1_L_DM_MLO.jpg: broken or truncated image (image file is truncated",
        "P1_L_CM_MLO.jpg: broken or truncated image",
        "P281_L_CM_MLO2.jpg: 3 regions, but no such file",
        f"{REGIONS}, row 15 (P2_R_DM_CC.jpg): region_shape_attributes is wrong",
        "P2_R_DM_CC: the region in row 16 reaches from (370, 370) to (430, 430), mostly outside",
        "P77_R_DM_CC: 1 region, but no usable row in the sheet",
    ):
        assert expected in told
    assert len(report.problems) == 6
    assert report.counts["images prepared"] == 2
    assert {path.name for path in (tmp_path / "out" / "images").iterdir()} == {
        "P2_R_DM_CC.png",
        "P99_L_DM_MLO_2.png",
    }
    # A second run tells the same, of the images that it keeps too.
    assert sorted(prepare(download, tmp_path / "out").problems) == sorted(report.problems)


def test_the_exit_code_says_whether_something_was_left_out(
    download: Path,
    compose_config: Callable[..., DictConfig],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    overrides = ["data=cdd_cesm", f"data.raw={download}", f"data.root={tmp_path / 'out'}"]
    preparer = ["data.preparer.num_folds=2", "data.preparer.num_processes=1"]
    config = compose_config("prepare", [*overrides, *preparer], tmp_path / "run")
    prepare_and_tell(config)
    assert not capsys.readouterr().err.count("problems")
    break_download(download)
    with pytest.raises(SystemExit, match="2"):
        prepare_and_tell(config)
    assert capsys.readouterr().err.endswith(
        "prepared with 6 problems (see above); data.strict=true stops at the first\n"
    )
    with pytest.raises(UserError, match=r"\(2 more problems\) data\.strict=false goes on"):
        prepare_and_tell(compose_config("prepare", [*overrides, *preparer, "data.strict=true"], tmp_path))


def test_strict_stops(download: Path, tmp_path: Path) -> None:
    prepare(download, tmp_path / "fine", strict=True)
    whole = (download / LOW / "P1_L_DM_MLO.jpg").read_bytes()
    (download / LOW / "P1_L_DM_MLO.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"P1_L_DM_MLO\.jpg: broken or truncated"):
        prepare(download, tmp_path / "out", strict=True)
    assert not (tmp_path / "out" / "panoptic.json").exists()
    (download / LOW / "P2_R_DM_CC .jpg").unlink()
    with pytest.raises(UserError, match=r"P2_R_DM_CC\.jpg: 3 regions, but no such file"):
        prepare(download, tmp_path / "out", strict=True)


def test_a_mended_image_is_added(download: Path, tmp_path: Path) -> None:
    prepare(download, tmp_path / "expected")
    path = download / LOW / "P1_L_DM_MLO.jpg"
    whole = path.read_bytes()
    path.write_bytes(whole[:200])
    assert prepare(download, tmp_path / "out").counts["images prepared"] == 4
    path.write_bytes(whole)
    assert prepare(download, tmp_path / "out").counts["images prepared"] == 5
    assert digests(tmp_path / "out") == digests(tmp_path / "expected")


def test_a_second_run_writes_only_what_other_settings_change(download: Path, tmp_path: Path) -> None:
    root = tmp_path / "out"
    prepare(download, root)
    before = {path: path.stat().st_mtime_ns for path in root.glob("*/*.png")}
    prepare(download, root)
    assert {path: path.stat().st_mtime_ns for path in root.glob("*/*.png")} == before
    report = prepare(download, root, minimum_visible_fraction=0.0)
    assert report.counts["regions prepared"] == 9
    prepare(download, tmp_path / "fresh", minimum_visible_fraction=0.0)
    assert digests(root) == digests(tmp_path / "fresh")


def test_damage_in_the_prepared_folder_is_mended(download: Path, tmp_path: Path) -> None:
    root = tmp_path / "out"
    prepare(download, root)
    expected = digests(root)
    (root / "images" / "P1_L_DM_MLO.png").write_bytes(b"cut off")
    (root / "panoptic" / "P2_R_DM_CC.png").unlink()
    (root / "panoptic" / ".P2_R_DM_CC.png.x7f").write_bytes(b"temporary")
    (root / ".panoptic.json.q1").write_bytes(b"temporary")
    journal = (root / "preparation.jsonl").read_text()
    (root / "preparation.jsonl").write_text(journal[:-40])
    prepare(download, root)
    assert digests(root) == expected


def test_killed_and_resumed_equals_uninterrupted(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    names = [f"P{number}_L_DM_CC" for number in range(1, 61)]
    raw.mkdir()
    write_sheet(raw / SHEET, {name: "Benign" for name in names})
    write_regions(raw / REGIONS, {name: [circle(200, 200, 90)] for name in names})
    for number, name in enumerate(names):
        write_image(raw / f"{name}.jpg", number, (700, 500))
    arguments = ARGUMENTS | {"raw": str(raw), "root": str(tmp_path / "out")}
    code = "from modise_lightning.data.sources.cdd_cesm.preparer import CddCesmPreparer as Preparer\n"
    code += f"Preparer(**{arguments!r}).prepare()"
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    images = tmp_path / "out" / "images"
    deadline = time.monotonic() + 60
    while (not images.is_dir() or len(list(images.glob("P*.png"))) < 8) and time.monotonic() < deadline:
        assert process.poll() is None, "ended before it could be interrupted"
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert 8 <= len(list(images.glob("P*.png"))) < 60
    assert not (tmp_path / "out" / "panoptic.json").exists()
    finished = {path: path.stat().st_mtime_ns for path in images.glob("P*.png")}
    prepare(raw, tmp_path / "out")
    kept = [path for path, time_ns in finished.items() if path.stat().st_mtime_ns == time_ns]
    assert len(kept) >= 6, "it goes on where it stopped"
    prepare(raw, tmp_path / "uninterrupted")
    assert digests(tmp_path / "out") == digests(tmp_path / "uninterrupted")


def test_a_folder_with_something_else_is_left_alone(download: Path, tmp_path: Path) -> None:
    root = tmp_path / "home"
    root.mkdir()
    (root / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match="is not empty and not a prepared CDD-CESM dataset"):
        prepare(download, root)
    assert [path.name for path in root.iterdir()] == ["thesis.tex"]


def test_verifying_writes_nothing(download: Path, tmp_path: Path) -> None:
    arguments = ARGUMENTS | {"raw": str(download), "root": str(tmp_path / "out")}
    report = CddCesmPreparer(**arguments).verify()
    assert report.tables["classes"]["malignant"]["images selected"] == 3
    assert "images prepared" not in report.counts
    assert not (tmp_path / "out").exists()


def test_what_is_missing_is_told_in_one_line(download: Path, tmp_path: Path) -> None:
    def message(raw: str | None) -> str:
        with pytest.raises(UserError) as error:
            CddCesmPreparer(**(ARGUMENTS | {"raw": raw, "root": str(tmp_path / "out")})).prepare()
        assert "\n" not in str(error.value)
        assert not (tmp_path / "out").exists()
        return str(error.value)

    assert "data.raw: not set" in message(None)
    assert f"no folder '{tmp_path / 'nowhere'}'" in message(str(tmp_path / "nowhere"))
    (download / REGIONS).rename(tmp_path / "aside.csv")
    assert f"no {REGIONS} in '{download}' or the folders in it (found 8 .jpg, 1 .xlsx)" in message(
        str(download)
    )
    (tmp_path / "aside.csv").rename(download / REGIONS)
    (download / SHEET).write_bytes(b"PK but no archive")
    assert "cannot be read as a sheet" in message(str(download))
    (download / SHEET).unlink()
    assert f"no {SHEET} (or .csv) in '{download}'" in message(str(download))
    (download / "Radiology_manual_annotations.csv").write_text("Image_name,Age\nP1_L_DM_MLO,40\n")
    assert "no column 'Pathology Classification/ Follow up'; found Image_name, Age" in message(str(download))
    for path in list(download.glob("*/*.jpg")):
        path.unlink()
    assert "no image (P<patient>_<L|R>_<DM|CM>_<CC|MLO>.jpg)" in message(str(download))


def test_arguments_are_checked() -> None:
    for changes, expected in (
        ({"categories": FINDINGS}, "data.labels=pathology CDD-CESM has benign, malignant; found 'asymmetry'"),
        ({"labels": "finding"}, "data.labels=finding CDD-CESM has mass, non-mass enhancement, calcification"),
        ({"num_folds": 1}, "num_folds"),
        ({"num_processes": 0}, "num_processes"),
        ({"minimum_visible_fraction": 1.5}, "minimum_visible_fraction"),
    ):
        with pytest.raises(UserError, match=expected):
            CddCesmPreparer(**(ARGUMENTS | {"raw": None, "root": "out"} | changes))


def test_too_few_patients_are_told_before_anything_is_written(download: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="4 patients cannot make 9 folds"):
        prepare(download, tmp_path / "out", num_folds=9)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "stem", "patient", "modality", "view"),
    [
        ("P1_L_DM_MLO.jpg", "P1_L_DM_MLO", 1, "low_energy", "MLO"),
        (" P3_L_CM_CC .JPG", "P3_L_CM_CC", 3, "subtracted", "CC"),
        ("P4_R_CESM_CC", "P4_R_CM_CC", 4, "subtracted", "CC"),
        ("P281_L_DM_MLO2.jpg", "P281_L_DM_MLO2", 281, "low_energy", "MLO"),
        ("P99_L_CM_MLO_2 ", "P99_L_CM_MLO_2", 99, "subtracted", "MLO"),
    ],
)
def test_names(text: str, stem: str, patient: int, modality: str, view: str) -> None:
    name = parse_image_name(text)
    assert name is not None
    assert (name.stem, name.patient, name.modality, name.view) == (stem, patient, modality, view)


@pytest.mark.parametrize(
    "text", ["", "P1_L_DM", "../P1_L_DM_CC.jpg", "P1_X_DM_CC", "P1_L_DM_CC.png", "P1_L_DM_CC/x"]
)
def test_other_names_are_none(text: str) -> None:
    assert parse_image_name(text) is None


def test_contradicting_rows_of_the_sheet_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "sheet.csv"
    title = "Pathology Classification/ Follow up"
    rows = ["P1_L_DM_CC,Benign", "P1_L_DM_CC ,Malignant", "P2_L_DM_CC,Benign", "P2_L_DM_CC,Benign", "cover,x"]
    path.write_text("\n".join([f"Image_name,{title}", *rows]))
    sheet, problems = read_sheet(path)
    assert [name.stem for name in sheet] == ["P2_L_DM_CC"]
    assert len(problems) == 2
    assert "row 3: P1_L_DM_CC is 'malignant' here and 'benign' in row 2" in problems[0]
    assert "row 6: 'cover' is no image name" in problems[1]


@pytest.fixture
def with_normals(download: Path) -> Path:
    """The small download, with normal images of a patient with lesions and of three without."""
    classes = {
        "P1_L_DM_MLO": "Malignant",
        "P1_L_CM_MLO": "Malignant",
        "P1_R_DM_CC": "Normal",
        "P2_R_DM_CC": "Benign",
        "P138_L_DM_CC": "Normal",  # contradicted by a region
        "P300_L_DM_CC": "Normal",
        "P300_R_DM_CC": "Normal",
        "P301_L_DM_CC": "Normal",
        "P302_L_CM_CC": "Normal",
        "P303_L_DM_CC": "Normal",  # without a file
    }
    write_sheet(download / SHEET, classes)
    for number, name in enumerate(("P1_R_DM_CC", "P300_L_DM_CC", "P300_R_DM_CC", "P301_L_DM_CC")):
        write_image(download / LOW / f"{name}.jpg", 50 + number)
    write_image(download / SUBTRACTED / "P302_L_CM_CC.jpg", 60)
    return download


def test_normal_images_join_the_folds_and_change_nothing_else(with_normals: Path, tmp_path: Path) -> None:
    prepare(with_normals, tmp_path / "none")
    report = prepare(with_normals, tmp_path / "all", normals="evaluation")
    assert report.counts["normal images in the sheet"] == 7
    assert report.counts["normal images selected"] == report.counts["normal images prepared"] == 5
    assert any("P303_L_DM_CC.jpg: normal, but no such file" in problem for problem in report.problems)
    assert any("P138_L_DM_CC: 1 region although" in note for note in report.notes)
    before, after = (
        json.loads((tmp_path / folder / "panoptic.json").read_text()) for folder in ("none", "all")
    )
    assert "normal_images" not in before["info"]
    assert after["info"] == before["info"] | {"normal_images": 5}
    number = len(before["images"])
    assert after["images"][:number] == before["images"]
    assert after["annotations"][:number] == before["annotations"]
    assert {image["file_name"] for image in after["images"][number:]} == {
        *("P1_R_DM_CC.png", "P300_L_DM_CC.png", "P300_R_DM_CC.png", "P301_L_DM_CC.png", "P302_L_CM_CC.png")
    }
    assert all(image["normal"] == 1 for image in after["images"][number:])
    assert all(not each["segments_info"] for each in after["annotations"][number:])
    folds, all_folds = (
        json.loads((tmp_path / folder / "folds.json").read_text())["images"] for folder in ("none", "all")
    )
    assert {name: all_folds[name] for name in folds} == folds
    assert all_folds["P1_R_DM_CC.png"]["fold"] == folds["P1_L_DM_MLO.png"]["fold"]
    own = [all_folds[image["file_name"]]["fold"] for image in after["images"][number:]]
    assert sorted((own.count(0), own.count(1))) == [2, 3]


def test_going_on_with_normal_images_keeps_the_others_and_going_back_removes_them(
    with_normals: Path, tmp_path: Path
) -> None:
    prepare(with_normals, tmp_path / "out")
    none = digests(tmp_path / "out")
    times = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out" / "images").iterdir()}
    prepare(with_normals, tmp_path / "out", normals="all")
    assert len(list((tmp_path / "out" / "images").iterdir())) == len(times) + 5
    assert all((tmp_path / "out" / "images" / name).stat().st_mtime_ns == t for name, t in times.items())
    prepare(with_normals, tmp_path / "out")
    assert digests(tmp_path / "out") == none


def test_a_fold_without_normal_images_is_told(with_normals: Path, tmp_path: Path) -> None:
    for name in ("P300_L_DM_CC", "P300_R_DM_CC", "P301_L_DM_CC"):
        (with_normals / LOW / f"{name}.jpg").unlink()
    (with_normals / SUBTRACTED / "P302_L_CM_CC.jpg").unlink()
    report = prepare(with_normals, tmp_path / "out", normals="evaluation")
    (told,) = [note for note in report.notes if "has no normal image" in note]
    fold = json.loads((tmp_path / "out" / "folds.json").read_text())["images"]["P1_R_DM_CC.png"]["fold"]
    assert told == f"Fold {1 - fold} has no normal image: there are too few."


@pytest.mark.skipif(not REAL.is_dir(), reason="the real tables are not here")
def test_the_real_tables_give_their_normal_images() -> None:
    sheet, _ = read_sheet(REAL / SHEET)
    regions, _ = read_regions(REAL / REGIONS)
    lines = (REAL / "image_files.txt").read_text().splitlines()
    files = {name: Path(line) for line in lines if (name := parse_image_name(Path(line).name)) is not None}
    both: list[Modality] = ["low_energy", "subtracted"]
    names = ["benign", "malignant"]
    selection = select_images(files, sheet, regions, "pathology", names, both, with_normals=True)
    assert selection.problems == []
    assert selection.counts["normal images in the sheet"] == 757
    # Eight of them have regions, which contradicts the sheet.
    assert selection.counts["normal images selected"] == 757 - 8
    assert len(selection.images) == 1225 + 749


@pytest.mark.skipif(not REAL.is_dir(), reason="the real tables are not here")
def test_the_real_tables_give_the_counts_of_the_paper() -> None:
    sheet, sheet_problems = read_sheet(REAL / SHEET)
    regions, region_problems = read_regions(REAL / REGIONS)
    lines = (REAL / "image_files.txt").read_text().splitlines()
    files = {name: Path(line) for line in lines if (name := parse_image_name(Path(line).name)) is not None}
    assert (len(sheet), len(regions), len(files)) == (2006, 1233, 2006)
    assert sheet_problems == region_problems == []
    both: list[Modality] = ["low_energy", "subtracted"]
    selection = select_images(files, sheet, regions, "pathology", ["benign", "malignant"], both)
    assert selection.problems == []
    assert len(selection.images) == 1225
    assert len({image.name.patient for image in selection.images}) == 282
    annotated = {name: numbers["regions annotated"] for name, numbers in selection.classes.items()}
    assert annotated == {"benign": 1219, "malignant": 1744}
    images = {name: numbers["images annotated"] for name, numbers in selection.classes.items()}
    assert images == {"benign": 574, "malignant": 651}
    told = "\n".join(selection.notes)
    assert told.count("although the sheet calls it normal") == 8
    assert told.count("bears no area") == 4
    assert told.count("exactly; left out") == 6
    assert "24 benign or malignant images have no region" in told
    low_energy = select_images(files, sheet, regions, "pathology", ["benign", "malignant"], ["low_energy"])
    assert len(low_energy.images) == 650
    names = [node["name"] for node in FINDINGS]
    findings = select_images(files, sheet, regions, "finding", names, both)
    assert len(findings.images) == 1225
    assert {name: numbers["images annotated"] for name, numbers in findings.classes.items()} == {
        "mass": 555,
        "non-mass enhancement": 85,
        "distortion": 37,
        "asymmetry": 88,
        "calcification": 115,
        "other": 345,
    }
    assert sum(numbers["regions annotated"] for numbers in findings.classes.values()) == 2963
    assert "165 images with several kinds of finding" in "\n".join(findings.notes)


@pytest.mark.skipif(not REAL.is_dir(), reason="the real tables are not here")
def test_the_kinds_in_the_texts_are_those_of_the_workbooks_pages() -> None:
    sheet, _ = read_sheet(REAL / SHEET)
    regions, _ = read_regions(REAL / REGIONS)
    book = openpyxl.load_workbook(REAL / SHEET, read_only=True)
    kinds = {name: kinds_of_finding(sheet[name].attributes["findings"]) for name in regions}
    for kind, pages, agreement in (
        ("mass", ("mass_description", "mass enhancement_description"), 0.99),
        ("calcification", ("calcifications",), 0.98),
        ("distortion", ("distortion",), 0.93),
        ("asymmetry", ("asymmetry",), 0.99),
        ("non-mass enhancement", ("nonmass enhancement_description",), 0.98),
    ):
        rows = [row for page in pages for row in book[page].iter_rows(values_only=True)]
        listed = {parse_image_name(str(row[0])) for row in rows}
        found = {name for name, own in kinds.items() if kind in own}
        # The pages list more (oedema as asymmetry, lymph nodes as masses); what the texts name is on them.
        assert len(found & listed) / len(found) >= agreement


@pytest.mark.parametrize("labels", ["pathology", "finding"])
def test_the_shipped_categories_are_those_of_the_sheet(
    labels: Labels, compose_config: Callable[..., DictConfig], tmp_path: Path
) -> None:
    config = compose_config("prepare", ["data=cdd_cesm", f"data.labels={labels}", "data.raw=x"], tmp_path)
    check_config(config)
    categories = config.data.categories
    assert {category.name for category in categories} == set(NAMES[labels])
    assert len({tuple(category.color) for category in categories}) == len(categories)
    assert config.data.root == f"data/cdd_cesm_{labels}"


def test_preparing_and_a_step_of_training(
    download: Path, compose_config: Callable[..., DictConfig], tmp_path: Path
) -> None:
    common = ["data=cdd_cesm", "data.labels=finding", f"data.root={tmp_path / 'out'}", "image_size=64"]
    preparer = ["data.preparer.num_folds=3", "data.preparer.num_processes=1", f"data.raw={download}"]
    report = run_prepare(compose_config("prepare", [*common, *preparer], tmp_path))
    assert report.counts["images prepared"] == 5
    overrides = [*common, *ONE_STEP, "batch_size=1", "baselines=[]", "data.trim_background=true"]
    assert set(train(compose_config("train", overrides, tmp_path / "run"))) == {"trained"}
    # Under this name tables look for the paper's rows.
    assert json.loads((tmp_path / "run" / "results.json").read_text())["dataset"] == "cdd_cesm"
