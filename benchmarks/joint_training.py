"""Trains on phantoms whose annotation protocols differ, with what is not annotated unknown, or negative.

One source outlines masses only, one calcifications only, one both under other names. The joint model takes a
source's silence about a class that it does not annotate for no information; the plain union takes it for a
negative. Both are tested on a fully annotated phantom of other breasts. Synthetic images, a tiny network with
random frozen features: the numbers compare the two ways, and say nothing about mammograms.

Run ``python benchmarks/joint_training.py --folder FOLDER --seeds 5``; finished parts are taken from the
folder. ``docs/joint_training.md`` shows the table.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, open_dict

from modise_lightning.configuration.command_line import config_directory, instantiate
from modise_lightning.data.prepared.dataset import open_prepared
from modise_lightning.data.prepared.writing import INDEX_NAME, write_entry, write_index
from modise_lightning.evaluate import evaluate
from modise_lightning.structures import Category
from modise_lightning.train import train

KINDS = ("benign mass", "malignant mass", "calcification cluster")
# Own class of each of the phantom's kinds (None: not annotated), and the shared class of each own one.
PROTOCOLS: dict[str, tuple[tuple[str | None, str | None, str | None], dict[str, str]]] = {
    "masses": (("mass", "mass", None), {"mass": "mass"}),
    "clusters": ((None, None, "calcification"), {"calcification": "calcification"}),
    "renamed": (
        ("opacity", "opacity", "microcalcifications"),
        {"opacity": "mass", "microcalcifications": "calcification"},
    ),
    "full": (("mass", "mass", "calcification"), {"mass": "mass", "calcification": "calcification"}),
}
TRAINED_ON = ("masses", "clusters", "renamed")
# Lesions as large as the phantom draws them: the images are small, for two cores that are shared.
LARGE_LESIONS = ("data.preparer.mass_diameter=[0.22,0.3]", "data.preparer.cluster_diameter=[0.22,0.3]")
ARMS = {"joint": "unknown", "plain union": "negative"}


def compose_config(command: str, overrides: list[str], output_dir: Path) -> DictConfig:
    """Compose a configuration as the command line does."""
    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        config = compose(command, overrides=overrides, return_hydra_config=True)
    with open_dict(config):
        config.hydra.runtime.output_dir = str(output_dir)
    HydraConfig.instance().set_config(config)
    with open_dict(config):
        del config["hydra"]
    return config


def prepare_source(folder: Path, name: str, patients: int, seed: int, image_size: int) -> Path:
    """Generate a phantom and annotate it by one of the protocols.

    Returns:
        Its folder.
    """
    root = folder / f"{name}_{seed}"
    if (root / INDEX_NAME).is_file():
        return root
    complete = folder / f"{name}_{seed}_complete"
    config = compose_config(
        "prepare",
        [
            "data=phantom",
            f"data.root={complete}",
            f"data.preparer.num_patients={patients}",
            f"data.preparer.seed={seed}",
            "data.preparer.num_processes=1",
            f"image_size={image_size}",
            *LARGE_LESIONS,
        ],
        complete,
    )
    instantiate(config.data.preparer).prepare()
    dataset = open_prepared(root=str(complete), categories=[{"name": kind} for kind in KINDS])
    own_of_kind, shared = PROTOCOLS[name]
    own = list(shared)
    entries = []
    for index, record in enumerate(dataset.records):
        target = dataset.read_target(index)
        table, labels = np.zeros(len(target.labels) + 1, dtype=np.int64), []
        for position, kind in enumerate(target.labels.tolist(), start=1):
            if (own_name := own_of_kind[kind]) is not None:
                labels.append(own.index(own_name))
                table[position] = len(labels)
        pixels = np.round(dataset.read_image(index) * 65535).astype(np.uint16)
        entries.append(write_entry(root, record, pixels, table[target.segment_ids.numpy()], labels, {}))
    info = {
        "name": f"phantom: {name}",
        "synthetic": True,
        "description": "Synthetic phantom, annotated by a protocol of its own.",
        "license": "CC0-1.0",
        "parameters": {"patients": patients, "seed": seed, "protocol": name},
    }
    write_index(root, info, [Category(each, (each,)) for each in own], entries, dataset.folds, seed)
    return root


def joint_overrides(roots: Mapping[str, Path], absence: str) -> list[str]:
    """Say which sources are trained on together."""
    tables = ", ".join(
        f"{name}: {{own: {{{', '.join(f'{own}: {ours}' for own, ours in PROTOCOLS[name][1].items())}}}}}"
        for name in roots
    )
    return [
        "data=joint",
        f"data.sources=[{','.join(roots)}]",
        *(f"+data.roots.{name}={root}" for name, root in roots.items()),
        f"++data.label_space.sources={{{tables}}}",
        f"data.absence={absence}",
    ]


def run_arm(folder: Path, arm: str, seed: int, settings: argparse.Namespace) -> dict[str, float]:
    """Train one model and test it on the fully annotated phantom."""
    done = folder / f"{arm.replace(' ', '_')}_{seed}"
    summary = done / "summary.json"
    if summary.is_file():
        return dict(json.loads(summary.read_text()))
    sources = {
        name: prepare_source(folder, name, patients, 10 * seed + number, settings.image_size)
        for number, (name, patients) in enumerate(zip(TRAINED_ON, settings.patients, strict=True), start=1)
    }
    full = {"full": prepare_source(folder, "full", settings.test_patients, 1000, settings.image_size)}
    common = ["trainer.accelerator=cpu", "callbacks.progress=null", "pictures.num_images=4"]
    began = time.perf_counter()
    train(
        compose_config(
            "train",
            [
                *joint_overrides(sources, ARMS[arm]),
                *common,
                f"seed={seed}",
                f"image_size={settings.image_size}",
                f"name={arm.replace(' ', '_')}",
                f"data.name={arm.replace(' ', '_')}",
                f"data.epoch_images={settings.epoch_images}",
                "data.temperature=1",  # each image as often as any other, in both arms
                f"trainer.max_epochs={settings.epochs}",
                f"trainer.check_val_every_n_epoch={settings.epochs}",
                "trainer.limit_test_batches=2",  # of the protocols' own images, which nobody looks at
                "baselines=[]",
                f"num_threads={settings.threads}",
                f"output_dir={done}",
            ],
            done,
        )
    )
    result = evaluate(
        compose_config(
            "evaluate",
            [
                f"checkpoint={done / 'checkpoints' / 'best.ckpt'}",
                "split=all",
                *joint_overrides(full, "unknown"),
                "data.name=phantom_full",
                *common[:1],
                "pictures.num_images=4",
                f"output_dir={done / 'test'}",
            ],
            done / "test",
        )
    )
    at_half = result.thresholds.index(0.5)
    values: dict[str, Any] = {
        "PQ": result.panoptic_quality[at_half],
        "AP": float(np.mean(result.average_precision)),
        "Dice": result.dice,
        **{
            f"PQ {name}": result.panoptic_quality_by_category[name][at_half]
            for name in ("mass", "calcification")
        },
        "minutes": (time.perf_counter() - began) / 60,
    }
    summary.write_text(json.dumps(values))
    return values


def main() -> None:
    """Run all arms and seeds, and print the table after each seed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--patients", type=int, nargs=3, default=[20, 100, 20], help="of each source")
    parser.add_argument("--test-patients", type=int, default=30)
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--epoch-images", type=int, default=800)
    parser.add_argument("--threads", type=int, default=1)
    settings = parser.parse_args()
    torch.set_num_threads(settings.threads)
    rows: dict[str, list[dict[str, float]]] = {arm: [] for arm in ARMS}
    for seed in range(settings.seeds):
        for arm in ARMS:
            rows[arm].append(run_arm(settings.folder, arm, seed, settings))
        show(rows)


def show(rows: Mapping[str, list[dict[str, float]]]) -> None:
    """Print mean and standard deviation over the seeds, and the paired differences."""
    names = [name for name in rows["joint"][0] if name != "minutes"]
    print(f"\n| model ({len(rows['joint'])} seeds) | {' | '.join(names)} |\n|---|{'---|' * len(names)}")
    for arm, results in rows.items():
        cells = [_spread([result[name] for result in results]) for name in names]
        print(f"| {arm} | {' | '.join(cells)} |")
    differences = [
        [joint[name] - union[name] for joint, union in zip(*rows.values(), strict=True)] for name in names
    ]
    print(f"| difference | {' | '.join(map(_spread, differences))} |")
    better = [str(sum(difference > 0 for difference in each)) for each in differences]
    print(f"| seeds in which joint is better | {' | '.join(better)} |")
    print(
        {arm: [round(result["minutes"], 1) for result in results] for arm, results in rows.items()},
        flush=True,
    )


def _spread(values: list[float]) -> str:
    spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.3f}{spread}"


if __name__ == "__main__":
    main()
