"""What all preparers of downloads share, on a source of text files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from modise_lightning.data.preparation.journal import FinishedImage, png_sizes
from modise_lightning.data.preparation.preparer import DownloadPreparer, Source
from modise_lightning.data.prepared.dataset import open_prepared
from modise_lightning.data.prepared.writing import write_entry
from modise_lightning.errors import UserError
from modise_lightning.structures import ImageRecord

CATEGORIES = [
    {"name": name, "isthing": True, "color": [1, 2, number], "prompts": [name]}
    for number, name in enumerate(("common", "rare"))
]


@dataclass(frozen=True)
class TextTask:
    """An image whose segments are the words of a text file."""

    root: Path
    source: Path

    @property
    def file_name(self) -> str:
        return f"{self.source.stem}.png"

    def key(self) -> str:
        return self.source.read_text()


@dataclass(frozen=True)
class TextSelection:
    images: Sequence[Path]
    counts: dict[str, int]
    classes: dict[str, dict[str, int]]
    problems: Sequence[str]
    notes: Sequence[str]


def convert_text(task: TextTask) -> FinishedImage | str:
    words = task.source.read_text().split()
    if "broken" in words:
        return f"{task.source.name}: broken."
    ids = np.zeros((8, 8), dtype=np.int32)
    ids[0, : len(words)] = range(1, len(words) + 1)
    number = int(task.source.stem)
    record = ImageRecord(number, task.file_name, f"P{number // 2}", 8, 8)
    labels = [("common", "rare").index(word) for word in words]
    entry = write_entry(task.root, record, np.zeros((8, 8), dtype=np.uint8), ids, labels, {})
    return FinishedImage(
        task.key(), entry, png_sizes(task.root, task.file_name), counts={"words": len(words)}
    )


@dataclass(kw_only=True)
class TextPreparer(DownloadPreparer[TextSelection, TextTask]):
    """Prepares text files, two a patient."""

    source = Source(
        "Texts", "Words.", "CC0", "Texts: nobody.", "https://example.org", "words", "words", "patients"
    )
    known_names: ClassVar[Mapping[str, Sequence[str]]] = {"words": ("common", "rare")}

    def select(self) -> TextSelection:
        files = sorted(Path(str(self.raw)).glob("*.txt"))
        classes = {name: {"files": 0} for name in self.names}
        return TextSelection(files, {"files": len(files)}, classes, [], ["a note"])

    def group_of(self, image: Path) -> int:
        return int(image.stem) // 2

    def task(self, image: Path) -> TextTask:
        return TextTask(self.folder, image)

    @property
    def convert(self) -> Callable[[TextTask], FinishedImage | str]:
        return convert_text


def make(tmp_path: Path, **changes: Any) -> TextPreparer:
    arguments = {
        "raw": str(tmp_path / "raw"),
        "root": str(tmp_path / "out"),
        "labels": "words",
        "categories": CATEGORIES,
        "num_folds": 2,
        "fold_seed": 0,
        "num_processes": 1,
        "strict": False,
        "minimum_visible_fraction": 0.0,
    }
    return TextPreparer(**(arguments | changes))


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """Four patients; two have a rare word, once beside common ones."""
    (tmp_path / "raw").mkdir()
    for number, words in enumerate(["common"] * 4 + ["common common rare", "common", "rare", "broken"]):
        (tmp_path / "raw" / f"{number}.txt").write_text(words)
    return tmp_path


def test_a_source_is_verified_prepared_and_summed_up(texts: Path) -> None:
    assert make(texts).verify().counts == {"files": 8}
    assert not (texts / "out").exists()
    report = make(texts).prepare()
    assert report.counts == {
        "files": 8,
        "images prepared": 7,
        "patients prepared": 4,
        "words prepared": 9,
        "words partly hidden by smaller ones": 0,
        "words": 9,
    }
    assert report.tables["classes"] == {
        "common": {"files": 0, "images prepared": 6, "words prepared": 7},
        "rare": {"files": 0, "images prepared": 2, "words prepared": 2},
    }
    assert (report.problems, report.notes) == (["7.txt: broken."], ["a note"])
    dataset = open_prepared(root=str(texts / "out"), categories=CATEGORIES)
    assert dataset.info["attribution"] == "Texts: nobody."
    # The two patients with a rare word are spread, though most of their words are common.
    folds = dict(zip([record.patient_id for record in dataset.records], dataset.folds, strict=True))
    assert folds["P2"] != folds["P3"]


def test_a_strict_preparation_stops(texts: Path) -> None:
    with pytest.raises(UserError, match=r"7\.txt: broken"):
        make(texts, strict=True).prepare()


def test_nothing_to_prepare_and_too_few_patients_are_told(texts: Path) -> None:
    with pytest.raises(UserError, match="4 patients cannot make 5 folds"):
        make(texts, num_folds=5).verify()
    (texts / "empty").mkdir()
    with pytest.raises(UserError, match=r"Texts: '.*empty' has no image with a usable word"):
        make(texts, raw=str(texts / "empty")).verify()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_folds": 1}, "num_folds"),
        ({"num_processes": 0}, "num_processes"),
        ({"minimum_visible_fraction": -0.1}, "minimum_visible_fraction"),
        ({"minimum_visible_fraction": 1.1}, "minimum_visible_fraction"),
        ({"categories": [CATEGORIES[0] | {"name": "other"}]}, "Texts has common, rare; found 'other'"),
    ],
)
def test_values_are_checked(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        make(tmp_path, **changes)
