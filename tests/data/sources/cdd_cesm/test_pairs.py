"""Both images of a view in one: which ones are paired, what the channels hold, and whose outlines count."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import DictConfig
from PIL import Image

from cdd_cesm_download import LOW, REGIONS, SHEET, SIZE, SUBTRACTED, circle, write_image, write_regions
from cdd_cesm_download import write_sheet as write_sheet_of
from modise_lightning.configuration.assembly import build_data
from modise_lightning.configuration.config_check import check_config
from modise_lightning.data.preparation.via_shapes import CroppedMask
from modise_lightning.data.prepared.dataset import PreparedDataset, open_prepared
from modise_lightning.data.sources.cdd_cesm.image import read_jpeg
from modise_lightning.data.sources.cdd_cesm.pairs import pair_images, unite
from modise_lightning.data.sources.cdd_cesm.preparer import CddCesmPreparer
from modise_lightning.data.sources.cdd_cesm.selection import select_images
from modise_lightning.data.sources.cdd_cesm.tables import read_regions, read_sheet
from modise_lightning.errors import UserError

Compose = Callable[..., DictConfig]
CATEGORIES: list[dict[str, Any]] = [{"name": "benign"}, {"name": "malignant"}]
REAL = Path(__file__).parents[4].parent / "shared" / "data" / "cdd_cesm"
CLASSES = {
    "P1_L_DM_CC": "Malignant",  # both outline one lesion, each another one beside
    "P1_L_CM_CC": "Malignant",
    "P2_R_DM_MLO": "Benign",  # nothing enhances, so the sheet calls the subtracted image normal
    "P2_R_CM_MLO": "Normal",
    "P3_L_DM_CC": "Benign",  # without its subtracted image
    "P4_L_CM_CC": "Benign",  # without its low-energy image
    "P5_L_DM_CC": "Benign",  # of two sizes
    "P5_L_CM_CC": "Benign",
    "P6_L_DM_CC": "Benign",  # of two classes
    "P6_L_CM_CC": "Malignant",
    "P7_L_DM_CC": "Normal",
    "P7_L_CM_CC": "Normal",
    "P8_L_DM_MLO_2": "Malignant",
    "P8_L_CM_MLO_2": "Malignant",  # broken
    "P9_R_DM_CC": "Benign",
    "P9_R_CM_CC": "Benign",
}
OUTLINES: dict[str, list[dict[str, object]]] = {
    "P1_L_DM_CC": [circle(30, 40, 12), circle(60, 90, 6)],
    "P1_L_CM_CC": [circle(34, 42, 12), circle(15, 100, 5)],
    **{name: [circle(40, 60, 10)] for name in CLASSES if name[1] in "34568"},
    "P2_R_DM_MLO": [circle(40, 60, 10)],
    "P9_R_CM_CC": [circle(20, 30, 9)],
}


def prepare(raw: Path, root: Path, **changes: Any) -> Any:
    arguments: dict[str, Any] = {
        "labels": "pathology",
        "categories": CATEGORIES,
        "modality": "pair",
        "normals": "none",
        "num_folds": 2,
        "fold_seed": 0,
        "num_processes": 1,
        "strict": False,
        "minimum_visible_fraction": 0.05,
        **changes,
    }
    return CddCesmPreparer(raw=str(raw), root=str(root), **arguments).prepare()


@pytest.fixture
def download(tmp_path: Path) -> Path:
    raw = tmp_path / "raw"
    raw.mkdir()
    write_sheet_of(raw / SHEET, CLASSES)
    write_regions(raw / REGIONS, OUTLINES)
    for number, name in enumerate(CLASSES):
        size = (SIZE[0] - 8, SIZE[1]) if name == "P5_L_CM_CC" else SIZE
        write_image(raw / (SUBTRACTED if "_CM_" in name else LOW) / f"{name}.jpg", number, size)
    (raw / SUBTRACTED / "P8_L_CM_MLO_2.jpg").write_bytes(b"no JPEG")
    return raw


def disc(x: float, y: float, radius: float) -> np.ndarray:
    """Pixels whose coordinates, as scikit-image has them, are inside of the circle."""
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    return (columns - x) ** 2 + (rows - y) ** 2 < radius**2


def test_what_cannot_be_paired_is_named(download: Path, tmp_path: Path) -> None:
    report = prepare(download, tmp_path / "out")
    dataset = PreparedDataset.open(tmp_path / "out", _categories())
    assert [record.file_name for record in dataset.records] == ["P1_L_CC.png", "P2_R_MLO.png", "P9_R_CC.png"]
    assert [record.modality for record in dataset.records] == ["pair"] * 3
    assert [entry.attributes["classification"] for entry in dataset.entries] == ["malignant", *["benign"] * 2]
    assert report.counts["pairs selected"] == 5
    assert report.counts["pairs outlined in the low-energy image alone"] == 1
    assert report.counts["pairs outlined in the subtracted image alone"] == 1
    told = "\n".join(report.problems)
    for expected in (
        "P3_L_DM_CC: the download has no subtracted image of its view; left out.",
        "P4_L_CM_CC: the download has no low-energy image of its view; left out.",
        "P5_L_CC: its low-energy and subtracted images are 120 x 80 and 112 x 80 pixels, of no one size",
        "P6_L_CC: the sheet calls one image benign and the other malignant; left out.",
        "P8_L_CM_MLO_2.jpg: broken or truncated image",
    ):
        assert expected in told
    assert len(report.problems) == 5


def _categories() -> Any:
    from modise_lightning.data.prepared.categories import categories_from_config

    return categories_from_config(CATEGORIES)


def test_the_channels_are_low_energy_subtracted_low_energy(download: Path, tmp_path: Path) -> None:
    prepare(download, tmp_path / "out")
    dataset = open_prepared(root=str(tmp_path / "out"), categories=CATEGORIES, channels="rgb")
    for index, name in enumerate(("P1_L_{}_CC", "P2_R_{}_MLO", "P9_R_{}_CC")):
        low = read_jpeg(download / LOW / f"{name.format('DM')}.jpg")
        subtracted = read_jpeg(download / SUBTRACTED / f"{name.format('CM')}.jpg")
        assert (low != subtracted).any()
        with Image.open(tmp_path / "out" / "images" / dataset.records[index].file_name) as stored:
            assert stored.mode == "RGB"
            assert np.array_equal(np.asarray(stored), np.stack([low, subtracted, low], axis=-1))
        seen = dataset.read_input(index)
        np.testing.assert_allclose(seen * 255, np.stack([low, subtracted, low], axis=-1), atol=1e-4)


@pytest.mark.parametrize("outlines", ["union", "low_energy", "subtracted"])
def test_a_lesion_that_both_outline_is_one(outlines: str, download: Path, tmp_path: Path) -> None:
    prepare(download, tmp_path / "out", outlines=outlines)
    dataset = PreparedDataset.open(tmp_path / "out", _categories())
    low, subtracted = disc(30, 40, 12), disc(34, 42, 12)
    expected = {"union": low | subtracted, "low_energy": low, "subtracted": subtracted}[outlines]
    ids = dataset.read_target(0).segment_ids.numpy()
    # Alone in either, they stay: the second of the low-energy image, and the other of the subtracted one.
    for segment, mask in ((1, expected), (2, disc(60, 90, 6)), (3, disc(15, 100, 5))):
        assert np.array_equal(ids == segment, mask)
    assert ids.max() == 3
    index = json.loads((tmp_path / "out" / "panoptic.json").read_text())
    assert index["info"]["channels"] == "rgb"
    assert index["info"]["outlines"] == outlines


def test_outlines_that_hardly_overlap_are_two_lesions(download: Path, tmp_path: Path) -> None:
    prepare(download, tmp_path / "out", minimum_pair_iou=0.9)
    dataset = PreparedDataset.open(tmp_path / "out", _categories())
    assert len(dataset.segment_labels(0)) == 4


def test_normal_pairs_are_normal_in_both(download: Path, tmp_path: Path) -> None:
    prepare(download, tmp_path / "out", normals="all")
    dataset = PreparedDataset.open(tmp_path / "out", _categories())
    normal = [entry.record.file_name for entry in dataset.entries if entry.is_normal]
    assert normal == ["P7_L_CC.png"]
    assert len(dataset.entries) == 4


def test_a_second_run_writes_only_what_other_settings_change(download: Path, tmp_path: Path) -> None:
    def times() -> dict[str, int]:
        return {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out" / "panoptic").iterdir()}

    prepare(download, tmp_path / "out")
    first = times()
    prepare(download, tmp_path / "out")
    assert times() == first
    write_image(download / SUBTRACTED / "P9_R_CM_CC.jpg", 77)
    prepare(download, tmp_path / "out")
    assert {name for name, time in times().items() if time != first[name]} == {"P9_R_CC.png"}
    prepare(download, tmp_path / "out", outlines="subtracted")
    assert all(time != first[name] for name, time in times().items())


def test_grey_and_pairs_are_not_mistaken_for_each_other(download: Path, tmp_path: Path) -> None:
    prepare(download, tmp_path / "pairs")
    prepare(download, tmp_path / "grey", modality="both")
    with Image.open(tmp_path / "grey" / "images" / "P1_L_DM_CC.png") as stored:
        assert stored.mode == "L"
    for folder, channels, message in (
        ("pairs", None, "has rgb images, but grey ones are wanted"),
        ("grey", "rgb", "has grey images, but rgb ones are wanted"),
    ):
        with pytest.raises(UserError, match=message):
            open_prepared(root=str(tmp_path / folder), categories=CATEGORIES, channels=channels)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"data\.preparer\.minimum_pair_iou: 0 is not in \(0, 1\]"):
        prepare(download, tmp_path / "other", minimum_pair_iou=0)


def test_the_configuration_reads_pairs_in_three_channels(
    compose_config: Compose, download: Path, tmp_path: Path
) -> None:
    prepare(download, tmp_path / "out", num_folds=3)
    overrides = ["data=cdd_cesm", "data.modality=pair", "image_size=64", "data.normals=none"]
    config = compose_config("train", overrides, tmp_path / "run")
    assert config.data.root == "data/cdd_cesm_pathology_pair"
    check_config(config)
    config.data.root = str(tmp_path / "out")
    data = build_data(config)
    assert config.data.channels == data.dataset.channels == "rgb"
    for batch in data.evaluation_dataloader("all"):
        for image, (height, width) in zip(batch.images, batch.image_sizes, strict=True):
            assert np.array_equal(image[0], image[2])
            assert (image[0, :height, :width] - image[1, :height, :width]).abs().mean() > 0.05
    image, *_ = data.training_images()[0, 1]
    assert not np.array_equal(image[0], image[1])
    for modality in ("both", "low_energy", "subtracted"):
        grey = compose_config("train", ["data=cdd_cesm", f"data.modality={modality}"], tmp_path / "run")
        assert (grey.data.root, grey.data.channels) == ("data/cdd_cesm_pathology", None)


def square(top: int, left: int, side: int) -> CroppedMask:
    return CroppedMask(top, left, np.ones((side, side), dtype=np.bool_))


def full(mask: CroppedMask) -> np.ndarray:
    pixels = np.zeros((40, 40), dtype=np.bool_)
    pixels[mask.window] = mask.mask
    return pixels


SQUARES = st.lists(st.builds(square, st.integers(0, 30), st.integers(0, 30), st.integers(1, 10)), max_size=4)


@given(low=SQUARES, subtracted=SQUARES, outlines=st.sampled_from(["union", "low_energy", "subtracted"]))
@settings(deadline=None, max_examples=80)
def test_lesions_are_matched_so_that_overlaps_add_up_to_the_most(
    low: list[CroppedMask], subtracted: list[CroppedMask], outlines: Any
) -> None:
    minimum = 0.2
    united = unite(low, subtracted, outlines, minimum)

    def iou(one: int, other: int) -> float:
        first, second = full(low[one]), full(subtracted[other])
        return float((first & second).sum() / (first | second).sum())

    # Every outline is in exactly one lesion.
    assert sorted(one for one, _, _ in united if one is not None) == list(range(len(low)))
    assert sorted(other for _, other, _ in united if other is not None) == list(range(len(subtracted)))
    total = 0.0
    for one, other, mask in united:
        if one is None or other is None:
            single = low[one] if one is not None else subtracted[other or 0]
            assert np.array_equal(full(mask), full(single))
            continue
        assert iou(one, other) >= minimum
        total += iou(one, other)
        first, second = full(low[one]), full(subtracted[other])
        expected = {"union": first | second, "low_energy": first, "subtracted": second}[outlines]
        assert np.array_equal(full(mask), expected)
    # By brute force over all assignments of the shorter list to the longer one.
    short, long = (len(low), len(subtracted)) if len(low) <= len(subtracted) else (len(subtracted), len(low))
    pairs = (
        [(a, b) if len(low) <= len(subtracted) else (b, a) for a, b in zip(range(short), order, strict=True)]
        for order in permutations(range(long), short)
    )
    best = max(pairs, key=lambda matched: sum(iou(*pair) for pair in matched))
    assert total == pytest.approx(sum(iou(*pair) for pair in best if iou(*pair) >= minimum))


@pytest.mark.skipif(not REAL.is_dir(), reason="the real tables are not here")
def test_the_real_tables_give_the_counts_of_pairs() -> None:
    """571 views are outlined in both images, 79 in the low-energy one alone, 4 in the other alone."""
    sheet, _ = read_sheet(REAL / "Radiology manual annotations.xlsx")
    regions, _ = read_regions(REAL / "Radiology_hand_drawn_segmentations_v2.csv")
    files = {name: Path(f"{name.stem}.jpg") for name in sheet}
    single = select_images(
        files, sheet, regions, "pathology", ("benign", "malignant"), ("low_energy", "subtracted"), True
    )
    paired = pair_images(single, files, ("benign", "malignant"))
    assert paired.problems == single.problems
    outlined = [image for image in paired.images if image.category is not None]
    assert len(outlined) == paired.counts["pairs selected"] == 654
    assert paired.counts["pairs outlined in the low-energy image alone"] == 79
    assert paired.counts["pairs outlined in the subtracted image alone"] == 4
    assert len(paired.images) - len(outlined) == 334
    assert len({image.image_id for image in paired.images}) == len(paired.images)
    assert sum(str(image.attributes.get("normal")) == "1" for image in paired.images) == 334
