"""Conversion keeps what is finished, tells what cannot be used, and leaves foreign folders alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from modise_lightning.data.preparation.conversion import ImageConverter
from modise_lightning.data.preparation.journal import FinishedImage, PreparationJournal, png_sizes
from modise_lightning.data.prepared.writing import write_entry
from modise_lightning.errors import UserError
from modise_lightning.structures import ImageRecord


@dataclass(frozen=True)
class TextTask:
    """An image that is the characters of a text file."""

    root: Path
    source: Path

    @property
    def file_name(self) -> str:
        return f"{self.source.stem}.png"

    def key(self) -> str:
        return self.source.read_text()


def convert(task: TextTask) -> FinishedImage | str:
    text = task.key()
    if not text.isascii():
        return f"{task.source.name}: not ASCII; left out."
    pixels = np.frombuffer(text.encode(), dtype=np.uint8)[None]
    record = ImageRecord(int(task.source.stem), task.file_name, "P1", 1, len(text))
    entry = write_entry(task.root, record, pixels, np.ones_like(pixels), [0], {})
    problems = [f"{task.source.name}: shouts."] if text.isupper() else []
    return FinishedImage(
        text, entry, png_sizes(task.root, task.file_name), problems=problems, counts={"a": 1}
    )


@pytest.fixture
def tasks(tmp_path: Path) -> list[TextTask]:
    (tmp_path / "raw").mkdir()
    for number, text in enumerate(("one", "zwei", "trois")):
        (tmp_path / "raw" / f"{number}.txt").write_text(text)
    return [TextTask(tmp_path / "out", tmp_path / "raw" / f"{number}.txt") for number in (2, 0, 1)]


def make(tasks: list[TextTask], strict: bool = False, processes: int = 1) -> ImageConverter:
    return ImageConverter(root=tasks[0].root, name="Texts", num_processes=processes, strict=strict)


def times(root: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in root.glob("images/*.png")}


def test_only_what_changed_is_converted_again(tasks: list[TextTask]) -> None:
    images, problems = make(tasks).convert(tasks, convert)
    assert ([image.entry.record.image_id for image in images], problems) == ([2, 0, 1], [])
    before = times(tasks[0].root)
    assert make(tasks).convert(tasks, convert) == (images, [])
    assert times(tasks[0].root) == before
    (tasks[0].root / "panoptic.json").write_text("complete")
    tasks[1].source.write_text("eins")
    images, _ = make(tasks).convert(tasks, convert)
    changed = {name for name, time in times(tasks[0].root).items() if time != before[name]}
    assert changed == {"0.png"}
    assert not (tasks[0].root / "panoptic.json").exists()
    assert list(PreparationJournal(tasks[0].root).read().values()) == images


def test_an_image_whose_file_is_gone_by_now_is_converted_again_which_says_so(tasks: list[TextTask]) -> None:
    make(tasks).convert(tasks, convert)
    tasks[1].source.unlink()

    def convert_or_say(task: TextTask) -> FinishedImage | str:
        return convert(task) if task.source.is_file() else f"{task.source.name}: gone."

    images, problems = make(tasks).convert(tasks, convert_or_say)
    assert ([image.entry.record.image_id for image in images], problems) == ([2, 1], ["0.txt: gone."])


def test_images_that_are_gone_are_removed(tasks: list[TextTask]) -> None:
    make(tasks).convert(tasks, convert)
    (tasks[0].root / "panoptic.json").write_text("complete")
    make(tasks).convert(tasks[:2], convert)
    assert times(tasks[0].root).keys() == {"2.png", "0.png"}
    assert not (tasks[0].root / "panoptic.json").exists()


def test_problems_are_told_each_time_or_stop(tasks: list[TextTask]) -> None:
    tasks[0].source.write_text("ünö")
    tasks[1].source.write_text("EINS")
    for _ in range(2):
        images, problems = make(tasks).convert(tasks, convert)
        assert problems == ["2.txt: not ASCII; left out."]
        assert [image.problems for image in images] == [["0.txt: shouts."], []]
    with pytest.raises(UserError, match=r"2\.txt: not ASCII; left out\. data\.strict=false"):
        make(tasks, strict=True).convert(tasks, convert)
    with pytest.raises(UserError, match=r"0\.txt: shouts\. data"):
        make(tasks, strict=True).convert(tasks[1:], convert)


def test_nothing_usable_is_an_error(tasks: list[TextTask]) -> None:
    for task in tasks:
        task.source.write_text("ünö")
    with pytest.raises(
        UserError, match=r"Texts: none of 3 images can be used\. The first: 2\.txt: not ASCII"
    ):
        make(tasks).convert(tasks, convert)


def test_a_folder_with_something_else_is_left_alone(tasks: list[TextTask]) -> None:
    tasks[0].root.mkdir()
    (tasks[0].root / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match="is not empty and not a prepared Texts dataset"):
        make(tasks).convert(tasks, convert)
    assert [path.name for path in tasks[0].root.iterdir()] == ["thesis.tex"]
