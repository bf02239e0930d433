"""Turned images with their labels: a lesion stays where a person sees it, whichever file is turned."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from fuzzing.dataset_kinds import CATEGORIES
from modise_lightning.data.images.reading import read_image_file
from modise_lightning.data.preparation.folds import assign_folds
from modise_lightning.data.preparation.via import ViaRegion
from modise_lightning.data.preparation.via_shapes import Rectangle
from modise_lightning.data.prepared.categories import categories_from_config
from modise_lightning.data.prepared.dataset import open_prepared
from modise_lightning.data.prepared.writing import write_entry, write_index
from modise_lightning.data.sources.cdd_cesm.image import ImageTask, convert_image
from modise_lightning.data.sources.cdd_cesm.selection import SelectedImage
from modise_lightning.data.sources.cdd_cesm.tables import parse_image_name
from modise_lightning.errors import UserError
from modise_lightning.inference.bright_blob import predict_bright_blob
from modise_lightning.reporting.export import export_prediction
from modise_lightning.structures import ImageRecord

# How a picture is stored so that the tag turns it to what is shown (EXIF 2.32, section 4.6.4).
STORED: dict[int, Callable[[NDArray[Any]], NDArray[Any]]] = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: a[::-1, ::-1],
    4: np.flipud,
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: lambda a: np.rot90(a, -1),
}
HEIGHT, WIDTH = 48, 64
# In one corner of the picture, so that no turn leaves it in its place.
LESION = (slice(0, 16), slice(48, 64))


def lesion() -> NDArray[np.bool_]:
    shown = np.zeros((HEIGHT, WIDTH), dtype=bool)
    shown[LESION] = True
    return shown


def save_turned(path: Path, shown: NDArray[np.uint8], orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    stored = np.ascontiguousarray(STORED[orientation](shown))
    options = {"quality": 100} if path.suffix == ".jpg" else {}
    Image.fromarray(stored).save(path, exif=exif, **options)


def write_dataset(root: Path) -> None:
    entries = []
    for index in range(4):
        pixels = np.where(lesion(), 200, 20).astype(np.uint8)
        record = ImageRecord(index, f"{index}.png", f"P{index}", HEIGHT, WIDTH)
        entries.append(write_entry(root, record, pixels, lesion().astype(np.int32), [1], {}))
    categories = categories_from_config(CATEGORIES)
    folds = assign_folds([entry.record.patient_id for entry in entries], ["malignant"] * 4, 2, 0)
    info = {"name": "test", "synthetic": True, "description": "d", "license": "none"}
    write_index(root, info, categories, entries, folds, 0)


@pytest.mark.parametrize("of_map", [1, 3, 6])
@pytest.mark.parametrize("of_image", STORED)
def test_an_image_and_its_id_map_are_turned_each_as_it_says(
    of_image: int, of_map: int, tmp_path: Path
) -> None:
    write_dataset(tmp_path)
    save_turned(tmp_path / "images" / "0.png", np.where(lesion(), 200, 20).astype(np.uint8), of_image)
    id_map = np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8)
    id_map[LESION] = (1, 0, 0)
    save_turned(tmp_path / "panoptic" / "0.png", id_map, of_map)
    dataset = open_prepared(root=str(tmp_path), categories=CATEGORIES)
    target = dataset.read_target(0)
    assert np.array_equal(dataset.read_image(0) > 0.5, lesion())
    assert np.array_equal(target.segment_ids.numpy() == 1, lesion())
    assert target.labels.tolist() == [1]


@pytest.mark.parametrize("folder", ["images", "panoptic"])
@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_a_turned_file_of_the_unturned_size_is_told(orientation: int, folder: str, tmp_path: Path) -> None:
    write_dataset(tmp_path)
    path = tmp_path / folder / "0.png"
    exif = Image.Exif()
    exif[274] = orientation
    with Image.open(path) as image:
        image.load()
        image.save(path, exif=exif)
    dataset = open_prepared(root=str(tmp_path), categories=CATEGORIES)
    with pytest.raises(
        UserError, match=rf"{folder}/0\.png' is {WIDTH} x {HEIGHT} pixels, .* {HEIGHT} x {WIDTH}"
    ):
        (dataset.read_image if folder == "images" else dataset.read_target)(0)


@pytest.mark.parametrize("orientation", STORED)
def test_outlines_lie_on_the_picture_as_it_is_shown(orientation: int, tmp_path: Path) -> None:
    path = tmp_path / "image.jpg"
    save_turned(path, np.where(lesion(), 200, 20).astype(np.uint8), orientation)
    name = parse_image_name("P1_L_DM_CC.jpg")
    assert name is not None
    region = ViaRegion(2, "P1_L_DM_CC.jpg", Rectangle(48, 0, 16, 16))
    image = SelectedImage(name, 1, path, "malignant", (region,), {})
    finished = convert_image(ImageTask(tmp_path / "out", image, 1, 0.1))
    assert not isinstance(finished, str)
    assert finished.entry.segments[0].bbox == (48, 0, 16, 16)
    assert (finished.entry.record.height, finished.entry.record.width) == (HEIGHT, WIDTH)
    pixels = read_image_file(tmp_path / "out" / "images" / "P1_L_DM_CC.png")
    assert np.array_equal(pixels > 0.5, lesion())


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif"])
@pytest.mark.parametrize("orientation", [3, 6])
def test_what_is_exported_is_as_the_picture_is_shown(name: str, orientation: int, tmp_path: Path) -> None:
    blob = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    blob[:, 16:] = 60  # a breast
    blob[8:20, 40:54] = 220
    save_turned(tmp_path / name, blob, orientation)
    files = []
    for stem, image in (("turned", read_image_file(tmp_path / name)), ("upright", blob / np.float32(255))):
        files.append(
            export_prediction(
                tmp_path / "out",
                stem,
                image,
                predict_bright_blob(image, category=1, num_categories=2),
                categories_from_config(CATEGORIES),
                source="a",
                metadata={},
                synthetic_training_data=True,
            )
        )
    turned, upright = (file.json.read_text() for file in files)
    assert f'"height": {HEIGHT},\n  "width": {WIDTH}' in turned
    assert '"category": "malignant"' in turned
    if name != "a.jpg":
        assert turned == upright.replace("upright", "turned")
        assert files[0].panoptic.read_bytes() == files[1].panoptic.read_bytes()
