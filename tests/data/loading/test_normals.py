"""Which images without findings take part in which split, and how many of them an epoch has."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modise_lightning.data.loading.datamodule import PanopticDataModule, Split
from modise_lightning.data.loading.transforms import EvaluationTransform, TrainTransform
from modise_lightning.data.prepared.dataset import open_prepared
from modise_lightning.data.prepared.writing import write_entry, write_index
from modise_lightning.errors import UserError
from modise_lightning.structures import Category, ImageRecord

CATEGORIES = [{"name": "mass", "prompts": ["mass"], "isthing": True, "color": [1, 2, 3]}]
LESIONS, NORMALS = 9, 6
SPLITS: tuple[Split, ...] = ("train", "validation", "test", "all")
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write images with a lesion, three a fold, and then normal ones in the given folds."""

    def written(normal_folds: list[int], name: str = "dataset") -> Path:
        root, entries = tmp_path / name, []
        folds = [index % 3 for index in range(LESIONS)] + normal_folds
        for index in range(len(folds)):
            ids = np.zeros((20, 20), dtype=np.int32)
            if index < LESIONS:
                ids[5:15, 5:15] = 1
            record = ImageRecord(index, f"{index}.png", f"P{index}", 20, 20)
            attributes = {} if index < LESIONS else {"normal": 1}
            pixels = np.full((20, 20), 100, dtype=np.uint8)
            entries.append(write_entry(root, record, pixels, ids, [0] * (index < LESIONS), attributes))
        info = {"name": "test", "synthetic": True, "description": "made by a test", "license": "none"}
        write_index(root, info, [Category("mass", ("mass",))], entries, folds, 0)
        return root

    return written


def build(root: Path, **changes: Any) -> PanopticDataModule:
    train = TrainTransform(
        crop_size=32,
        scale_range=(1.0, 1.0),
        flip_probability=0.5,
        brightness=0.1,
        contrast=0.1,
        trim_background=False,
        padding_value=0.0,
        keep_emptied_segments=False,
    )
    evaluation = EvaluationTransform(image_size=32, shorter_side=None, longer_side=1.0, trim_background=False)
    arguments: dict[str, Any] = {
        "dataset": open_prepared(root=str(root), categories=CATEGORIES),
        "fold": 0,
        "split": "folds",
        "train_transform": train,
        "evaluation_transform": evaluation,
        "batch_size": 1,
        "evaluation_batch_size": 2,
        "num_workers": 0,
        "pin_memory": False,
        "size_multiple": 32,
        "seed": 0,
    }
    return PanopticDataModule(**(arguments | changes))


@pytest.mark.parametrize(
    ("normals", "expected"),
    [("none", (0, 0, 0, 0)), ("evaluation", (0, 2, 2, 6)), ("all", (2, 2, 2, 6))],
)
def test_normals_are_where_the_setting_says(normals: str, expected: tuple[int, ...], write: Write) -> None:
    root = write([0, 1, 2, 0, 1, 2])
    data = build(root, normals=normals)
    assert tuple(data.num_normals(split) for split in SPLITS) == expected
    without = build(write([], "plain"))
    for split in SPLITS:
        own = [index for index in data.indices[split] if index < LESIONS]
        assert own == without.indices[split]


def test_the_fingerprint_without_normals_is_that_of_a_dataset_that_has_none(write: Write) -> None:
    plain, both = build(write([], "plain")), write([0, 1, 2])
    assert build(both).fingerprint() == plain.fingerprint()
    assert build(both, normals="evaluation").fingerprint() != plain.fingerprint()
    assert build(both, normals="all").fingerprint() != build(both, normals="evaluation").fingerprint()


def test_an_epoch_has_the_share_of_normals_and_every_lesion(write: Write) -> None:
    data = build(write([2] * 5), normals="all", normal_share=0.4)
    loader = data.train_dataloader()
    epochs = []
    for number in range(3):
        loader.sampler.set_epoch(number)  # type: ignore[attr-defined]
        shown = [record.image_id for batch in loader for record in batch.records]
        assert sum(index >= LESIONS for index in shown) == 2
        assert sorted(index for index in shown if index < LESIONS) == data.indices["train"][:3]
        epochs.append(shown)
    assert epochs[0] != epochs[1]


def test_missing_normals_are_told(write: Write) -> None:
    plain = write([], "plain")
    for normals in ("evaluation", "all"):
        with pytest.raises(UserError, match=rf"data.normals: '{normals}', but '{plain}' has no image that"):
            build(plain, normals=normals)
    with pytest.raises(UserError, match=r"no training image of .* is normal\. Set data\.normals=evaluation"):
        build(write([0, 1]), normals="all")
    # A fold of validation or test without normal images is no mistake: its numbers say that they lack them.
    assert build(write([2, 2], "elsewhere"), normals="evaluation").num_normals("test") == 0


def test_what_is_said_of_normals(write: Write) -> None:
    root = write([0, 1, 2, 0])
    assert build(write([], "plain")).describe_normals("test") is None
    assert build(root).describe_normals("test") == "normal images left out (data.normals=none)"
    told = build(root, normals="evaluation").describe_normals("test")
    assert told == "2 of the test images normal (data.normals=evaluation)"


def test_an_image_with_a_segment_is_never_normal(write: Write) -> None:
    root = write([0, 1, 2])
    text = (root / "panoptic.json").read_text()
    marked = text.replace('"file_name": "0.png", "width"', '"normal": 1, "file_name": "0.png", "width"')
    assert marked != text
    (root / "panoptic.json").write_text(marked)
    assert 0 in build(root).indices["test"]
