"""VinDr-Mammo from small downloads with every quirk of the real one."""

from __future__ import annotations

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
import pytest
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from pydicom.dataset import Dataset
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
)

from modise_lightning.configuration.config_check import check_config
from modise_lightning.data.preparation.box_to_mask import BoxToMask
from modise_lightning.data.prepared.dataset import PreparedDataset
from modise_lightning.data.sources.vindr_mammo.preparer import VinDrMammoPreparer
from modise_lightning.data.sources.vindr_mammo.selection import NAMES, Labels
from modise_lightning.errors import UserError
from modise_lightning.prepare import prepare as prepare_command
from modise_lightning.train import train
from prepared_folders import digests, open_prepared
from tiny_runs import ONE_STEP
from vindr_mammo_download import (
    BREASTS,
    FINDINGS,
    SIZE,
    breast,
    identity,
    image_path,
    make_dicom,
    row,
    windowed,
    write_csv,
    write_dicom,
    write_download,
    write_tables,
)

BIRADS: list[dict[str, Any]] = [
    {"name": name, "prompts": [name], "isthing": True, "color": [1, 2, 3]} for name in NAMES["birads"]
]
KINDS: list[dict[str, Any]] = [
    {"name": name, "prompts": [name], "isthing": True, "color": [1, 2, 3]} for name in NAMES["finding"]
]
ARGUMENTS: dict[str, Any] = {
    "labels": "birads",
    "categories": BIRADS,
    "box_to_mask": BoxToMask(blur_sigma=2.0, concave_hull_ratio=0.1, minimum_side=7),
    "normals": "none",
    "num_folds": 2,
    "fold_seed": 0,
    "num_processes": 1,
    "strict": False,
    "minimum_visible_fraction": 0.05,
}
Compose = Callable[..., DictConfig]


def prepare(raw: Path, root: Path, **changes: Any) -> Any:
    return VinDrMammoPreparer(**(ARGUMENTS | {"raw": str(raw), "root": str(root)} | changes)).prepare()


@pytest.fixture
def download(tmp_path: Path) -> Path:
    write_download(tmp_path / "raw")
    return tmp_path / "raw"


def disc(x: int, y: int, radius: int) -> Any:
    rows, columns = np.indices(SIZE)
    return np.hypot(columns - x, rows - y) < radius


def overlap(one: Any, other: Any) -> float:
    return float((one & other).sum() / (one | other).sum())


def open_dataset(
    root: Path, categories: list[dict[str, Any]] = BIRADS
) -> tuple[PreparedDataset, dict[str, int]]:
    return open_prepared(root, categories)


def test_every_quirk_is_repaired_or_told(download: Path, tmp_path: Path) -> None:
    report = prepare(download, tmp_path / "out")
    assert report.problems == []
    assert report.counts == {
        "images in the download": 8,
        "images in the tables": 8,
        "images with boxes": 7,
        "boxes": 10,
        "images selected": 6,
        "boxes selected": 7,
        "studies selected": 5,
        "images prepared": 6,
        "studies prepared": 5,
        "segments prepared": 7,
        "segments partly hidden by smaller ones": 1,
        "boxes clipped at the image's border": 1,
        "boxes segmented": 7,
    }
    assert report.tables["categories"] == {
        "BI-RADS 3": dict.fromkeys(_columns("boxes", "images"), 2),
        "BI-RADS 4": dict.fromkeys(_columns("boxes", "images"), 3) | {"boxes annotated": 4},
        "BI-RADS 5": dict.fromkeys(_columns("boxes", "images"), 2),
    }
    assert report.tables["official split"] == {
        "test": {"images selected": 2, "images prepared": 2},
        "training": {"images selected": 4, "images prepared": 4},
    }
    told = "\n".join(report.notes)
    for expected in (
        f"{identity(4)}: the box in row 8 repeats row 7 exactly; left out.",
        "2 boxes left out, being in no category that is prepared: no BI-RADS category.",
        "The published dataset has 20000 images and 2254 boxes; this download has 8 and 10.",
    ):
        assert expected in told


