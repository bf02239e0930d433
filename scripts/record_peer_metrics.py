"""Records what panoptica and picai_eval say of small images, for tests that compare with them.

Both ask for versions of other libraries that this one's environment does not have, so that they run in one of
their own: ``pip install panoptica picai-eval``, then
``python scripts/record_peer_metrics.py tests/metrics/peer_metrics.json``.
"""

from __future__ import annotations

import argparse
import json
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

CELL, CELLS = 11, 3  # an image is a grid of cells with at most one lesion and one detection each


def draw(generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray, list[float]]:
    """Draw lesions that do not touch, detections near them and elsewhere, and a score of each."""
    size = CELL * CELLS
    truth, prediction = np.zeros((size, size), np.uint8), np.zeros((size, size), np.uint8)
    lesions = generator.random((CELLS, CELLS)) < generator.choice([0, 0.4])
    for row, column in np.ndindex(CELLS, CELLS):
        top, left = CELL * row + 2, CELL * column + 2
        height, width = generator.integers(3, 7, 2)
        if lesions[row, column]:
            truth[top : top + height, left : left + width] = truth.max() + 1
        if generator.random() < (0.75 if lesions[row, column] else 0.15):
            down, right = generator.integers(-1, 3, 2)
            prediction[top + down : top + down + height, left + right : left + right + width] = (
                prediction.max() + 1
            )
    scores = (0.05 + 0.9 * generator.random(int(prediction.max()))).round(6).tolist()
    return truth, prediction, scores


def panoptica_says(truth: np.ndarray, prediction: np.ndarray) -> dict[str, float]:
    """Measure an image at an IoU above 0.5; panoptica's own threshold is from 0.5 on."""
    from panoptica import InputType, NaiveThresholdMatching, Panoptica_Evaluator
    from panoptica.metrics import Metric

    above = float(np.nextafter(0.5, 1))
    evaluator = Panoptica_Evaluator(
        expected_input=InputType.UNMATCHED_INSTANCE,
        instance_matcher=NaiveThresholdMatching(matching_metric=Metric.IOU, matching_threshold=above),
        instance_metrics=[Metric.DSC, Metric.IOU, Metric.ASSD],
    )
    (result,) = evaluator.evaluate(prediction, truth).values()
    names = ("tp", "fp", "fn", "sq", "rq", "pq", "sq_dsc", "sq_assd")
    return {name: float(getattr(result, name)) for name in names}


def picai_says(images: list[tuple[np.ndarray, np.ndarray, list[float]]]) -> dict[str, Any]:
    """Measure all images together, each of them a case."""
    from picai_eval import evaluate

    maps = [np.array([0.0, *scores])[prediction][None].astype(np.float32) for _, prediction, scores in images]
    metrics = evaluate(y_det=maps, y_true=[(truth > 0).astype(np.int32)[None] for truth, _, _ in images])
    rates = (0.1, 0.25, 0.5, 1.0)
    return {
        "case_score": [float(metrics.case_pred[case]) for case in sorted(metrics.case_pred)],
        "case_truth": [int(metrics.case_target[case]) for case in sorted(metrics.case_target)],
        "auroc": float(metrics.auroc),
        "sensitivity_at": {str(rate): float(metrics.lesion_TPR_at_FPR(rate)) for rate in rates},
    }


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path)
    output = parser.parse_args().output
    warnings.simplefilter("ignore")
    generator = np.random.default_rng(0)
    images = [draw(generator) for _ in range(30)]
    described = [
        {
            "truth": ["".join(map(str, row)) for row in truth],
            "prediction": ["".join(map(str, row)) for row in prediction],
            "scores": scores,
            "panoptica": panoptica_says(truth, prediction) if truth.any() and prediction.any() else None,
        }
        for truth, prediction, scores in images
    ]
    content = {
        "versions": {name: version(name) for name in ("panoptica", "picai_eval", "numpy", "scipy")},
        "picai_eval": picai_says(images),
        "images": described,
    }
    output.write_text(json.dumps(content) + "\n")


if __name__ == "__main__":
    main()
