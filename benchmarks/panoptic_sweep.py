"""The threshold sweep of panoptic quality against torchmetrics, a panopticapi-style loop and one bincount.

Run ``python benchmarks/panoptic_sweep.py``. All sides count the same pairs of maps in the same process, one
after the other in each round; medians are over the rounds. The loop's counts must be the sweep's.
torchmetrics knows no threshold but 0.5: its one call is timed and counted once a threshold.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import defaultdict
from collections.abc import Callable

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torchmetrics.detection import PanopticQuality

from modise_lightning.metrics.segments.functional import PanopticCounts, panoptic_counts
from modise_lightning.structures import PanopticSegmentation

THRESHOLDS = [round(0.05 * step, 2) for step in range(1, 20)]
CLASSES = 3


def make_maps(size: int, segments: int) -> tuple[PanopticSegmentation, PanopticSegmentation]:
    """Make round lesions, a prediction of them that is shifted and partly relabelled, and some void."""
    generator = np.random.default_rng(0)
    rows, columns = np.mgrid[:size, :size]
    ids = np.zeros((size, size), np.int64)
    radius = size / (3 * segments**0.5)
    for segment in range(1, segments + 1):
        top, left = generator.uniform(0, size, 2)
        ids[(rows - top) ** 2 + (columns - left) ** 2 < generator.uniform(0.3, 1) * radius**2] = segment
    labels = generator.integers(0, CLASSES, segments)
    wrong = generator.random(segments) < 0.1
    predicted = np.where(wrong, (labels + 1) % CLASSES, labels)
    shifted = np.roll(ids, (int(radius / 4), int(radius / 5)), (0, 1))
    ids[: size // 16] = -1
    return (
        PanopticSegmentation(torch.from_numpy(shifted), torch.from_numpy(predicted)),
        PanopticSegmentation(torch.from_numpy(ids), torch.from_numpy(labels)),
    )


def sweep(prediction: PanopticSegmentation, truth: PanopticSegmentation) -> PanopticCounts:
    """Count as the library does."""
    return panoptic_counts(
        prediction, truth, num_categories=CLASSES, thresholds=THRESHOLDS, matching="hungarian"
    )


def panopticapi_loop(
    prediction: PanopticSegmentation, truth: PanopticSegmentation, true_area: dict[int, int], threshold: float
) -> tuple[list[int], list[int], list[int], list[float]]:
    """Count at one threshold as panopticapi's ``pq_compute_single_core`` does, with numpy and dicts.

    Void is 0 there and the pixels of no segment are void too; here they have an id of their own that has no
    class, so that both sides count the same. ``true_area``, of each true id, is in its annotation files.
    """
    none, offset = 2**23, 2**24
    predicted = np.where(prediction.segment_ids.numpy() > 0, prediction.segment_ids.numpy(), none)
    true = truth.segment_ids.numpy()
    true = np.where(true > 0, true, np.where(true < 0, 0, none))
    numbers, counts = np.unique(predicted, return_counts=True)
    predicted_area = dict(zip(numbers.tolist(), counts.tolist(), strict=True))
    both = true.astype(np.uint64) * offset + predicted.astype(np.uint64)
    numbers, counts = np.unique(both, return_counts=True)
    intersections = {
        (number // offset, number % offset): count
        for number, count in zip(numbers.tolist(), counts.tolist(), strict=True)
    }
    tp, fp, fn, iou_sum = [0] * CLASSES, [0] * CLASSES, [0] * CLASSES, [0.0] * CLASSES
    matched_true, matched_predicted = set(), set()
    for (t, p), intersection in intersections.items():
        if t in (0, none) or p == none or truth.labels[t - 1] != prediction.labels[p - 1]:
            continue
        union = predicted_area[p] + true_area[t] - intersection - intersections.get((0, p), 0)
        iou = intersection / union
        if iou > threshold:
            label = int(truth.labels[t - 1])
            tp[label] += 1
            iou_sum[label] += iou
            matched_true.add(t)
            matched_predicted.add(p)
    for t in true_area:
        if t not in matched_true:
            fn[int(truth.labels[t - 1])] += 1
    for p, area in predicted_area.items():
        if p == none or p in matched_predicted or intersections.get((0, p), 0) / area > 0.5:
            continue
        fp[int(prediction.labels[p - 1])] += 1
    return tp, fp, fn, iou_sum


def true_areas(truth: PanopticSegmentation) -> dict[int, int]:
    """Count the pixels of each true segment."""
    numbers, counts = torch.unique(truth.segment_ids, return_counts=True)
    return {id: count for id, count in zip(numbers.tolist(), counts.tolist(), strict=True) if id > 0}


def torchmetrics_maps(prediction: PanopticSegmentation, truth: PanopticSegmentation) -> list[Tensor]:
    """Make torchmetrics' input: a class and an instance a pixel.

    Pixels of no segment are a stuff class there, void ones a class that it does not know.
    """
    maps = []
    for each in (prediction, truth):
        classes = torch.cat([torch.tensor([99, CLASSES]), each.labels])[each.segment_ids + 1]
        maps.append(torch.stack([classes, each.segment_ids.clamp(min=0)], -1)[None])
    return maps


def seconds(run: Callable[[], object]) -> float:
    """Time one run."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def check(prediction: PanopticSegmentation, truth: PanopticSegmentation) -> None:
    """Refuse to compare times of different results: at 0.5 and above all matchings are one."""
    counts, areas = sweep(prediction, truth), true_areas(truth)
    for index, threshold in enumerate(THRESHOLDS):
        if threshold >= 0.5:
            tp, fp, fn, iou_sum = panopticapi_loop(prediction, truth, areas, threshold)
            assert counts.true_positives[index].tolist() == tp
            assert counts.false_positives[index].tolist() == fp
            assert counts.false_negatives[index].tolist() == fn
            np.testing.assert_allclose(counts.iou_sum[index], iou_sum, rtol=1e-12)


