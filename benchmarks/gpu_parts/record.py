"""What a part of the GPU benchmark writes down while it runs, so that the end of its time loses nothing."""

from __future__ import annotations

import json
import platform
import subprocess
import time
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import torch


@dataclass(frozen=True)
class Row:
    """One measured number.

    Attributes:
        name: What was measured.
        value: The number, or text such as "out of memory".
        unit: Of the number.
        beside: What it is compared with, as text; empty for nothing.
        ratio: How many times better than that; None for nothing.
        goal: What was hoped for; empty for nothing.
    """

    name: str
    value: float | str
    unit: str = ""
    beside: str = ""
    ratio: float | None = None
    goal: str = ""


@dataclass
class Part:
    """The open record of a part.

    Attributes:
        path: JSON file that every new row is written to.
        device: ``cuda`` or ``cpu``.
        tiny: Whether the sizes are those of a trial run, whose numbers mean nothing.
        deadline: ``time.monotonic()`` at which the part should have ended.
        rows: What is measured so far.
    """

    path: Path
    device: torch.device
    tiny: bool
    deadline: float
    rows: list[Row] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)

    @property
    def seconds_left(self) -> float:
        """Seconds until the part should have ended."""
        return self.deadline - time.monotonic()

    def add(
        self,
        name: str,
        value: float | str,
        unit: str = "",
        *,
        beside: str = "",
        ratio: float | None = None,
        goal: str = "",
    ) -> None:
        """Add a row and write the file."""
        self.rows.append(Row(name, value, unit, beside, ratio, goal))
        shown = value if isinstance(value, str) else f"{value:.4g}"
        print(f"[{time.monotonic() - self.started:6.1f} s] {name}: {shown} {unit}  {beside}", flush=True)
        self.write(complete=False)

    def write(self, *, complete: bool, error: str | None = None) -> None:
        """Write what is measured so far."""
        content = {
            "environment": describe_environment(self.device, self.tiny),
            "complete": complete,
            "error": error,
            "seconds": time.monotonic() - self.started,
            "rows": [asdict(row) for row in self.rows],
        }
        temporary = self.path.with_suffix(".tmp")
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        temporary.replace(self.path)

    def synchronize(self) -> None:
        """Wait for the device."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def add_peak(self, name: str) -> None:
        """Add the largest memory of tensors since ``forget_peak``; nothing on a CPU."""
        if self.device.type == "cuda":
            self.add(f"{name}: peak memory", torch.cuda.max_memory_allocated() / 1e9, "GB")

    def forget_peak(self) -> None:
        """Start to measure the largest memory anew."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()


def describe_environment(device: torch.device, tiny: bool) -> dict[str, Any]:
    """Name what decides the numbers: the device, its driver, and versions."""
    described: dict[str, Any] = {
        "device": platform.processor() or platform.machine(),
        "driver": None,
        "python": platform.python_version(),
        "tiny": tiny,
    }
    for package in ("torch", "triton", "diffusers", "transformers", "lightning"):
        try:
            described[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            described[package] = None
    if device.type == "cuda":
        described["device"] = torch.cuda.get_device_name()
        described["cuda"] = torch.version.cuda
        asked = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        answer = subprocess.run(asked, capture_output=True, text=True, check=False)
        described["driver"] = answer.stdout.strip().splitlines()[0] if answer.stdout.strip() else "unknown"
    return described