def _columns(*kinds: str) -> list[str]:
    return [f"{kind} {what}" for kind in kinds for what in ("annotated", "selected")] + [
        "segments prepared",
        "images prepared",
    ]


def test_the_prepared_dataset_is_what_the_reader_expects(download: Path, tmp_path: Path) -> None:
    prepare(download, tmp_path / "out")
    dataset, indices = open_dataset(tmp_path / "out")
    assert dataset.info["synthetic"] is False
    assert "not for redistribution" in str(dataset.note)
    assert list(indices) == [f"{identity(image)}.png" for image in (1, 3, 4, 5, 6, 8)]
    entry = dataset.entries[indices[f"{identity(1)}.png"]]
    assert entry.record.patient_id == identity(101)
    assert entry.attributes == {
        "laterality": "L",
        "view": "MLO",
        "breast_birads": "BI-RADS 4",
        "breast_density": "DENSITY C",
        "split": "training",
        "row_spacing_mm": 0.07,
        "column_spacing_mm": 0.07,
    }
    described = (entry.record.laterality, entry.record.view, entry.record.density, entry.record.spacing_mm)
    assert described == ("left", "MLO", "C", (0.07, 0.07))
    lesions = {1: [(40, 50, 15, 1)], 3: [(12, 80, 15, 0)], 5: [(50, 110, 15, 0)], 6: [(90, 110, 15, 1)]}
    for image, expected in lesions.items():
        target = dataset.read_target(indices[f"{identity(image)}.png"])
        assert target.labels.tolist() == [label for *_, label in expected]
        for position, (x, y, radius, _) in enumerate(expected, start=1):
            assert overlap(target.segment_ids.numpy() == position, disc(x, y, radius)) > 0.85
    nested = dataset.read_target(indices[f"{identity(4)}.png"])
    assert nested.labels.tolist() == [2, 1]
    assert overlap(nested.segment_ids.numpy() == 2, disc(52, 72, 9)) > 0.8
    assert overlap(nested.segment_ids.numpy() > 0, disc(50, 70, 36)) > 0.85
    assert len({dataset.folds[indices[f"{identity(image)}.png"]] for image in (5, 6)}) == 1


def test_images_without_a_finding_join_the_folds_of_their_studies(download: Path, tmp_path: Path) -> None:
    prepare(download, tmp_path / "none")
    report = prepare(download, tmp_path / "all", normals="all")
    assert report.problems == []
    # Of the images without a box one has no finding; the other's is in no category.
    assert report.counts["normal images in the tables"] == 1
    assert report.counts["normal images prepared"] == 1
    before, _ = open_dataset(tmp_path / "none")
    after, indices = open_dataset(tmp_path / "all")
    assert list(indices)[-1] == f"{identity(2)}.png"
    assert after.entries[:-1] == before.entries
    assert after.folds[:-1] == before.folds
    normal = after.entries[-1]
    assert normal.is_normal
    assert normal.record.normal is True
    assert normal.record.spacing_mm == (0.07, 0.07)
    assert normal.segments == ()
    assert after.folds[-1] == after.folds[indices[f"{identity(1)}.png"]]
    assert after.read_target(len(indices) - 1).labels.tolist() == []


def test_missing_normal_images_are_told_in_one_line(download: Path, tmp_path: Path) -> None:
    image_path(download, 1, 2).unlink()
    report = prepare(download, tmp_path / "out", normals="evaluation")
    assert report.problems == [
        "1 images without a finding are not in the download and are left out; the first is "
        f"{identity(2)}.dicom."
    ]


def test_an_image_with_an_unusable_row_is_not_normal(download: Path, tmp_path: Path) -> None:
    whole = (download / FINDINGS).read_text()
    broken = row(1, 2, (20, 30, 10, 40), "BI-RADS 4", "['Mass']")
    (download / FINDINGS).write_text(f"{whole}{','.join(broken)}\n")
    report = prepare(download, tmp_path / "out", normals="evaluation")
    assert report.counts["normal images in the tables"] == 0
    assert any("has no area" in problem for problem in report.problems)


