"""CBIS-DDSM from small downloads in each layout, with the quirks of the real one; and its real tables."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from omegaconf import DictConfig

from cbis_ddsm_download import (
    ROWS,
    SIZE,
    TABLE_NAMES,
    Layout,
    Row,
    disc_mask,
    film,
    uid,
    write_dicom,
    write_download,
)
from modise_lightning.configuration.config_check import check_config
from modise_lightning.data.images.film import film_window
from modise_lightning.data.prepared.dataset import PreparedDataset
from modise_lightning.data.sources.cbis_ddsm.preparer import CbisDdsmPreparer
from modise_lightning.data.sources.cbis_ddsm.selection import NAMES, Labels
from modise_lightning.errors import UserError
from modise_lightning.prepare import prepare_and_tell
from modise_lightning.train import train
from prepared_folders import digests, open_prepared
from tiny_runs import ONE_STEP

REAL = Path(__file__).parents[4].parent / "shared" / "data" / "cbis_ddsm"
CATEGORIES: dict[str, list[dict[str, Any]]] = {
    labels: [{"name": name, "prompts": [name], "isthing": True, "color": [1, 2, 3]} for name in names]
    for labels, names in NAMES.items()
}
ARGUMENTS: dict[str, Any] = {
    "labels": "pathology",
    "categories": CATEGORIES["pathology"],
    "num_folds": 3,
    "fold_seed": 0,
    "num_processes": 1,
    "strict": False,
    "minimum_visible_fraction": 0.05,
}
Compose = Callable[..., DictConfig]
MASS_TRAIN = TABLE_NAMES["mass", "training"]


def make(raw: Path, root: Path, **changes: Any) -> CbisDdsmPreparer:
    return CbisDdsmPreparer(**(ARGUMENTS | {"raw": str(raw), "root": str(root)} | changes))


def prepare(raw: Path, root: Path, **changes: Any) -> Any:
    return make(raw, root, **changes).prepare()


def open_dataset(root: Path, labels: str = "pathology") -> tuple[PreparedDataset, dict[str, int]]:
    dataset, indices = open_prepared(root, CATEGORIES[labels])
    return dataset, {name.removesuffix(".png"): index for name, index in indices.items()}


def overlap(one: Any, other: Any) -> float:
    return float((one & other).sum() / (one | other).sum())


def disc(row: Row) -> Any:
    rows, columns = np.indices(SIZE)
    return np.hypot(columns - row.disc[0], rows - row.disc[1]) < row.disc[2]


@pytest.mark.parametrize("layout", ["uid", "described", "jpeg"])
def test_every_layout_gives_the_same_segments(layout: Layout, tmp_path: Path) -> None:
    write_download(tmp_path / "raw", ROWS, layout)
    report = prepare(tmp_path / "raw", tmp_path / "out")
    assert report.problems == []
    assert report.counts == {
        "abnormalities in the tables": 8,
        "images in the tables": 7,
        "views in the tables": 6,
        "patients in the tables": 6,
        "series in the download": 16,
        "images selected": 7,
        "abnormalities selected": 8,
        "patients selected": 6,
        "images prepared": 7,
        "patients prepared": 6,
        "segments prepared": 8,
        "segments partly hidden by smaller ones": 0,
        "masks resized to their mammogram": 1,
    }
    dataset, indices = open_dataset(tmp_path / "out")
    assert list(indices) == list(dict.fromkeys(row.image for row in ROWS))
    for row in ROWS:
        target = dataset.read_target(indices[row.image])
        labels = target.labels.tolist()
        assert labels[row.number - 1] == (row.pathology == "MALIGNANT")
        # A mask of 209 x 157 pixels loses some of its outline on the way back; JPEG hardly any.
        expected = 0.93 if row.two_series else 0.97 if layout == "jpeg" else 1.0
        assert overlap(target.segment_ids.numpy() == row.number, disc(row)) >= expected


def test_quirks_are_told_and_kept_in_the_index(tmp_path: Path) -> None:
    write_download(tmp_path / "raw", ROWS)
    report = prepare(tmp_path / "raw", tmp_path / "out")
    told = "\n".join(report.notes)
    for expected in (
        "Mass-Test_P_00003_LEFT_CC, abnormality 1 (mass_case_description_test_set.csv, row 3): its mask of "
        "209 x 157 pixels is resized to the mammogram's 240 x 180.",
        "Mass-Test_P_00003_LEFT_CC and Calc-Training_P_00003_LEFT_CC are one view: each is prepared with",
        "P_00003 is in both parts of the official split: with data.split=official its 1 test images are "
        "tested and its 1 training images left out.",
        "The published tables have 3103 images and 3568 abnormalities; those of this download have 7 and 8.",
    ):
        assert expected in told
    assert report.tables["tables"] == {
        "mass, training": _table(3, 2, 2),
        "mass, test": _table(1, 1, 1),
        "calcification, training": _table(2, 2, 2),
        "calcification, test": _table(2, 2, 2),
    }
    assert report.tables["official split"] == {
        split: {"images selected": images, "images prepared": images, "segments prepared": segments}
        for split, images, segments in (("neither", 1, 1), ("test", 3, 3), ("training", 3, 4))
    }
    dataset, indices = open_dataset(tmp_path / "out")
    entry = dataset.entries[indices["Mass-Training_P_00001_LEFT_CC"]]
    assert entry.record.patient_id == "P_00001"
    assert (entry.record.laterality, entry.record.view, entry.record.density) == ("left", "CC", "B")
    assert entry.attributes == {
        "laterality": "L",
        "view": "CC",
        "finding": "mass",
        "pathology": "benign, malignant",
        "birads": "3, 4",
        "split": "training",
        "density": "B",
    }
    assert "density" not in dataset.entries[indices["Mass-Training_P_00002_LEFT_MLO"]].attributes
    assert (
        dataset.folds[indices["Mass-Test_P_00003_LEFT_CC"]]
        == (dataset.folds[indices["Calc-Training_P_00003_LEFT_CC"]])
    )


def _table(abnormalities: int, images: int, patients: int) -> dict[str, int]:
    return {
        "abnormalities": abnormalities,
        "images": images,
        "patients": patients,
        "abnormalities selected": abnormalities,
        "images selected": images,
    }


def test_the_contrast_is_that_of_the_breast(tmp_path: Path) -> None:
    written = write_download(tmp_path / "raw", ROWS)
    prepare(tmp_path / "raw", tmp_path / "out")
    stored = film([ROWS[0].disc, ROWS[1].disc], 1)
    low, high = film_window(stored.astype(np.float32)) or (0, 0)
    # Air is 6000, tissue 20000, lesions are 35000; the label's and the border's 65535 would make them dark.
    assert 6000 < low < 9000
    assert 33000 < high < 37000
    shown = cv2.imread(str(tmp_path / "out" / "images" / f"{ROWS[0].image}.png"), cv2.IMREAD_UNCHANGED)
    assert shown.dtype == np.uint16
    expected = ((stored.astype(np.float64) - low) / (high - low)).clip(0, 1) * 65535
    assert np.abs(shown - expected).max() < 1
    noise = np.full(SIZE, 900, dtype=np.uint16)
    noise[0, 0] = 0
    write_dicom(written[ROWS[0].image], noise, SeriesInstanceUID=uid(ROWS[0].image, "series"))
    report = prepare(tmp_path / "raw", tmp_path / "out")
    assert "no breast was found to take the contrast from; all of the film decided it." in "\n".join(
        report.notes
    )


def test_kinds_and_assessments_as_categories(tmp_path: Path) -> None:
    write_download(tmp_path / "raw", ROWS)
    report = prepare(tmp_path / "raw", tmp_path / "kinds", labels="finding", categories=CATEGORIES["finding"])
    assert report.tables["classes"]["mass"]["segments prepared"] == 4
    assert report.tables["classes"]["calcification"]["images prepared"] == 4
    some = [each for each in CATEGORIES["birads"] if each["name"] not in ("BI-RADS 1", "BI-RADS 5")]
    report = prepare(tmp_path / "raw", tmp_path / "birads", labels="birads", categories=some)
    assert report.problems == []
    told = "\n".join(report.notes)
    where = "Calc-Training_P_00004_RIGHT_CC, abnormality 1"
    assert f"1 abnormalities left out, being in no category that is prepared (BI-RADS 1): {where}." in told
    assert report.counts["abnormalities selected"] == 6
    assert report.tables["classes"]["BI-RADS 4"]["abnormalities annotated"] == 4


def edit(path: Path, change: Callable[[list[dict[str, str]]], None]) -> None:
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        header, rows = list(reader.fieldnames or ()), list(reader)
    change(rows)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, header)
        writer.writeheader()
        writer.writerows(rows)


BROKEN_ROWS = [
    ("patient_id", "../etc", "patient_id is '../etc', which is none"),
    ("left or right breast", "BOTH", "left or right breast is 'BOTH', expected LEFT or RIGHT"),
    ("image view", "ML", "image view is 'ML', expected CC or MLO"),
    ("abnormality id", "0", "abnormality id is '0', which is none"),
    ("abnormality type", "calcification", "abnormality type is 'calcification', expected mass"),
    ("assessment", "6", "assessment is '6', expected 0 or 1"),
    ("pathology", "", "pathology is '', expected BENIGN or"),
    ("image file path", "../../../etc/passwd", "image file path is '../../../etc/passwd', expected Mass-"),
    ("image file path", "/etc/passwd", "image file path is '/etc/passwd', expected Mass-Training_P_00002"),
    ("ROI mask file path", "", "ROI mask file path is '', expected Mass-Training_P_00002_LEFT_MLO_1/STUDY"),
]


@pytest.mark.parametrize(("column", "value", "message"), BROKEN_ROWS)
def test_a_broken_row_is_named_and_the_rest_prepared(
    column: str, value: str, message: str, tmp_path: Path
) -> None:
    write_download(tmp_path / "raw", ROWS)
    edit(tmp_path / "raw" / MASS_TRAIN, lambda rows: rows[2].update({column: value}))
    report = prepare(tmp_path / "raw", tmp_path / "out")
    (problem,) = report.problems
    # The line break at the end of its last field is the table's seventh.
    row = 6 if column == "ROI mask file path" else 7
    assert problem.startswith(f"{MASS_TRAIN}, row {row} (")
    assert message in problem
    assert problem.endswith("; left out.")
    assert report.counts["images prepared"] == 6
    assert report.counts["abnormalities in the tables"] == 8
    with pytest.raises(UserError, match=r"strict=false goes on"):
        prepare(tmp_path / "raw", tmp_path / "strict", strict=True)


def test_contradictions_between_rows_are_told(tmp_path: Path) -> None:
    write_download(tmp_path / "raw", ROWS)

    def change(rows: list[dict[str, str]]) -> None:
        rows.append(dict(rows[0]))
        rows.append(
            rows[0] | {"abnormality id": "3", "ROI mask file path": "x", "cropped image file path": "x"}
        )
        for column in ("cropped image file path", "ROI mask file path"):
            rows[4][column] = rows[0][column].replace("CC_1/", "CC_3/")
        other = rows[2] | {"abnormality id": "2"}
        for column in ("cropped image file path", "ROI mask file path"):
            other[column] = (
                rows[2][column]
                .replace("MLO_1/", "MLO_2/")
                .replace(uid(ROWS[2].case, "series"), "1.2.3.4.5.6.7")
            )
        other["image file path"] = rows[2]["image file path"].replace(
            uid(ROWS[2].image, "series"), "1.2.3.4.5.6.8"
        )
        rows.append(other)

    edit(tmp_path / "raw" / MASS_TRAIN, change)
    report = prepare(tmp_path / "raw", tmp_path / "out")
    told = "\n".join(report.problems)
    for expected in (
        "abnormality 1 of Mass-Training_P_00001_LEFT_CC is in row 3 too; left out.",
        f"belongs to {MASS_TRAIN}, row 3 too; left out.",
        f"another image series than in {MASS_TRAIN}, row 7, of the same name; left out.",
    ):
        assert expected in told
    assert len(report.problems) == 3
    assert report.counts["segments prepared"] == 8


def broken(name: str) -> Callable[[dict[str, Path]], None]:
    row, size = ROWS[2], SIZE
    mask = disc_mask(row)
    grey = film([row.disc], 1)

    def change(written: dict[str, Path]) -> None:
        image, own, crop = (written[key] for key in (row.image, row.case, f"{row.case} crop"))
        match name:
            case "no image":
                image.unlink()
            case "no mask":
                own.unlink()
            case "no file of the mask's series":
                own.unlink()
                crop.unlink()
            case "another image of the series":
                write_dicom(image.with_name("000009.dcm"), grey)
            case "truncated image":
                image.write_bytes(image.read_bytes()[:-2000])
            case "truncated mask":
                own.write_bytes(own.read_bytes()[:-2000])
            case "no DICOM":
                own.write_text("no image")
            case "empty mask":
                write_dicom(own, np.zeros(size, np.uint8))
            case "white mask":
                write_dicom(own, np.where(np.indices(size).sum(0) > 2, 255, 0).astype(np.uint8))
            case "two masks":
                write_dicom(crop, disc_mask(Row("mass", "training", 9, disc=(20, 20, 9))))
            case "small mask":
                write_dicom(own, cv2.resize(mask, (60, 80), interpolation=cv2.INTER_NEAREST))
            case "mask of another shape":
                write_dicom(own, cv2.resize(mask, (240, 240), interpolation=cv2.INTER_NEAREST))
            case "a pipe":
                own.unlink()
                os.mkfifo(own)

    return change


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no image", f"{ROWS[2].image}: 1 abnormality ({MASS_TRAIN}, row 7), but no file of its series"),
        ("no mask", "none of its files (000001.dcm) is a mask of black and white; left out."),
        ("no file of the mask's series", "no file of its mask's series"),
        ("another image of the series", "left out with 1 abnormality"),
        ("truncated image", "is not a readable DICOM image"),
        ("truncated mask", "is not a readable DICOM image"),
        ("no DICOM", "is not a readable DICOM image"),
        ("empty mask", "(000000.dcm has one value only); left out."),
        ("white mask", "its mask 000000.dcm covers 43194 of 43200 pixels; left out."),
        ("two masks", "2 of its files could be the mask: 000000.dcm (240 x 180), 000001.dcm (240 x 180)"),
        ("small mask", "its mask 000000.dcm of 80 x 60 pixels does not fit the mammogram of 240 x 180"),
        ("mask of another shape", "its mask 000000.dcm of 240 x 240 pixels does not fit"),
        ("a pipe", "is a named pipe, not a file"),
    ],
)
def test_a_broken_file_is_named_and_the_rest_prepared(name: str, message: str, tmp_path: Path) -> None:
    broken(name)(write_download(tmp_path / "raw", ROWS))
    for _ in range(2):  # a second run tells the same
        report = prepare(tmp_path / "raw", tmp_path / "out")
        (problem,) = report.problems
        assert ROWS[2].image in problem
        assert message in problem
        assert "\n" not in problem
        assert report.counts["images prepared"] == 6
    with pytest.raises(UserError, match=r"strict=false goes on"):
        prepare(tmp_path / "raw", tmp_path / "strict", strict=True)


def test_one_lost_mask_of_several_leaves_the_image(tmp_path: Path) -> None:
    written = write_download(tmp_path / "raw", ROWS)
    written[ROWS[1].case].unlink()
    report = prepare(tmp_path / "raw", tmp_path / "out")
    assert len(report.problems) == 1
    assert report.counts["segments prepared"] == 7
    dataset, indices = open_dataset(tmp_path / "out")
    assert dataset.read_target(indices[ROWS[0].image]).labels.tolist() == [1]


def test_masks_that_hide_each_other_are_told(tmp_path: Path) -> None:
    rows = [*ROWS, Row("mass", "training", 1, number=3, disc=(50, 120, 14), pathology="BENIGN")]
    write_download(tmp_path / "raw", rows)
    report = prepare(tmp_path / "raw", tmp_path / "out", minimum_visible_fraction=0.5)
    assert "abnormality 1 (mass_case_description_train_set.csv, row 3): left out: smaller masks cover" in (
        "\n".join(report.notes)
    )
    hidden = report.tables["pixels of segments that smaller ones cover"]
    assert list(hidden) == ["Mass-Training_P_00001_LEFT_CC, row 3"]


def test_headers_say_the_series_where_folders_do_not(tmp_path: Path) -> None:
    written = write_download(tmp_path / "raw", ROWS, "described")
    # A newer retriever gives files names of their own, and all of a case may lie in one folder.
    for number, path in enumerate(written.values()):
        path.rename(tmp_path / "raw" / f"{number:08x}-6c3a-4de0-83c8-d945c6f5330c.dcm")
    stray = write_dicom(tmp_path / "raw" / "stray.dcm", np.zeros((4, 4), np.uint8))
    report = prepare(tmp_path / "raw", tmp_path / "out")
    assert report.problems == [f"{stray.name}: no DICOM with a series UID; left out. Download it again."]
    assert report.counts["segments prepared"] == 8


def test_copies_count_once(tmp_path: Path) -> None:
    written = write_download(tmp_path / "raw", ROWS)
    for path in written.values():
        copy = tmp_path / "raw" / "copy" / path.relative_to(tmp_path / "raw")
        copy.parent.mkdir(parents=True) if not copy.parent.exists() else None
        copy.write_bytes(path.read_bytes())
    report = prepare(tmp_path / "raw", tmp_path / "out")
    assert report.problems == []
    assert report.counts["segments prepared"] == 8


def test_the_table_of_jpegs_cannot_lead_out_of_the_folder(tmp_path: Path) -> None:
    written = write_download(tmp_path / "raw", ROWS, "jpeg")
    info = tmp_path / "raw" / "csv" / "dicom_info.csv"
    edit(info, lambda rows: rows[0].update(image_path="CBIS-DDSM/jpeg/../secret.jpg"))
    moved = written[ROWS[0].image]
    report = prepare(tmp_path / "raw", tmp_path / "out")
    (problem,) = report.problems
    assert "dicom_info.csv, row 2: 'CBIS-DDSM/jpeg/../secret.jpg' of series" in problem
    assert report.counts["images prepared"] == 7  # its folder says which series it is of
    moved.rename(moved.parent.parent / "lost.jpg")
    report = prepare(tmp_path / "raw", tmp_path / "two")
    assert "jpeg/lost.jpg: neither its folder nor dicom_info.csv says which series it is of" in "\n".join(
        report.problems
    )


def test_what_is_missing_is_told_in_one_line(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    write_download(raw, ROWS)

    def message(**changes: Any) -> str:
        with pytest.raises(UserError) as error:
            CbisDdsmPreparer(
                **(ARGUMENTS | {"raw": str(raw), "root": str(tmp_path / "out")} | changes)
            ).prepare()
        assert "\n" not in str(error.value)
        assert not (tmp_path / "out").exists()
        return str(error.value)

    assert "data.raw: not set" in message(raw=None)
    whole = (raw / MASS_TRAIN).read_text()
    (raw / MASS_TRAIN).write_text(whole.replace("image view", "projection"))
    assert "no column 'image view'; found patient_id, breast_density" in message()
    (raw / MASS_TRAIN).unlink()
    report = make(raw, tmp_path / "out").verify()
    assert report.problems == [f"no {MASS_TRAIN} in '{raw}' or the folders in it; its images are left out."]
    assert report.counts["images selected"] == 5
    assert "4 patients cannot make 9 folds" in message(num_folds=9)
    for path in raw.glob("*.csv"):
        path.unlink()
    assert "no mass_case_description_train_set.csv or" in message()
    (raw / MASS_TRAIN).write_text(whole)
    for path in list(raw.rglob("*.dcm")):
        path.unlink()
    assert "no image (.dcm or .jpg)" in message()


def test_other_numbers_of_processes_and_an_interruption_do_not_change_a_byte(tmp_path: Path) -> None:
    written = write_download(tmp_path / "raw", ROWS)
    prepare(tmp_path / "raw", tmp_path / "one")
    prepare(tmp_path / "raw", tmp_path / "two", num_processes=2)
    assert digests(tmp_path / "two") == digests(tmp_path / "one")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "two").glob("*/*.png")}
    (tmp_path / "two" / "images" / f"{ROWS[0].image}.png").unlink()
    prepare(tmp_path / "raw", tmp_path / "two")
    assert digests(tmp_path / "two") == digests(tmp_path / "one")
    changed = {path.name for path, time in before.items() if path.stat().st_mtime_ns != time}
    assert changed == {f"{ROWS[0].image}.png"}
    # A mask that changed, too, is read again.
    write_dicom(written[ROWS[2].case], disc_mask(Row("mass", "training", 2, disc=(40, 100, 11))))
    prepare(tmp_path / "raw", tmp_path / "two")
    changed = {path.name for path, time in before.items() if path.stat().st_mtime_ns != time}
    assert changed == {f"{ROWS[0].image}.png", f"{ROWS[2].image}.png"}


@pytest.mark.parametrize("labels", ["pathology", "finding", "birads"])
def test_the_configuration_has_the_categories_of_the_release(
    labels: Labels, compose_config: Compose, tmp_path: Path
) -> None:
    overrides = ["data=cbis_ddsm", "data.raw=download", f"data.labels={labels}"]
    config = compose_config("prepare", overrides, tmp_path)
    check_config(config)
    names = tuple(category.name for category in config.data.categories)
    assert names == tuple(name for name in NAMES[labels] if name != "BI-RADS 1")
    assert set(config.data.suspicious) <= set(names)


def test_a_command_prepares_and_another_trains_with_the_official_split(
    compose_config: Compose, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = [Row("mass", "training", 10 + number, pathology="BENIGN") for number in range(3)]
    written = write_download(tmp_path / "raw", [*ROWS, *more])
    written[ROWS[2].case].unlink()
    root = tmp_path / "prepared"
    overrides = ["data=cbis_ddsm", f"data.raw={tmp_path / 'raw'}", f"data.root={root}"]
    fast = ["data.preparer.num_processes=1", "data.preparer.num_folds=3"]
    config = compose_config("prepare", [*overrides, *fast], tmp_path / "run")
    with pytest.raises(SystemExit) as ended:
        prepare_and_tell(config)
    assert ended.value.code == 2
    assert "prepared with 1 problems" in capsys.readouterr().err
    assert json.loads((root / "report.json").read_text())["counts"]["images prepared"] == 9
    assert cv2.imread(str(root / "contact_sheet.png")) is not None
    small = ["image_size=64", "baselines=[]", "batch_size=1"]
    step = [override for override in ONE_STEP if not override.startswith("batch_size")]
    config = compose_config("train", [*overrides, "data.split=official", *small, *step], tmp_path / "train")
    assert train(config)["trained"].num_images == 2  # as many as a step tests


@pytest.mark.skipif(not REAL.is_dir(), reason="the real tables are not here")
def test_each_row_of_the_real_tables_is_accounted_for(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    for name in TABLE_NAMES.values():
        (raw / name).symlink_to(REAL / name)
        with (REAL / name).open(newline="") as file:
            for row in csv.DictReader(file):
                for column in ("image file path", "cropped image file path", "ROI mask file path"):
                    path = raw / "CBIS-DDSM" / row[column].strip()
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.touch()
    report = make(raw, tmp_path / "out", num_folds=5).verify()
    assert report.problems == []
    assert report.counts == {
        "abnormalities in the tables": 3568,
        "images in the tables": 3103,
        "views in the tables": 3032,
        "patients in the tables": 1566,
        "series in the download": 3103 + 3568 + 104,
        "images selected": 3103,
        "abnormalities selected": 3568,
        "patients selected": 1566,
    }
    assert {
        name: (row["abnormalities selected"], row["images selected"], row["patients"])
        for name, row in report.tables["tables"].items()
    } == {
        "mass, training": (1318, 1231, 691),
        "mass, test": (378, 361, 201),
        "calcification, training": (1546, 1227, 602),
        "calcification, test": (326, 284, 151),
    }
    classes = report.tables["classes"]
    assert {name: row["abnormalities selected"] for name, row in classes.items()} == {
        "benign": 1429 + 682,
        "malignant": 1457,
    }
    both = [note for note in report.notes if "is in both parts of the official split" in note]
    assert len(both) == 31
    assert sum("are one view" in note for note in report.notes) == 71
