"""transformers' Mask2Former with a small Swin: random weights, its own loss and post-processing, plain loop.

Runs in the peers' environment: ``python -m peer_parts.mask2former --help``.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import (
    Mask2FormerConfig,
    Mask2FormerForUniversalSegmentation,
    Mask2FormerImageProcessor,
    SwinConfig,
)

from peer_parts.budget import ProcessorClock, peak_memory_mb
from peer_parts.exchange import Exchange, ExchangedImage
from peer_parts.peer_process import PeerRun, run_peer
from peer_parts.predictions import PredictedImage, write_prediction

# The widths of this library's swin_tiny and mask_generator=tiny, so that as many images fit the budget.
_SWIN = {"embed_dim": 32, "depths": [1, 1, 2, 1], "num_heads": [1, 2, 4, 8], "window_size": 8}
_DECODERS = {
    "feature_size": 64,
    "mask_feature_size": 64,
    "hidden_dim": 64,
    "num_queries": 20,
    "num_attention_heads": 4,
    "encoder_layers": 1,
    "encoder_feedforward_dim": 128,
    "decoder_layers": 4,  # counts the prediction of the learned queries: three layers
    "dim_feedforward": 128,
    "train_num_points": 1024,
}
_BATCH_SIZE = 8
_LEARNING_RATE = 3e-4  # ten to thirty times that of fine-tuning, as weights are random; as our swin_tiny's
_WEIGHT_DECAY = 0.05  # of Mask2Former
_GRADIENT_NORM = 1.0  # random weights have larger gradients than Mask2Former's 0.01 lets through
_WARM_UP = 0.05  # of the budget
_POWER = 0.9  # of the polynomial schedule (Chen et al. 2017, DeepLab)
_MEASURED_STEPS = 5


def main() -> None:
    """Train, predict the test images, and write what it took."""
    run = run_peer(__doc__ or "")
    if run.model != "mask2former":
        raise SystemExit(f"--model: {run.model} is not mask2former.")
    torch.manual_seed(run.seed)
    labels = sorted(run.exchange.categories)
    processor = Mask2FormerImageProcessor(do_resize=False, do_reduce_labels=False, ignore_index=None)
    step_seconds = _measure(run, processor, labels)
    model, clock, steps = _train(run, processor, labels, step_seconds)
    memory = peak_memory_mb()
    seconds = _predict(run, processor, model, labels)
    run.write_cost(
        processor_seconds=clock.seconds,
        peak_memory_mb=memory,
        seconds_per_image=seconds,
        optimizer_steps=steps,
        images_seen=steps * _BATCH_SIZE,
        training={
            "measured_step_seconds": step_seconds,
            "batch_size": _BATCH_SIZE,
            "parameters": sum(weights.numel() for weights in model.parameters()),
        },
        packages=("transformers", "torch", "numpy"),
    )


def build(size: int, num_labels: int) -> Mask2FormerForUniversalSegmentation:
    """Build the network with random weights."""
    swin = SwinConfig(
        image_size=size,
        out_features=["stage1", "stage2", "stage3", "stage4"],
        drop_path_rate=0.0,  # five blocks, trained for minutes
        **_SWIN,
    )
    config = Mask2FormerConfig(backbone_config=swin, num_labels=num_labels, **_DECODERS)
    return Mask2FormerForUniversalSegmentation(config)


def learning_rate_factor(share: float) -> float:
    """Rise linearly, then fall polynomially to 0.

    Args:
        share: Of the budget that is spent, at the end of the step.
    """
    if share < _WARM_UP:
        return share / _WARM_UP
    return (1 - (min(share, 1.0) - _WARM_UP) / (1 - _WARM_UP)) ** _POWER


def batches(
    exchange: Exchange, images: list[ExchangedImage], labels: list[int], seed: int
) -> Iterator[list[tuple[NDArray[np.uint8], NDArray[np.uint8], dict[int, int]]]]:
    """Give batches without end: shuffled images, half of them flipped.

    Yields:
        Of each image (h, w, 3), its segments (h, w), and the class of each segment.
    """
    generator = np.random.default_rng(seed)
    position_of = {index: position for position, index in enumerate(labels)}
    waiting: list[int] = []
    while True:
        batch = []
        while len(batch) < _BATCH_SIZE:
            waiting = waiting or generator.permutation(len(images)).tolist()
            image = images[waiting.pop()]
            pixels, segments = exchange.read_image(image), exchange.read_segments(image)
            if generator.random() < 0.5:
                pixels, segments = pixels[:, ::-1], segments[:, ::-1]
            classes = {id_: position_of[label] for id_, label in enumerate(image.labels, start=1)}
            batch.append((np.ascontiguousarray(_in_colours(pixels)), np.ascontiguousarray(segments), classes))
        yield batch


def step(
    model: Mask2FormerForUniversalSegmentation,
    processor: Mask2FormerImageProcessor,
    optimizer: torch.optim.Optimizer,
    batch: list[tuple[NDArray[np.uint8], NDArray[np.uint8], dict[int, int]]],
) -> float:
    """Make one step; give its loss."""
    masks, classes = [], []
    for _, segments, class_of in batch:
        present = [id_ for id_ in class_of if (segments == id_).any()]
        masks.append(torch.from_numpy(np.stack([segments == id_ for id_ in present]).astype(np.float32)))
        classes.append(torch.tensor([class_of[id_] for id_ in present]))
    pixels = processor([image for image, _, _ in batch], return_tensors="pt")["pixel_values"]
    output = model(pixel_values=pixels, mask_labels=masks, class_labels=classes)
    optimizer.zero_grad(set_to_none=True)
    output.loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), _GRADIENT_NORM)
    optimizer.step()
    return float(output.loss.detach())


def _optimizer(model: Mask2FormerForUniversalSegmentation) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters(), lr=_LEARNING_RATE, weight_decay=_WEIGHT_DECAY, fused=True)


def _measure(run: PeerRun, processor: Mask2FormerImageProcessor, labels: list[int]) -> float:
    """Give the processor seconds of a step, of a network that is thrown away."""
    model = build(run.exchange.size, len(labels)).train()
    source = batches(run.exchange, run.exchange.split(run.fold, "train"), labels, run.seed)
    optimizer, clock = _optimizer(model), ProcessorClock()
    for number in range(1 + _MEASURED_STEPS):
        if number == 1:
            clock.start()
        step(model, processor, optimizer, next(source))
    clock.stop()
    return clock.seconds / _MEASURED_STEPS


def _train(
    run: PeerRun, processor: Mask2FormerImageProcessor, labels: list[int], step_seconds: float
) -> tuple[Mask2FormerForUniversalSegmentation, ProcessorClock, int]:
    """Train until the budget is spent; give the number of steps too."""
    torch.manual_seed(run.seed)
    model = build(run.exchange.size, len(labels)).train()
    source = batches(run.exchange, run.exchange.split(run.fold, "train"), labels, run.seed)
    optimizer, clock, budget = _optimizer(model), ProcessorClock(), run.minutes * 60
    rates = [group["lr"] for group in optimizer.param_groups]
    clock.start()
    number = 0
    while number == 0 or clock.read() + step_seconds / 2 < budget:
        factor = learning_rate_factor((clock.read() + step_seconds) / budget)
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * factor
        loss = step(model, processor, optimizer, next(source))
        number += 1
        step_seconds = clock.read() / number
        if number % 50 == 1:
            print(f"step {number}, {clock.read():.0f} of {budget:.0f} s: loss {loss:.3f}", flush=True)
    clock.stop()
    return model, clock, number


def _predict(
    run: PeerRun,
    processor: Mask2FormerImageProcessor,
    model: Mask2FormerForUniversalSegmentation,
    labels: list[int],
) -> float:
    """Predict the test images one by one; give processor seconds an image."""
    model.eval()
    images = run.exchange.split(run.fold, "test")
    spent = 0.0
    for image in images:
        pixels = run.exchange.read_image(image)
        before = time.process_time()
        prediction = predict_image(model, processor, pixels, (image.height, image.width), labels)
        spent += time.process_time() - before
        write_prediction(run.predictions / f"{image.key}.npz", prediction)
    return spent / len(images)


@torch.inference_mode()
def predict_image(
    model: Mask2FormerForUniversalSegmentation,
    processor: Mask2FormerImageProcessor,
    pixels: NDArray[np.uint8],
    size: tuple[int, int],
    labels: list[int],
) -> PredictedImage:
    """Predict an image with transformers' own post-processing.

    Args:
        model: Trained.
        processor: Its processor.
        pixels: (h, w) 8-bit grey.
        size: Height and width of the result.
        labels: Index of each class in the prepared dataset.
    """
    output = model(**processor([_in_colours(pixels)], return_tensors="pt"))
    sizes = [size]
    # Down to a score of 0: average precision and FROC rank all of them.
    (instances,) = processor.post_process_instance_segmentation(
        output, threshold=0.0, target_sizes=sizes, return_binary_maps=True
    )
    (panoptic,) = processor.post_process_panoptic_segmentation(
        output, label_ids_to_fuse=set(), target_sizes=sizes
    )
    (semantic,) = processor.post_process_semantic_segmentation(
        output, target_sizes=sizes, return_segmentation_scores=True
    )
    found: list[dict[str, Any]] = instances["segments_info"]
    masks = instances["segmentation"].numpy() > 0.5 if found else np.zeros((0, *size), dtype=bool)
    segments, info = _numbered(panoptic["segmentation"].numpy(), panoptic["segments_info"])
    return PredictedImage(
        masks=masks.reshape(len(found), *size),
        labels=np.array([labels[each["label_id"]] for each in found], dtype=np.int64),
        scores=np.array([each["score"] for each in found], dtype=np.float32),
        segments=segments,
        segment_labels=np.array([labels[each["label_id"]] for each in info], dtype=np.int64),
        segment_scores=np.array([each["score"] for each in info], dtype=np.float32),
        semantic=dict(zip(labels, semantic.segmentation_scores.numpy(), strict=True)),
    )


def _numbered(
    segmentation: NDArray[Any], info: list[dict[str, Any]]
) -> tuple[NDArray[np.int32], list[dict[str, Any]]]:
    """Number the segments that have pixels 1..M, in the order of the list; 0 is none."""
    segments = np.zeros(segmentation.shape, dtype=np.int32)
    kept = [each for each in info if (segmentation == each["id"]).any()]
    for position, each in enumerate(kept, start=1):
        segments[segmentation == each["id"]] = position
    return segments, kept


def _in_colours(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.repeat(pixels[..., None], 3, axis=-1)


if __name__ == "__main__":
    main()