def test_a_segment_stays_in_its_box(download: Path, tmp_path: Path) -> None:
    prepare(download, tmp_path / "out")
    dataset, indices = open_dataset(tmp_path / "out")
    for image, (left, top, right, bottom) in {1: (20, 30, 61, 71), 3: (0, 60, 32, 100)}.items():
        rows, columns = np.nonzero(dataset.read_target(indices[f"{identity(image)}.png"]).segment_ids.numpy())
        assert left <= columns.min() <= columns.max() < right
        assert top <= rows.min() <= rows.max() < bottom


def test_pixels_are_as_displayed_and_keep_their_depth(download: Path, tmp_path: Path) -> None:
    prepare(download, tmp_path / "out")

    def stored(image: int) -> Any:
        return cv2.imread(str(tmp_path / "out" / "images" / f"{identity(image)}.png"), cv2.IMREAD_UNCHANGED)

    assert stored(1).dtype == np.uint16
    assert np.abs(stored(1) - windowed(breast([(40, 50, 15)], 1)) * 65535).max() < 0.51
    assert len(np.unique(stored(1))) > 256
    inverted = 1 - windowed(4095 - breast([(50, 110, 15)], 5))
    assert np.abs(stored(5) - inverted * 65535).max() < 0.51
    assert stored(6).dtype == np.uint8


def test_findings_as_categories(download: Path, tmp_path: Path) -> None:
    report = prepare(download, tmp_path / "out", labels="finding", categories=KINDS)
    assert report.problems == []
    assert report.counts["segments prepared"] == 9
    # The box with a calcification and a mass is a mass: it comes first in the categories.
    assert report.tables["categories"]["Mass"]["boxes annotated"] == 6
    assert report.tables["categories"]["Suspicious Calcification"]["boxes annotated"] == 0
    assert "2 boxes with several findings: the first of them in data.categories counts." in "\n".join(
        report.notes
    )
    swapped = [KINDS[1], KINDS[0], *KINDS[2:6]]
    report = prepare(download, tmp_path / "swapped", labels="finding", categories=swapped)
    assert report.tables["categories"]["Suspicious Calcification"]["segments prepared"] == 1
    told = "\n".join(report.notes)
    assert "1 box left out, being in no category that is prepared: Skin Thickening." in told
    dataset, indices = open_dataset(tmp_path / "swapped", swapped)
    assert dataset.read_target(indices[f"{identity(4)}.png"]).labels.tolist() == [1, 0]


def test_categories_of_the_other_kind_are_told() -> None:
    with pytest.raises(UserError, match=r"with data\.labels=finding VinDr-Mammo has Mass.*found 'BI-RADS 3'"):
        VinDrMammoPreparer(**(ARGUMENTS | {"raw": None, "root": "out", "labels": "finding"}))


@pytest.mark.parametrize(
    "syntax",
    [
        ImplicitVRLittleEndian,
        ExplicitVRLittleEndian,
        DeflatedExplicitVRLittleEndian,
        RLELossless,
        JPEG2000Lossless,
    ],
    ids=lambda syntax: syntax.name.split(",")[0],
)
def test_lossless_transfer_syntaxes_give_the_same_image(syntax: UID, download: Path, tmp_path: Path) -> None:
    prepare(download, tmp_path / "plain")
    dataset = make_dicom(breast([(40, 50, 15)], 1))
    if syntax in (RLELossless, JPEG2000Lossless):
        dataset.compress(syntax)
    else:
        dataset.file_meta.TransferSyntaxUID = syntax
    write_dicom(image_path(download, 1, 1), dataset)
    prepare(download, tmp_path / "out")
    name = f"images/{identity(1)}.png"
    assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "plain" / name).read_bytes()


