"""Numbers that panoptica and picai_eval gave of small images (scripts/record_peer_metrics.py)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clinical_images import SETTINGS
from modise_lightning.metrics.clinical.cases import collect_cases
from modise_lightning.metrics.clinical.record_statistics import Measurement, fold_statistics
from modise_lightning.metrics.patients.statistics import measure_once
from modise_lightning.metrics.records.clinical_records import describe_images
from modise_lightning.metrics.records.clinical_settings import ClinicalSettings
from modise_lightning.metrics.records.evaluation_records import EvaluationRecords
from modise_lightning.metrics.records.recorder import EvaluationRecorder
from modise_lightning.structures import ImageRecord, InstanceSegmentation, PanopticSegmentation, Prediction

CONTENT = json.loads((Path(__file__).parent / "peer_metrics.json").read_text())
IMAGES: list[dict[str, Any]] = CONTENT["images"]
CLINICAL = ClinicalSettings(
    **{
        **SETTINGS.to_dict(),
        "suspicious": ["lesion"],
        "case_levels": ["patient"],
        "hit_threshold": 0.1,
        "false_positive_rates": [0.1, 0.25, 0.5, 1],
    }
)


def segmentation(rows: list[str]) -> PanopticSegmentation:
    ids = torch.tensor([[int(digit) for digit in row] for row in rows])
    return PanopticSegmentation(ids, torch.zeros(int(ids.max()), dtype=torch.int64))


def record(images: list[dict[str, Any]]) -> EvaluationRecords:
    recorder = EvaluationRecorder(
        category_names=["lesion"], lowest_threshold=0.1, matching="hungarian", clinical=CLINICAL
    )
    for number, image in enumerate(images):
        truth, panoptic = segmentation(image["truth"]), segmentation(image["prediction"])
        instances = InstanceSegmentation(panoptic.masks, panoptic.labels, torch.tensor(image["scores"]))
        prediction = Prediction(panoptic, instances, torch.zeros(1, *truth.segment_ids.shape))
        where = ImageRecord(number, f"{number}.png", f"p{number:02}", *truth.segment_ids.shape)
        recorder.update([where], [prediction], [truth])
    return recorder.compute(0.5)


def numbers(records: EvaluationRecords) -> dict[str, float]:
    how = Measurement(["lesion"], [True], 0.5, "hungarian", 100, "pooled", CLINICAL)
    statistics = fold_statistics(records, how).statistics.values()
    return {name: value for each in statistics for name, value in measure_once(each).items()}


@pytest.mark.parametrize("index", [index for index, image in enumerate(IMAGES) if image["panoptica"]])
def test_panoptica(index: int) -> None:
    expected = IMAGES[index]["panoptica"]
    found = numbers(record([IMAGES[index]]))
    assert found["RQ"] == pytest.approx(expected["rq"])
    assert found["PQ"] == pytest.approx(0.0 if expected["tp"] == 0 else expected["pq"])
    if expected["tp"]:
        assert found["SQ"] == pytest.approx(expected["sq"])
        assert found["matched Dice"] == pytest.approx(expected["sq_dsc"])
        lesions = expected["tp"] + expected["fp"] + expected["fn"]
        assert found["lesion-wise Dice"] == pytest.approx(expected["sq_dsc"] * expected["tp"] / lesions)
        # It measures between the centres of border pixels, and averages the means of both directions.
        distance = found["matched average surface distance (pixels)"]
        assert distance == pytest.approx(expected["sq_assd"], abs=0.5)
    else:
        assert np.isnan(found["matched Dice"])


def test_panoptica_saw_matches_misses_and_false_positives() -> None:
    seen = [image["panoptica"] for image in IMAGES if image["panoptica"]]
    assert len(seen) >= 10
    assert all(any(each[name] for each in seen) for name in ("tp", "fp", "fn"))


def test_picai_eval() -> None:
    expected = CONTENT["picai_eval"]
    records = record(IMAGES)
    cases = collect_cases(
        records, describe_images(records.images, records.clinical), level="patient", suspicious=["lesion"]
    )
    assert cases.scores == pytest.approx(np.array(expected["case_score"]), abs=1e-6)
    assert cases.positive.tolist() == [bool(each) for each in expected["case_truth"]]
    assert 0 < sum(expected["case_truth"]) < len(IMAGES)
    found = numbers(records)
    assert found["patient AUC"] == pytest.approx(expected["auroc"])
    for rate, sensitivity in expected["sensitivity_at"].items():
        assert found[f"FROC mask_iou per image at {float(rate):g}"] == pytest.approx(sensitivity)
