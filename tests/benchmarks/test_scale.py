"""The benchmarks of growth and of joint training run at their smallest sizes."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def scale(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return import_module("scale")


@pytest.mark.parametrize(
    ("part", "size"),
    [
        ("index", 50),
        ("evaluation", 60),
        ("queries", 100),
        ("classes, training", 2),
        ("classes, prediction", 1000),
        ("windows", 4),
    ],
)
def test_every_part_measures(scale: ModuleType, part: str, size: int) -> None:
    found = scale._measure(part, size)
    assert any(name.endswith(", s") for name in found)
    assert all(value >= 0 for value in found.values()), found


def test_the_exponent_is_a_power_laws(scale: ModuleType) -> None:
    assert scale._exponent([10, 100, 1000], [5.0, 1.0, 10.0]) == "1.00"
    assert scale._exponent([1, 4], [1.0, 16.0]) == "2.00"
    assert scale._exponent([1, 4], [3.0, 3.0]) == "0.00"
    assert scale._exponent([4], [3.0]) == "-"


def test_joint_training_compares_both_ways(tmp_path: Path) -> None:
    sizes = ["--patients", "6", "6", "6", "--test-patients", "5", "--epochs", "1", "--epoch-images", "8"]
    command = [
        sys.executable,
        str(BENCHMARKS / "joint_training.py"),
        "--folder",
        str(tmp_path),
        "--seeds",
        "1",
    ]
    done = subprocess.run([*command, *sizes], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    rows = [line.split("|")[1].strip() for line in done.stdout.splitlines() if line.startswith("| ")]
    assert rows[1:3] == ["joint", "plain union"]
    assert rows[3:] == ["difference", "seeds in which joint is better"]
