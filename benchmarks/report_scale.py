"""What tables, figures and the HTML report cost with the images of a large study.

Run ``python benchmarks/report_scale.py`` (20,000 images in five folds, of three models). It measures random
predictions of a few random masks, repeats their records as those of further images, and times the commands on
that. The numbers that the tables show mean nothing.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import torch
from hydra import compose, initialize_config_dir
from rich.console import Console
from rich.progress import track
from rich.table import Table

from modise_lightning.configuration.command_line import config_directory, instantiate
from modise_lightning.metrics.records.evaluation_records import write_records
from modise_lightning.reporting.results import RunIdentity, write_results
from modise_lightning.structures import ImageRecord, InstanceSegmentation, PanopticSegmentation, Prediction

Records = TypeVar("Records", bound=Any)
FOLDS = 5
MODELS = ("m_odise", "odise", "m2f_swin_l")
NAMES = ["benign", "malignant"]
SIDE = 32  # pixels; what is timed is what comes after the masks
MEASURED = 40  # images of a run, whose records are repeated


def main() -> None:
    """Write the runs, time the commands and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=20_000, help="of a model, in five folds together")
    parser.add_argument("--commands", nargs="+", default=["tables", "figures", "report"])
    parser.add_argument("--metrics", choices=["paper", "clinical"], default="clinical")
    arguments = parser.parse_args()
    table = Table("command", "seconds", "processor s", "GB")
    with tempfile.TemporaryDirectory() as folder:
        runs = Path(folder, "runs")
        jobs = [(model, fold) for model in range(len(MODELS)) for fold in range(FOLDS)]
        for model, fold in track(jobs, "writing runs", console=Console(stderr=True)):
            _write_run(runs, model, fold, arguments.images // FOLDS, arguments.metrics)
        for command in arguments.commands:
            table.add_row(command, *_run(command, runs, Path(folder, command)))
    Console(width=110).print(table)


def _run(command: str, runs: Path, output: Path) -> list[str]:
    extra = ["gallery.max_images=0"] if command == "report" else []
    line = [sys.executable, "-m", f"modise_lightning.{command}", f"runs={runs}", f"hydra.run.dir={output}"]
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([*line, *extra], check=True, stdout=subprocess.DEVNULL)
    seconds, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return [f"{seconds:.1f}", f"{processor:.1f}", f"{after.ru_maxrss / 1e6:.2f}"]  # the largest until now


def _write_run(runs: Path, model: int, fold: int, num_images: int, kind: str) -> None:
    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        clinical = ["metrics.clinical.suspicious=[malignant]"] if kind == "clinical" else []
        config = compose("train", overrides=[f"metrics={kind}", *clinical])
    metrics = instantiate(config.metrics)(category_names=NAMES, isthing=[True, True])
    recorder = metrics.recorder()
    truth, moved = np.random.default_rng(fold), np.random.default_rng([fold, model])
    for index in range(MEASURED):
        record, target, prediction = _image(fold * num_images + index, model, truth, moved)
        metrics.update([prediction], [target])
        recorder.update([record], [prediction], [target])
    result = metrics.compute()
    records = recorder.compute(result.best_threshold)
    times = num_images // MEASURED
    result = replace(metrics.with_clinical(result, records), num_images=times * MEASURED)
    records = _repeat(records, times)
    identity = RunIdentity(
        name=MODELS[model],
        fold=fold,
        dataset="random masks",
        synthetic=True,
        split="test",
        matching=str(config.metrics.matching),
        measurement={},
        dataset_digest="random",
        num_folds=FOLDS,
    )
    folder = runs / f"{MODELS[model]}-{fold}"
    write_results(folder / "results.json", {"trained": result}, identity)
    write_records(folder / "records" / "trained", records)


def _repeat(records: Records, times: int) -> Records:
    """Repeat the rows of all tables as those of other images and patients."""
    changed = {}
    for field in fields(records):
        value = getattr(records, field.name)
        if isinstance(value, pd.DataFrame):
            copies = [_as_other_images(value, copy) for copy in range(times)]
            changed[field.name] = pd.concat(copies, ignore_index=True)
        elif is_dataclass(value) and not isinstance(value, type):
            changed[field.name] = _repeat(value, times)
    return replace(records, **changed)


def _as_other_images(table: pd.DataFrame, copy: int) -> pd.DataFrame:
    table = table.copy()
    if "image_id" in table:
        table["image_id"] += copy * MEASURED
    for name in {"file_name", "patient_id", "study_id"} & set(table.columns):
        table[name] = f"{copy}_" + table[name].astype(str)
    return table


def _image(
    number: int, model: int, truth: np.random.Generator, moved: np.random.Generator
) -> tuple[ImageRecord, PanopticSegmentation, Prediction]:
    """Make one of four views of a patient, with up to two lesions, and what a model makes of it."""
    ids = np.zeros((SIDE, SIDE), np.int64)
    lesions = int(truth.integers(0, 3))
    for segment in range(lesions):
        left = 2 + 15 * segment
        top = int(truth.integers(0, SIDE - 10))
        ids[top : top + 8, left : left + 8] = segment + 1
    labels = torch.from_numpy(truth.integers(0, 2, lesions))
    target = PanopticSegmentation(torch.from_numpy(ids), labels)
    found = target.segment_ids.roll(int(moved.integers(0, 4 + model)), 0)
    panoptic = PanopticSegmentation(found, labels, torch.from_numpy(moved.random(lesions)).float())
    scores = torch.from_numpy(moved.random(lesions)).float()
    instances = InstanceSegmentation(panoptic.masks, labels, scores)
    semantic = torch.zeros(2, SIDE, SIDE)
    record = ImageRecord(
        number,
        f"{number}.png",
        f"p{number // 4}",
        SIDE,
        SIDE,
        laterality="left" if number % 4 < 2 else "right",
        view="CC" if number % 2 else "MLO",
    )
    return record, target, Prediction(panoptic, instances, semantic)


if __name__ == "__main__":
    main()
