"""The GPU benchmark runs to its end on a CPU at tiny sizes, keeps what it has measured, and resumes."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
PARTS = ["correctness", "training", "cost", "settings", "kernels", "waiting", "prediction"]


def command(output: Path, *more: str) -> list[str]:
    options = ["--device", "cpu", "--tiny", "--output", str(output), *more]
    return [sys.executable, str(BENCHMARKS / "gpu.py"), *options]


def test_every_part_measures_on_a_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one process, which has imported the libraries once."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from importlib import import_module

    from gpu_parts.record import Part

    for name in PARTS:
        part = Part(tmp_path / f"{name}.json", torch.device("cpu"), True, time.monotonic() + 300)
        import_module(f"gpu_parts.{name}").measure(part)
        part.write(complete=True)
        content = json.loads(part.path.read_text())
        assert content["complete"]
        assert content["environment"]["tiny"]
        assert content["rows"]
        for row in content["rows"]:
            assert isinstance(row["value"], str) or row["value"] >= 0, row
            if "against float64" in row["name"]:
                assert row["value"] < float(row["goal"].removeprefix("under "))


def test_the_command_writes_tables_and_resumes(tmp_path: Path) -> None:
    first = subprocess.run(
        command(tmp_path, "--parts", "cost", "--minutes", "3"), capture_output=True, text=True, check=True
    )
    assert "== cost: at most" in first.stdout
    table = (tmp_path / "gpu.md").read_text()
    assert "Tiny sizes: the numbers mean nothing" in table
    assert "matrix product" in table
    again = subprocess.run(
        command(tmp_path, "--parts", "cost", "--minutes", "3"), capture_output=True, text=True, check=True
    )
    assert "cost: complete already" in again.stdout
    assert (tmp_path / "gpu.md").read_text() == table


def test_without_a_gpu_it_says_so(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    options = ["--output", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "gpu.py"), *options], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "needs a CUDA device" in done.stderr
