"""The number of masks is averaged over all processes; a file of its own, so that they start fast."""

import json
import sys
from pathlib import Path

import pytest
import torch

from forked import Forked
from modise_lightning.losses.criterion import SetCriterion
from modise_lightning.structures import PanopticSegmentation, SegmenterOutput


def dice_of(count: int) -> float:
    """Dice loss of an image with so many segments."""
    criterion = SetCriterion(
        class_weight=2.0,
        mask_weight=5.0,
        dice_weight=5.0,
        no_object_weight=0.1,
        num_points=64,
        oversample_ratio=3.0,
        importance_ratio=0.75,
    )
    generator = torch.Generator().manual_seed(0)
    output = SegmenterOutput(
        class_logits=torch.randn(1, 1, 6, 3, generator=generator),
        mask_embeddings=torch.randn(1, 1, 6, 5, generator=generator),
        mask_features=torch.randn(1, 5, 8, 12, generator=generator),
    )
    ids = torch.zeros(32, 48, dtype=torch.int64)
    for index in range(count):
        ids[:, 10 * index : 10 * index + 8] = index + 1
    target = PanopticSegmentation(ids, torch.zeros(count, dtype=torch.int64))
    return criterion(output, [target], generator)["dice"].item()


# Segments in both processes, and what both divide by.
CASES = {(3, 1): 2.0, (3, 0): 1.5, (1, 0): 1.0, (0, 0): 1.0}


def test_masks_are_counted_over_all_processes(tmp_path: Path) -> None:
    processes = [Forked(__file__, str(rank), str(tmp_path)) for rank in range(2)]
    for done in [process.wait() for process in processes]:
        assert done.returncode == 0, done.stderr
    found = [json.loads((tmp_path / str(rank)).read_text()) for rank in range(2)]
    for case, (counts, divisor) in enumerate(CASES.items()):
        for rank, count in enumerate(counts):
            # Alone, a process divides by its own masks.
            assert found[rank][case] == pytest.approx(dice_of(count) * max(count, 1) / divisor, rel=1e-5)


def run_process(rank: int, folder: Path) -> None:
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2
    )
    (folder / str(rank)).write_text(json.dumps([dice_of(counts[rank]) for counts in CASES]))
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    run_process(int(sys.argv[1]), Path(sys.argv[2]))
