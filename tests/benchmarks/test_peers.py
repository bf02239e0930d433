"""The comparison with other libraries: what is its own, without any of them installed."""

import json
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from omegaconf import DictConfig

from modise_lightning.data.prepared.dataset import PreparedDataset
from tiny_runs import phantom_overrides

PEERS = Path(__file__).parents[2] / "benchmarks" / "peers"
COST = {
    "size": 192,
    "minutes": 15.0,
    "processor_seconds": 890.0,
    "peak_memory_mb": 1500.0,
    "seconds_per_image": 0.125,
    "optimizer_steps": 400,
    "images_seen": 3200,
    "training_images": 160,
    "versions": {"torch": "2.9"},
}


@pytest.fixture
def part(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    monkeypatch.syspath_prepend(str(PEERS))
    from importlib import import_module

    return import_module


def test_a_budget_becomes_epochs(part: Callable[[str], ModuleType]) -> None:
    budget = part("peer_parts.budget")
    # 30 + 25 + 20 of 180 seconds leave 105, which five more of 20 fit into.
    assert budget.epochs_within(180, [30.0, 25.0, 20.0]) == 8
    assert budget.epochs_within(56, [30.0, 25.0, 20.0]) == 2
    assert budget.epochs_within(1, [30.0, 25.0, 20.0]) == 1
    assert budget.steps_within(900, 18.0) == 50
    assert budget.steps_within(1, 18.0) == 1
    assert budget.steps_of_epoch(900, 50, 9.0) == 2
    assert budget.steps_of_epoch(-5, 1, 9.0) == 1


@pytest.mark.parametrize("step", [0.5, 1.7, 6.2, 9.0])
@pytest.mark.parametrize("wrong", [0.5, 0.9, 1.0, 1.22, 2.0])
def test_steps_fill_the_budget_whatever_was_measured(
    part: Callable[[str], ModuleType], step: float, wrong: float
) -> None:
    """Each epoch's steps come from what is left; the last epoch's rounding remains."""
    budget = part("peer_parts.budget")
    epochs = min(50, budget.steps_within(900, step * wrong))
    spent, taken = 0.0, 0
    for epoch in range(epochs):
        seconds = spent / taken if taken else step * wrong
        steps = budget.steps_of_epoch(900 - spent, epochs - epoch, seconds)
        spent, taken = spent + steps * step, taken + steps
    assert abs(spent - 900) <= step


def test_the_clock_adds_up_what_it_ran(
    part: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = part("peer_parts.budget").ProcessorClock()
    readings = iter([10.0, 12.5, 20.0, 21.0])
    monkeypatch.setattr("time.process_time", lambda: next(readings))
    clock.start()
    clock.stop()
    clock.stop()  # stands already
    clock.start()
    clock.stop()
    assert clock.seconds == 3.5


def test_components_become_instances(part: Callable[[str], ModuleType]) -> None:
    """Two lesions, one of which is joined by a corner, and a pixel where the background wins."""
    lesion = np.zeros((4, 6), dtype=np.float32)
    lesion[0, 0], lesion[1, 1] = 0.75, 0.875
    lesion[3, 4:6] = 0.625
    lesion[2, 3] = 0.375
    found = part("peer_parts.instances").instances_of_maps(np.stack([1 - lesion, lesion]), [1])
    assert found.scores.tolist() == [0.8125, 0.625]
    assert found.labels.tolist() == [1, 1]
    assert np.argwhere(found.masks[0]).tolist() == [[0, 0], [1, 1]]
    assert np.argwhere(found.masks[1]).tolist() == [[3, 4], [3, 5]]
    assert np.array_equal(found.segments, found.masks[0] + 2 * found.masks[1])
    assert np.array_equal(found.semantic[1], lesion)
    nothing = part("peer_parts.instances").instances_of_maps(np.stack([1 - lesion * 0, lesion * 0]), [1])
    assert nothing.masks.shape == (0, 4, 6)


def test_predictions_are_read_as_they_were_written(part: Callable[[str], ModuleType], tmp_path: Path) -> None:
    predictions = part("peer_parts.predictions")
    generator = np.random.default_rng(0)
    written = predictions.PredictedImage(
        masks=generator.random((3, 5, 11)) < 0.5,
        labels=np.array([1, 0, 1]),
        scores=np.array([0.9, 0.5, 0.1], dtype=np.float32),
        segments=generator.integers(0, 3, (5, 11)).astype(np.int32),
        segment_labels=np.array([1, 1]),
        segment_scores=np.array([0.9, 0.8], dtype=np.float32),
        semantic={1: np.full((5, 11), 0.5, dtype=np.float32)},
    )
    predictions.write_prediction(tmp_path / "image.npz", written)
    read = predictions.read_prediction(tmp_path / "image.npz")
    for name in ("masks", "labels", "scores", "segments", "segment_labels", "segment_scores"):
        assert np.array_equal(getattr(read, name), getattr(written, name)), name
    assert np.array_equal(read.semantic[1], written.semantic[1])


def predict_truth(
    part: Callable[[str], ModuleType], dataset: PreparedDataset, image: Any, *, without_first: bool
) -> Any:
    """Give the truth as a model would say it, all of it or all but the first segment."""
    target = dataset.read_target(image.position)
    labels = target.labels.numpy()[without_first:]
    masks = target.masks.numpy()[without_first:]
    segments = np.zeros(target.segment_ids.shape, dtype=np.int32)
    semantic = {index: np.zeros(segments.shape, dtype=np.float32) for index in range(len(dataset.categories))}
    for number, (mask, label) in enumerate(zip(masks, labels, strict=True), start=1):
        segments[mask] = number
        semantic[int(label)][mask] = 1.0
    scores = np.ones(len(labels), dtype=np.float32)
    return part("peer_parts.predictions").PredictedImage(
        masks, labels, scores, segments, labels, scores, semantic
    )


def test_the_truth_has_every_point_and_reaches_the_table(
    part: Callable[[str], ModuleType],
    phantom_root: Path,
    compose_config: Callable[..., DictConfig],
    tmp_path: Path,
) -> None:
    """Of two classes: the truth itself, and the truth without the first lesion of each image."""
    evaluation, table = part("peer_parts.evaluation"), part("peer_parts.comparison_table")
    files = part("peer_parts.result_files")
    (tmp_path / "cost.json").write_text(json.dumps(COST))
    for model, without_first in (("ours_sd_tiny", False), ("nnunet", True)):
        overrides = ["data=phantom", *phantom_overrides(phantom_root), "metrics=clinical", f"name={model}"]
        config = compose_config("train", overrides, tmp_path)
        dataset = evaluation.open_dataset(config)
        exchange = part("peer_parts.exchange_writing").make_exchange(dataset, tmp_path / "images", 64)
        evaluation.evaluate_predictions(
            config,
            dataset,
            exchange.split(0, "test"),
            partial(predict_truth, part, dataset, without_first=without_first),
            tmp_path / model,
        )
        files.pack_result(files.result_path(tmp_path, model, 0), tmp_path / model, tmp_path / "cost.json")
    found = table.find_results(tmp_path)
    lines = table.missing_results(found)
    assert (
        "ours_sd_tiny: fold 1, 2, 3, 4 missing; python benchmarks/peers/run.py --model ours_sd_tiny" in lines
    )
    assert any(line.startswith("mask2former: fold 0, 1, 2, 3, 4 missing") for line in lines)
    results, models = table.measure(found, tmp_path / "unpacked", samples=20, reference="ours_sd_tiny")
    quality = table.quality_table(models, found, "ours_sd_tiny")
    rows = {line.cells[0]: line.cells for line in quality.lines}
    assert rows["ours_sd_tiny"][1:-1] == ["1/5", *["100.0 (100.0 to 100.0)"] * 6]
    # Every image has at least one lesion, of which one is lost: fewer are recognised, the others perfectly.
    recognised = [float(cell.split()[0]) for cell in rows["nnunet"][2:4]]
    assert 0 < recognised[0] == recognised[1] < 100
    assert rows["nnunet"][-1].startswith("-")
    (shared,) = part("peer_parts.shared_lesions").shared_lesions_table(results, 20, large_area=1).lines
    own, its, both = map(int, shared.cells[3:6])
    assert own > its == both > 0
    assert shared.cells[6:9] == ["100.0", "100.0", "+0.0 (+0.0 to +0.0)"]
    assert shared.cells[9:] == [str(both), "100 %", "100 %"]
    cost = {line.cells[0]: line.cells for line in table.cost_table(found).lines}
    assert cost["nnunet"][1:] == ["14.8", "400", "20.0", "1500", "0.125", "torch 2.9"]


def test_the_exchanged_images_are_divided_as_the_library_divides_them(
    part: Callable[[str], ModuleType],
    phantom_root: Path,
    compose_config: Callable[..., DictConfig],
    tmp_path: Path,
) -> None:
    from modise_lightning.configuration.assembly import build_data

    config = compose_config("train", ["data=phantom", *phantom_overrides(phantom_root), "fold=1"], tmp_path)
    data = build_data(config)
    exchange = part("peer_parts.exchange_writing").make_exchange(data.dataset, tmp_path / "images", 64)
    for name in ("train", "validation", "test"):
        assert [image.position for image in exchange.split(1, name)] == data.indices[name], name
    for image in exchange.images[:5]:
        pixels, segments = exchange.read_image(image), exchange.read_segments(image)
        assert max(pixels.shape) == 64
        assert pixels.shape == segments.shape
        assert set(np.unique(segments)) <= set(range(len(image.labels) + 1))
        assert [data.dataset.segment_labels(image.position)] == [image.labels]


def test_nnunet_gets_its_layout_without_the_test_images(
    part: Callable[[str], ModuleType],
    phantom_root: Path,
    compose_config: Callable[..., DictConfig],
    tmp_path: Path,
) -> None:
    import cv2

    config = compose_config("train", ["data=phantom", *phantom_overrides(phantom_root)], tmp_path)
    dataset = part("peer_parts.evaluation").open_dataset(config)
    exchange = part("peer_parts.exchange_writing").make_exchange(dataset, tmp_path / "images", 64)
    nnunet = part("peer_parts.nnunet")
    nnunet.convert(exchange, 0, tmp_path)
    root = tmp_path / nnunet.DATASET
    written = {path.name.removesuffix("_0000.png") for path in (root / "imagesTr").iterdir()}
    assert written == {image.key for part_ in ("train", "validation") for image in exchange.split(0, part_)}
    description = json.loads((root / "dataset.json").read_text())
    assert description["numTraining"] == len(written)
    image = exchange.split(0, "train")[0]
    labels = cv2.imread(str(root / "labelsTr" / f"{image.key}.png"), cv2.IMREAD_GRAYSCALE)
    named = {label: name for name, label in description["labels"].items()}
    segments = exchange.read_segments(image)
    for number, label in enumerate(image.labels, start=1):
        found = {named[int(value)] for value in np.unique(labels[segments == number])}
        assert found <= {exchange.categories[label]}


def test_a_result_that_is_there_is_not_made_again(
    part: Callable[[str], ModuleType],
    phantom_root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """All of them are there: the command ends with 0, and with 1 if they are of another budget."""
    run = part("run")
    run_folder = tmp_path / "run"
    (run_folder / "records" / "trained").mkdir(parents=True)
    (run_folder / "results.json").write_text("{}")
    (tmp_path / "cost.json").write_text(json.dumps(COST))
    files, settings = part("peer_parts.result_files"), part("peer_parts.settings")
    for fold in range(settings.FOLDS):
        files.pack_result(
            files.result_path(tmp_path / "results", "ours_sd_tiny", fold),
            run_folder,
            tmp_path / "cost.json",
        )
    command = [
        "run.py",
        "--model",
        "ours_sd_tiny",
        "--data",
        str(phantom_root),
        "--results",
        str(tmp_path / "results"),
    ]
    monkeypatch.setattr("sys.argv", command)
    assert run.main() == 0
    assert capsys.readouterr().out.count("there already") == settings.FOLDS
    monkeypatch.setattr("sys.argv", [*command, "--minutes", "1"])
    assert run.main() == 1
    assert "is of 15.0 minutes at 192 pixels, not of 1.0 at 192" in capsys.readouterr().err


def test_the_learning_rate_ends_at_zero(part: Callable[[str], ModuleType]) -> None:
    factor = part("peer_parts.mask2former").learning_rate_factor
    factors = [factor(step / 100) for step in range(101)]
    assert factors[:6] == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    assert all(later < earlier for earlier, later in pairwise(factors[5:]))
    assert factors[100] == factor(1.01) == 0.0
