"""Training with a feature store equals training without one; a store that would have no use is refused."""

import csv
import json
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig
from torch import Tensor

from modise_lightning.configuration.assembly import build_data, build_feature_store, build_segmenter
from modise_lightning.data.loading.datamodule import PanopticDataModule
from modise_lightning.data.loading.sampler import SeededSampler
from modise_lightning.errors import UserError
from modise_lightning.feature_store.disk import DiskFeatureStore
from modise_lightning.structures import Batch
from modise_lightning.train import train
from modise_lightning.training.checkpoint import read_checkpoint
from tiny_runs import ONE_STEP, phantom_overrides

Compose = Callable[..., DictConfig]
# Two whole epochs of a third of the images, so that the second one sees images of the first.
TWO_EPOCHS = [
    *ONE_STEP,
    "augmentation=cacheable",
    "trainer.max_epochs=2",
    "trainer.limit_train_batches=null",
    "trainer.log_every_n_steps=1",
    "batch_size=4",
    "baselines=[]",
    "criterion.num_points=64",
]
MEMORY = ["feature_store=memory", "feature_store.max_gigabytes=0.1"]


def run(overrides: list[str], root: Path, folder: Path, compose: Compose) -> tuple[list[float], list[float]]:
    """Train; give every logged loss, and the hit rate of each epoch."""
    train(compose("train", [*phantom_overrides(root), *TWO_EPOCHS, *overrides], folder))
    (metrics,) = folder.rglob("metrics.csv")
    rows = list(csv.DictReader(metrics.open()))
    losses = [float(row["train/loss"]) for row in rows if row["train/loss"]]
    rates = [float(row["feature_store/hit_rate"]) for row in rows if row.get("feature_store/hit_rate")]
    return losses, rates


def weights(folder: Path) -> dict[str, Tensor]:
    state: dict[str, Tensor] = read_checkpoint(folder / "checkpoints" / "last.ckpt")["state_dict"]
    return state


# Where a batch is known in part, fewer images go through the frozen parts at once, and matrix products of
# another size round otherwise on some processors: about 1e-7 of the features, which eight steps leave below
# 1e-6 of the losses.
ROUNDING = 1e-5


def test_training_with_a_store_equals_training_without(
    phantom_root: Path, compose_config: Compose, tmp_path: Path
) -> None:
    plain, kept, again = (tmp_path / name for name in ("plain", "kept", "again"))
    losses, no_rates = run(["feature_store=none"], phantom_root, plain, compose_config)
    assert len(losses) >= 6
    assert not no_rates
    disk = [
        "feature_store=disk",
        f"feature_store.folder={tmp_path / 'store'}",
        "feature_store.precision=float32",
    ]
    kept_losses, rates = run(disk, phantom_root, kept, compose_config)
    assert kept_losses == pytest.approx(losses, rel=ROUNDING)
    assert rates[0] < 0.2
    assert rates[1] > 0.3  # half of the images are flipped anew
    again_losses, again_rates = run(disk, phantom_root, again, compose_config)
    assert again_losses == kept_losses
    assert again_rates == [1, 1]
    expected = weights(plain)
    for folder in (kept, again):
        found = weights(folder)
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            # The optimizer moves a weight by up to its learning rate of 2e-3 in each of eight steps.
            torch.testing.assert_close(found[name], value, rtol=1e-3, atol=1e-4, msg=name)


def test_the_store_is_one_for_all_parts_and_knows_how_much_will_come(
    phantom_root: Path, compose_config: Compose, tmp_path: Path
) -> None:
    disk = ["feature_store=disk", f"feature_store.folder={tmp_path}", "augmentation=cacheable"]
    config = compose_config("train", [*phantom_overrides(phantom_root), *disk], tmp_path)
    data = build_data(config)
    store = build_feature_store(config, data)
    assert isinstance(store, DiskFeatureStore)
    segmenter = build_segmenter(config, feature_store=store)
    assert segmenter.backbone.recall.store is store
    assert segmenter.captioner is not None
    assert segmenter.captioner.recall.store is store
    images = len(data.indices["train"]) * 2 + len(data.indices["validation"]) + len(data.indices["test"])
    assert store._expected_windows == images


def batches_of(data: PanopticDataModule, epoch: int) -> Iterable[Batch]:
    loader = data.train_dataloader()
    assert isinstance(loader.sampler, SeededSampler)
    loader.sampler.set_epoch(epoch)
    return loader


@pytest.mark.parametrize(
    ("is_synthetic", "store", "is_told"),
    [(False, "memory", True), (False, "none", False), (True, "memory", False)],
)
def test_that_real_images_deserve_more_variety_is_told(
    is_synthetic: bool,
    store: str,
    is_told: bool,
    phantom_root: Path,
    compose_config: Compose,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    root = tmp_path / "data"
    shutil.copytree(phantom_root, root)
    index = json.loads((root / "panoptic.json").read_text())
    index["info"]["synthetic"] = is_synthetic
    (root / "panoptic.json").write_text(json.dumps(index))
    overrides = [*phantom_overrides(root), *ONE_STEP, f"feature_store={store}", "baselines=[]"]
    train(compose_config("train", overrides, tmp_path / "run"))
    shown = " ".join(capsys.readouterr().out.split())
    assert ("augmentation=none feature_store=none" in shown) == is_told


def test_the_cacheable_augmentation_has_two_versions_of_an_image(
    phantom_root: Path, compose_config: Compose, tmp_path: Path
) -> None:
    config = compose_config("train", [*phantom_overrides(phantom_root), "augmentation=cacheable"], tmp_path)
    data = build_data(config)
    assert data.train_transform.versions == 2
    seen = {
        (record.image_id, image.numpy().tobytes())
        for epoch in range(8)
        for batch in batches_of(data, epoch)
        for image, record in zip(batch.images, batch.records, strict=True)
    }
    images = {image_id for image_id, _ in seen}
    assert len(images) < len(seen) <= 2 * len(images)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["data.module.train_transform.brightness=0.1"],
            "no training image is ever seen twice .* Add augmentation=cacheable",
        ),
        (["augmentation=cacheable", "scale_range=[0.9,1]"], "no training image is ever seen twice"),
        (["augmentation=[cacheable,copy_paste]"], "no training image is ever seen twice .* copy_paste"),
        (["augmentation=[cacheable,elastic]"], "no training image is ever seen twice .* elastic"),
        (["augmentation=[cacheable,gamma]"], "no training image is ever seen twice .* gamma"),
        (
            ["augmentation=cacheable", "backbone=swin_tiny", "captioner=none"],
            "backbone has no frozen features",
        ),
    ],
)
def test_a_store_without_use_is_refused(
    overrides: list[str], message: str, phantom_root: Path, compose_config: Compose, tmp_path: Path
) -> None:
    config = compose_config("train", [*phantom_overrides(phantom_root), *MEMORY, *overrides], tmp_path)
    with pytest.raises(UserError, match=message):
        build_feature_store(config, build_data(config))
