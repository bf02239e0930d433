"""Coverage of the 95 % intervals over patients, on simulated patients with known true numbers; and speed.

Run ``python benchmarks/interval_coverage.py``. A cross-validation of five folds is simulated many times; an
interval covers if it holds the number of the whole population, which is computed from very many patients by
functions that know no weights. Patients differ in how easy they are, so that their images depend on each
other. ``--speed`` times the intervals of 2,000 images, 5 folds and 3 models instead.
"""

from __future__ import annotations

import argparse
import resource
import time
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from sklearn.metrics import roc_auc_score

from modise_lightning.metrics.clinical.record_statistics import Measurement, fold_statistics
from modise_lightning.metrics.curves.detections import Detections
from modise_lightning.metrics.curves.froc import froc_curve
from modise_lightning.metrics.curves.precision_recall import precision_at_recalls
from modise_lightning.metrics.patients.found_targets import FoundTargets
from modise_lightning.metrics.patients.permutations import PermutationTest, holm
from modise_lightning.metrics.patients.ranked_instances import RankedInstances, ScoredDetections
from modise_lightning.metrics.patients.resampling import Bootstrap
from modise_lightning.metrics.patients.scored_cases import ScoredCases
from modise_lightning.metrics.patients.statistics import PatientStatistic, RatioOfSums, SegmentCounts
from modise_lightning.metrics.records.clinical_settings import ClinicalSettings
from modise_lightning.metrics.records.evaluation_records import EvaluationRecords, make_table

RATES = (0.25, 1.0)
THRESHOLD = 0.5
FOLDS = 5
IMAGES_OF_A_PATIENT = 4
SHOWN = ("PQ", "SQ", "AP", "Dice", "FROC at 0.25", "FROC at 1", "patient AUC", "patient PR area")


@dataclass(frozen=True)
class Population:
    """Simulated patients: their lesions, those of them that are hit, and false positives.

    Attributes:
        patients: How many.
        lesion_patient: (L,) patient of each lesion.
        hit_score: (L,) score of the detection that hits it; NaN where none does.
        iou: (L,) of that detection.
        false_patient: (F,) patient of each false positive.
        false_score: (F,) its score.
    """

    patients: int
    lesion_patient: NDArray[np.int64]
    hit_score: NDArray[np.float64]
    iou: NDArray[np.float64]
    false_patient: NDArray[np.int64]
    false_score: NDArray[np.float64]


def simulate(
    generator: np.random.Generator, patients: int, shift: float, false_rate: float = 0.6
) -> Population:
    """Draw patients, half of them without a lesion.

    Args:
        generator: Source of the draws.
        patients: How many.
        shift: How good the model is.
        false_rate: False positives an image of a patient of the usual kind.
    """
    ease, noise = generator.normal(size=(2, patients))
    ill = generator.random(patients) < 0.5
    lesion_patient = np.repeat(np.arange(patients), ill * generator.integers(1, 5, patients))
    quality = shift + ease[lesion_patient] + generator.normal(size=len(lesion_patient))
    found = quality > -1
    number = generator.poisson(false_rate * IMAGES_OF_A_PATIENT * np.exp(0.5 * noise - 0.125))
    false_patient = np.repeat(np.arange(patients), number)
    return Population(
        patients,
        lesion_patient,
        np.where(found, _squash(quality + 0.5 * generator.normal(size=len(quality))), np.nan),
        _squash(0.6 * quality + 0.3),
        false_patient,
        _squash(generator.normal(-0.6, 1, len(false_patient)) + 0.4 * noise[false_patient]),
    )


def _squash(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-values)))


