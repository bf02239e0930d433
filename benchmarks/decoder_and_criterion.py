"""Transformer decoder and criterion against transformers' modules: FLOPs, bytes, operator calls and time.

Run ``python benchmarks/decoder_and_criterion.py``. Both sides do forward and backward in the same process,
with the same weights and targets. ``--size 512`` for a smaller image.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode
from transformers import Mask2FormerConfig
from transformers.models.mask2former.modeling_mask2former import Mask2FormerLoss, Mask2FormerTransformerModule

from modise_lightning.losses.criterion import SetCriterion
from modise_lightning.mask_generator.transformer_decoder import TransformerDecoder
from modise_lightning.structures import PanopticSegmentation, SegmenterOutput

CLASSES = 3
WEIGHTS = {"loss_cross_entropy": 2.0, "loss_mask": 5.0, "loss_dice": 5.0}


class OperatorCounter(TorchDispatchMode):
    """Counts operator calls that compute something, and the bytes they write."""

    def __init__(self) -> None:
        """Start at 0."""
        super().__init__()
        self.calls = 0
        self.bytes_written = 0

    def __torch_dispatch__(
        self,
        func: torch._ops.OpOverload,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> object:
        """Run and count an operator; views compute nothing."""
        result = func(*args, **(kwargs or {}))
        if not func.is_view:
            self.calls += 1
            outputs = result if isinstance(result, tuple | list) else [result]
            self.bytes_written += sum(each.nbytes for each in outputs if isinstance(each, Tensor))
        return result


def make_targets(images: int, size: int) -> list[PanopticSegmentation]:
    """Make three lesions an image."""
    targets = []
    for image in range(images):
        ids = torch.zeros(size, size, dtype=torch.int64)
        for index in range(3):
            top, left = size // 8 + index * size // 4, size // 5 + image * size // 16
            ids[top : top + size // 6, left : left + size // 7] = index + 1
        targets.append(PanopticSegmentation(ids, torch.arange(3)))
    return targets


class Setup:
    """Both sides with the same weights, features and targets."""

    def __init__(self, *, size: int, images: int, queries: int, channels: int, device: str) -> None:
        """Build them."""
        config = Mask2FormerConfig(
            feature_size=channels,
            mask_feature_size=channels,
            hidden_dim=channels,
            num_queries=queries,
            num_labels=CLASSES,
            dropout=0.0,
            pre_norm=False,
        )
        torch.manual_seed(0)
        self.theirs = Mask2FormerTransformerModule(in_features=channels, config=config).to(device)
        self.ours = TransformerDecoder(in_features=channels, config=config).to(device)
        self.ours.load_state_dict(self.theirs.state_dict())
        self.classifier = nn.Linear(channels, CLASSES + 1).to(device)
        self.their_loss = Mask2FormerLoss(config, WEIGHTS).to(device)
        self.our_loss = SetCriterion(
            class_weight=2.0,
            mask_weight=5.0,
            dice_weight=5.0,
            no_object_weight=config.no_object_weight,
            num_points=config.train_num_points,
            oversample_ratio=config.oversample_ratio,
            importance_ratio=config.importance_sample_ratio,
        )
        sides = [size // stride for stride in (32, 16, 8, 4)]
        self.features = [torch.randn(images, channels, side, side, device=device) for side in sides]
        for each in self.features:
            each.requires_grad_()
        self.targets = [target.to(device) for target in make_targets(images, size)]
        # Mask2Former's loss takes masks; making them from the segment map belongs to our side.
        self.masks = [target.masks.float() for target in self.targets]
        self.labels = [target.labels for target in self.targets]

    def run_ours(self) -> Tensor:
        """Decode, compare and differentiate; returns the loss."""
        states, embeddings = self.ours(self.features[:3], self.features[3])
        output = SegmenterOutput(self.classifier(states), embeddings, self.features[3])
        loss: Tensor = self.our_loss(output, self.targets)["loss"]
        loss.backward()
        return loss.detach()

    def run_theirs(self) -> Tensor:
        """Do the same with transformers' modules as they are."""
        decoded = self.theirs(self.features[:3], self.features[3])
        classes = [self.classifier(states).transpose(0, 1) for states in decoded.intermediate_hidden_states]
        masks = decoded.masks_queries_logits
        auxiliary = [
            {"masks_queries_logits": mask, "class_queries_logits": logits}
            for mask, logits in zip(masks[:-1], classes[:-1], strict=True)
        ]
        losses = self.their_loss(masks[-1], classes[-1], self.masks, self.labels, auxiliary)
        loss: Tensor = sum(
            (value * next(weight for key, weight in WEIGHTS.items() if name.startswith(key)))
            for name, value in losses.items()
        )  # type: ignore[assignment]
        loss.backward()
        return loss.detach()

    def criterion_calls(self) -> tuple[int, int]:
        """Count the operator calls of the two criteria alone, forward and backward; ours, theirs."""
        with torch.no_grad():
            states, embeddings = self.ours(self.features[:3], self.features[3])
            classes = self.classifier(states)
            masks = torch.einsum("lbqc,bchw->lbqhw", embeddings, self.features[3])
        inputs = [each.detach().requires_grad_() for each in (classes, embeddings, self.features[3])]
        with OperatorCounter() as ours:
            self.our_loss(SegmenterOutput(*inputs), self.targets)["loss"].backward()
        with OperatorCounter() as theirs:
            logits = [each.detach().requires_grad_() for each in masks]
            scores = [each.detach().requires_grad_() for each in classes]
            auxiliary = [
                {"masks_queries_logits": mask, "class_queries_logits": score}
                for mask, score in zip(logits[:-1], scores[:-1], strict=True)
            ]
            losses = self.their_loss(logits[-1], scores[-1], self.masks, self.labels, auxiliary)
            sum(losses.values()).backward()
        return ours.calls, theirs.calls


