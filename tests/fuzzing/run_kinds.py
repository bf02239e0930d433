"""What runs leave: results, records, Hydra's copies of their configuration, entries of a feature store."""

from __future__ import annotations

import io
import math
import zlib
from pathlib import Path
from random import Random

import safetensors.torch
import torch
from rich.console import Console

from cross_validation_runs import write_crashed_run, write_measured_run
from fuzzing.byte_mutations import mutate_bytes
from fuzzing.kinds import InsaneResultError, Kind, RefusedError, check_finite
from fuzzing.table_mutations import mutate_csv
from fuzzing.tree_mutations import mutate_json, mutate_yaml
from gathered_runs import gather
from modise_lightning.feature_store.entry_file import DamagedEntryError, encode_entry, read_entry
from modise_lightning.feature_store.store import FeatureEntry
from modise_lightning.reporting.clinical.model_folds import StatisticsReader
from modise_lightning.reporting.cross_validation.comparison import compare_models
from modise_lightning.reporting.cross_validation.files import file_names, write_table
from modise_lightning.reporting.cross_validation.layout import result_table
from modise_lightning.reporting.cross_validation.runs import find_runs
from modise_lightning.reporting.figures.model_records import read_models
from modise_lightning.reporting.text_tables.rendering import render_table


def run_kinds(folder: Path) -> list[Kind]:
    """Give a kind a file of a run.

    Args:
        folder: For runs that the valid files are taken from.
    """
    write_runs(folder)
    names = (
        "results.json",
        *(f"records/trained/{table}.csv" for table in ("images", "instances", "overlaps", "class_pixels")),
    )
    content = {name: (folder / "run0" / name).read_bytes() for name in names}
    hydra = {name: (folder / "crashed/.hydra" / name).read_bytes() for name in ("config.yaml", "hydra.yaml")}
    tensor = torch.arange(24.0).reshape(2, 3, 4)
    entry = encode_entry(
        "key", FeatureEntry((tensor, tensor.half()), (torch.float32, torch.float16), (False, True))
    )
    return [
        Kind(
            "results", "run0/results.json", _read_tables, [content["results.json"]], [mutate_json], write_runs
        ),
        *(
            Kind(
                f"records-{Path(name).stem}",
                f"run0/{name}",
                _read_records,
                [content[name]],
                [mutate_csv],
                write_runs,
            )
            for name in names[1:]
        ),
        *(
            Kind(
                f"run-{Path(name).stem}",
                f"crashed/.hydra/{name}",
                _read_tables,
                [data],
                [mutate_yaml],
                write_runs,
            )
            for name, data in hydra.items()
        ),
        Kind("feature-entry", "x.features", _read_entry, [entry], [_mutate_entry]),
    ]


def write_runs(folder: Path) -> None:
    """Write two folds of a model and a run that crashed."""
    for fold in range(2):
        write_measured_run(folder / f"run{fold}", "model", fold, 1, num_images=2, num_folds=2)
    write_crashed_run(folder / "crashed", {})


def _read_tables(folder: Path) -> None:
    for threshold in ("common", "each"):
        tables = gather(folder, threshold=threshold)
        for table, name in zip(tables, file_names(tables), strict=True):
            parts = [result_table(table, per_class=True)]
            Console(file=io.StringIO(), width=160).print(render_table(parts[0]))
            write_table(folder / "tables", table, parts, name)
    compare_models(
        tables[0], StatisticsReader().counts, reference=None, bootstrap_samples=20, confidence=0.95, seed=0
    )
    for run in find_runs([folder], "error").finished:
        for result in run.results.values():
            numbers = [result.dice, *result.panoptic_quality, *result.average_precision]
            check_finite([value for value in numbers if not math.isnan(value)], 0, 1e308, "results")


def _read_records(folder: Path) -> None:
    (table,) = gather(folder)
    for model in read_models(table.models):
        for detections in model.detections(pooling="average", max_detections=100):
            check_finite(detections.scores, 0, 1, "scores")


def _read_entry(folder: Path) -> None:
    try:
        entry = read_entry(folder / "x.features", "key")
    except DamagedEntryError as error:
        raise RefusedError(str(error)) from error
    if entry is None or not entry.tensors or len(entry.tensors) != len(entry.dtypes):
        raise InsaneResultError(f"an entry {entry}")


def _mutate_entry(data: bytes, random: Random) -> bytes:
    """Change an entry, and mend its checksum."""
    if random.random() < 0.5:
        changed = mutate_bytes(data[:-4], random)
    else:
        tensor = torch.zeros(random.choice(((), (0,), (2, 3), (1, 1, 1, 1))))
        texts = (
            "key",
            "",
            "[]",
            "[1]",
            '["float32"]',
            "[true, false]",
            "[[]]",
            "{}",
            "null",
            "nan",
            "[" * 2000,
            '["x"]',
        )
        metadata = {name: random.choice(texts) for name in ("dtypes", "channels_last", "x")}
        metadata["key"] = random.choice(("key", "key", "other"))
        names = random.choice((["0"], ["0", "1"], ["1"], [], ["x"]))
        changed = safetensors.torch.save({name: tensor.clone() for name in names}, metadata)
    return changed + zlib.crc32(changed).to_bytes(4, "little")
