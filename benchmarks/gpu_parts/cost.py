"""The share of the card's arithmetic that a training step reaches, for the cost of the study."""

from __future__ import annotations

import json

import torch

from gpu_parts.record import Part
from gpu_parts.timing import median_seconds


def measure(part: Part) -> None:
    """Measure the ceiling, and divide what the training part found by it."""
    side = 256 if part.tiny else 8192
    left, right = (torch.randn(side, side, device=part.device).bfloat16() for _ in range(2))
    peak = 2 * side**3 / median_seconds(lambda: left @ right, part, repeats=10) / 1e12
    part.add(f"matrix product of {side} x {side} in bfloat16", peak, "TFLOP/s")
    path = part.path.with_name("training.json")
    if not path.is_file():
        part.add("utilisation", "not measured: the part 'training' has no results")
        return
    rows = {row["name"]: row["value"] for row in json.loads(path.read_text(encoding="utf-8"))["rows"]}
    for name, speed in rows.items():
        model, _, kind = name.rpartition(": ")
        operations = rows.get(f"{model}: operations")
        if kind == "training" and isinstance(operations, float) and isinstance(speed, float):
            part.add(
                f"{model}: utilisation",
                100 * operations * speed / peak,
                "%",
                beside=f"{operations * speed:.4g} of {peak:.4g} TFLOP/s",
            )
