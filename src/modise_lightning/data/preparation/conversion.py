"""Converts a download's images into a prepared dataset's folder, and goes on where an earlier run stopped."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol, TypeVar

from modise_lightning.data.preparation.journal import (
    FinishedImage,
    PreparationJournal,
    remove_unfinished_files,
)
from modise_lightning.data.preparation.parallel import map_in_processes
from modise_lightning.data.prepared.writing import INDEX_NAME
from modise_lightning.errors import UserError


class ConversionTask(Protocol):
    """What a worker needs to convert an image; it is sent to another process."""

    @property
    def file_name(self) -> str:
        """Name of the PNGs."""

    def key(self) -> str:
        """Hash everything that the result depends on, the bytes of each file that it is read from included.

        Raises:
            OSError: A file cannot be read.
        """


Task = TypeVar("Task", bound=ConversionTask)


def hidden_pixels(images: Sequence[FinishedImage]) -> dict[str, dict[str, int]]:
    """Tell of each partly hidden segment how many pixels it had and how many are left, for the report."""
    return {
        f"{Path(image.entry.record.file_name).stem}, row {hidden['row']}": {
            "pixels": hidden["pixels"],
            "left": hidden["left"],
        }
        for image in images
        for hidden in image.hidden
    }


class ImageConverter:
    """Converts images in worker processes and keeps a journal of those that are finished."""

    def __init__(self, *, root: Path, name: str, num_processes: int, strict: bool) -> None:
        """Nothing is read or written yet.

        Args:
            root: Folder of the prepared dataset.
            name: The dataset's name in messages.
            num_processes: Worker processes; they do not change the result.
            strict: Stop at the first problem.
        """
        self._root = root
        self._name = name
        self._num_processes = num_processes
        self._strict = strict

    def stop_if_strict(self, problems: Sequence[str]) -> None:
        """Stop at a problem if that is wanted.

        Raises:
            UserError: Preparation is strict and there is a problem.
        """
        if self._strict and problems:
            more = f" ({len(problems) - 1} more problems)" if len(problems) > 1 else ""
            raise UserError(f"{problems[0]}{more} data.strict=false goes on without what is wrong.")

    def convert(
        self, tasks: Sequence[Task], convert_image: Callable[[Task], FinishedImage | str]
    ) -> tuple[list[FinishedImage], list[str]]:
        """Convert the images that no earlier run with the same settings finished.

        The index is removed when anything changes: its presence says that the dataset is complete.

        Args:
            tasks: All images of the dataset.
            convert_image: A module's function that writes an image, or says why it leaves it out.

        Returns:
            The images that are finished, in the order of the tasks, and why others are not.

        Raises:
            UserError: The folder holds something else, or no image can be used; with ``strict`` any problem.
        """
        journal = PreparationJournal(self._root)
        known = self._read_journal(journal)
        finished = self._reusable(tasks, known)
        if finished.keys() != known.keys() or len(finished) < len(tasks):
            (self._root / INDEX_NAME).unlink(missing_ok=True)
        remove_unfinished_files(self._root, finished.keys())
        journal.write(finished.values())
        problems: list[str] = []
        missing = [task for task in tasks if task.file_name not in finished]
        done = f" ({len(finished)} images are already done)" if finished else ""
        title = f"Preparing {self._name}{done}"
        with map_in_processes(convert_image, missing, self._num_processes, title) as results:
            for task, result in zip(missing, results, strict=True):
                if isinstance(result, str):
                    self.stop_if_strict([result])
                    problems.append(result)
                else:
                    finished[task.file_name] = result
                    journal.append(result)
                    self.stop_if_strict(result.problems)
        images = [finished[task.file_name] for task in tasks if task.file_name in finished]
        self.stop_if_strict([problem for image in images for problem in image.problems])
        if not images:
            raise UserError(
                f"{self._name}: none of {len(tasks)} images can be used. The first: {problems[0]}"
            )
        journal.write(images)
        return images, problems

    def _read_journal(self, journal: PreparationJournal) -> dict[str, FinishedImage]:
        """Read what an earlier run finished.

        Raises:
            UserError: The folder holds something that no preparation made.
        """
        is_new = not self._root.exists() or (self._root.is_dir() and not any(self._root.iterdir()))
        if not is_new and not journal.path.is_file():
            raise UserError(
                f"data.root: '{self._root}' is not empty and not a prepared {self._name} dataset. "
                "Choose another folder with data.root=..., or delete it."
            )
        return journal.read()

    def _reusable(
        self, tasks: Sequence[Task], known: Mapping[str, FinishedImage]
    ) -> dict[str, FinishedImage]:
        """Keep of the finished images those that the same settings and input would give again."""

        def is_reusable(task: Task) -> bool:
            image = known[task.file_name]
            if not image.is_complete(self._root):
                return False
            try:
                return image.key == task.key()
            except OSError:  # gone or unreadable by now: converting it says so
                return False

        candidates = [task for task in tasks if task.file_name in known]
        with ThreadPoolExecutor(self._num_processes) as executor:
            reusable = list(executor.map(is_reusable, candidates))
        return {
            task.file_name: known[task.file_name]
            for task, reuse in zip(candidates, reusable, strict=True)
            if reuse
        }
