"""The training step at real size: images a second, memory, shares of its parts, against ODISE's procedure."""

from __future__ import annotations

import gc
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from gpu_parts.models import (
    DiffusionWeights,
    TrainingStep,
    build_backbone,
    build_segmenter,
    compose_config,
    make_batch,
)
from gpu_parts.odise_procedure import OdiseStep
from gpu_parts.record import Part
from gpu_parts.timing import Stopwatch, median_seconds
from modise_lightning.structures import FeaturePyramid, SegmenterOutput

GOAL = "at least 2.5x"


def measure(part: Part) -> None:
    """Measure the paper's model and ODISE's."""
    for experiment in ("m_odise",) if part.tiny else ("m_odise", "odise"):
        _measure_model(part, experiment, with_largest=experiment == "m_odise")
        gc.collect()


def _measure_model(part: Part, experiment: str, *, with_largest: bool) -> None:
    config = compose_config(experiment, part.tiny, [], Path("."))
    weights = DiffusionWeights.random(config, part.device)
    backbone = build_backbone(config, weights, part.device)
    step = TrainingStep(config, build_segmenter(config, backbone, part.device), part.device)
    size, images = int(config.image_size), 2
    batch = make_batch(size, images, part.device)
    part.forget_peak()
    seconds = median_seconds(lambda: step(*batch), part, repeats=5)
    what = f"{experiment}, {size} px, batch {images}"
    part.add(f"{what}: training", images / seconds, "images/s")
    part.add_peak(what)
    with FlopCounterMode(display=False) as counter:
        step(*batch)
    part.add(f"{what}: operations", counter.get_total_flops() / images / 1e12, "TFLOP/image")
    for name, share in _shares(step, batch, repeats=3).items():
        part.add(f"{what}: share of {name}", 100 * share, "%")
    for own_head in (False, True):
        odise = OdiseStep(step, weights, own_head=own_head)
        head = "this library's head" if own_head else "transformers' head"
        part.forget_peak()
        theirs = median_seconds(lambda odise=odise: odise(*batch), part, repeats=3, warmup=1)
        part.add(
            f"{what}: ODISE's procedure, {head}",
            images / theirs,
            "images/s",
            beside=f"this library: {images / seconds:.3g} images/s",
            ratio=theirs / seconds,
            goal="" if own_head else GOAL,
        )
        part.add_peak(f"{what}: ODISE's procedure, {head}")
        del odise
        gc.collect()
    if part.device.type == "cuda":
        _profile(part, step, batch, experiment)
    if with_largest:
        _largest_batch(part, step, experiment, size)


def _shares(step: TrainingStep, batch: tuple, repeats: int) -> dict[str, float]:  # type: ignore[type-arg]
    """Take a step apart: the features are cut off, and their gradient is handed over."""
    images, targets = batch
    totals: dict[str, float] = {}
    for repeat in range(repeats + 1):
        watch = Stopwatch(step.device)
        with step.autocast():
            pyramid = step.segmenter.extract_features(images)
            watch.lap("backbone and captioner, forward")
            leaves = [level.detach().requires_grad_() for level in pyramid.levels]
            masks = step.segmenter.mask_generator(FeaturePyramid(*leaves))
            classes = step.segmenter.classifier(masks)
            watch.lap("mask generator and classifier, forward")
            output = SegmenterOutput(classes, masks.mask_embeddings, masks.mask_features)
            loss = step.criterion(output, targets)["loss"]
        watch.lap("criterion, forward")
        loss.backward()
        watch.lap("criterion, classifier and mask generator, backward")
        torch.autograd.backward(pyramid.levels, [leaf.grad for leaf in leaves])
        watch.lap("backbone, backward")
        step.finish(lambda: None, loss)
        watch.lap("clipping and optimizer")
        laps = watch.seconds()
        if repeat:  # The first one warms up.
            for name, seconds in laps.items():
                totals[name] = totals.get(name, 0.0) + seconds
    whole = sum(totals.values())
    return {name: seconds / whole for name, seconds in totals.items()}


def _profile(part: Part, step: TrainingStep, batch: tuple, experiment: str) -> None:  # type: ignore[type-arg]
    """Write what the card spends a step with, by kernel, beside the table."""
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profile:
        step(*batch)
        torch.cuda.synchronize()
    text = profile.key_averages().table(
        sort_by="self_cuda_time_total", row_limit=60, max_name_column_width=90
    )
    part.path.with_name(f"profile_{experiment}.txt").write_text(text, encoding="utf-8")


def _largest_batch(part: Part, step: TrainingStep, experiment: str, size: int) -> None:
    """Double the batch until memory or time ends."""
    images = 4
    limit = 4 if part.tiny else 32
    while images <= limit and part.seconds_left > 15:
        batch = make_batch(size, images, part.device)
        part.forget_peak()
        try:
            seconds = median_seconds(lambda batch=batch: step(*batch), part, repeats=2, warmup=1)
        except torch.OutOfMemoryError:
            part.add(f"{experiment}, {size} px, batch {images}: training", "out of memory")
            return
        part.add(f"{experiment}, {size} px, batch {images}: training", images / seconds, "images/s")
        part.add_peak(f"{experiment}, {size} px, batch {images}")
        images *= 2
