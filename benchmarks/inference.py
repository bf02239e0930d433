"""Panoptic, instance and semantic results of one image against transformers' post-processing.

Run ``python benchmarks/inference.py``. Both sides get the same logits in the same process, one after the
other. transformers makes its results at 384 x 384 and enlarges those; ours are made at full size. Both give
up to 100 instances as masks and the classes' scores of every pixel.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from types import SimpleNamespace

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from transformers import Mask2FormerImageProcessor

from modise_lightning.inference.inference import Inference
from modise_lightning.structures import SegmenterOutput

CLASSES = 3


def make_logits(queries: int, side: int, sure: int) -> tuple[Tensor, Tensor]:
    """Make class logits (Q, K + 1), of which few are sure of an object, and discs as masks (Q, h, w)."""
    generator = torch.Generator().manual_seed(0)
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    center = side * torch.rand(queries, 2, generator=generator)
    radius = side / 50 + side / 12 * torch.rand(queries, generator=generator)
    distance = torch.hypot(y - center[:, :1, None], x - center[:, 1:, None])
    masks = (radius[:, None, None] - distance).clamp(-10, 10)
    classes = torch.zeros(queries, CLASSES + 1)
    classes[:, -1] = 5.0
    for index in range(sure):
        classes[index, index % CLASSES], classes[index, -1] = 6.0, 0.0
    return classes + 0.3 * torch.randn(classes.shape, generator=generator), masks


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=1024, help="side of the image in pixels")
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--sure", type=int, default=4, help="queries that are sure of an object")
    parser.add_argument("--repeats", type=int, default=7, help="timed runs of each side, one after the other")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    device, size = torch.device(arguments.device), (arguments.size, arguments.size)

    classes, masks = make_logits(arguments.queries, arguments.size // 4, arguments.sure)
    classes, masks = classes.to(device), masks.to(device)
    # Our output holds factors of the masks, whose product is part of our side.
    embeddings = torch.eye(arguments.queries, device=device)[None, None]
    ours_output = SegmenterOutput(classes[None, None], embeddings, masks[None])
    theirs_output = SimpleNamespace(class_queries_logits=classes[None], masks_queries_logits=masks[None])
    inference = Inference(
        score_threshold=0.5,
        no_object_competes=False,
        overlap_threshold=0.8,
        mask_threshold=0.5,
        max_instances=100,
        isthing=[True] * CLASSES,
    )
    processor = Mask2FormerImageProcessor()

    @torch.no_grad()
    def ours() -> object:
        return inference(ours_output, size, [size], [size])

    @torch.no_grad()
    def theirs() -> object:
        return (
            processor.post_process_panoptic_segmentation(
                theirs_output, threshold=0.5, label_ids_to_fuse=set(), target_sizes=[size]
            ),
            processor.post_process_instance_segmentation(
                theirs_output, threshold=0.0, return_binary_maps=True, target_sizes=[size]
            ),
            processor.post_process_semantic_segmentation(
                theirs_output, return_segmentation_scores=True, target_sizes=[size]
            ),
        )

    def seconds(run: Callable[[], object]) -> tuple[float, float]:
        wall, cpu = time.perf_counter(), time.process_time()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - wall, time.process_time() - cpu

    sides = (ours, theirs)
    for run in sides:
        run()
    times = [[seconds(run) for run in sides] for _ in range(arguments.repeats)]

    table = Table(
        title=f"Inference, {arguments.size} x {arguments.size}, {arguments.queries} queries of which "
        f"{arguments.sure} are sure, {device}, {arguments.threads} threads"
    )
    for column in ("median", "ours", "transformers", "transformers / ours"):
        table.add_column(column, justify="left" if column == "median" else "right")
    for index, name in enumerate(("wall seconds", "processor seconds")):
        own, other = (statistics.median(row[side][index] for row in times) for side in range(2))
        table.add_row(name, f"{own:.3f}", f"{other:.3f}", f"{other / own:.1f}")
    Console().print(table)


if __name__ == "__main__":
    main()
