"""The whole command on folders: one picture in every depth, restarts, broken files, identifiers."""

from __future__ import annotations

import csv
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from omegaconf import DictConfig
from PIL import Image
from pycocotools.coco import COCO
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    DigitalMammographyXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    generate_uid,
)

from forked import Forked, forked
from modise_lightning.errors import PartlyDoneError, UserError
from modise_lightning.predict import predict
from tiny_runs import ONE_STEP, phantom_overrides

Compose = Callable[..., DictConfig]
# A model of one step is sure of nothing: low thresholds make it say something.
UNSURE = [
    "+overrides.inference.score_threshold=0.01",
    "+overrides.inference.overlap_threshold=0",
    "+overrides.inference.mask_threshold=0.05",
]
PATIENT = {
    "PatientName": "Quackenbush^Philomena",
    "PatientID": "MRN-774411",
    "PatientBirthDate": "19520229",
    "StudyDate": "20190817",
    "AccessionNumber": "ACC-995533",
}


@pytest.fixture(scope="module")
def checkpoint(phantom_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train a tiny model for a step."""
    folder = tmp_path_factory.mktemp("run")
    arguments = [*phantom_overrides(phantom_root), *ONE_STEP, "baselines=[]", f"hydra.run.dir={folder}"]
    done = forked("-m", "modise_lightning.train", *arguments)
    assert done.returncode == 0, done.stderr
    return folder / "checkpoints" / "best.ckpt"


@pytest.fixture
def run(checkpoint: Path, compose_config: Compose, tmp_path: Path) -> Callable[..., Path]:
    """Predict into a folder, which is given."""

    def predicted(images: Path | str, *overrides: str, out: str = "out") -> Path:
        folder = tmp_path / out
        settings = [f"checkpoint={checkpoint}", f"input={images}", "device=cpu", "num_workers=0", *UNSURE]
        predict(compose_config("predict", [*settings, *overrides], folder))
        return folder

    return predicted


def thirds() -> NDArray[np.int64]:
    """Draw a breast in four grey values, which all depths of an even number of bits hold exactly."""
    rows, columns = np.mgrid[:128, :96]
    picture = np.where(np.hypot(rows - 64, columns) < 60, 1, 0)
    picture[np.hypot(rows - 64, columns - 30) < 16] = 3
    picture[np.hypot(rows - 40, columns - 20) < 8] = 2
    return picture


def mammogram(stored: NDArray[Any], **elements: object) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = DigitalMammographyXRayImageStorageForPresentation
    dataset.SOPClassUID = DigitalMammographyXRayImageStorageForPresentation
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2.826.77.1", "1.2.826.77.2"
    dataset.Modality, dataset.PresentationIntentType = "MG", "FOR PRESENTATION"
    dataset.StudyTime = dataset.StudyID = dataset.ReferringPhysicianName = ""
    dataset.PatientSex, dataset.ImageLaterality, dataset.ViewPosition = "F", "L", "CC"
    dataset.ImagerPixelSpacing = [0.1, 0.1]
    dataset.Rows, dataset.Columns = stored.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 0
    dataset.PixelData = stored.astype(np.uint16).tobytes()
    for name, value in {**PATIENT, **elements}.items():
        setattr(dataset, name, value)
    return dataset


def rows_of(table: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(table.open()))


def test_one_picture_in_every_depth_and_kind_of_file_gives_the_same_masks(
    run: Callable[..., Path], tmp_path: Path
) -> None:
    third = thirds()
    images = tmp_path / "images"
    for bits in (8, 10, 12, 14, 16):
        pixels = (third * ((2**bits - 1) // 3)).astype(np.uint8 if bits == 8 else np.uint16)
        assert pixels.max() == 2**bits - 1
        for suffix in ("png", "tif"):
            folder = images / f"{bits}{suffix}"
            folder.mkdir(parents=True)
            Image.fromarray(pixels).save(folder / f"a.{suffix}")
    white = 4095
    window = {"WindowCenter": white / 2, "WindowWidth": white, "VOILUTFunction": "LINEAR_EXACT"}
    dicom = {
        "plain": mammogram(third * 1365, **window),
        "inverse": mammogram(
            (3 - third) * 1365,
            **window,
            PhotometricInterpretation="MONOCHROME1",
            PresentationLUTShape="INVERSE",
        ),
        "rescaled": mammogram(third * 1365 + 1000, **window, RescaleSlope=1, RescaleIntercept=-1000),
        "windows": mammogram(
            third * 1365, WindowCenter=[white / 2, 9], WindowWidth=[white, 9], VOILUTFunction="LINEAR_EXACT"
        ),
        "raw_name": mammogram(third * 1365, **window),
    }
    for name, dataset in dicom.items():
        (images / name).mkdir()
        dataset.save_as(images / name / ("IM1" if name == "raw_name" else "a.dcm"), enforce_file_format=True)
    with zipfile.ZipFile(images / "zip.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(images / "12png" / "a.png", "a.png")
    out = run(images)
    found = sorted(out.rglob("*_panoptic.png"))
    assert len(found) == 16
    first = cv2.imread(str(found[0]))
    assert first.any()
    assert all(np.array_equal(cv2.imread(str(path)), first) for path in found)
    names = ("class", "score", "x", "y", "width", "height", "area", "longest_diameter", "uncertainty")
    by_image: dict[str, list[tuple[str, ...]]] = {}
    for row in rows_of(out / "predictions.csv"):
        by_image.setdefault(row["image"], []).append(tuple(row[name] for name in names))
    assert len(by_image) == 16
    assert len({tuple(lesions) for lesions in by_image.values()}) == 1


def _overwrite(folder: Path, name: str, end: int) -> None:
    path = folder / name
    path.write_bytes(path.read_bytes()[:end])


def copies(phantom_root: Path, folder: Path, number: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    sources = sorted((phantom_root / "images").glob("*.png"))
    for index in range(number):
        shutil.copy(sources[index % len(sources)], folder / f"{index:03}.png")


def test_after_a_kill_in_the_middle_the_same_command_gives_the_same_files(
    phantom_root: Path, checkpoint: Path, tmp_path: Path, run: Callable[..., Path]
) -> None:
    copies(phantom_root, tmp_path / "images", 10)
    whole = run(tmp_path / "images", out="whole")
    arguments = [f"checkpoint={checkpoint}", f"input={tmp_path / 'images'}", "device=cpu", *UNSURE]
    arguments += [f"output_dir={tmp_path / 'killed'}", "num_threads=1", "num_workers=1"]
    command = ["-m", "modise_lightning.predict", *arguments]
    process = Forked(*command)
    journal = tmp_path / "killed" / "predictions.jsonl"
    while process.poll() is None:
        if journal.is_file() and journal.read_bytes().count(b"\n") >= 6:
            break
    process.kill()
    process.wait()
    finished = {path: path.stat().st_mtime_ns for path in (tmp_path / "killed").glob("*.json")}
    assert 0 < len(finished) <= 10
    assert forked(*command).returncode == 0
    for name in ("predictions.csv", "exams.csv"):
        assert (tmp_path / "killed" / name).read_bytes() == (whole / name).read_bytes()
    journaled = [path for path, time in finished.items() if path.stat().st_mtime_ns == time]
    assert len(journaled) >= len(finished) - 1  # one may have been written but not yet remembered
    # Once more: nothing is left to do, and nothing changes.
    before = {path: path.read_bytes() for path in (tmp_path / "killed").rglob("*") if path.is_file()}
    assert forked(*command).returncode == 0
    assert {path: path.read_bytes() for path in before} == before


def test_finished_images_are_kept_unless_their_content_or_a_setting_changes(
    phantom_root: Path, tmp_path: Path, run: Callable[..., Path]
) -> None:
    copies(phantom_root, tmp_path / "images", 3)
    out = run(tmp_path / "images")

    def changed(*overrides: str) -> list[str]:
        times = {path: path.stat().st_mtime_ns for path in out.glob("0*.json")}
        run(tmp_path / "images", *overrides)
        return sorted(path.name for path, time in times.items() if path.stat().st_mtime_ns != time)

    assert changed() == []
    shutil.copy(tmp_path / "images" / "000.png", tmp_path / "images" / "001.png")
    assert changed() == ["001.json"]
    (out / "002_overlay.png").unlink()
    assert changed() == ["002.json"]
    assert changed("lesions.minimum_score=0.02") == ["000.json", "001.json", "002.json"]


def test_one_broken_file_among_many_is_named_and_the_others_are_done(
    phantom_root: Path, tmp_path: Path, run: Callable[..., Path]
) -> None:
    images = tmp_path / "images"
    copies(phantom_root, images, 12)
    _overwrite(images, "005.png", 500)
    mammogram(thirds() * 100, PresentationIntentType="FOR PROCESSING").save_as(
        images / "raw.dcm", enforce_file_format=True
    )
    with pytest.raises(
        PartlyDoneError, match=r"2 of 13 images .*005\.png.*raw\.dcm' is FOR PROCESSING"
    ) as told:
        run(images)
    assert told.value.exit_code == 2
    assert len({row["image"] for row in rows_of(tmp_path / "out" / "predictions.csv")}) == 11


def test_tables_agree_with_each_other_and_with_the_pictures(tmp_path: Path, run: Callable[..., Path]) -> None:
    pytest.importorskip("pyarrow", reason="Parquet is written by pyarrow, the extra [parquet]")
    for name, side in (("left", "L"), ("right", "R")):
        (tmp_path / "images").mkdir(exist_ok=True)
        mammogram(thirds() * 1000, ImageLaterality=side).save_as(
            tmp_path / "images" / f"{name}.dcm", enforce_file_format=True
        )
    out = run(tmp_path / "images", "export=[coco,contact_sheet,gallery,parquet]", "gallery_images=1")
    rows = rows_of(out / "predictions.csv")
    assert {row["laterality"] for row in rows} == {"left", "right"}
    assert len({row["exam"] for row in rows}) == 1
    breasts = rows_of(out / "exams.csv")
    assert [breast["laterality"] for breast in breasts] == ["left", "right"]
    for breast in breasts:
        own = [row for row in rows if row["laterality"] == breast["laterality"]]
        assert int(breast["lesions"]) == len(own)
        assert float(breast["highest_score"]) == max(float(row["score"]) for row in own)
    frame = pd.read_parquet(out / "predictions.parquet")
    assert frame["area"].tolist() == [int(row["area"]) for row in rows]
    coco = COCO(str(out / "coco.json"))
    assert len(coco.anns) == len(rows)
    for annotation, row in zip(coco.anns.values(), rows, strict=True):
        assert coco.annToMask(annotation).sum() == annotation["area"] == int(row["area"])
        assert coco.cats[annotation["category_id"]]["name"] == row["class"]
        assert float(row["area_mm2"]) == pytest.approx(annotation["area"] * 0.01, abs=1e-3)
    assert cv2.imread(str(out / "contact_sheet.png")) is not None
    page = (out / "gallery.html").read_text()
    # The image with the highest score, and each of its lesions as an outline and in the list.
    first = max(rows, key=lambda row: float(row["score"]))["image"]
    assert f'data-name="{first}"' in page
    assert page.count('<article class="card"') == 1
    assert "1 of 2 images are left out" in page
    assert page.count('class="lesion" data-score') == 2 * sum(row["image"] == first for row in rows)
    assert " mm</li>" in page


def test_images_beside_each_other_have_no_exam_in_the_gallery(
    phantom_root: Path, tmp_path: Path, run: Callable[..., Path]
) -> None:
    copies(phantom_root, tmp_path / "images", 1)
    page = (run(tmp_path / "images", "export=[gallery]") / "gallery.html").read_text()
    assert '<p class="notes"></p>' in page


def test_no_result_says_whose_image_it_is_unless_it_is_asked_for(
    tmp_path: Path, run: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "images" / "Quackenbush"
    folder.mkdir(parents=True)
    for name in ("MRN-774411_L_CC.dcm", "second.dcm"):
        # A contradiction, of which a warning tells, with the name of the file.
        mammogram(thirds() * 100, PresentationLUTShape="INVERSE").save_as(
            folder / name, enforce_file_format=True
        )
    out = run(tmp_path / "images")
    printed = capfd.readouterr()
    secrets = ["quackenbush", "philomena", "774411", "19520229", "20190817", "995533", "1.2.826.77.1"]
    for path in out.rglob("*"):
        told = [path.relative_to(out).as_posix()]
        if path.is_file():
            told.append(path.read_bytes().decode("latin-1"))
        for text in told:
            assert not [secret for secret in secrets if secret in text.lower()], path
    assert "contradict each other" in printed.err
    assert not [secret for secret in secrets if secret in (printed.err + printed.out).lower()]
    kept = run(tmp_path / "images", "identifiers=keep", out="kept")
    assert (kept / "Quackenbush" / "MRN-774411_L_CC.json").is_file()
    row = rows_of(kept / "predictions.csv")[0]
    assert (row["patient_id"], row["study_date"]) == ("MRN-774411", "20190817")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("white=70000", "white"),
        ("white=bright", "white"),
        ("frame=0", "frame"),
        ("for_processing=ignore", "for_processing"),
        ("export=[pdf]", "export"),
        ("shard=1", "shard: 1 is none of the shards 0 to 0"),
        ("exams.pattern='('", "exams.pattern"),
        ("device=tpu", "device"),
        ("batch_size=0", "batch_size"),
        ("lesions.source=all", "lesions.source"),
    ],
)
def test_a_wrong_setting_is_told(
    override: str, message: str, phantom_root: Path, run: Callable[..., Path]
) -> None:
    with pytest.raises(UserError, match=message):
        run(min((phantom_root / "images").glob("*.png")), override)


def test_shards_divide_the_exams(phantom_root: Path, tmp_path: Path, run: Callable[..., Path]) -> None:
    copies(phantom_root, tmp_path / "images", 5)
    pattern = r"exams.pattern='(?P<exam>\d+)'"
    shards = [
        run(tmp_path / "images", pattern, "shards=2", f"shard={shard}", out=str(shard)) for shard in (0, 1)
    ]
    names = [sorted(path.stem for path in shard.glob("0*.json")) for shard in shards]
    assert names == [["000", "002", "004"], ["001", "003"]]