def break_download(raw: Path) -> None:
    """Break an image in every way, one each, and three rows."""
    whole = image_path(raw, 2, 3).read_bytes()
    image_path(raw, 2, 3).write_bytes(whole[: len(whole) // 2])
    write_dicom(image_path(raw, 3, 4), make_dicom(breast([], 4), PixelData=None))
    image_path(raw, 4, 5).write_text("no image")
    image_path(raw, 4, 6).unlink()
    lines = (raw / FINDINGS).read_text().splitlines()
    assert "['No Finding']" in lines[2]
    lines[2] = lines[2].replace("['No Finding']", "['No Finding'")
    lines.append(",".join(row(1, 1, (20, 30, 60, 70), "BI-RADS 4", "['Mass'")))
    lines.append(",".join(row(1, 1, (20, 30, 60), "BI-RADS 4", "['Mass']")))
    lines.append(",".join(row(1, 1, (20, 30, 20, 70), "BI-RADS 4", "['Mass']")))
    lines.append(",".join(row(1, 1, (300, 300, 340, 340), "BI-RADS 4", "['Mass']")))
    lines.append(",".join(row(1, 1, (2, 30, 5, 70), "BI-RADS 4", "['Mass']")))
    lines.append(",".join(row(1, 1, (20, 30, "wide", 70), "BI-RADS 4", "['Mass']")))  # type: ignore[arg-type]
    lines.append(",".join(row(1, 1, (20, 30, 60, 70), "very bad", "['Mass']")))
    lines.append(",".join(row(1, 1, (20, 30, 60, 70), "BI-RADS 4", "['Mass']", "validation")))
    (raw / FINDINGS).write_text("\n".join(lines) + "\n")


def test_what_is_broken_is_named_and_the_rest_prepared(download: Path, tmp_path: Path) -> None:
    break_download(download)
    report = prepare(download, tmp_path / "out")
    told = "\n".join(report.problems)
    one = f"({identity(1)})"
    for expected in (
        f"{identity(3)}.dicom: left out: '{image_path(download, 2, 3)}' is not a readable DICOM image",
        f"{identity(4)}.dicom: left out: '{image_path(download, 3, 4)}' is DICOM without pixel data.",
        f"{identity(5)}.dicom: left out: '{image_path(download, 4, 5)}' is not a readable DICOM image",
        f"{identity(6)}.dicom: 1 box, but no such file in the download; left out.",
        f"{FINDINGS}, row 3 ({identity(2)}): finding_categories \"['No Finding'\" is not a list of texts",
        f"{FINDINGS}, row 13 {one}: finding_categories \"['Mass'\" is not a list of texts; left out.",
        f"{FINDINGS}, row 14: 15 cells instead of 16; left out.",
        f"{FINDINGS}, row 15 {one}: the box from (20, 30) to (20, 70) has no area; left out.",
        f"{identity(1)}: the box in row 16 (from (300, 300) to (340, 340)) is mostly outside",
        f"{identity(1)}: the box in row 17 (from (2, 30) to (5, 70)) is taken whole: it is small",
        f"{FINDINGS}, row 18 {one}: xmax is 'wide', expected a number of pixels; left out.",
        f"{identity(1)}: row 19 of the findings is 'very bad', which is no category of the release",
        f"{FINDINGS}, row 20 {one}: split is 'validation', expected training or test; left out.",
        f"{identity(2)}.dicom: no usable row in the table of findings.",
    ):
        assert expected in told
    assert len(report.problems) == 14
    assert report.counts["images prepared"] == 2
    assert report.counts["boxes small"] == 1
    assert {path.stem for path in (tmp_path / "out" / "images").iterdir()} == {identity(1), identity(8)}
    # A second run tells the same, of the images that it keeps too.
    assert sorted(prepare(download, tmp_path / "out").problems) == sorted(report.problems)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless, JPEG2000Lossless])
