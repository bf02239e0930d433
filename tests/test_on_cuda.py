"""The whole library on a GPU: training, resuming, evaluation, prediction, the feature store, and waiting."""

import json
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import DictConfig

from modise_lightning.configuration.trained_model import load_trained
from modise_lightning.data.images.reading import read_image_file
from modise_lightning.data.loading.transforms import EvaluationTransform
from modise_lightning.losses.criterion import SetCriterion
from modise_lightning.prediction.predictor import Predictor
from modise_lightning.structures import PanopticSegmentation, SegmenterOutput
from modise_lightning.train import train
from modise_lightning.training.checkpoint import read_checkpoint
from tiny_runs import ONE_STEP, phantom_overrides

pytestmark = pytest.mark.cuda
Compose = Callable[..., DictConfig]
ON_GPU = [*ONE_STEP, "trainer.accelerator=gpu", "callbacks.wandb_checkpoints=null", "name=run"]


def losses(folder: Path) -> list[float]:
    lines = (folder / "metrics.csv").read_text().splitlines()
    column = lines[0].split(",").index("train/loss")
    return [float(line.split(",")[column]) for line in lines[1:] if line.split(",")[column]]


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed"])
def test_trains_and_tests(
    precision: str, phantom_root: Path, compose_config: Compose, tmp_path: Path
) -> None:
    overrides = [*phantom_overrides(phantom_root), *ON_GPU, f"trainer.precision={precision}"]
    train(compose_config("train", [*overrides, "trainer.limit_train_batches=3"], tmp_path))
    assert (tmp_path / "checkpoints" / "best.ckpt").is_file()
    results = json.loads((tmp_path / "results.json").read_text())["results"]
    assert np.isfinite(results["trained"]["dice"]) or results["trained"]["dice"] is None


def test_a_resumed_run_is_as_if_never_interrupted(
    phantom_root: Path, compose_config: Compose, tmp_path: Path
) -> None:
    overrides = [*phantom_overrides(phantom_root), *ON_GPU, "trainer.limit_train_batches=2", "baselines=[]"]
    # The fixed learning rate does not depend on the number of epochs.
    overrides += ["optimizer.decay=step", "optimizer.decay_milestones=[]"]
    whole, half, rest = (tmp_path / name for name in ("whole", "half", "rest"))
    train(compose_config("train", [*overrides, "trainer.max_epochs=2"], whole))
    train(compose_config("train", [*overrides, "trainer.max_epochs=1"], half))
    resume = f"resume={half / 'checkpoints' / 'last.ckpt'}"
    train(compose_config("train", [*overrides, "trainer.max_epochs=2", resume], rest))
    expected = read_checkpoint(whole / "checkpoints" / "last.ckpt")["state_dict"]
    found = read_checkpoint(rest / "checkpoints" / "last.ckpt")["state_dict"]
    for key, value in expected.items():
        # Gradients of deformable attention are summed in no fixed order on a GPU.
        torch.testing.assert_close(found[key], value, rtol=1e-2, atol=1e-3, msg=key)


def test_predicts_what_the_cpu_predicts(phantom_root: Path, compose_config: Compose, tmp_path: Path) -> None:
    overrides = [*phantom_overrides(phantom_root), *ON_GPU, "trainer.limit_train_batches=20"]
    train(compose_config("train", overrides, tmp_path))
    image = read_image_file(next((phantom_root / "images").glob("*.png")))
    found = []
    for device in ("cpu", "cuda"):
        module, _, _ = load_trained(tmp_path / "checkpoints" / "best.ckpt", {})
        transform = EvaluationTransform(
            image_size=128, shorter_side=None, longer_side=1.0, trim_background=False
        )
        predictor = Predictor(
            module.segmenter, module.inference, transform=transform, size_multiple=32, device=device
        )
        found.append(predictor(image))
    on_cpu, on_gpu = found
    torch.testing.assert_close(on_gpu.semantic.cpu(), on_cpu.semantic, rtol=0.02, atol=0.02)
    agreed = on_gpu.panoptic.segment_ids.cpu() == on_cpu.panoptic.segment_ids
    assert agreed.float().mean() > 0.99


def test_the_feature_store_changes_nothing_but_rounding(
    phantom_root: Path, compose_config: Compose, tmp_path: Path
) -> None:
    overrides = [*phantom_overrides(phantom_root), *ON_GPU, "trainer.limit_train_batches=2", "baselines=[]"]
    overrides += ["trainer.log_every_n_steps=1"]
    for name in ("none", "memory"):
        train(compose_config("train", [*overrides, f"feature_store={name}"], tmp_path / name))
    without, with_store = losses(tmp_path / "none"), losses(tmp_path / "memory")
    assert len(without) == 2
    np.testing.assert_allclose(with_store, without, rtol=1e-2)


def test_the_criterion_waits_for_the_card_once() -> None:
    criterion = SetCriterion(
        class_weight=2.0,
        mask_weight=5.0,
        dice_weight=5.0,
        no_object_weight=0.1,
        num_points=256,
        oversample_ratio=3.0,
        importance_ratio=0.75,
    )
    ids = torch.zeros(64, 64, dtype=torch.int64)
    ids[4:20, 4:20], ids[30:50, 30:60] = 1, 2
    targets = [PanopticSegmentation(ids, torch.tensor([0, 1])).to("cuda") for _ in range(2)]
    tensors = [torch.randn(3, 2, 10, 4), torch.randn(3, 2, 10, 16), torch.randn(2, 16, 16, 16)]
    inputs = [each.cuda().requires_grad_() for each in tensors]
    criterion(SegmenterOutput(*inputs), targets)["loss"].backward()
    torch.cuda.synchronize()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            criterion(SegmenterOutput(*inputs), targets)["loss"].backward()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    waits = [
        f"{each.filename}:{each.lineno}" for each in caught if "called a synchronizing" in str(each.message)
    ]
    assert len(waits) == 1, waits  # the costs of the matching