def measure(size: int, segments: int, rounds: int) -> dict[str, float]:
    """Give the median seconds of each side."""
    prediction, truth = make_maps(size, segments)
    check(prediction, truth)
    maps = torchmetrics_maps(prediction, truth)
    areas = true_areas(truth)
    joint = (prediction.segment_ids * (segments + 2) + truth.segment_ids + 1).flatten()

    def run_torchmetrics() -> None:
        metric = PanopticQuality(things=set(range(CLASSES)), stuffs={CLASSES})
        metric.update(*maps)
        metric.compute()

    def run_loop() -> None:
        for threshold in THRESHOLDS:
            panopticapi_loop(prediction, truth, areas, threshold)

    slow = {"torchmetrics": run_torchmetrics, "panopticapi loop": run_loop}
    fast = {"sweep": lambda: sweep(prediction, truth), "bincount": lambda: torch.bincount(joint)}
    times: dict[str, list[float]] = defaultdict(list)
    for _ in range(rounds):
        for name, run in slow.items():
            times[name].append(seconds(run))
        # In turns, so that a busy machine slows both.
        for _ in range(20):
            for name, run in fast.items():
                times[name].append(seconds(run))
    medians = {name: statistics.median(values) for name, values in times.items()}
    return {**medians, "torchmetrics": len(THRESHOLDS) * medians["torchmetrics"]}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=1024, help="side of the maps in pixels")
    parser.add_argument("--segments", type=int, nargs="+", default=[3, 30, 300], help="in each map")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch, for all sides")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    size = arguments.size
    table = Table(title=f"{len(THRESHOLDS)} thresholds on {size} x {size} maps, milliseconds (medians)")
    for column in ("segments", "sweep", "bincount", "torchmetrics", "panopticapi loop"):
        table.add_column(column, justify="right")
    for segments in arguments.segments:
        times = measure(size, segments, arguments.rounds)
        own = times["sweep"]
        table.add_row(
            str(segments),
            f"{1000 * own:.2f}",
            f"{1000 * times['bincount']:.2f}  (sweep takes {own / times['bincount']:.2f} x)",
            *(
                f"{1000 * times[name]:.0f}  (sweep is {times[name] / own:.0f} x as fast)"
                for name in ("torchmetrics", "panopticapi loop")
            ),
        )
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