@pytest.mark.parametrize("part", [0.03, 0.5, 0.98])
def test_a_truncated_image_is_told(syntax: UID, part: float, download: Path, tmp_path: Path) -> None:
    dataset: Dataset = make_dicom(breast([(40, 50, 15)], 1))
    if syntax.is_compressed:
        dataset.compress(syntax)
    path = image_path(download, 1, 1)
    write_dicom(path, dataset)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * part)])
    report = prepare(download, tmp_path / "out")
    assert len(report.problems) == 1
    assert f"'{path}' is" in report.problems[0]
    assert report.counts["images prepared"] == 5


def test_what_pydicom_warns_of_is_told(download: Path, tmp_path: Path) -> None:
    stored = breast([(40, 50, 15)], 1)
    write_dicom(image_path(download, 1, 1), make_dicom(stored, PixelData=stored.tobytes() + bytes(8)))
    dataset = make_dicom(breast([(35, 35, 15)], 8))
    dataset.compress(RLELossless)
    path = image_path(download, 6, 8)
    write_dicom(path, dataset)
    path.write_bytes(path.read_bytes()[:-8])
    report = prepare(download, tmp_path / "out")
    (note,) = [note for note in report.notes if note.startswith(f"{identity(1)}.dicom:")]
    assert "pixel data" in note
    assert "bytes" in note
    (problem,) = report.problems
    assert "is DICOM without pixel data. End of file reached before delimiter" in problem
    assert "\n" not in problem


def test_a_size_that_the_table_contradicts_is_told(download: Path, tmp_path: Path) -> None:
    write_dicom(image_path(download, 1, 1), make_dicom(breast([(40, 50, 15)], 1)[:100]))
    (problem,) = prepare(download, tmp_path / "out").problems
    assert f"{identity(1)}.dicom: left out: it is 100 x 110 pixels, but 150 x 110 in the table" in problem


def test_flat_boxes_are_taken_whole_and_told(download: Path, tmp_path: Path) -> None:
    write_dicom(image_path(download, 1, 1), make_dicom(np.full(SIZE, 900, dtype=np.uint16)))
    report = prepare(download, tmp_path / "out")
    (problem,) = report.problems
    assert f"{identity(1)}: the box in row 2 (from (20, 30) to (61, 70)) is taken whole: nothing" in problem
    assert report.counts["boxes flat"] == 1
    dataset, indices = open_dataset(tmp_path / "out")
    ids = dataset.read_target(indices[f"{identity(1)}.png"]).segment_ids.numpy()
    assert ids[30:71, 20:61].all()
    assert ids.sum() == 41 * 41


def test_contradictions_between_rows_are_told(download: Path, tmp_path: Path) -> None:
    lines = (download / FINDINGS).read_text().splitlines()
    lines.append(",".join(row(1, 2, (5, 5, 50, 50), "BI-RADS 4", "['Mass']", "test")))
    lines.append(",".join(row(2, 1, (5, 5, 50, 50), "BI-RADS 4", "['Mass']")))
    lines.append(",".join(row(5, 7, (5, 5, 50, 50), "BI-RADS 4", "['No Finding']")))
    lines.append(
        ",".join(row(5, 9, (5, 5, 50, 50), "BI-RADS 4", "['Mass']")).replace(identity(9), "../../escape")
    )
    (download / FINDINGS).write_text("\n".join(lines))
    breasts = (download / BREASTS).read_text().replace("test", "training", 1)
    (download / BREASTS).write_text(breasts)
    report = prepare(download, tmp_path / "out")
    told = "\n".join(report.problems)
    for expected in (
        f"row 13 ({identity(2)}): its study is in 'test' here and in 'training' in row 2; left out.",
        f"row 14 ({identity(1)}): study or size contradict row 2; left out.",
        f"row 15 ({identity(7)}): a box, but finding_categories is \"['No Finding']\"; left out.",
        "row 16 (../../escape): image_id '../../escape' is no id; left out.",
        f"{identity(4)}: its split is 'test' in the table of findings and 'training' in that of breasts",
    ):
        assert expected in told
    assert len(report.problems) == 5
    assert report.counts["images prepared"] == 6


