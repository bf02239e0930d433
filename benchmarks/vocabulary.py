"""What many classes cost in prediction, and what the CLIP head does.

Run ``python benchmarks/vocabulary.py`` (``--experiment odise`` for the real size, random weights). One
network predicts the same image with 2 and with 100 classes of five texts each, one after the other in one
process; then with the CLIP head. Encoding the texts is timed apart: it happens once a run.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from pathlib import Path

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import open_dict
from rich.console import Console
from rich.table import Table

from modise_lightning.configuration.assembly import build_module, build_segmenter, encode_texts
from modise_lightning.configuration.command_line import config_directory, instantiate
from modise_lightning.data.prepared.categories import categories_from_config, categories_to_config
from modise_lightning.prediction.predictor import Predictor
from modise_lightning.text.prompts import flatten_prompts

TEXTS = 5  # of a class
PARTS = ("backbone", "captioner", "text.encoder")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--experiment", help="one of the paper's models; left out: the tiny model")
    parser.add_argument("--image-size", type=int, default=512)
    parser.add_argument("--classes", type=int, nargs=2, default=[2, 100])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    overrides = [f"image_size={arguments.image_size}", "inference/clip_head=none"]
    if arguments.experiment:
        overrides = [f"experiment={arguments.experiment}", "text=clip", "captioner=clip", *overrides]
        overrides += [f"{part}.weights=random" for part in PARTS]
    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        config = compose("train", overrides=overrides, return_hydra_config=True)
        with open_dict(config):
            config.hydra.runtime.output_dir = "."
        HydraConfig.instance().set_config(config)
    image = np.random.default_rng(0).random((arguments.image_size, arguments.image_size), dtype=np.float32)
    segmenter = build_segmenter(config)
    transform = instantiate(config.data.module.evaluation_transform)
    sides = {}
    for number in arguments.classes:
        nodes = [
            {"name": f"class {index}", "prompts": [f"finding {index} {text}" for text in range(TEXTS)]}
            for index in range(number)
        ]
        categories = categories_from_config(nodes)
        prompts, prompt_categories = flatten_prompts(categories)
        began = time.perf_counter()
        embeddings = encode_texts(config, prompts)
        encoding = time.perf_counter() - began
        for head in (False, True):
            config.data.categories = categories_to_config(categories)
            config.clip_head.enabled = head
            inference = build_module(config, segmenter, {}).inference
            predictor = Predictor(
                segmenter, inference, transform=transform, size_multiple=32, semantic="any_thing"
            )
            sides[number, head] = (embeddings, prompt_categories, predictor, encoding)
    seconds: dict[tuple[int, bool], list[float]] = {key: [] for key in sides}
    for _ in range(arguments.repeats + 1):
        for key, (embeddings, prompt_categories, predictor, _) in sides.items():
            segmenter.classifier.set_vocabulary(embeddings, prompt_categories)  # type: ignore[operator]
            began = time.perf_counter()
            predictor(image)
            seconds[key].append(time.perf_counter() - began)
    table = Table(
        title=f"Prediction of one image, {arguments.image_size} pixels, {arguments.experiment or 'tiny'} "
        f"(random weights), {TEXTS} texts a class, {arguments.threads} threads"
    )
    for column in ("classes", "CLIP head", "median seconds", "to the first", "texts, once"):
        table.add_column(column, justify="right")
    medians = {key: statistics.median(values[1:]) for key, values in seconds.items()}
    first = next(iter(medians.values()))
    for (number, head), value in medians.items():
        encoding = sides[number, head][3]
        table.add_row(
            str(number), "yes" if head else "no", f"{value:.3f}", f"{value / first:.3f}", f"{encoding:.2f}"
        )
    console = Console()
    console.print(table)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    console.print(f"peak memory: {peak:.2f} GiB ({Path(__file__).name})")


if __name__ == "__main__":
    main()
