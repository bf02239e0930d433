"""The tests that need a GPU."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from gpu_parts.record import Part

REPOSITORY = Path(__file__).parents[2]


def measure(part: Part) -> None:
    """Run the tests that are marked as needing CUDA, and keep what pytest printed."""
    files = [
        str(path.relative_to(REPOSITORY))
        for path in sorted((REPOSITORY / "tests").rglob("test_*.py"))
        if "mark.cuda" in path.read_text(encoding="utf-8")
    ]
    options = ["-m", "cuda", "-v", "-p", "no:cacheprovider", "-p", "no:xdist", "--durations=0"]
    log = part.path.with_suffix(".txt")
    with log.open("w", encoding="utf-8") as output:
        subprocess.run(
            [sys.executable, "-m", "pytest", *options, *files],
            cwd=REPOSITORY,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
            timeout=max(10.0, part.seconds_left),
        )
    text = log.read_text(encoding="utf-8")
    summary = [
        line for line in text.splitlines() if " passed" in line or " failed" in line or " error" in line
    ]
    part.add(
        "tests that need CUDA",
        summary[-1].strip("= ") if summary else "none ran: see its log",
        goal="all pass",
    )