def test_strict_stops(download: Path, tmp_path: Path) -> None:
    prepare(download, tmp_path / "fine", strict=True)
    whole = image_path(download, 1, 1).read_bytes()
    image_path(download, 1, 1).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"is not a readable DICOM image.*strict=false goes on"):
        prepare(download, tmp_path / "out", strict=True)
    assert not (tmp_path / "out" / "panoptic.json").exists()
    image_path(download, 1, 1).unlink()
    with pytest.raises(UserError, match=f"{identity(1)}.dicom: 1 box, but no such file"):
        prepare(download, tmp_path / "out", strict=True)


def test_a_table_beside_is_missing(download: Path, tmp_path: Path) -> None:
    (download / BREASTS).unlink()
    report = prepare(download, tmp_path / "out")
    assert report.problems[0].startswith(f"no {BREASTS} in '{download}'")
    assert report.counts["images prepared"] == 6


def test_other_folders_and_the_number_of_processes_do_not_change_a_byte(
    download: Path, tmp_path: Path
) -> None:
    prepare(download, tmp_path / "one")
    prepare(download, tmp_path / "two", num_processes=2)
    assert digests(tmp_path / "two") == digests(tmp_path / "one")
    nested = tmp_path / "physionet.org" / "files" / "vindr-mammo" / "1.0.0"
    nested.parent.mkdir(parents=True)
    download.rename(nested)
    for path in list(nested.glob("images/*/*.dicom")):
        path.rename(nested / f"{path.stem}.dcm")
    prepare(tmp_path / "physionet.org", tmp_path / "three")
    assert digests(tmp_path / "three") == digests(tmp_path / "one")


def test_a_second_run_writes_only_what_other_settings_change(download: Path, tmp_path: Path) -> None:
    root = tmp_path / "out"
    prepare(download, root)
    before = {path: path.stat().st_mtime_ns for path in root.glob("*/*.png")}
    expected = digests(root)
    prepare(download, root)
    assert {path: path.stat().st_mtime_ns for path in root.glob("*/*.png")} == before
    convex = BoxToMask(blur_sigma=2.0, concave_hull_ratio=1.0, minimum_side=7)
    prepare(download, root, box_to_mask=convex)
    assert digests(root) != expected
    prepare(download, tmp_path / "fresh", box_to_mask=convex)
    assert digests(root) == digests(tmp_path / "fresh")


