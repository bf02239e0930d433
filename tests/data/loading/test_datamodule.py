"""Splits share no patient, and batches depend on the seed and the epoch alone."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import lightning
import numpy as np
import pytest
import torch

from forked import forked
from modise_lightning.data.loading.batches import collate
from modise_lightning.data.loading.copy_paste import CopyPaste
from modise_lightning.data.loading.datamodule import PanopticDataModule
from modise_lightning.data.loading.elastic import ElasticDeformation
from modise_lightning.data.loading.gamma import GammaChange
from modise_lightning.data.loading.source_sampler import SourceSampling
from modise_lightning.data.loading.transforms import EvaluationTransform, TrainTransform
from modise_lightning.data.preparation.folds import assign_folds
from modise_lightning.data.prepared.dataset import PreparedDataset, open_prepared
from modise_lightning.data.prepared.writing import write_entry, write_index
from modise_lightning.errors import UserError
from modise_lightning.structures import Batch, Category, ImageRecord, PanopticSegmentation

CATEGORIES = [{"name": "mass", "prompts": ["mass"], "isthing": True, "color": [1, 2, 3]}]
NUM_PATIENTS = 10
Build = Callable[..., PanopticDataModule]


def write_dataset(root: Path, num_folds: int) -> None:
    generator = np.random.default_rng(0)
    entries = []
    for index in range(2 * NUM_PATIENTS):
        height, width = (40, 30) if index % 2 else (33, 50)
        ids = np.zeros((height, width), dtype=np.int32)
        ids[5:15, 5:20] = 1
        pixels = generator.integers(0, 255, (height, width), dtype=np.uint8)
        record = ImageRecord(index, f"{index}.png", f"P{index // 2}", height, width)
        split = {"split": "test" if index < 2 else "training"}
        entries.append(write_entry(root, record, pixels, ids, [0], split))
    patients = [entry.record.patient_id for entry in entries]
    folds = assign_folds(patients, ["mass"] * len(patients), num_folds, 0)
    info = {"name": "test", "synthetic": True, "description": "made by a test", "license": "none"}
    write_index(root, info, [Category("mass", ("mass",))], entries, folds, 0)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dataset")
    write_dataset(folder, 5)
    return folder


@pytest.fixture
def build(root: Path) -> Build:
    def built(**changes: Any) -> PanopticDataModule:
        arguments = {
            "dataset": open_prepared(root=str(changes.pop("root", root)), categories=CATEGORIES),
            "fold": 0,
            "split": "folds",
            "train_transform": TrainTransform(
                crop_size=32,
                scale_range=(0.5, 2.0),
                flip_probability=0.5,
                brightness=0.1,
                contrast=0.2,
                trim_background=False,
                padding_value=0.0,
                keep_emptied_segments=False,
            ),
            "evaluation_transform": EvaluationTransform(
                image_size=40, shorter_side=None, longer_side=1.0, trim_background=False
            ),
            "batch_size": 3,
            "evaluation_batch_size": 2,
            "num_workers": 0,
            "pin_memory": False,
            "size_multiple": 32,
            "seed": 0,
            **changes,
        }
        return PanopticDataModule(**arguments)

    return built


def train_batches(data: PanopticDataModule, epochs: int) -> list[Batch]:
    loader = data.train_dataloader()
    batches = []
    for epoch in range(epochs):
        loader.sampler.set_epoch(epoch)
        batches += list(loader)
    return batches


def assert_equal(first: list[Batch], second: list[Batch]) -> None:
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one.images, other.images)
        assert one.records == other.records
        assert one.image_sizes == other.image_sizes
        for target, same in zip(one.targets, other.targets, strict=True):
            assert torch.equal(target.segment_ids, same.segment_ids)
            assert torch.equal(target.labels, same.labels)


def test_every_image_is_tested_in_one_fold_and_no_patient_is_in_two_splits(build: Build) -> None:
    tested = []
    for fold in range(5):
        data = build(fold=fold)
        splits = ("train", "validation", "test")
        patients = [{data.dataset.records[i].patient_id for i in data.indices[split]} for split in splits]
        assert sum(len(some) for some in patients) == len(set().union(*patients)) == NUM_PATIENTS
        assert data.indices["validation"] == build(fold=(fold + 1) % 5).indices["test"]
        assert data.indices["all"] == list(range(2 * NUM_PATIENTS))
        tested += data.indices["test"]
    assert sorted(tested) == list(range(2 * NUM_PATIENTS))


@pytest.mark.parametrize("fold", [-1, 5])
def test_a_fold_that_is_not_there_is_told(fold: int, build: Build) -> None:
    with pytest.raises(UserError, match=f"fold: {fold} is not one of the dataset's folds 0..4"):
        build(fold=fold)


def test_two_folds_are_too_few(build: Build, tmp_path: Path) -> None:
    write_dataset(tmp_path, 2)
    with pytest.raises(UserError, match="has 2 folds; test, validation and training need 3"):
        build(root=str(tmp_path))


def test_the_official_test_images_are_kept_and_the_fold_chooses_the_validation(build: Build) -> None:
    validated: list[int] = []
    for fold in range(5):
        data = build(split="official", fold=fold)
        assert data.indices["test"] == [0, 1]
        parts = [*data.indices["train"], *data.indices["validation"], *data.indices["test"]]
        assert sorted(parts) == list(range(2 * NUM_PATIENTS))
        assert {data.dataset.folds[index] for index in data.indices["validation"]} == {fold}
        validated += data.indices["validation"]
    assert sorted(validated) == list(range(2, 2 * NUM_PATIENTS))


def change_splits(root: Path, change: Callable[[int, dict[str, Any]], None]) -> None:
    index = json.loads((root / "panoptic.json").read_text())
    for number, image in enumerate(index["images"]):
        change(number, image)
    (root / "panoptic.json").write_text(json.dumps(index))


def test_an_official_split_that_is_not_there_is_told(build: Build, tmp_path: Path) -> None:
    write_dataset(tmp_path, 5)
    change_splits(tmp_path, lambda number, image: image.pop("split") if number == 3 else None)
    with pytest.raises(UserError, match=r"does not say whether 3\.png is for training or test"):
        build(root=str(tmp_path), split="official")
    build(root=str(tmp_path))


def test_what_the_official_split_leaves_out_is_in_no_part_of_it_and_in_the_folds(
    build: Build, tmp_path: Path
) -> None:
    write_dataset(tmp_path, 5)
    change_splits(tmp_path, lambda number, image: image.update(split="neither") if number in (4, 5) else None)
    for fold in range(5):
        data = build(root=str(tmp_path), split="official", fold=fold)
        parts = [*data.indices["train"], *data.indices["validation"], *data.indices["test"]]
        assert sorted(parts) == sorted({*range(2 * NUM_PATIENTS)} - {4, 5})
    assert {4, 5} <= {
        index for fold in range(5) for index in build(root=str(tmp_path), fold=fold).indices["test"]
    }


def test_an_official_split_that_divides_a_patient_or_has_no_test_is_told(
    build: Build, tmp_path: Path
) -> None:
    write_dataset(tmp_path, 5)
    change_splits(tmp_path, lambda number, image: image.update(split="test" if number == 2 else "training"))
    with pytest.raises(UserError, match=r"the patients \['P1'\] of .* are in several folds"):
        build(root=str(tmp_path), split="official", fold=4)
    change_splits(tmp_path, lambda number, image: image.update(split="training"))
    with pytest.raises(UserError, match="has no test image"):
        build(root=str(tmp_path), split="official", fold=4)


def test_a_batch_larger_than_the_training_images_is_told(build: Build) -> None:
    with pytest.raises(UserError, match=r"data\.module\.batch_size is 13, but a process has only 12"):
        build(batch_size=13).train_dataloader()


@pytest.mark.parametrize("num_workers", [1, 2])
def test_workers_do_not_change_the_batches(num_workers: int, build: Build) -> None:
    alone, with_workers = build(num_workers=0), build(num_workers=num_workers)
    assert_equal(train_batches(alone, 2), train_batches(with_workers, 2))
    assert_equal(list(alone.test_dataloader()), list(with_workers.test_dataloader()))


def all_augmentations() -> dict[str, Any]:
    """What changes training images beside the geometry, each for every image."""
    transform = TrainTransform(
        crop_size=32,
        scale_range=(0.5, 2.0),
        flip_probability=0.5,
        brightness=0.1,
        contrast=0.2,
        trim_background=False,
        padding_value=0.0,
        keep_emptied_segments=False,
        elastic=ElasticDeformation(probability=1.0, grid_size=3, deviation=0.05),
        gamma=GammaChange(probability=1.0, exponent_range=(0.5, 2.0)),
    )
    copy_paste = CopyPaste(
        probability=1.0,
        maximum_lesions=1,
        scale_range=(0.5, 0.8),
        feather=0.02,
        match_brightness=True,
        attempts=50,
    )
    return {"train_transform": transform, "copy_paste": copy_paste, "repeat_threshold": 0.9}


def test_workers_and_a_resume_do_not_change_augmented_batches(build: Build) -> None:
    alone = train_batches(build(**all_augmentations()), 2)
    assert_equal(alone, train_batches(build(num_workers=2, **all_augmentations()), 2))
    resumed = build(**all_augmentations()).train_dataloader()
    resumed.sampler.set_epoch(1)
    assert_equal(alone[len(alone) // 2 :], list(resumed))
    assert any(len(target.labels) > 1 for batch in alone for target in batch.targets)


def test_no_lesion_is_copied_out_of_a_validation_or_test_image(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    read_input = PreparedDataset.read_input

    def watched(dataset: PreparedDataset, index: int) -> Any:
        read.append(index)
        return read_input(dataset, index)

    monkeypatch.setattr(PreparedDataset, "read_input", watched)
    for fold in range(5):
        data = build(fold=fold, **all_augmentations())
        read.clear()
        train_batches(data, 3)
        assert set(read) == set(data.indices["train"])
        assert len(read) > 3 * 12
        patients = {data.dataset.records[index].patient_id for index in read}
        others = [*data.indices["validation"], *data.indices["test"]]
        assert patients.isdisjoint(data.dataset.records[index].patient_id for index in others)


def test_pasted_lesions_have_no_limit_of_pictures(build: Build) -> None:
    assert build().training_versions is None
    transform = all_augmentations()["train_transform"]
    transform.scale_range, transform.brightness, transform.contrast = (1.0, 1.0), 0.0, 0.0
    assert build(train_transform=transform).training_versions is None
    transform.elastic = None
    assert build(train_transform=transform).training_versions is None
    transform.gamma = None
    assert build(train_transform=transform).training_versions == 2
    pasted = all_augmentations()["copy_paste"]
    assert build(train_transform=transform, copy_paste=pasted).training_versions is None


@pytest.mark.parametrize("folder", ["images", "panoptic"])
@pytest.mark.parametrize("loader", ["train_dataloader", "test_dataloader"])
def test_a_damaged_file_is_told_in_one_line_whoever_reads_it(
    loader: str, folder: str, build: Build, tmp_path: Path
) -> None:
    write_dataset(tmp_path, 5)
    for path in (tmp_path / folder).iterdir():
        path.write_bytes(path.read_bytes()[:60])
    told = []
    for num_workers in (0, 1):
        data = build(root=str(tmp_path), num_workers=num_workers, batch_size=1)
        with pytest.raises(UserError) as caught:
            list(getattr(data, loader)())
        told.append(str(caught.value))
    assert re.fullmatch(rf".*'{tmp_path}/{folder}/\d+\.png' is .{{5,90}}", told[0])
    assert re.sub(r"\d+\.png", "", told[1]) == re.sub(r"\d+\.png", "", told[0])


def test_another_seed_gives_other_batches(build: Build) -> None:
    one, other = train_batches(build(seed=0), 1), train_batches(build(seed=1), 1)
    assert [batch.records for batch in one] != [batch.records for batch in other]


def test_workers_start_after_opencv_was_used_here(build: Build, tmp_path: Path) -> None:
    """In a process of its own, since what would fail waits for ever."""
    code = (
        "import sys, cv2, numpy, pathlib\n"
        "cv2.setNumThreads(2)\n"
        "cv2.GaussianBlur(numpy.ones((2000, 2000), numpy.float32), (0, 0), 9)\n"
        "from modise_lightning.data.loading.datamodule import PanopticDataModule\n"
        "from modise_lightning.data.prepared.dataset import open_prepared\n"
        "from modise_lightning.data.loading.transforms import EvaluationTransform\n"
        f"dataset = open_prepared(root={str(build().dataset.root)!r}, categories={CATEGORIES!r})\n"
        "transform = EvaluationTransform(image_size=40, shorter_side=None, longer_side=1.0,\n"
        "    trim_background=False)\n"
        "data = PanopticDataModule(dataset=dataset, fold=0, split='folds', train_transform=None,\n"
        "    evaluation_transform=transform, batch_size=1, evaluation_batch_size=2, num_workers=1,\n"
        "    pin_memory=False, size_multiple=32, seed=0)\n"
        "print(len(list(data.test_dataloader())))\n"
    )
    program = tmp_path / "program.py"
    program.write_text(code)
    result = forked(str(program), timeout=60)
    assert (result.stdout.strip(), result.returncode) == ("2", 0), result.stderr


def test_sixteen_bits_are_kept(build: Build, tmp_path: Path) -> None:
    """Neighbouring grey values of 16 bits stay apart until the network, where 8 bits would merge them."""
    write_dataset(tmp_path, 5)
    values = (np.arange(40 * 30) % 64 + 30_000).astype(np.uint16).reshape(40, 30)
    for index in range(1, 2 * NUM_PATIENTS, 2):
        assert cv2.imwrite(str(tmp_path / "images" / f"{index}.png"), values)
    data = build(root=str(tmp_path), evaluation_batch_size=1)
    found = [batch for batch in data.evaluation_dataloader("all") if batch.records[0].height == 40]
    assert len(found) == NUM_PATIENTS
    for batch in found:
        assert batch.images.dtype == torch.float32
        np.testing.assert_array_equal(
            (batch.images[0, 0, :40, :30] * 65535).round().int().numpy(), values.astype(int)
        )


def test_the_loader_does_as_configured(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for pin_memory in (False, True):
        loader = build(pin_memory=pin_memory, num_workers=2).train_dataloader()
        assert (loader.pin_memory, loader.num_workers) == (pin_memory, 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert not build(pin_memory=True).train_dataloader().pin_memory


def test_a_later_epoch_needs_no_earlier_one(build: Build) -> None:
    both = train_batches(build(), 2)
    loader = build().train_dataloader()
    loader.sampler.set_epoch(1)
    assert_equal(both[len(both) // 2 :], list(loader))
    assert not torch.equal(both[0].images, both[len(both) // 2].images)


def test_loading_draws_nothing_from_the_global_generators(build: Build) -> None:
    lightning.seed_everything(0, verbose=False)
    states = torch.get_rng_state(), np.random.get_state()[1].copy()
    data = build()
    train_batches(data, 1)
    list(data.val_dataloader())
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.array_equal(np.random.get_state()[1], states[1])


def test_training_batches_have_one_size(build: Build) -> None:
    batches = train_batches(build(), 1)
    assert len(batches) == 4  # of 12 images, 3 each
    assert len({record.image_id for batch in batches for record in batch.records}) == 12
    for batch in batches:
        assert batch.images.shape == (3, 3, 32, 32)
        assert all(target.segment_ids.shape == (32, 32) for target in batch.targets)


@pytest.mark.parametrize("split", ["train", "validation", "test", "all"])
def test_evaluation_gives_each_image_once_with_its_stored_segments(split: str, build: Build) -> None:
    data = build()
    batches = list(data.evaluation_dataloader(split))
    records = [record for batch in batches for record in batch.records]
    assert records == [data.dataset.records[index] for index in data.indices[split]]
    for batch in batches:
        assert batch.images.shape[-2] % 32 == batch.images.shape[-1] % 32 == 0
        for position, record in enumerate(batch.records):
            target = batch.targets[position]
            assert target.segment_ids.shape == (record.height, record.width)
            assert int((target.segment_ids == 1).sum()) == 150
            height, width = batch.image_sizes[position]
            assert max(height, width) == 40
            image = batch.images[position]
            assert image[:, :height, :width].mean() > 0.3
            assert not image[:, height:].any()
            assert not image[:, :, width:].any()


class TwoProcesses:
    """What the data module asks of a trainer."""

    world_size = 2

    def __init__(self, rank: int) -> None:
        self.global_rank = rank


def test_processes_share_the_images(build: Build) -> None:
    modules = [build(batch_size=2), build(batch_size=2)]
    for rank, data in enumerate(modules):
        data.trainer = TwoProcesses(rank)
    evaluated = [[r.image_id for batch in data.test_dataloader() for r in batch.records] for data in modules]
    assert sorted(evaluated[0] + evaluated[1]) == modules[0].indices["test"]
    trained = [[r.image_id for batch in train_batches(data, 1) for r in batch.records] for data in modules]
    assert len(trained[0]) == len(trained[1]) == 6
    assert sorted(trained[0] + trained[1]) == modules[0].indices["train"]


@pytest.mark.parametrize(("multiple", "expected"), [(32, (64, 96)), (64, (64, 128))])
def test_collate_pads_to_the_largest_and_a_multiple(multiple: int, expected: tuple[int, int]) -> None:
    record = ImageRecord(0, "a.png", "P", 1, 1)
    target = PanopticSegmentation(torch.zeros(1, 1, dtype=torch.int64), torch.empty(0, dtype=torch.int64))
    sizes = [(20, 70), (33, 10)]
    batch = collate([(torch.ones(3, *size), target, size, record, None) for size in sizes], multiple)
    assert batch.images.shape == (2, 3, *expected)
    assert batch.image_sizes == sizes
    for image, (height, width) in zip(batch.images, sizes, strict=True):
        assert int(image.sum()) == 3 * height * width
        assert image[:, :height, :width].all()


def test_repeat_factors_and_shares_of_sources_exclude_each_other(build: Build) -> None:
    with pytest.raises(UserError, match="sampling: repeat factors do not go with data=joint"):
        build(source_sampling=SourceSampling(temperature=1.0, epoch_images=None), repeat_threshold=0.5)
