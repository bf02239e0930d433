"""Training, resuming, evaluating and predicting as the commands do, on a small phantom."""

import csv
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from omegaconf import DictConfig, OmegaConf
from PIL import Image

from modise_lightning.configuration.trained_model import load_trained
from modise_lightning.errors import PartlyDoneError, UserError
from modise_lightning.evaluate import evaluate
from modise_lightning.metrics.records.evaluation_records import read_records
from modise_lightning.predict import predict
from modise_lightning.structures import Batch, ImageRecord
from modise_lightning.train import train
from modise_lightning.training.checkpoint import METADATA_KEY, read_checkpoint
from tiny_runs import ONE_STEP, phantom_overrides

Compose = Callable[..., DictConfig]
TWO_EPOCHS = [
    *ONE_STEP,
    "trainer.max_epochs=2",
    "trainer.limit_train_batches=2",
    "baselines=[]",
    # A decay by steps does not depend on how many there will be in all, as long as they are few.
    "optimizer.decay=step",
    "optimizer.decay_milestones=[]",
    "optimizer.warmup_steps=3",
]


@pytest.fixture(scope="module")
def trained(phantom_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder of two epochs."""
    from hydra import compose, initialize_config_dir

    from modise_lightning.configuration.command_line import config_directory

    folder = tmp_path_factory.mktemp("run")
    overrides = [*phantom_overrides(phantom_root), *TWO_EPOCHS, f"output_dir={folder}", "name=two-epochs"]
    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        train(compose("train", overrides=overrides))
    return folder


def test_a_checkpoint_holds_what_was_trained_and_nothing_frozen(trained: Path) -> None:
    path = trained / "checkpoints" / "best.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    module, config, dataset = load_trained(path, {})
    frozen = {name for name, parameter in module.named_parameters() if not parameter.requires_grad}
    assert any("unet" in name for name in frozen)
    assert any("captioner" in name for name in frozen)
    assert not frozen & checkpoint["state_dict"].keys()
    trained_names = {name for name, parameter in module.named_parameters() if parameter.requires_grad}
    assert trained_names <= checkpoint["state_dict"].keys()
    metadata = checkpoint[METADATA_KEY]
    assert "torch" in metadata["versions"]
    assert dataset["synthetic"] is True
    assert config.name == "two-epochs"
    assert [category.name for category in config.data.categories] == [
        "benign mass",
        "malignant mass",
        "calcification cluster",
    ]


def test_every_class_is_logged(trained: Path) -> None:
    (metrics,) = trained.rglob("metrics.csv")
    with metrics.open(newline="") as file:
        rows = list(csv.DictReader(file))
    result = json.loads((trained / "results.json").read_text())["results"]["trained"]
    tested = [row for row in rows if row["test/panoptic_quality"]]
    assert len(tested) == 1
    for name in result["category_names"]:
        dice = result["dice_by_category"][name]
        assert float(tested[0][f"test/dice/{name}"]) == pytest.approx(
            dice if dice is not None else math.nan, nan_ok=True
        )
        assert any(row[f"validation/panoptic_quality/{name}"] for row in rows)


def test_a_resumed_run_equals_an_uninterrupted_one(
    trained: Path, phantom_root: Path, compose_config: Compose, tmp_path: Path
) -> None:
    overrides = [*phantom_overrides(phantom_root), *TWO_EPOCHS]
    first = tmp_path / "first"
    train(compose_config("train", [*overrides, "trainer.max_epochs=1"], first))
    resumed = tmp_path / "resumed"
    resume = f"resume={first / 'checkpoints' / 'last.ckpt'}"
    train(compose_config("train", [*overrides, resume], resumed))
    expected = read_checkpoint(trained / "checkpoints" / "last.ckpt")
    found = read_checkpoint(resumed / "checkpoints" / "last.ckpt")
    assert found["epoch"] == expected["epoch"] == 1
    assert found["global_step"] == expected["global_step"] == 4
    assert_equal(found["state_dict"], expected["state_dict"])
    assert_equal(found["optimizer_states"], expected["optimizer_states"])
    assert_equal(found["lr_schedulers"], expected["lr_schedulers"])
    assert_equal(found["callbacks"]["RandomState"], expected["callbacks"]["RandomState"])
    changed = read_checkpoint(first / "checkpoints" / "last.ckpt")["state_dict"]
    assert any(not torch.equal(changed[name], value) for name, value in expected["state_dict"].items())


def assert_equal(found: object, expected: object) -> None:
    if isinstance(expected, torch.Tensor):
        assert isinstance(found, torch.Tensor)
        assert torch.equal(found, expected)
    elif isinstance(expected, dict):
        assert isinstance(found, dict)
        assert found.keys() == expected.keys()
        for key in expected:
            assert_equal(found[key], expected[key])
    elif isinstance(expected, list | tuple):
        assert isinstance(found, list | tuple)
        for one, other in zip(found, expected, strict=True):
            assert_equal(one, other)
    else:
        assert found == expected


def test_the_best_checkpoint_holds_weights_and_cannot_be_resumed(
    trained: Path, compose_config: Compose, tmp_path: Path
) -> None:
    best = trained / "checkpoints" / "best.ckpt"
    assert "optimizer_states" not in read_checkpoint(best)
    with pytest.raises(UserError, match=r"resume: .*best\.ckpt' holds weights without .*last\.ckpt"):
        train(compose_config("train", [f"resume={best}"], tmp_path))


def test_training_changes_what_is_trained_and_nothing_else(trained: Path, phantom_root: Path) -> None:
    from modise_lightning.configuration.assembly import build_segmenter

    module, config, _ = load_trained(trained / "checkpoints" / "best.ckpt", {})
    fresh = dict(build_segmenter(config).named_parameters())
    for name, parameter in module.segmenter.named_parameters():
        if not parameter.requires_grad:
            assert torch.equal(parameter, fresh[name]), name


def test_classes_are_seen_whose_texts_training_had(trained: Path) -> None:
    checkpoint = trained / "checkpoints" / "best.ckpt"
    _, config, _ = load_trained(checkpoint, {})
    categories = OmegaConf.to_container(config.data.categories)
    assert isinstance(categories, list)
    categories[1]["prompts"] = [f"lymph node {number}" for number in range(len(categories[1]["prompts"]))]
    overrides = {"clip_head": {"enabled": True}, "data": {"categories": categories}}
    module, _, _ = load_trained(checkpoint, overrides)
    assert module.inference.clip_head is not None
    torch.testing.assert_close(module.inference.clip_head.weights, torch.tensor([0.3, 0.7, 0.3]))


def test_evaluate_can_ask_a_clip_for_a_second_opinion(
    trained: Path, compose_config: Compose, tmp_path: Path
) -> None:
    """With random weights it cannot help; it changes the classification of the same masks."""
    config = compose_config("evaluate", [f"checkpoint={trained / 'checkpoints' / 'best.ckpt'}"], tmp_path)
    without, _, _ = load_trained(Path(config.checkpoint), {})
    asked, _, _ = load_trained(Path(config.checkpoint), {"clip_head": {"enabled": True, "alpha": 0.5}})
    assert without.inference.clip_head is None
    assert {name for name, _ in asked.named_parameters()} == {name for name, _ in without.named_parameters()}
    assert asked.inference.clip_head is not None
    assert asked.inference.clip_head.weights.tolist() == [0.5, 0.5, 0.5]
    images = torch.rand(1, 3, 128, 128)
    record = ImageRecord(1, "a.png", "p", 128, 128)
    batch = Batch(images, [(128, 128)], [], [record])
    first, second = (module.predict_batch(batch)[0].semantic.detach() for module in (without, asked))
    assert not torch.allclose(first, second, rtol=1e-2)
    # What is no object is the trained classification's to say, so the sum over the classes stays.
    torch.testing.assert_close(first.sum(0), second.sum(0), rtol=1e-3, atol=1e-4)


def test_evaluate_gives_the_numbers_of_the_training_run(
    trained: Path, compose_config: Compose, tmp_path: Path
) -> None:
    checkpoint = trained / "checkpoints" / "best.ckpt"
    overrides = [f"checkpoint={checkpoint}", "trainer.limit_test_batches=1", "trainer.accelerator=cpu"]
    overrides.append("class_agnostic=false")  # which training does not measure
    result = evaluate(compose_config("evaluate", overrides, tmp_path))
    stored = json.loads((trained / "results.json").read_text())
    assert stored["results"]["trained"] == result.to_dict()
    assert stored["synthetic"] is True
    again = json.loads((tmp_path / "results.json").read_text())
    assert again["results"]["trained"] == result.to_dict()
    # What changes a number is stored with it, alike by both commands.
    assert again["matching"] == stored["matching"] == "panopticapi"
    assert again["measurement"] == stored["measurement"]
    assert (
        stored["measurement"].items()
        >= {
            "inference._target_": "modise_lightning.inference.inference.Inference",
            "inference.score_threshold": 0.5,
            "inference.max_instances": 100,
            "metrics.dice_reduction": "pooled",
            "metrics.max_detections": 100,
            "backbone.frozen_precision": "trainer",
            "trainer.precision": "32-true",
        }.items()
    )
    for key in ("data.module.evaluation_transform.image_size", "backbone.window_size"):
        assert isinstance(stored["measurement"][key], int)
    assert list((tmp_path / "pictures").glob("*.png"))
    records = read_records(tmp_path / "records" / "trained")
    assert len(records.images) == result.num_images
    assert records.images["best_threshold"].tolist() == [result.best_threshold] * result.num_images
    # Training tests on stored features; evaluation computes them anew.
    before = read_records(trained / "records" / "trained")
    for name in ("images", "instances", "overlaps"):
        pd.testing.assert_frame_equal(getattr(records, name), getattr(before, name), rtol=1e-6)


def test_results_are_written_before_pictures(trained: Path) -> None:
    numbers = [trained / "results.json", *(trained / "records" / "trained").iterdir()]
    pictures = list((trained / "pictures").glob("test_*.png"))
    assert len(pictures) >= 3
    assert max(path.stat().st_mtime_ns for path in numbers) < min(p.stat().st_mtime_ns for p in pictures)


def test_a_picture_that_fails_costs_no_result(
    trained: Path, compose_config: Compose, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "pictures").write_text("where the pictures' folder should be")
    checkpoint = trained / "checkpoints" / "best.ckpt"
    overrides = [f"checkpoint={checkpoint}", "trainer.limit_test_batches=1", "trainer.accelerator=cpu"]
    result = evaluate(compose_config("evaluate", overrides, tmp_path))
    assert json.loads((tmp_path / "results.json").read_text())["results"]["trained"] == result.to_dict()
    assert len(read_records(tmp_path / "records" / "trained").images) == result.num_images
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: the picture 'test_000.png' is left out (FileExistsError: ")
    assert line.endswith("; the results stay.")


def test_a_training_whose_pictures_fail_has_all_results(
    phantom_root: Path, compose_config: Compose, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "pictures").write_text("where the pictures' folder should be")
    overrides = [*phantom_overrides(phantom_root), *ONE_STEP, "baselines=[bright_blob]"]
    results = train(compose_config("train", overrides, tmp_path))
    stored = json.loads((tmp_path / "results.json").read_text())["results"]
    assert stored == {name: result.to_dict() for name, result in results.items()}
    assert sorted(path.name for path in (tmp_path / "records").iterdir()) == ["bright_blob", "trained"]
    told = [line.split("'")[1] for line in capsys.readouterr().err.splitlines() if line.startswith("warning")]
    assert told == ["validation_curves.png", "test_curves.png", "test_confusion.png", "test_000.png"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["checkpoint=nowhere.ckpt"], "checkpoint: no file 'nowhere.ckpt'"),
        (["split=tset"], "split: expected one of train, validation, test, all, found 'tset'"),
        (["+overrides.inference.scor=1"], "overrides.inference.scor: .* no such key"),
        (["+overrides.backbone.seed=5"], "the frozen weights .* are not those it was trained with"),
        (["+overrides.mask_generator.num_queries=5"], "its weights do not fit the configured model"),
        (
            ["+overrides.data.root=elsewhere", "+overrides.data.auto_prepare=false"],
            "'elsewhere' is not a prepared dataset",
        ),
    ],
)
def test_a_mistake_in_evaluate_is_told(
    overrides: list[str], message: str, trained: Path, compose_config: Compose, tmp_path: Path
) -> None:
    arguments = [f"checkpoint={trained / 'checkpoints' / 'best.ckpt'}", *overrides]
    with pytest.raises(UserError, match=message):
        evaluate(compose_config("evaluate", arguments, tmp_path))
    assert not (tmp_path / "results.json").exists()


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (print, ("ran",))

    path = tmp_path / "evil.ckpt"
    torch.save({"state_dict": {}, METADATA_KEY: Evil()}, path)
    with pytest.raises(UserError, match=r"evil\.ckpt' cannot be read safely"):
        read_checkpoint(path)
    torch.save({"state_dict": {}}, path)
    with pytest.raises(UserError, match="was not written by modise_lightning"):
        read_checkpoint(path)
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(UserError, match="cannot be read safely"):
        read_checkpoint(path)


def test_predict_writes_pictures_and_segments_of_a_folder(
    trained: Path, phantom_root: Path, compose_config: Compose, tmp_path: Path
) -> None:
    images = tmp_path / "images"
    images.mkdir()
    source = sorted((phantom_root / "images").glob("*.png"))[0]
    pixels = cv2.imread(str(source), cv2.IMREAD_UNCHANGED)
    cv2.imwrite(str(images / "a.png"), pixels)
    cv2.imwrite(str(images / "b.tif"), cv2.resize(pixels, (150, 90)))
    cv2.imwrite(str(images / "c.jpg"), (pixels // 256).astype(np.uint8))
    cv2.imwrite(str(images / "c.png"), pixels)
    exif = Image.Exif()
    exif[274] = 6  # stored a quarter turned to the left
    Image.fromarray(np.ascontiguousarray(np.rot90(pixels))).save(images / "turned.png", exif=exif)
    checkpoint = trained / "checkpoints" / "best.ckpt"
    # A model of four steps is sure of nothing: low thresholds make it say something.
    overrides = [
        f"checkpoint={checkpoint}",
        f"input={images}",
        "batch_size=1",  # sums of another number of images are rounded otherwise
        "+overrides.inference.score_threshold=0.01",
        "+overrides.inference.overlap_threshold=0",
        "+overrides.inference.mask_threshold=0.05",
    ]
    written = predict(compose_config("predict", overrides, tmp_path / "out"))
    assert [file.name for file in written] == ["a.json", "b.json", "c_jpg.json", "c_png.json", "turned.json"]
    sizes = [pixels.shape, (90, 150), *[pixels.shape] * 3]
    for file, size in zip(written, sizes, strict=True):
        content = json.loads(file.read_text())
        assert (content["height"], content["width"]) == size
        assert "synthetic phantom" in content["notice"]
        assert content["model"]["trained_on"] == "phantom"
        stem = file.name.removesuffix(".json")
        assert cv2.imread(str(file.parent / f"{stem}_overlay.png")).shape == (*size, 3)
        blue, green, red = cv2.split(cv2.imread(str(file.parent / f"{stem}_panoptic.png")).astype(int))
        ids = red + 256 * green + 65536 * blue
        assert set(np.unique(ids)) - {0} == {segment["id"] for segment in content["segments"]}
        for segment in content["segments"]:
            rows, columns = np.nonzero(ids == segment["id"])
            box = [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
            assert segment["bbox"] == box
            assert segment["area"] == len(rows)
            assert 0 <= segment["score"] <= 1
    assert any(json.loads(file.read_text())["segments"] for file in written)
    # What is shown turned is the same picture.
    assert written[4].read_text().replace("turned", "a") == written[0].read_text()


def test_predict_does_the_readable_images_and_names_the_others(
    trained: Path, phantom_root: Path, compose_config: Compose, tmp_path: Path
) -> None:
    images = tmp_path / "images"
    images.mkdir()
    source = sorted((phantom_root / "images").glob("*.png"))[0]
    (images / "good.png").write_bytes(source.read_bytes())
    (images / "broken.png").write_bytes(source.read_bytes()[:100])
    (images / "empty.jpg").write_bytes(b"")
    (images / "bell\a.png").write_bytes(source.read_bytes())
    checkpoint = trained / "checkpoints" / "best.ckpt"
    overrides = [f"checkpoint={checkpoint}", f"input={images}"]
    with pytest.raises(
        PartlyDoneError,
        match=r"3 of 4 images could not be predicted: .*bell.*rename.*broken\.png.*empty\.jpg",
    ) as told:
        predict(compose_config("predict", overrides, tmp_path / "out"))
    assert told.value.exit_code == 2
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "coco.json",
        "contact_sheet.png",
        "exams.csv",
        "failures.txt",
        "gallery.html",
        "good.json",
        "good_overlay.png",
        "good_panoptic.png",
        "predictions.csv",
        "predictions.jsonl",
    ]


@pytest.mark.parametrize(
    ("name", "message"),
    [("nowhere", "no file or folder"), ("text.txt", "is not an image"), ("nothing", "holds no image")],
)
def test_an_input_that_is_no_image_is_told(
    name: str, message: str, trained: Path, compose_config: Compose, tmp_path: Path
) -> None:
    (tmp_path / "text.txt").write_text("text")
    (tmp_path / "nothing").mkdir()
    overrides = [f"checkpoint={trained / 'checkpoints' / 'best.ckpt'}", f"input={tmp_path / name}"]
    with pytest.raises(UserError, match=message):
        predict(compose_config("predict", overrides, tmp_path / "out"))


def test_a_loss_that_is_no_number_ends_the_run_without_a_checkpoint(
    phantom_root: Path, compose_config: Compose, tmp_path: Path
) -> None:
    overrides = [*phantom_overrides(phantom_root), *TWO_EPOCHS, "optimizer.learning_rate=1e30"]
    overrides += [
        "optimizer.warmup_steps=0",
        "trainer.gradient_clip_val=null",
        "trainer.limit_train_batches=4",
    ]
    with pytest.raises(UserError, match=r"the loss is nan at step \d+ .*optimizer\.learning_rate"):
        train(compose_config("train", overrides, tmp_path))
    assert not list(tmp_path.rglob("*.ckpt"))


def test_the_diffusion_model_gets_no_gradient_and_the_captioner_does(
    phantom_root: Path, compose_config: Compose, tmp_path: Path
) -> None:
    from modise_lightning.configuration.assembly import build_data, build_module, build_segmenter

    config = compose_config("train", [*phantom_overrides(phantom_root), *ONE_STEP], tmp_path)
    data = build_data(config)
    torch.manual_seed(0)
    module = build_module(config, build_segmenter(config), data.dataset.info).train()
    batch = next(iter(data.train_dataloader()))
    module.criterion(module.segmenter(batch.images), batch.targets)["loss"].backward()
    for name, parameter in module.segmenter.named_parameters():
        if parameter.requires_grad:
            continue
        assert parameter.grad is None, name
    captioner = {
        name: parameter.grad
        for name, parameter in module.segmenter.captioner.named_parameters()
        if parameter.requires_grad
    }
    assert captioner
    assert any(gradient is not None and gradient.any() for gradient in captioner.values())
