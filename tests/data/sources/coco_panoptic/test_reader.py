"""Datasets in COCO's own layout, written as its own tools write them, are read, trained on and checked."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from PIL import Image

from modise_lightning.configuration.trained_model import load_trained
from modise_lightning.data.loading.transforms import luminance
from modise_lightning.data.prepared.dataset import PreparedDataset
from modise_lightning.data.sources.coco_panoptic.check import CocoPanopticCheck
from modise_lightning.data.sources.coco_panoptic.reader import open_coco_panoptic
from modise_lightning.errors import UserError
from modise_lightning.evaluate import evaluate
from modise_lightning.predict import predict
from modise_lightning.prediction.predictor import Predictor
from modise_lightning.prepare import prepare
from modise_lightning.train import train
from tiny_runs import ONE_STEP

Compose = Callable[..., DictConfig]
ANNOTATIONS, ID_MAPS, IMAGES = "annotations/panoptic_val2017.json", "annotations/panoptic_val2017", "val2017"
HEIGHT, WIDTH = 60, 80
# COCO's ids have gaps, and any order.
CATEGORIES: list[dict[str, Any]] = [
    {"supercategory": "person", "color": [220, 20, 60], "isthing": 1, "id": 1, "name": "person"},
    {"supercategory": "water", "color": [119, 11, 32], "isthing": 0, "id": 178, "name": "water-other"},
    {"supercategory": "animal", "isthing": 1, "id": 25, "name": "giraffe"},
]
NUM_IMAGES = 12


def segments(number: int) -> list[tuple[int, int, tuple[int, int, int, int], int]]:
    """Id, category id, box (x, y, width, height), iscrowd; what no box covers is unlabelled."""
    person = 8_345_000 + 77 * number  # all three bytes of the colour
    boxes = [(person, 1, (5, 5, 20, 30), 0), (300 + number, 178, (0, 45, 80, 15), 0)]
    if number % 3 == 0:
        boxes.append((16_777_215, 25, (40, 5, 25, 25), 0))
    if number == 0:
        boxes.append((9, 1, (70, 0, 10, 10), 1))
    return boxes


def id2rgb(ids: np.ndarray) -> np.ndarray:
    """Colours of ids, as ``panopticapi.utils.id2rgb`` computes them."""
    rgb = np.zeros((*ids.shape, 3), dtype=np.uint8)
    rest = ids.copy()
    for channel in range(3):
        rgb[..., channel] = rest % 256
        rest //= 256
    return rgb


def make_ids(number: int) -> np.ndarray:
    ids = np.zeros((HEIGHT, WIDTH), dtype=np.int64)
    for segment_id, _, (x, y, width, height), _ in segments(number):
        ids[y : y + height, x : x + width] = segment_id
    return ids


def write_coco(root: Path) -> None:
    (root / ID_MAPS).mkdir(parents=True)
    (root / IMAGES).mkdir()
    generator = np.random.default_rng(0)
    images, annotations = [], []
    for number in range(NUM_IMAGES):
        stem = f"{number:012d}"
        colours = generator.integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        Image.fromarray(colours).save(root / IMAGES / f"{stem}.jpg", quality=95)
        Image.fromarray(id2rgb(make_ids(number))).save(root / ID_MAPS / f"{stem}.png")
        images.append(
            {
                "license": 2,
                "file_name": f"{stem}.jpg",
                "coco_url": f"http://images.cocodataset.org/val2017/{stem}.jpg",
                "height": HEIGHT,
                "width": WIDTH,
                "date_captured": "2013-11-15 13:55:22",
                "id": number,
                "case": number // 2,
                "tags": ["none"],
            }
        )
        annotations.append(
            {
                "segments_info": [
                    {
                        "id": i,
                        "category_id": c,
                        "iscrowd": crowd,
                        "bbox": [*box],
                        "area": float(box[2] * box[3]),
                    }
                    for i, c, box, crowd in segments(number)
                ],
                "file_name": f"{stem}.png",
                "image_id": number,
            }
        )
    index = {
        "info": {"description": "COCO 2018 Panoptic Dataset", "year": 2018},
        "licenses": [{"id": 2, "name": "some licence", "url": "http://creativecommons.org"}],
        "images": images,
        "annotations": annotations[::-1],
        "categories": CATEGORIES,
    }
    (root / ANNOTATIONS).write_text(json.dumps(index))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_coco(tmp_path / "coco")
    return tmp_path / "coco"


def opened(root: Path, **changes: Any) -> PreparedDataset:
    arguments = {
        "root": str(root),
        "name": "coco",
        "synthetic": False,
        "annotations": ANNOTATIONS,
        "id_maps": ID_MAPS,
        "images": IMAGES,
        "categories": None,
        "prompts": {},
        "unlabelled_is_void": True,
        "patient_key": None,
        "folds": None,
        "num_folds": 3,
        "fold_seed": 0,
    }
    return open_coco_panoptic(**(arguments | changes))


def change_index(root: Path, change: Callable[[dict[str, Any]], object]) -> None:
    index = json.loads((root / ANNOTATIONS).read_text())
    change(index)
    (root / ANNOTATIONS).write_text(json.dumps(index))


def test_segments_are_those_of_the_file(root: Path) -> None:
    dataset = opened(root)
    for number in range(NUM_IMAGES):
        target = dataset.read_target(number)
        ids = make_ids(number)
        expected = np.where(ids == 0, -1, 0)
        for position, (segment_id, _, _, crowd) in enumerate(segments(number), start=1):
            expected[ids == segment_id] = -1 if crowd else position
        np.testing.assert_array_equal(target.segment_ids.numpy(), expected)
        assert target.labels.tolist() == ([0, 1, 2] if number % 3 == 0 else [0, 1])
        image = dataset.read_image(number)
        luminance = Image.open(root / IMAGES / f"{number:012d}.jpg").convert("L")
        np.testing.assert_allclose(image, np.asarray(luminance) / 255, atol=1e-6)
    assert (opened(root, unlabelled_is_void=False).read_target(1).segment_ids >= 0).all()


def test_categories_come_from_the_file_and_prompts_from_the_configuration(root: Path) -> None:
    categories = opened(root, prompts={"giraffe": ["giraffe", "tall animal"]}).categories
    assert [category.name for category in categories] == ["person", "water-other", "giraffe"]
    assert [category.isthing for category in categories] == [True, False, True]
    assert categories[0].color == (220, 20, 60)
    assert len({category.color for category in categories}) == 3
    assert categories[0].prompts == ("person",)
    assert categories[2].prompts == ("giraffe", "tall animal")
    given = [
        {"name": name, "prompts": ["x"], "isthing": True, "color": [1, 2, 3]}
        for name in ("giraffe", "person", "water-other")
    ]
    dataset = opened(root, categories=given)
    assert dataset.read_target(0).labels.tolist() == [1, 2, 0]
    with pytest.raises(UserError, match=r"those of data\.categories"):
        opened(root, categories=given[:2])
    with pytest.raises(UserError, match=r"data\.prompts: 'cat' is no category of"):
        opened(root, prompts={"cat": ["cat"]})


def test_folds_are_seeded_and_keep_patients_together(root: Path) -> None:
    dataset = opened(root)
    assert dataset.folds == opened(root).folds
    assert sorted(set(dataset.folds)) == [0, 1, 2]
    assert any(dataset.folds != opened(root, fold_seed=seed).folds for seed in range(1, 4))
    grouped = opened(root, patient_key="case")
    assert [record.patient_id for record in grouped.records[:3]] == ["0", "0", "1"]
    assert grouped.folds[::2] == grouped.folds[1::2]
    with pytest.raises(UserError, match=r"data\.patient_key: the image 000000000000\.jpg .* 'patient'"):
        opened(root, patient_key="patient")
    table = {
        f"{number:012d}.jpg": {"patient_id": number // 2, "fold": number // 4} for number in range(NUM_IMAGES)
    }
    (root / "own.json").write_text(json.dumps({"num_folds": 3, "images": table}))
    given = opened(root, patient_key="case", folds="own.json")
    assert given.folds == [number // 4 for number in range(NUM_IMAGES)]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda i: i["images"][1].update(file_name="../x.jpg"), "is not a plain file name"),
        (lambda i: i["images"][1].update(id=0), "images.id: 0 stands 2 times"),
        (lambda i: i["categories"][0].pop("isthing"), r"categories\.0\.isthing"),
        (lambda i: i["categories"][0].update(name="${oc.env:HOME}"), "holds"),
        (lambda i: i["categories"][0].update(name="giraffe"), "categories.name: 'giraffe' stands 2 times"),
        (lambda i: i["annotations"].pop(), "no annotation of image 000000000000.jpg"),
        (lambda i: i["annotations"][0]["segments_info"][0].update(category_id=3), "category_id 3"),
        (lambda i: i["images"][0].update(file_name="nowhere.jpg"), r"nowhere\.jpg' is missing"),
    ],
)
def test_what_is_wrong_is_told(change: Callable[[dict[str, Any]], object], expected: str, root: Path) -> None:
    change_index(root, change)
    with pytest.raises(UserError, match=expected):
        opened(root)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no file '.*panoptic_val2017\.json'\. Give the dataset's folder"):
        opened(tmp_path)


def overrides(root: Path) -> list[str]:
    return [
        "data=coco_panoptic",
        f"data.root={root}",
        f"data.annotations={ANNOTATIONS}",
        f"data.id_maps={ID_MAPS}",
        f"data.images={IMAGES}",
    ]


def test_a_dataset_is_checked_without_writing(root: Path, compose_config: Compose, tmp_path: Path) -> None:
    config = compose_config("prepare", [*overrides(root), "verify_only=true"], tmp_path)
    before = sorted(root.rglob("*"))
    report = prepare(config)
    assert report.problems == []
    assert report.counts["images that can be used"] == NUM_IMAGES
    assert report.counts["segments"] == 2 * NUM_IMAGES + 4
    assert report.counts["void pixels"] == sum((make_ids(n) == 0).sum() for n in range(NUM_IMAGES)) + 100
    assert report.tables["categories"]["giraffe"] == {"images": 4, "segments": 4, "pixels": 4 * 625}
    assert sum(row["images"] for row in report.tables["folds"].values()) == NUM_IMAGES
    Image.fromarray(id2rgb(make_ids(3) + 1)).save(root / ID_MAPS / f"{1:012d}.png")
    (root / IMAGES / f"{2:012d}.jpg").write_bytes(b"not an image")
    problems = CocoPanopticCheck(dataset=opened(root)).verify().problems
    assert len(problems) == 2
    assert "which panoptic_val2017.json does not list" in problems[0]
    assert sorted(root.rglob("*")) == before
    config.verify_only = False
    with pytest.raises(UserError, match="is read as it is, there is nothing to prepare"):
        prepare(config)


def test_a_step_of_training_and_an_evaluation(root: Path, compose_config: Compose, tmp_path: Path) -> None:
    small = ["image_size=64", "baselines=[]", "+data.prompts.person=[person, human]"]
    config = compose_config("train", [*overrides(root), *ONE_STEP, *small], tmp_path / "run")
    results = train(config)
    assert set(results) == {"trained"}
    checkpoint = next((tmp_path / "run").rglob("best*.ckpt"))
    _, stored, dataset = load_trained(checkpoint, {})
    assert dataset["name"] == "coco_panoptic"
    assert [category.name for category in stored.data.categories] == ["person", "water-other", "giraffe"]
    assert list(stored.data.categories[0].prompts) == ["person", "human"]
    assert [category.isthing for category in stored.data.categories] == [True, False, True]
    arguments = [f"checkpoint={checkpoint}", "trainer.accelerator=cpu"]
    evaluation = compose_config("evaluate", arguments, tmp_path / "evaluation")
    assert torch.isfinite(torch.tensor(evaluate(evaluation).best_threshold))


def test_colours_reach_the_network_where_they_are_wanted(
    root: Path, compose_config: Compose, tmp_path: Path
) -> None:
    dataset = opened(root, channels="rgb")
    path = root / IMAGES / f"{0:012d}.jpg"
    colours = np.asarray(Image.open(path), dtype=np.float32) / 255
    np.testing.assert_allclose(dataset.read_input(0), colours, atol=1e-6)
    assert dataset.read_image(0).shape == opened(root).read_input(0).shape == (HEIGHT, WIDTH)
    settings = [*overrides(root), *ONE_STEP, "image_size=64", "baselines=[]", "data.channels=rgb"]
    train(compose_config("train", settings, tmp_path / "run"))
    assert (
        json.loads((tmp_path / "run" / "results.json").read_text())["measurement"]["data.channels"] == "rgb"
    )
    checkpoint = tmp_path / "run" / "checkpoints" / "best.ckpt"
    _, seen = predicted(checkpoint, path, compose_config, tmp_path / "colours")
    module, stored, _ = load_trained(checkpoint, {})
    transform = instantiate(stored.data.module.evaluation_transform)
    predictor = Predictor(module.segmenter, module.inference, transform=transform, size_multiple=32)
    in_colours, in_grey = predictor(colours), predictor(luminance(colours))
    assert not torch.allclose(in_colours.semantic, in_grey.semantic, atol=1e-4)
    expected = in_colours.instances.scores.double().tolist()
    np.testing.assert_allclose(sorted(seen), sorted(expected), atol=1e-5)


def predicted(
    checkpoint: Path, image: Path, compose_config: Compose, folder: Path
) -> tuple[Path, list[float]]:
    settings = [f"checkpoint={checkpoint}", f"input={image}", "device=cpu"]
    (written,) = predict(compose_config("predict", settings, folder))
    return written, [each["score"] for each in json.loads(written.read_text())["instances"]]


def test_pictures_of_many_classes_stay_readable(
    root: Path, compose_config: Compose, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    number = 300

    def add_classes(index: dict[str, Any]) -> None:
        index["categories"] += [
            {"id": 1000 + extra, "name": f"class {extra}", "isthing": 1} for extra in range(number - 3)
        ]
        for position, annotation in enumerate(index["annotations"]):
            annotation["segments_info"][0]["category_id"] = 1000 + (number - 4) * position // NUM_IMAGES

    change_index(root, add_classes)
    small = ["image_size=64", "baselines=[]"]
    config = compose_config("train", [*overrides(root), *ONE_STEP, *small], tmp_path / "run")
    assert len(train(config)["trained"].category_names) == number
    pictures = {path.name: Image.open(path).size for path in (tmp_path / "run" / "pictures").iterdir()}
    names = ("test_000.png", "test_confusion.png", "test_curves.png", "validation_curves.png")
    assert sorted(pictures) == sorted(names)
    assert max(max(size) for size in pictures.values()) < 3000
    assert "warning" not in capsys.readouterr().err


def test_the_files_can_have_any_name(root: Path) -> None:
    node = {
        "_target_": "modise_lightning.data.sources.coco_panoptic.reader.open_coco_panoptic",
        "root": str(root),
        "name": "renamed",
        "synthetic": True,
        "annotations": "panoptic.json",
        "id_maps": "panoptic",
        "images": "images",
        "categories": None,
        "prompts": {},
        "unlabelled_is_void": False,
        "patient_key": None,
        "folds": None,
        "num_folds": 3,
        "fold_seed": 0,
    }
    (root / ANNOTATIONS).rename(root / "panoptic.json")
    (root / ID_MAPS).rename(root / "panoptic")
    (root / IMAGES).rename(root / "images")
    dataset = instantiate(node, _convert_="all")
    assert dataset.info["name"] == "renamed"
    assert dataset.read_target(0).labels.tolist() == [0, 1, 2]