def seconds(run: Callable[[], Tensor], device: str) -> float:
    """Time one run."""
    start = time.perf_counter()
    run()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=1024, help="side of the images in pixels")
    parser.add_argument("--images", type=int, default=2, help="images a step")
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--channels", type=int, default=256, help="of query states and mask features")
    parser.add_argument("--repeats", type=int, default=5, help="timed runs of each side, one after the other")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args()
    setup = Setup(
        size=arguments.size,
        images=arguments.images,
        queries=arguments.queries,
        channels=arguments.channels,
        device=arguments.device,
    )
    measured: dict[str, tuple[float, float]] = {}
    sides = (setup.run_ours, setup.run_theirs)
    flops, calls, written = [], [], []
    for run in sides:
        # The counter sees the products of attention only where they are separate operators.
        with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
            run()
        flops.append(counter.get_total_flops() / 1e9)
        with OperatorCounter() as operators:
            run()
        calls.append(operators.calls)
        written.append(operators.bytes_written / 1e9)
    times: list[list[float]] = [[], []]
    for _ in range(arguments.repeats):
        for own, run in zip(times, sides, strict=True):
            own.append(seconds(run, arguments.device))
    measured["GFLOP"] = (flops[0], flops[1])
    measured["GB written"] = (written[0], written[1])
    measured["operator calls"] = (calls[0], calls[1])
    measured["seconds, median"] = (statistics.median(times[0]), statistics.median(times[1]))
    four = Setup(size=256, images=4, queries=100, channels=64, device=arguments.device)
    measured["operator calls, criterion, batch 4"] = four.criterion_calls()

    table = Table(
        title=f"Transformer decoder + criterion, forward + backward, {arguments.size} x {arguments.size}, "
        f"batch {arguments.images}, {arguments.queries} queries, {arguments.device}"
    )
    for column in ("", "ours", "transformers", "ours / transformers"):
        table.add_column(column, justify="right" if column else "left")
    for name, (ours, theirs) in measured.items():
        table.add_row(name, f"{ours:.4g}", f"{theirs:.4g}", f"{ours / theirs:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
