"""Where the card waits: synchronisations of a step, and images that the loader has not ready."""

from __future__ import annotations

import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch

from gpu_parts.models import (
    DiffusionWeights,
    TrainingStep,
    build_backbone,
    build_segmenter,
    compose_config,
    make_batch,
)
from gpu_parts.record import Part
from gpu_parts.timing import median_seconds
from loader import CATEGORIES, write_dataset
from modise_lightning.data.loading.datamodule import PanopticDataModule
from modise_lightning.data.loading.transforms import EvaluationTransform, TrainTransform
from modise_lightning.data.prepared.dataset import PreparedDataset
from modise_lightning.structures import SegmenterOutput


def measure(part: Part) -> None:
    """Count, then time the step with tensors that are there and with the loader's."""
    config = compose_config("m_odise", part.tiny, [], Path("."))
    weights = DiffusionWeights.random(config, part.device)
    backbone = build_backbone(config, weights, part.device)
    step = TrainingStep(config, build_segmenter(config, backbone, part.device), part.device)
    size = int(config.image_size)
    batch = make_batch(size, 2, part.device)
    if part.device.type == "cuda":
        _count(part, step, batch)
    random = median_seconds(lambda: step(*batch), part, repeats=8)
    part.add("training step, m_odise, batch 2, tensors on the card", 1000 * random, "ms")
    with tempfile.TemporaryDirectory() as folder:
        write_dataset(Path(folder), 8 if part.tiny else 80)
        dataset = PreparedDataset.open(Path(folder), CATEGORIES)
        for workers in (0,) if part.tiny else (4, 8):
            loaded = _step_with_loader(part, step, dataset, size, workers)
            part.add(
                f"training step with the real loader, {workers} processes",
                1000 * loaded,
                "ms",
                beside=f"tensors on the card: {1000 * random:.4g} ms",
                ratio=random / loaded,
            )
            part.add(
                f"the card waits for the loader, {workers} processes",
                100 * max(0.0, 1 - random / loaded),
                "%",
                goal="under 5 %",
            )


def _count(part: Part, step: TrainingStep, batch: tuple) -> None:  # type: ignore[type-arg]
    """Count calls that make the host wait for the card, by PyTorch's own warnings."""
    images, targets = batch
    step(images, targets)
    with torch.no_grad(), step.autocast():
        masks = step.segmenter.mask_generator(step.segmenter.extract_features(images))
        output = SegmenterOutput(step.segmenter.classifier(masks), masks.mask_embeddings, masks.mask_features)
    inputs = [
        each.detach().float().requires_grad_()
        for each in (output.class_logits, output.mask_embeddings, output.mask_features)
    ]
    counted: tuple[tuple[str, Callable[[], object], str], ...] = (
        (
            "criterion, forward and backward",
            lambda: step.criterion(SegmenterOutput(*inputs), targets)["loss"].backward(),
            "one",
        ),
        ("backbone and captioner, forward", lambda: step.segmenter.extract_features(images), "none"),
        ("whole training step", lambda: step(images, targets), "one"),
    )
    for name, run, goal in counted:
        torch.cuda.synchronize()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                run()
            finally:
                torch.cuda.set_sync_debug_mode("default")
        places = [
            f"{Path(each.filename).name}:{each.lineno}"
            for each in caught
            if "called a synchronizing" in str(each.message)
        ]
        part.add(
            f"synchronisations: {name}", len(places), "", beside=", ".join(sorted(set(places))), goal=goal
        )


def _step_with_loader(
    part: Part, step: TrainingStep, dataset: PreparedDataset, size: int, workers: int
) -> float:
    """Give the seconds a step of an epoch, without its first steps."""
    data = PanopticDataModule(
        dataset=dataset,
        fold=0,
        split="folds",
        train_transform=TrainTransform(
            crop_size=size,
            scale_range=(0.1, 2.0),
            flip_probability=0.5,
            brightness=0.1,
            contrast=0.2,
            trim_background=False,
            padding_value=0.0,
            keep_emptied_segments=False,
        ),
        evaluation_transform=EvaluationTransform(
            image_size=size, shorter_side=None, longer_side=1.0, trim_background=False
        ),
        size_multiple=32,
        batch_size=2,
        evaluation_batch_size=1,
        num_workers=workers,
        pin_memory=part.device.type == "cuda",
        seed=0,
    )
    skipped, steps, start = 4 if not part.tiny else 1, 0, 0.0
    for index, batch in enumerate(data.train_dataloader()):
        if index == skipped:
            part.synchronize()
            start, steps = time.perf_counter(), 0
        images = batch.images.to(part.device, non_blocking=True)
        step(images, [target.to(part.device, non_blocking=True) for target in batch.targets])
        steps += 1
    part.synchronize()
    return (time.perf_counter() - start) / steps
