"""How well two models outline the lesions that both find: a model that finds more finds harder ones too."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from modise_lightning.metrics.clinical.lesion_statistics import matched_lesions
from modise_lightning.metrics.patients.resampling import Bootstrap, Interval
from modise_lightning.metrics.patients.statistics import RatioOfSums, sum_by_patient
from modise_lightning.metrics.records.evaluation_records import EvaluationRecords, ReadRecords, read_records
from modise_lightning.reporting.cross_validation.models import ModelFolds
from modise_lightning.reporting.cross_validation.table import DatasetTable
from modise_lightning.reporting.text_tables.rendering import Line, TextTable
from peer_parts.comparison_table import THRESHOLD, write_interval
from peer_parts.settings import OURS, PEERS

_LARGE = 7864  # pixels: 3 % of the images' 512 x 512; chosen: 23 % of the lesions are larger


def shared_lesions_table(table: DatasetTable, samples: int, large_area: int = _LARGE) -> TextTable:
    """Lay out, of each of this library's models and each peer, the lesions that both find.

    Args:
        table: The models' results; their records are beside them.
        samples: Resamples of the patients; 0: no intervals.
        large_area: Least area of a large lesion, in pixels.
    """
    rows = {row.label: row for row in table.models}
    read = functools.cache(read_records)  # each model is in several pairs
    bootstrap = Bootstrap(samples=max(1, samples), confidence=0.95, seed=0)
    lines = []
    for own in filter(rows.__contains__, OURS):
        for peer in filter(rows.__contains__, PEERS):
            folds = sorted(set(rows[own].runs) & set(rows[peer].runs))
            if not folds:
                continue
            first, second = ([_found(rows[name], fold, read) for fold in folds] for name in (own, peer))
            both = [_shared(*each) for each in zip(first, second, strict=True)]
            statistics = [
                _difference(read(rows[own].records_folder(fold)), each)
                for fold, each in zip(folds, both, strict=True)
            ]
            found = bootstrap.intervals(bootstrap.measure(statistics))["difference"]
            shared = pd.concat(both)
            cells = [own, peer, str(len(folds)), *(str(sum(map(len, each))) for each in (first, second))]
            cells += [str(len(shared)), *(f"{100 * shared[name].mean():.1f}" for name in ("iou", "its_iou"))]
            cells.append(_write(found, samples))
            large = shared[shared["area"] >= large_area]
            cells += [str(len(large)), *(_median(large[name]) for name in ("filled", "its_filled"))]
            lines.append(Line(cells, [False] * len(cells), False))
    heads = ["model", "peer", "folds", "found", "found by the peer", "found by both"]
    heads += ["IoU of those", "the peer's", "difference"]
    heads += ["large ones", "their area", "the peer's"]
    notes = [
        f"Lesions matched one to one at an IoU above {THRESHOLD}, whatever the class; mean IoU in percent. "
        f"Difference: mean over the folds, with the 95 % interval over patients. Large: {large_area:,} "
        "pixels or more; median of the outlined area, as a share of the lesion's."
    ]
    return TextTable("lesions that both find", heads, lines, notes)


def _write(interval: Interval, samples: int) -> str:
    return write_interval(interval, signed=True) if samples else f"{100 * interval.value:+.1f}"


def _median(shares: pd.Series) -> str:
    return f"{100 * shares.median():.0f} %" if len(shares) else "-"


def _found(row: ModelFolds, fold: int, read: ReadRecords) -> pd.DataFrame:
    """Give the lesions that a model finds in a fold."""
    names: Sequence[str] = row.results[fold].category_names
    records = read(row.records_folder(fold))
    matches, _ = matched_lesions(records, names, THRESHOLD, "hungarian")
    areas = {
        kind: of_kind.set_index(["image_id", "index"])["area"]
        for kind, of_kind in records.instances.groupby("source")
    }
    matches = matches.join(areas["truth"], on=["image_id", "true_index"])
    matches = matches.join(areas["panoptic"].rename("outlined"), on=["image_id", "predicted_index"])
    matches["filled"] = matches["outlined"] / matches["area"]
    return matches[["image_id", "true_index", "iou", "area", "filled"]]


def _shared(own: pd.DataFrame, its: pd.DataFrame) -> pd.DataFrame:
    renamed = its.rename(columns={"iou": "its_iou", "filled": "its_filled"}).drop(columns="area")
    return own.merge(renamed, on=["image_id", "true_index"])


def _difference(records: EvaluationRecords, shared: pd.DataFrame) -> RatioOfSums:
    """Give the mean difference of IoU over the lesions as a function of how often patients are drawn."""
    images = records.images
    of_patient: Mapping[int, str] = dict(zip(images["image_id"], images["patient_id"], strict=True))
    # All patients of the fold are drawn, also those without a lesion that both find.
    values = np.zeros((len(images) + len(shared), 2, 1))
    values[len(images) :, 0, 0] = shared["iou"] - shared["its_iou"]
    values[len(images) :, 1, 0] = 1
    names = [*images["patient_id"], *(of_patient[image] for image in shared["image_id"])]
    patients, sums = sum_by_patient(names, values)
    return RatioOfSums("difference", patients, sums[:, 0], sums[:, 1])