def statistics_of(drawn: Population) -> list[PatientStatistic]:
    """Build all statistics of a fold."""
    names = tuple(f"{number:05}" for number in range(drawn.patients))
    matched = ~np.isnan(drawn.hit_score) & (drawn.iou > THRESHOLD)
    hit = ~np.isnan(drawn.hit_score)

    def count(patient: NDArray[np.int64], weight: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
        return np.bincount(patient, weight, minlength=drawn.patients).astype(np.float64)

    lesions, true = count(drawn.lesion_patient), count(drawn.lesion_patient[matched])
    false = count(drawn.false_patient) + count(drawn.lesion_patient[hit & ~matched])
    iou = count(drawn.lesion_patient[matched], drawn.iou[matched])
    scores = np.concatenate([drawn.hit_score[hit], drawn.false_score])
    patient = np.concatenate([drawn.lesion_patient[hit], drawn.false_patient])
    correct = np.concatenate([matched[hit], np.zeros(len(drawn.false_score), dtype=bool)])
    best = np.zeros(drawn.patients)
    np.maximum.at(best, patient, scores)
    return [
        SegmentCounts(names, np.stack([true, false, lesions - true, iou], axis=1)[:, :, None]),
        RankedInstances(names, (ScoredDetections(scores, correct, patient, lesions),)),
        RatioOfSums("Dice", names, (2 * iou)[:, None], (iou + lesions + false / 2)[:, None]),
        FoundTargets(
            "FROC",
            names,
            RATES,
            drawn.lesion_patient,
            np.where(hit, drawn.hit_score, -np.inf),
            drawn.false_patient,
            drawn.false_score,
            np.full(drawn.patients, float(IMAGES_OF_A_PATIENT)),
        ),
        ScoredCases("patient", names, np.arange(drawn.patients), best, lesions > 0, 0.1, 0.9, (0.9,)),
    ]


def true_values(drawn: Population) -> dict[str, float]:
    """Compute the numbers of a population without weights."""
    hit = ~np.isnan(drawn.hit_score)
    matched = hit & (drawn.iou > THRESHOLD)
    lesions, iou = len(drawn.lesion_patient), float(drawn.iou[matched].sum())
    false = len(drawn.false_patient) + int((hit & ~matched).sum())
    true = int(matched.sum())
    scores = np.concatenate([drawn.hit_score[hit], drawn.false_score])
    correct = np.concatenate([matched[hit], np.zeros(len(drawn.false_score), dtype=bool)])
    nothing = np.zeros(len(scores), dtype=np.int64)
    curve = froc_curve(
        Detections(
            num_images=IMAGES_OF_A_PATIENT * drawn.patients,
            scores=scores,
            labels=nothing,
            images=nothing,
            truth_labels=np.zeros(lesions, dtype=np.int64),
            truth_images=np.zeros(lesions, dtype=np.int64),
            pair_detection=np.arange(int(hit.sum())),
            pair_truth=np.flatnonzero(hit),
            pair_iou=np.ones(int(hit.sum())),
        ),
        threshold=0.5,
        label=None,
    )
    best = np.zeros(drawn.patients)
    np.maximum.at(best, np.concatenate([drawn.lesion_patient[hit], drawn.false_patient]), scores)
    ill = np.bincount(drawn.lesion_patient, minlength=drawn.patients) > 0
    order = np.argsort(-best, kind="stable")
    found = np.cumsum(ill[order])
    precision = found / np.arange(1, len(found) + 1)
    return {
        "PQ": iou / (true + false / 2 + (lesions - true) / 2),
        "SQ": iou / true,
        "AP": float(precision_at_recalls(scores, correct, lesions).mean()),
        "Dice": 2 * iou / (iou + lesions + false / 2),
        "FROC at 0.25": float(curve.at(0.25)),
        "FROC at 1": float(curve.at(1.0)),
        "patient AUC": float(roc_auc_score(ill, best)),
        "patient PR area": float(precision[ill[order]].mean()),
    }


def measure_coverage(repeats: int, patients: int, samples: int) -> Table:
    """Count how often intervals hold the population's numbers."""
    generator = np.random.default_rng(0)
    truth = true_values(simulate(generator, 300_000, 0.5))
    worse = true_values(simulate(generator, 300_000, 0.2))
    expected = {**truth, **{f"difference of {name}": truth[name] - worse[name] for name in SHOWN}}
    covered: dict[str, list[tuple[bool, bool, float, float]]] = {name: [] for name in expected}
    for repeat in range(repeats):
        folds = [statistics_of(simulate(generator, patients, 0.5)) for _ in range(FOLDS)]
        others = [statistics_of(simulate(generator, patients, 0.2)) for _ in range(FOLDS)]
        bootstrap = Bootstrap(samples=samples, confidence=0.95, seed=repeat)
        for group in range(len(folds[0])):
            own, its = (bootstrap.measure([fold[group] for fold in each]) for each in (folds, others))
            for prefix, minus in (("", None), ("difference of ", its)):
                for name, interval in bootstrap.intervals(own, minus=minus).items():
                    if prefix + name in expected:
                        value = expected[prefix + name]
                        inside = [low <= value <= high for low, high in (interval.percentile, interval.bca)]
                        width = interval.percentile[1] - interval.percentile[0]
                        covered[prefix + name].append((*inside, width, interval.value - value))
    table = Table(
        title=f"coverage of 95 % intervals, {repeats} times {FOLDS} folds of {patients} patients, "
        f"{samples} resamples",
    )
    for column in ("number", "truth", "percentile", "BCa", "mean width", "mean error"):
        table.add_column(column)
    for name, rows in covered.items():
        percentile, bca, width, error = np.mean(rows, axis=0)
        shares = (f"{100 * share:.1f} %" for share in (percentile, bca))
        table.add_row(name, f"{expected[name]:.4f}", *shares, f"{width:.4f}", f"{error:+.4f}")
    return table


def records_of(generator: np.random.Generator, drawn: Population, first_image: int) -> EvaluationRecords:
    """Spread lesions and detections over the images of their patients."""
    images = np.arange(IMAGES_OF_A_PATIENT * drawn.patients) + first_image

    def image_of(patient: NDArray[np.int64]) -> NDArray[np.int64]:
        view = generator.integers(0, IMAGES_OF_A_PATIENT, len(patient))
        return np.asarray(first_image + IMAGES_OF_A_PATIENT * patient + view)

    hit = ~np.isnan(drawn.hit_score)
    lesion_image, false_image = image_of(drawn.lesion_patient), image_of(drawn.false_patient)
    parts = []
    for source, image, score in (
        ("truth", lesion_image, np.full(len(lesion_image), np.nan)),
        ("instance", lesion_image[hit], drawn.hit_score[hit]),
        ("instance", false_image, drawn.false_score),
        ("panoptic", lesion_image[hit], drawn.hit_score[hit]),
    ):
        part = {"image_id": image, "source": source, "score": score}
        parts.append(pd.DataFrame(part).assign(category="lesion", area=1000, void_area=0))
    segments = pd.concat(parts, ignore_index=True)
    segments["index"] = segments.groupby(["image_id", "source"]).cumcount()
    true, own = (segments.index[: len(hit)][hit], segments.index[len(hit) : len(hit) + hit.sum()])
    panoptic = segments.index[len(segments) - hit.sum() :]
    overlaps = [
        pd.DataFrame(
            {
                "image_id": lesion_image[hit],
                "source": source,
                "predicted_index": segments.loc[rows, "index"].to_numpy(),
                "true_index": segments.loc[true, "index"].to_numpy(),
                "iou": drawn.iou[hit],
            }
        )
        for source, rows in (("instance", own), ("panoptic", panoptic))
    ]
    nothing = (0.1, 0, 0, 0, np.nan, np.nan)
    lesions = np.bincount(lesion_image - first_image, minlength=len(images))
    rows = [
        (image, f"{image}.png", f"{image // IMAGES_OF_A_PATIENT:05}", count, 0, *nothing, *nothing, np.nan)
        for image, count in zip(images, lesions, strict=True)
    ]
    return EvaluationRecords(make_table("images", rows), segments, pd.concat(overlaps, ignore_index=True))


def measure_speed(images: int, samples: int) -> Table:
    """Time all intervals, paired differences and permutation tests of three models, from records on."""
    generator = np.random.default_rng(0)
    patients = images // (FOLDS * IMAGES_OF_A_PATIENT)
    # A hundred detections an image, as Mask2Former gives; nearly all of them are false.
    truth = [simulate(generator, patients, 0.5, false_rate=100) for _ in range(FOLDS)]
    models = []
    for _ in range(3):
        drawn = [
            replace(
                fold, hit_score=generator.permutation(fold.hit_score), iou=generator.permutation(fold.iou)
            )
            for fold in truth
        ]
        models.append([records_of(generator, fold, number * images) for number, fold in enumerate(drawn)])
    settings = ClinicalSettings(
        suspicious=["lesion"],
        case_levels=["patient"],
        hit_rules=["mask_iou", "any_overlap"],
        hit_threshold=0.1,
        false_positive_rates=RATES,
        low_rate=0.1,
        high_sensitivity=0.9,
        specificities=[0.8, 0.9, 0.95],
        surface_tolerance_mm=2.0,
        surface_tolerance_pixels=2.0,
        strip_share=0.02,
        size_edges_mm=[10],
        size_edges_share=[0.1],
        confidence=0.95,
    )
    how = Measurement(["lesion"], [True], THRESHOLD, "hungarian", 100, "pooled", settings)
    begin, used = time.perf_counter(), time.process_time()
    built = [[fold_statistics(records, how).statistics for records in model] for model in models]
    p_values: list[float] = []
    numbers = 0
    bootstrap = Bootstrap(samples=samples, confidence=0.95, seed=0)
    test = PermutationTest(samples=samples, seed=0)
    for group in built[0][0]:
        statistics = [[fold[group] for fold in model] for model in built]
        measured = [bootstrap.measure(own) for own in statistics]
        numbers += sum(len(bootstrap.intervals(own)) for own in measured)
        for own, drawn in zip(statistics[1:], measured[1:], strict=True):
            bootstrap.intervals(drawn, minus=measured[0])
            p_values += test.p_values(own, statistics[0]).values()
    holm(p_values)
    seconds = time.perf_counter() - begin, time.process_time() - used
    table = Table(
        title=f"{images} images in {FOLDS} folds, 3 models, {samples} resamples: {numbers} intervals, "
        f"{len(p_values)} differences and tests"
    )
    for column in ("wall seconds", "processor seconds", "peak memory"):
        table.add_column(column)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    table.add_row(f"{seconds[0]:.1f}", f"{seconds[1]:.1f}", f"{peak:.2f} GiB")
    return table


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=300, help="simulated cross-validations")
    parser.add_argument("--patients", type=int, default=60, help="of a fold")
    parser.add_argument("--samples", type=int, default=2000, help="resamples of an interval")
    parser.add_argument("--speed", type=int, metavar="IMAGES", help="time this many images instead")
    options = parser.parse_args()
    if options.speed:
        Console().print(measure_speed(options.speed, options.samples))
    else:
        Console().print(measure_coverage(options.repeats, options.patients, options.samples))


if __name__ == "__main__":
    main()
