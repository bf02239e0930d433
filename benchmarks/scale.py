"""How memory and time grow with the number of images, queries, classes and windows.

Run ``python benchmarks/scale.py`` (about 10 minutes on one core). Each size is measured in a process of its
own, so that its peak memory is its own: processor seconds of one thread, and what the peak grew by after the
imports. The exponent is that of a power law between the two largest sizes: 1 is proportional, 0 is flat.
Datasets are an index whose images are all one file, networks tiny and random, predictions random boxes.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import pickle
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.progress import track
from rich.table import Table

from gpu_parts.models import DiffusionWeights as Weights
from gpu_parts.models import TrainingStep, build_backbone, build_segmenter, compose_config
from modise_lightning.configuration.assembly import build_data, build_module
from modise_lightning.configuration.command_line import instantiate
from modise_lightning.data.prepared.categories import categories_from_config, categories_to_config
from modise_lightning.data.prepared.writing import PreparedEntry, write_entry, write_index
from modise_lightning.prediction.predictor import Predictor
from modise_lightning.segmenter import Segmenter
from modise_lightning.structures import (
    ImageRecord,
    InstanceSegmentation,
    PanopticSegmentation,
    Prediction,
)

CPU = torch.device("cpu")
SIDE = 64  # pixels of what is evaluated
DETECTIONS = 20  # of an evaluated image, as many as the tiny model's queries
MOST_LINKS = 10_000  # to one file; file systems have limits
REPEATS = 5  # of a step; the smallest counts

Measured = dict[str, float]
SIZES = {
    "index": (1_000, 10_000, 100_000),
    "evaluation": (1_000, 10_000, 100_000),
    "queries": (100, 200, 400, 800),
    "classes, training": (2, 10, 100, 1_000),
    "classes, prediction": (2, 10, 100, 1_000),
    "windows": (1, 4, 16, 64),
}


def main() -> None:
    """Measure each size in a process of its own, or one size if it is named."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", nargs="+", choices=list(SIZES), default=list(SIZES))
    parser.add_argument("--most", type=int, help="leave out larger sizes")
    parser.add_argument("--one", nargs=2, metavar=("PART", "SIZE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(_measure(arguments.one[0], int(arguments.one[1]))))
        return
    jobs = [
        (part, size)
        for part in arguments.parts
        for size in SIZES[part]
        if arguments.most is None or size <= arguments.most
    ]
    found: dict[tuple[str, int], Measured] = {}
    for part, size in track(jobs, "sizes", console=Console(stderr=True)):
        command = [sys.executable, __file__, "--one", part, str(size)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
        found[part, size] = json.loads(done.stdout.splitlines()[-1])
    Console(width=110).print(_table(found))


def _table(found: dict[tuple[str, int], Measured]) -> Table:
    table = Table("part", "number", "by size", "exponent", title="processor seconds and megabytes by size")
    for part in dict.fromkeys(part for part, _ in found):
        sizes = [size for own, size in found if own == part]
        for number in found[part, sizes[0]]:
            values = [found[part, size][number] for size in sizes]
            shown = ", ".join(f"{size:,}: {value:.3g}" for size, value in zip(sizes, values, strict=True))
            table.add_row(part, number, shown, _exponent(sizes, values))
    return table


def _exponent(sizes: list[int], values: list[float]) -> str:
    if len(sizes) < 2 or min(values[-2:]) <= 0:
        return "-"
    return f"{math.log(values[-1] / values[-2]) / math.log(sizes[-1] / sizes[-2]):.2f}"


def _measure(part: str, size: int) -> Measured:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        return {
            "index": _index,
            "evaluation": _evaluation,
            "queries": _queries,
            "classes, training": _training_classes,
            "classes, prediction": _prediction_classes,
            "windows": _windows,
        }[part](size, Path(folder))


@contextmanager
def _watched(into: Measured, name: str) -> Iterator[None]:
    """Add processor seconds, and megabytes that the process's peak grew by."""
    peak, begin = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    yield
    into[f"{name}, s"] = time.process_time() - begin
    into[f"{name}, MB"] = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak) / 1000


def _index(size: int, folder: Path) -> Measured:
    """Open a dataset of so many images, and go through an epoch of its numbers."""
    config = compose_config("", True, [f"data.root={folder}", "num_workers=0"], folder)
    categories = categories_from_config(OmegaConf.to_container(config.data.categories, resolve=True))  # type: ignore[arg-type]
    pixels, ids = np.zeros((32, 32), np.uint8), np.zeros((32, 32), np.int64)
    ids[4:20, 4:20] = 1
    entries: list[PreparedEntry] = []
    for number in range(size):
        record = _record(number)
        if number % MOST_LINKS == 0:
            first = write_entry(folder, record, pixels, ids, [0], {})
        else:
            for kind in ("images", "panoptic"):
                os.link(folder / kind / first.record.file_name, folder / kind / record.file_name)
        entries.append(PreparedEntry(record, first.segments, {}))
    info = {"name": "phantom", "synthetic": True, "description": "one image", "license": "none"}
    write_index(folder, info, categories, entries, [number // 2 % 5 for number in range(size)], fold_seed=0)
    del entries
    found: Measured = {}
    with _watched(found, "opening"):
        data = build_data(config)
    with _watched(found, "an epoch's order"):
        assert sum(1 for _ in data.training_sampler()) > size / 2
    return found


def _record(number: int) -> ImageRecord:
    return ImageRecord(number + 1, f"{number}.png", f"p{number // 2}", 32, 32)


def _evaluation(size: int, folder: Path) -> Measured:
    """Evaluate so many images."""
    config = compose_config("", True, [], folder)
    metrics = instantiate(config.metrics)(category_names=["a", "b"], isthing=[True, True])
    generator = np.random.default_rng(0)
    batches = [_prediction(generator) for _ in range(50)]
    found: Measured = {}
    with _watched(found, "updates"):
        for number in range(size):
            prediction, target = batches[number % len(batches)]
            metrics.update([prediction], [target], [number])
    for name, state in metrics.named_children():
        found[f"state of {name}, MB"] = len(pickle.dumps(state.metric_state)) / 1e6
    with _watched(found, "results"):
        metrics.compute()
    return found


def _prediction(generator: np.random.Generator) -> tuple[Prediction, PanopticSegmentation]:
    """Draw boxes, two of which are true."""
    masks = torch.zeros(DETECTIONS, SIDE, SIDE, dtype=torch.bool)
    for mask, (top, left) in zip(masks, generator.integers(0, SIDE - 20, (DETECTIONS, 2)), strict=True):
        mask[top : top + 20, left : left + 20] = True
    labels = torch.from_numpy(generator.integers(0, 2, DETECTIONS))
    scores = torch.from_numpy(generator.random(DETECTIONS)).float()
    ids = torch.zeros(SIDE, SIDE, dtype=torch.int64)
    for number in range(2):
        ids[masks[number]] = number + 1
    panoptic = PanopticSegmentation(ids.roll(2, 0), labels[:2], scores[:2])
    instances = InstanceSegmentation(masks, labels, scores)
    return Prediction(panoptic, instances, torch.zeros(2, SIDE, SIDE)), PanopticSegmentation(ids, labels[:2])


def _network(folder: Path, *overrides: str) -> tuple[DictConfig, Segmenter]:
    config = compose_config("", True, ["image_size=128", "criterion.num_points=1024", *overrides], folder)
    backbone = build_backbone(config, Weights.random(config, CPU), CPU)
    return config, build_segmenter(config, backbone, CPU)


def _batch(side: int, images: int, classes: int) -> tuple[torch.Tensor, list[PanopticSegmentation]]:
    ids = torch.zeros(side, side, dtype=torch.int64)
    ids[side // 8 : side // 3, side // 8 : side // 3] = 1
    ids[side // 2 : side // 4 * 3, side // 2 : side // 4 * 3] = 2
    targets = [PanopticSegmentation(ids, torch.tensor([0, classes - 1])) for _ in range(images)]
    return torch.rand(images, 3, side, side), targets


def _steps(found: Measured, name: str, step: Callable[[], object]) -> Measured:
    """Do a step several times: the fastest one's seconds, and the peak of all."""
    seconds = []
    with _watched(found, name):
        for _ in range(REPEATS):
            begin = time.process_time()
            step()
            seconds.append(time.process_time() - begin)
    found[f"{name}, s"] = min(seconds)
    return found


def _queries(size: int, folder: Path) -> Measured:
    config, segmenter = _network(folder, f"mask_generator.num_queries={size}")
    step, batch = TrainingStep(config, segmenter, CPU, "fp32"), _batch(128, 2, 3)
    return _steps({}, "training step", lambda: step(*batch))


def _set_classes(config: DictConfig, segmenter: Segmenter, size: int) -> None:
    names = [{"name": f"class {number}", "prompts": [f"finding {number}"]} for number in range(size)]
    config.data.categories = categories_to_config(categories_from_config(names))
    width = segmenter.captioner.image_encoder.embedding_dim  # type: ignore[union-attr]
    segmenter.classifier.set_vocabulary(torch.randn(size, width), torch.arange(size))  # type: ignore[operator]


def _training_classes(size: int, folder: Path) -> Measured:
    config, segmenter = _network(folder)
    _set_classes(config, segmenter, size)
    step, batch = TrainingStep(config, segmenter, CPU, "fp32"), _batch(128, 2, size)
    return _steps({}, "training step", lambda: step(*batch))


def _prediction_classes(size: int, folder: Path) -> Measured:
    config, segmenter = _network(folder, "inference/clip_head=none")
    _set_classes(config, segmenter, size)
    predictor = Predictor(
        segmenter.eval(),
        build_module(config, segmenter, {}).inference,
        transform=instantiate(config.data.module.evaluation_transform),
        size_multiple=32,
        semantic="any_thing",
    )
    image = np.random.default_rng(0).random((512, 512), dtype=np.float32)
    return _steps({}, "an image", lambda: predictor(image))


def _windows(size: int, folder: Path) -> Measured:
    """Train on images of so many windows of 64 pixels."""
    side = 64 * math.isqrt(size)
    config, segmenter = _network(folder, f"image_size={side}", "backbone.window_size=64")
    step, batch = TrainingStep(config, segmenter, CPU, "fp32"), _batch(side, 2, 3)
    return _steps({}, "training step", lambda: step(*batch))


if __name__ == "__main__":
    main()
