"""A resumed training is the one that was interrupted, with its best checkpoint and metrics."""

import csv
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from lightning.pytorch.loggers import CSVLogger
from omegaconf import DictConfig

from modise_lightning.configuration.resuming import check_resumable, find_differences, keep_earlier_metrics
from modise_lightning.errors import UserError
from modise_lightning.train import train
from modise_lightning.training.checkpoint import METADATA_KEY, read_checkpoint
from tiny_runs import ONE_STEP, phantom_overrides

Compose = Callable[..., DictConfig]
EPOCHS = [*ONE_STEP, "trainer.limit_train_batches=2", "baselines=[]", "optimizer.decay=step"]
EPOCHS += ["optimizer.decay_milestones=[]", "optimizer.warmup_steps=1"]
# The measure falls from the first epoch on, so that the first checkpoint must stay the best one.
FALLING = ["callbacks.checkpoint.monitor=train/loss", "callbacks.checkpoint.mode=max"]


@pytest.fixture(scope="module")
def runs(phantom_root: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run of three epochs, and the same run interrupted after the second."""
    from hydra import compose, initialize_config_dir

    from modise_lightning.configuration.command_line import config_directory

    folders = tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("interrupted")
    for folder, epochs in zip(folders, (3, 2), strict=True):
        overrides = [*phantom_overrides(phantom_root), *EPOCHS, *FALLING, f"trainer.max_epochs={epochs}"]
        with initialize_config_dir(str(config_directory()), version_base="1.3"):
            train(compose("train", overrides=[*overrides, f"output_dir={folder}", "name=run"]))
    return folders


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    # What is measured of the machine and not of the training.
    return [
        {key: value for key, value in row.items() if value and not key.startswith("feature_store")}
        for row in found
        if not any(key.startswith("test/") and value for key, value in row.items())
    ]


@pytest.mark.parametrize("place", ["same folder", "another folder", "moved and another folder"])
def test_a_resumed_run_is_as_if_never_interrupted(
    place: str, runs: tuple[Path, Path], phantom_root: Path, compose_config: Compose, tmp_path: Path
) -> None:
    whole, interrupted = runs
    # A copy, since resuming in the same folder changes it; its checkpoints name the folder that it was in.
    folder = tmp_path / "interrupted"
    shutil.copytree(interrupted, folder)
    output = tmp_path / "resumed"
    if place == "same folder":
        shutil.rmtree(interrupted.parent / "kept", ignore_errors=True)
        folder, output = interrupted, interrupted
        shutil.copytree(interrupted, interrupted.parent / "kept")
    if place == "moved and another folder":
        folder = folder.rename(tmp_path / "elsewhere")
    resume = folder / "checkpoints" / "last.ckpt"
    overrides = [*phantom_overrides(phantom_root), *EPOCHS, *FALLING, "trainer.max_epochs=3"]
    try:
        train(compose_config("train", [*overrides, f"resume={resume}", "name=run"], output))
        for name in ("best.ckpt", "last.ckpt"):
            expected = read_checkpoint(whole / "checkpoints" / name)
            found = read_checkpoint(output / "checkpoints" / name)
            assert found["epoch"] == expected["epoch"], name
            assert found["global_step"] == expected["global_step"], name
            for key, value in expected["state_dict"].items():
                assert torch.equal(found["state_dict"][key], value), (name, key)
        found_rows, expected_rows = rows(output), rows(whole)
        without_test = [row for row in expected_rows if row.keys() - {"epoch", "step"}]
        assert [row for row in found_rows if row.keys() - {"epoch", "step"}] == without_test
    finally:
        if place == "same folder":
            shutil.rmtree(interrupted)
            (interrupted.parent / "kept").rename(interrupted)


def test_the_best_epoch_is_not_the_last_one(runs: tuple[Path, Path]) -> None:
    """Otherwise the test above could not notice that the best score was forgotten."""
    best = [read_checkpoint(run / "checkpoints" / "best.ckpt")["epoch"] for run in runs]
    assert best[0] == best[1] < 2


def test_a_missing_best_checkpoint_is_told(
    runs: tuple[Path, Path], phantom_root: Path, compose_config: Compose, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(runs[1], folder)
    (folder / "checkpoints" / "best.ckpt").unlink()
    overrides = [*phantom_overrides(phantom_root), *EPOCHS, *FALLING, "trainer.max_epochs=3"]
    resume = f"resume={folder / 'checkpoints' / 'last.ckpt'}"
    with pytest.raises(UserError, match=r"resume: .*best\.ckpt' is missing"):
        train(compose_config("train", [*overrides, resume], tmp_path / "resumed"))


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ("fold=2", "fold"),
        ("seed=5", "seed"),
        ("data.split=official", "data.split"),
        ("data.trim_background=true", "data.trim_background"),
        ("data.name=other", "data.name"),
        ("image_size=64", "image_size"),
        ("scale_range=[0.5,1.5]", "scale_range"),
        ("batch_size=1", "batch_size"),
        ("data.module.train_transform.flip_probability=0", "flip_probability"),
        ("text=learned", "text"),
        ("captioner=none", "captioner"),
        ("mask_generator.num_queries=7", "mask_generator.num_queries"),
        ("criterion.num_points=7", "criterion.num_points"),
        ("optimizer.learning_rate=1e-3", "optimizer.learning_rate"),
        ("optimizer.weight_decay=0", "optimizer.weight_decay"),
        ("optimizer.betas=[0.8,0.9]", "optimizer.betas"),
        ("optimizer.fused=false", "optimizer.fused"),
        ("optimizer.decay=cosine", "optimizer.decay"),
        ("trainer.precision=bf16-mixed", "trainer.precision"),
        ("trainer.devices=2", "trainer.devices"),
        ("trainer.gradient_clip_val=2", "trainer.gradient_clip_val"),
        ("trainer.accumulate_grad_batches=2", "trainer.accumulate_grad_batches"),
        ("trainer.limit_train_batches=1", "trainer.limit_train_batches"),
        ("callbacks.checkpoint.monitor=validation/dice", "callbacks.checkpoint.monitor"),
        ("callbacks.checkpoint.mode=min", "callbacks.checkpoint.mode"),
        ("inference.score_threshold=0.3", "inference.score_threshold"),
        ("metrics.dice_reduction=by_image", "metrics.dice_reduction"),
        ("+trainer.overfit_batches=1", "trainer.overfit_batches"),
    ],
)
def test_what_decides_a_training_may_not_change(
    change: str,
    key: str,
    runs: tuple[Path, Path],
    phantom_root: Path,
    compose_config: Compose,
    tmp_path: Path,
) -> None:
    overrides = [*phantom_overrides(phantom_root), *EPOCHS, *FALLING, change]
    path = runs[1] / "checkpoints" / "last.ckpt"
    with pytest.raises(
        UserError, match=r"resume: .*last\.ckpt' is of a training with other settings: "
    ) as told:
        train(compose_config("train", [*overrides, f"resume={path}"], tmp_path))
    assert key in str(told.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "change",
    [
        "trainer.max_epochs=9",
        "name=other",
        "data.root=elsewhere",
        "num_threads=1",
        "num_workers=1",
        "evaluation_batch_size=1",
        "logger=tensorboard",
        "callbacks.progress=null",
        "pictures.num_images=1",
        "baselines=[untrained]",
        "trainer.accelerator=auto",
        "backbone.gradient_checkpointing=true",
        "trainer.limit_test_batches=2",
    ],
)
def test_what_decides_nothing_may_change(
    change: str, runs: tuple[Path, Path], phantom_root: Path, compose_config: Compose, tmp_path: Path
) -> None:
    config = compose_config("train", [*phantom_overrides(phantom_root), *EPOCHS, *FALLING, change], tmp_path)
    check_resumable(runs[1] / "checkpoints" / "last.ckpt", config)


@pytest.mark.parametrize(
    ("fingerprint", "message"),
    [
        ("0" * 16, "was trained on other images, or with another division"),
        (None, "was written by an earlier version"),
    ],
)
def test_another_division_of_the_images_is_refused(
    fingerprint: str | None,
    message: str,
    runs: tuple[Path, Path],
    phantom_root: Path,
    compose_config: Compose,
    tmp_path: Path,
) -> None:
    changed = tmp_path / "last.ckpt"
    checkpoint = read_checkpoint(runs[1] / "checkpoints" / "last.ckpt")
    checkpoint[METADATA_KEY]["data_fingerprint"] = fingerprint
    torch.save(checkpoint, changed)
    overrides = [*phantom_overrides(phantom_root), *EPOCHS, *FALLING, f"resume={changed}"]
    with pytest.raises(UserError, match=rf"resume: .* {message}"):
        train(compose_config("train", overrides, tmp_path / "run"))


def test_a_longer_key_overrules_a_shorter_one_and_unknown_ones_decide() -> None:
    stored = {"callbacks": {"checkpoint": {"monitor": "a", "filename": "a"}}, "gone": 1, "name": "a"}
    present = {"callbacks": {"checkpoint": {"monitor": "b", "filename": "b"}}, "new": [1], "name": "b"}
    assert find_differences(stored, present) == {
        "callbacks.checkpoint.monitor": ("a", "b"),
        "new": ("nothing", [1]),
        "gone": (1, "nothing"),
    }


@pytest.mark.parametrize(
    ("resumed", "names"),
    [
        (None, ["metrics.csv", "metrics_1.csv", "metrics_2.csv"]),
        ("other/checkpoints/last.ckpt", ["metrics.csv", "metrics_1.csv", "metrics_2.csv"]),
        # Its rows are carried into the new file.
        ("checkpoints/last.ckpt", ["metrics.csv", "metrics_1.csv"]),
    ],
)
def test_metrics_of_an_earlier_run_are_kept(
    resumed: str | None, names: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "metrics.csv").write_text("step\n1\n")
    (tmp_path / "metrics_1.csv").write_text("step\n0\n")
    logger = CSVLogger(tmp_path, name="", version="")
    keep_earlier_metrics([logger], None if resumed is None else tmp_path / resumed)
    logger.log_metrics({"loss": 3.0}, step=2)
    logger.save()
    assert sorted(path.name for path in tmp_path.glob("metrics*.csv")) == names
    assert (tmp_path / "metrics_1.csv").read_text() == "step\n0\n"
    if len(names) == 3:
        assert (tmp_path / "metrics_2.csv").read_text() == "step\n1\n"
        kept = tmp_path.resolve() / "metrics_2.csv"
        assert (
            capsys.readouterr().err
            == f"warning: the metrics of an earlier run in this folder are kept as '{kept}'\n"
        )
