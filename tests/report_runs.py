"""Writes runs whose images are known, and gives back their predictions as their checkpoint would."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import yaml
from numpy.typing import NDArray

from cross_validation_runs import identity, write_run_of
from gathered_runs import gather
from modise_lightning.metrics.records.clinical_settings import ClinicalSettings
from modise_lightning.reporting.comparison import ComparisonRow
from modise_lightning.reporting.cross_validation.runs import FinishedRun
from modise_lightning.reporting.cross_validation.table import DatasetTable
from modise_lightning.reporting.html_report.gallery import PredictionStream
from modise_lightning.reporting.html_report.page import make_report, render_report
from modise_lightning.reporting.html_report.settings import ReportSettings
from modise_lightning.structures import (
    Category,
    ImageRecord,
    InstanceSegmentation,
    PanopticSegmentation,
    Prediction,
)

CONF = Path(__file__).parents[1] / "conf"
HOSTILE = '</script><script>alert("code")</script>'
HOSTILE_ATTRIBUTE = '"onmouseover="alert(1)" <img src=x onerror=alert(2)>'
CATEGORIES = (
    Category("benign", ("benign",), color=(86, 180, 233)),
    Category(HOSTILE_ATTRIBUTE, ("malignant",), color=(230, 159, 0)),
)
NAMES = [category.name for category in CATEGORIES]
HEIGHT, WIDTH = 96, 64

# Top, left, size and class of squares.
Squares = Sequence[tuple[int, int, int, int]]
Image = tuple[ImageRecord, Prediction, PanopticSegmentation]
Predict = Callable[[FinishedRun, Sequence[int]], PredictionStream]

# File name, truth and prediction of an image each; what the tests know of them is worked out by hand.
SCENES: list[tuple[str, Squares, Squares]] = [
    ("image10.png", [(10, 10, 20, 0)], [(10, 10, 20, 0)]),  # IoU 1
    ("image9.png", [(10, 10, 20, 0), (50, 30, 20, 1)], [(10, 10, 20, 0)]),  # one of two missed: IoU 1/2
    (f"{HOSTILE}.png", [(10, 10, 20, 1)], [(20, 10, 20, 1)]),  # half of it: IoU 1/3
    ("nothing.png", [], []),
    ("alarm.png", [], [(40, 20, 10, 0)]),  # a false positive: IoU 0
    ("other.png", [(10, 10, 20, 0)], [(10, 10, 20, 1)]),  # another class: missed and false positive
]


def segmentation(squares: Squares, scored: bool) -> PanopticSegmentation:
    ids = torch.zeros((HEIGHT, WIDTH), dtype=torch.int64)
    for number, (top, left, size, _) in enumerate(squares, start=1):
        ids[top : top + size, left : left + size] = number
    labels = torch.tensor([label for *_, label in squares], dtype=torch.int64)
    return PanopticSegmentation(ids, labels, torch.linspace(0.9, 0.6, len(squares)) if scored else None)


def as_prediction(panoptic: PanopticSegmentation) -> Prediction:
    assert panoptic.scores is not None
    instances = InstanceSegmentation(panoptic.masks, panoptic.labels, panoptic.scores)
    semantic = torch.zeros(len(CATEGORIES), *panoptic.segment_ids.shape)
    for mask, label in zip(panoptic.masks, panoptic.labels.tolist(), strict=True):
        semantic[label][mask] = 1
    return Prediction(panoptic, instances, semantic)


def images_of(scenes: Sequence[tuple[str, Squares, Squares]], first_id: int = 0) -> list[Image]:
    return [
        (
            ImageRecord(first_id + index, name, f"p{index}", HEIGHT, WIDTH),
            as_prediction(segmentation(predicted, True)),
            segmentation(truth, False),
        )
        for index, (name, truth, predicted) in enumerate(scenes)
    ]


def described(images: Sequence[Image]) -> list[Image]:
    """Say of each image which view it is, the first one MLO, and that each second one is of the left side."""
    return [
        (
            replace(
                record,
                view="CC" if index else f"MLO {HOSTILE}",
                laterality="left" if index % 2 else "right",
            ),
            prediction,
            target,
        )
        for index, (record, prediction, target) in enumerate(images)
    ]


def random_scenes(generator: np.random.Generator, number: int) -> list[tuple[str, Squares, Squares]]:
    """Give scenes whose predictions are near their truth."""
    scenes: list[tuple[str, Squares, Squares]] = []
    for index in range(number):
        truth = [
            (int(top), int(left), 14, int(label))
            for top, left, label in generator.integers([0, 0, 0], [80, 48, 2], (generator.integers(0, 4), 3))
        ]
        predicted = [
            (min(top + int(down), 80), left, 14, label)
            for (top, left, _, label), down in zip(truth, generator.integers(0, 7, len(truth)), strict=True)
            if generator.random() < 0.8
        ]
        scenes.append((f"{index}.png", truth, predicted))
    return scenes


def picture() -> NDArray[np.float32]:
    """Give a breast: a bright ellipse at the left border."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    inside = ((y - HEIGHT / 2) / (0.45 * HEIGHT)) ** 2 + (x / (0.8 * WIDTH)) ** 2 < 1
    return np.where(inside, 0.35 + 0.2 * np.sin(y / 5) * np.cos(x / 4), 0).astype(np.float32)


class Runs:
    """Runs in a folder, with predictions of their images."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.images: dict[Path, dict[int, Image]] = {}

    def add(
        self,
        name: str,
        fold: int,
        images: Sequence[Image],
        *,
        checkpoint: bool = True,
        clinical: ClinicalSettings | None = None,
        **changes: object,
    ) -> Path:
        folder = self.folder / f"run{len(self.images)}"
        values = {"num_folds": 2, **changes}
        write_run_of(folder, identity(name, fold, **values), NAMES, images, clinical)
        if checkpoint:
            (folder / "checkpoints").mkdir()
            (folder / "checkpoints" / "best.ckpt").touch()
        self.images[folder] = {record.image_id: (record, *rest) for record, *rest in images}
        return folder

    def predict(self, run: FinishedRun, image_ids: Sequence[int]) -> PredictionStream:
        """Give what the checkpoint of a run would say."""
        rows = (
            (image_id, ComparisonRow(record.file_name, picture(), target, prediction))
            for image_id in image_ids
            for record, prediction, target in [self.images[run.folder][image_id]]
        )
        return PredictionStream(rows, CATEGORIES, f"Attribution of {run.identity.dataset}")

    def tables(self) -> list[DatasetTable]:
        return gather(self.folder, threshold=0.3)

    def page(self, settings: ReportSettings) -> str:
        (table,) = self.tables()
        return render_report(make_report(table, settings, self.predict))


def report_settings(**changes: object) -> ReportSettings:
    """Give the shipped settings, but few resamples and no curves that are slow to draw."""
    shipped = {
        name: yaml.safe_load((CONF / f"{name}.yaml").read_text())
        for name in ("gathering/default", "comparison/default", "curves/default", "report")
    }
    values = {
        **shipped["gathering/default"],
        **shipped["curves/default"],
        **shipped["report"],
        "runs": ["not read here"],
        "output_dir": "not written here",
        "figures": ["threshold_ablation"],
        **changes,
    }
    del values["defaults"]
    values["comparison"] = {**shipped["comparison/default"], "bootstrap_samples": 50}
    return ReportSettings.check(values)
