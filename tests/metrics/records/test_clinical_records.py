"""Clinical records hold what pixels say, survive their files, and are checked when they are read."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import center_of_mass

from clinical_images import SETTINGS, make_images, record
from modise_lightning.errors import UserError
from modise_lightning.metrics.records.clinical_records import describe_images
from modise_lightning.metrics.records.clinical_settings import ClinicalSettings
from modise_lightning.metrics.records.evaluation_records import read_records, write_records
from modise_lightning.metrics.segments.boundaries import ContourDistances, boundary_iou

SEEDS = st.integers(0, 2**32 - 20)


@given(seed=SEEDS)
@settings(max_examples=8, deadline=None)
def test_borders_are_those_of_the_masks_without_void(make_pair: Callable[..., Any], seed: int) -> None:
    images = make_images(make_pair, seed)
    found = record(images).clinical
    assert found is not None
    rows = 0
    for image, prediction, target in images:
        void = (target.segment_ids < 0).numpy()
        spacing = image.spacing_mm or (1.0, 1.0)
        for predicted, own in enumerate(prediction.panoptic.masks.numpy() & ~void):
            for true, its in enumerate(target.masks.numpy()):
                if prediction.panoptic.labels[predicted] != target.labels[true] or not (own & its).any():
                    continue
                distances = ContourDistances.between(own, its, spacing)
                table = found.boundaries
                row = table[
                    (table["image_id"] == image.image_id)
                    & (table["predicted_index"] == predicted)
                    & (table["true_index"] == true)
                ].to_dict("records")
                tolerance = 0.2 if image.spacing_mm else 1.0
                assert row == [
                    {
                        "image_id": image.image_id,
                        "predicted_index": predicted,
                        "true_index": true,
                        "surface_dice": pytest.approx(distances.surface_dice(tolerance)),
                        "hausdorff_95": pytest.approx(distances.hausdorff(0.95)),
                        "average_distance": pytest.approx(distances.average()),
                        "boundary_iou": boundary_iou(own, its, 1),
                        "unit": "mm" if image.spacing_mm else "pixels",
                    }
                ]
                rows += 1
    assert len(found.boundaries) == rows


@given(seed=SEEDS)
@settings(max_examples=8, deadline=None)
def test_places_are_those_of_the_masks_without_void(make_pair: Callable[..., Any], seed: int) -> None:
    images = make_images(make_pair, seed)
    found = record(images).clinical
    assert found is not None
    expected = {}
    for image, prediction, target in images:
        for predicted, mask in enumerate(prediction.instances.masks.numpy()):
            own = mask & (target.segment_ids >= 0).numpy()
            for true, its in enumerate(target.masks.numpy()):
                if not own.any() or not its.any():
                    continue
                filled = []
                for each in (own, its):
                    rows, columns = np.flatnonzero(each.any(1)), np.flatnonzero(each.any(0))
                    box = np.zeros_like(each)
                    box[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = True
                    filled.append(box)
                overlap = (filled[0] & filled[1]).sum() / (filled[0] | filled[1]).sum()
                if overlap:
                    row, column = (math.ceil(each - 0.5) for each in center_of_mass(own))
                    expected[image.image_id, predicted, true] = (
                        pytest.approx(overlap),
                        int(its[row, column]),
                    )
    rows = found.localisations.itertuples(index=False)
    assert {(each[0], each[1], each[2]): (each[3], each[4]) for each in rows} == expected


def test_a_centre_inside_is_always_a_pair(make_pair: Callable[..., Any]) -> None:
    """The box of a detection holds its centre, so that boxes overlap wherever the centre is inside."""
    places = pd.concat(
        [record(make_images(make_pair, seed)).clinical.localisations for seed in range(0, 60, 10)]
    )  # type: ignore[union-attr]
    assert places["centre_inside"].sum() > 20
    assert (places["box_iou"] > 0).all()


def test_what_a_source_says_survives_the_files(make_pair: Callable[..., Any], tmp_path: Path) -> None:
    images = make_images(make_pair, 3)
    images[0] = (replace(images[0][0], study_id="=1+1", fold=0, normal=False, source="b, c"), *images[0][1:])
    images[1] = (replace(images[1][0], normal=True, spacing_mm=(0.07, 1 / 3)), *images[1][1:])
    records = record(images)
    write_records(tmp_path, records)
    found = read_records(tmp_path)
    assert found.clinical is not None
    assert records.clinical is not None
    pd.testing.assert_frame_equal(found.class_pixels, records.class_pixels, check_dtype=False)
    for name in ("image_descriptions", "localisations", "boundaries"):
        pd.testing.assert_frame_equal(
            getattr(found.clinical, name), getattr(records.clinical, name), check_dtype=False, rtol=0, atol=0
        )
    assert describe_images(found.images, found.clinical) == [image for image, _, _ in images]
    without = describe_images(found.images, None)
    assert [image.patient_id for image in without] == [image.patient_id for image, _, _ in images]
    assert all(image.laterality is None and image.spacing_mm is None for image in without)


def test_other_metrics_leave_no_clinical_records(make_pair: Callable[..., Any], tmp_path: Path) -> None:
    records = record(make_images(make_pair, 3), clinical=None)
    write_records(tmp_path, records)
    names = ["class_pixels.csv", "images.csv", "instances.csv", "overlaps.csv"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    found = read_records(tmp_path)
    assert found.clinical is None
    assert found.class_pixels is not None
    (tmp_path / "class_pixels.csv").unlink()  # as an older version left it
    assert read_records(tmp_path).class_pixels is None


@pytest.mark.parametrize(
    ("table", "column", "value", "message"),
    [
        ("image_descriptions", "laterality", "up", "line 2, laterality: expected one of"),
        ("image_descriptions", "normal", "1", "line 2, normal: expected one of"),
        ("image_descriptions", "fold", "1.5", "line 2, fold: expected a whole number"),
        ("image_descriptions", "row_spacing_mm", "-1", r"line 2, row_spacing_mm: expected a number in \[0"),
        ("image_descriptions", "row_spacing_mm", "inf", r"line 2, row_spacing_mm: expected a number in \[0"),
        (
            "image_descriptions",
            "image_id",
            "99",
            "image_descriptions.csv: line 2: images.csv has no image_id 99",
        ),
        ("class_pixels", "intersection", "100000", "line 2, intersection: expected at most half the size"),
        ("localisations", "centre_inside", "2", "line 2, centre_inside: expected 0 or 1"),
        ("localisations", "box_iou", "2", r"line 2, box_iou: expected a number in \[0, 1\]"),
        ("localisations", "true_index", "77", "instances.csv has no .*source truth, true_index 77"),
        ("boundaries", "predicted_index", "77", "instances.csv has no .*source panoptic, predicted_index 77"),
        ("boundaries", "unit", "inches", "line 2, unit: expected one of"),
    ],
)
def test_a_wrong_value_is_named(
    make_pair: Callable[..., Any], tmp_path: Path, table: str, column: str, value: str, message: str
) -> None:
    write_records(tmp_path, record(make_images(make_pair, 3)))
    path = tmp_path / f"{table}.csv"
    content = pd.read_csv(path, dtype=str, keep_default_na=False)
    assert len(content) > 1
    content.loc[0, column] = value
    content.to_csv(path, index=False)
    with pytest.raises(UserError, match=message):
        read_records(tmp_path)


def test_a_missing_file_is_told(make_pair: Callable[..., Any], tmp_path: Path) -> None:
    write_records(tmp_path, record(make_images(make_pair, 3)))
    (tmp_path / "localisations.csv").unlink()
    with pytest.raises(UserError, match=r"localisations\.csv: cannot be read"):
        read_records(tmp_path)
    write_records(tmp_path, record(make_images(make_pair, 3)))
    lines = (tmp_path / "image_descriptions.csv").read_text().splitlines()
    (tmp_path / "image_descriptions.csv").write_text("\n".join(lines[:-1]) + "\n")
    with pytest.raises(UserError, match=r"images\.csv: line 5: image_descriptions\.csv has no image_id"):
        read_records(tmp_path)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("case_levels", ["lobe"], "metrics.clinical.case_levels: expected of"),
        ("hit_rules", [], "metrics.clinical.hit_rules: expected of .*at least one"),
        ("hit_rules", ["near"], "metrics.clinical.hit_rules"),
        ("hit_threshold", 0.0, "metrics.clinical.hit_threshold: expected between 0 and 1"),
        ("specificities", [0.9, 1.0], "metrics.clinical.specificities"),
        (
            "false_positive_rates",
            [1, 0.5],
            "metrics.clinical.false_positive_rates: expected positive numbers",
        ),
        ("size_edges_mm", [0, 10], "metrics.clinical.size_edges_mm"),
        ("surface_tolerance_mm", -1.0, "metrics.clinical.surface_tolerance_mm: expected not negative"),
        ("strip_share", 0.0, "metrics.clinical.strip_share"),
    ],
)
def test_settings_that_make_no_sense_are_refused(name: str, value: object, message: str) -> None:
    values = {**SETTINGS.to_dict(), name: value}
    with pytest.raises(UserError, match=message):
        ClinicalSettings(**values)