def test_killed_and_resumed_equals_uninterrupted(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    images = range(1, 41)
    write_tables(raw, [row(image, image, (20, 30, 60, 70), "BI-RADS 4", "['Mass']") for image in images])
    for image in images:
        write_dicom(image_path(raw, image, image), make_dicom(breast([(40, 50, 15)], image)))
    arguments = {key: value for key, value in ARGUMENTS.items() if key != "box_to_mask"}
    arguments |= {"raw": str(raw), "root": str(tmp_path / "out")}
    code = "from modise_lightning.data.preparation.box_to_mask import BoxToMask\n"
    code += "from modise_lightning.data.sources.vindr_mammo.preparer import VinDrMammoPreparer as Preparer\n"
    code += f"Preparer(box_to_mask={ARGUMENTS['box_to_mask']!r}, **{arguments!r}).prepare()"
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    written = tmp_path / "out" / "images"
    deadline = time.monotonic() + 60
    while (not written.is_dir() or len(list(written.glob("[!.]*.png"))) < 8) and time.monotonic() < deadline:
        assert process.poll() is None, "ended before it could be interrupted"
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert 8 <= len(list(written.glob("[!.]*.png"))) < 40
    assert not (tmp_path / "out" / "panoptic.json").exists()
    finished = {path: path.stat().st_mtime_ns for path in written.glob("[!.]*.png")}
    prepare(raw, tmp_path / "out")
    kept = [path for path, time_ns in finished.items() if path.stat().st_mtime_ns == time_ns]
    assert len(kept) >= 6, "it goes on where it stopped"
    prepare(raw, tmp_path / "uninterrupted")
    assert digests(tmp_path / "out") == digests(tmp_path / "uninterrupted")


def test_verifying_writes_nothing(download: Path, tmp_path: Path) -> None:
    arguments = ARGUMENTS | {"raw": str(download), "root": str(tmp_path / "out")}
    report = VinDrMammoPreparer(**arguments).verify()
    assert report.tables["categories"]["BI-RADS 4"]["boxes selected"] == 3
    assert "images prepared" not in report.counts
    assert not (tmp_path / "out").exists()


def test_what_is_missing_is_told_in_one_line(download: Path, tmp_path: Path) -> None:
    def message(raw: str | None) -> str:
        with pytest.raises(UserError) as error:
            VinDrMammoPreparer(**(ARGUMENTS | {"raw": raw, "root": str(tmp_path / "out")})).prepare()
        assert "\n" not in str(error.value)
        assert not (tmp_path / "out").exists()
        return str(error.value)

    assert "data.raw: not set" in message(None)
    assert f"no folder '{tmp_path / 'nowhere'}'" in message(str(tmp_path / "nowhere"))
    whole = (download / FINDINGS).read_text()
    (download / FINDINGS).write_text(whole.replace("finding_birads", "assessment"))
    assert "no column 'finding_birads'; found study_id, series_id" in message(str(download))
    (download / FINDINGS).write_bytes(b"\xff\xfe\x00 no text")
    assert "cannot be read as CSV" in message(str(download))
    write_csv(download / FINDINGS, [whole.splitlines()[0].split(","), row(1, 2)])
    assert "has no image with a usable box" in message(str(download))
    (download / FINDINGS).unlink()
    assert f"no {FINDINGS} in '{download}' or the folders in it (found 8 .dicom, 2 .csv)" in message(
        str(download)
    )
    (download / FINDINGS).write_text(whole)
    for path in list(download.glob("images/*/*.dicom")):
        path.unlink()
    assert "no image (images/<study_id>/<image_id>.dicom)" in message(str(download))


def test_too_few_studies_are_told_before_anything_is_written(download: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="5 studies cannot make 9 folds"):
        prepare(download, tmp_path / "out", num_folds=9)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("labels", ["birads", "finding"])
def test_the_configuration_has_the_categories_of_the_release(
    labels: Labels, compose_config: Compose, tmp_path: Path
) -> None:
    overrides = ["data=vindr_mammo", "data.raw=download", f"data.labels={labels}"]
    config = compose_config("prepare", overrides, tmp_path)
    check_config(config)
    assert tuple(category.name for category in config.data.categories) == NAMES[labels]
    assert len({tuple(category.color) for category in config.data.categories}) == len(NAMES[labels])
    assert config.data.root == f"data/vindr_mammo_{labels}"


@pytest.mark.parametrize("override", ["data.split=authors", "data.labels=pathology"])
def test_other_words_are_told(override: str, compose_config: Compose, tmp_path: Path) -> None:
    config = compose_config("train", ["data=vindr_mammo", override], tmp_path)
    with pytest.raises((UserError, OmegaConfBaseException), match=override.split("=")[1]):
        check_config(config)


def test_a_command_prepares_and_another_trains(
    download: Path, compose_config: Compose, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "prepared"
    overrides = ["data=vindr_mammo", f"data.raw={download}", f"data.root={root}"]
    config = compose_config(
        "prepare",
        [*overrides, "data.preparer.num_processes=1", "data.preparer.num_folds=3"],
        tmp_path / "run",
    )
    report = prepare_command(config)
    assert json.loads((root / "report.json").read_text())["counts"] == report.counts
    assert cv2.imread(str(root / "contact_sheet.png")) is not None
    assert "VinDr-Mammo" in capsys.readouterr().out
    small = ["image_size=64", "baselines=[]", "batch_size=1"]
    step = [override for override in ONE_STEP if not override.startswith("batch_size")]
    config = compose_config("train", [*overrides, "data.split=official", *small, *step], tmp_path / "train")
    results = train(config)
    assert results["trained"].num_images == 2
    assert (tmp_path / "train" / "checkpoints" / "best.ckpt").is_file()
