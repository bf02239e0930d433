"""What the preparers of all downloads share: verify, convert, assign folds, write the index, sum up."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from modise_lightning.cores import available_cores
from modise_lightning.data.preparation.conversion import ConversionTask, ImageConverter, hidden_pixels
from modise_lightning.data.preparation.folds import assign_folds, assign_normals
from modise_lightning.data.preparation.journal import FinishedImage
from modise_lightning.data.preparation.report import PreparationReport
from modise_lightning.data.prepared.categories import categories_from_config
from modise_lightning.data.prepared.writing import PreparedEntry, write_index
from modise_lightning.errors import UserError
from modise_lightning.structures import Category

Tables = dict[str, dict[str, dict[str, int]]]


@dataclass(frozen=True)
class Source:
    """What a dataset is, for messages, reports and the index of what is prepared.

    Attributes:
        name: As its authors write it.
        description: What the images are, and what is changed about them.
        license: Under which they may be used.
        attribution: What pictures of them carry.
        url: Where to download it.
        outlines: What outlines a lesion in the download: regions, boxes, masks.
        segments: What an outline becomes, in the report.
        groups: What is never divided among folds: patients, or studies where no patient is named.
        class_table: Title of the report's table of classes.
    """

    name: str
    description: str
    license: str
    attribution: str
    url: str
    outlines: str
    segments: str
    groups: str
    class_table: str = "classes"


class Selection(Protocol):
    """Which images of a download are prepared."""

    @property
    def images(self) -> Sequence[Any]:
        """Images of the source's own kind, in the order of the dataset."""

    @property
    def counts(self) -> Mapping[str, int]:
        """How many of what was found and is selected."""

    @property
    def classes(self) -> Mapping[str, Mapping[str, int]]:
        """What was found and is selected of each class."""

    @property
    def problems(self) -> Sequence[str]:
        """What contradicts itself or is missing."""

    @property
    def notes(self) -> Sequence[str]:
        """What is left out by design."""


Selected = TypeVar("Selected", bound=Selection)
Task = TypeVar("Task", bound=ConversionTask)


@dataclass(kw_only=True)
class DownloadPreparer(ABC, Generic[Selected, Task]):
    """Turns a download into the COCO panoptic layout; a source says what is chosen and how it is converted.

    Attributes:
        raw: Folder of the download.
        root: Folder of the prepared dataset.
        labels: What an outline's category is.
        categories: Names of the release, in any order; outlines of others are left out. Of several findings
            the first one here counts.
        num_folds: Number of cross-validation folds.
        fold_seed: Seed of the folds.
        num_processes: Worker processes; None takes all cores. It does not change the result.
        strict: Stop at the first problem instead of leaving an image or outline out.
        minimum_visible_fraction: A segment of whose area, in [0, 1], less stays visible is left out.
    """

    source: ClassVar[Source]
    known_names: ClassVar[Mapping[Any, Sequence[str]]]  # by what is labelled

    raw: str | None
    root: str
    labels: str
    categories: Sequence[dict[str, Any]]
    num_folds: int
    fold_seed: int
    num_processes: int | None
    strict: bool
    minimum_visible_fraction: float
    folder: Path = field(init=False)
    names: list[str] = field(init=False)  # of the categories
    _categories: tuple[Category, ...] = field(init=False)
    _converter: ImageConverter = field(init=False)

    def __post_init__(self) -> None:
        """Check the arguments; nothing is read or written yet.

        Raises:
            UserError: Names the value that is out of its range.
        """
        self._categories = categories_from_config(self.categories)
        self.names = [category.name for category in self._categories]
        known = self.known_names[self.labels]
        unknown = sorted(set(self.names) - set(known))
        if unknown:
            raise UserError(
                f"data.categories: with data.labels={self.labels} {self.source.name} has {', '.join(known)}; "
                f"found {unknown[0]!r}."
            )
        if self.num_folds < 2:
            raise UserError(f"data.preparer.num_folds: {self.num_folds}, but at least 2 are needed.")
        if self.num_processes is not None and self.num_processes < 1:
            raise UserError(f"data.preparer.num_processes: {self.num_processes}, but at least 1 is needed.")
        if not 0 <= self.minimum_visible_fraction <= 1:
            raise UserError(
                f"data.preparer.minimum_visible_fraction: {self.minimum_visible_fraction} is not in [0, 1]."
            )
        self.folder = Path(self.root)
        self._converter = ImageConverter(
            root=self.folder,
            name=self.source.name,
            num_processes=self.num_processes or available_cores(),
            strict=self.strict,
        )

    @abstractmethod
    def select(self) -> Selected:
        """Read the tables and choose the images, with all problems and notes.

        Raises:
            UserError: A file is missing.
        """

    @abstractmethod
    def group_of(self, image: Any) -> object:  # noqa: ANN401 (a source's own image)
        """Give the patient (or study) of a selected image."""

    def is_normal(self, image: Any) -> bool:  # noqa: ANN401
        """Tell whether a selected image is one that the source calls free of findings."""
        del image
        return False

    @abstractmethod
    def task(self, image: Any) -> Task:  # noqa: ANN401
        """Give what a worker needs to convert a selected image."""

    @property
    @abstractmethod
    def convert(self) -> Callable[[Task], FinishedImage | str]:
        """Give a module's function, for worker processes, that writes an image or says why it does not."""

    def info(self) -> dict[str, str]:
        """Give what else the index says of the dataset."""
        return {}

    def tables(self, selection: Selected, images: Sequence[FinishedImage] | None) -> Tables:
        """Give further tables of the report; without ``images`` only of what is selected."""
        del selection, images
        return {}

    def verify(self) -> PreparationReport:
        """Check the download's files, tables and counts without converting or writing anything.

        Returns:
            What was found and would be used.

        Raises:
            UserError: Something that is needed is missing; with ``strict`` any problem.
        """
        return self._report(self._checked_selection(), None, [])

    def prepare(self) -> PreparationReport:
        """Verify and convert; what an earlier run with the same settings finished is kept.

        Returns:
            What was found, used, repaired and left out.

        Raises:
            UserError: The download cannot be used, or the folder holds something else; with ``strict`` any
                problem.
        """
        selection = self._checked_selection()
        tasks = [self.task(image) for image in selection.images]
        images, problems = self._converter.convert(tasks, self.convert)
        report = self._report(selection, images, problems)
        report.notes.extend(self._write_index([image.entry for image in images]))
        return report

    def _checked_selection(self) -> Selected:
        selection = self.select()
        self._converter.stop_if_strict(selection.problems)
        outlined = [image for image in selection.images if not self.is_normal(image)]
        if not outlined:
            first = f" The first problem: {selection.problems[0]}" if selection.problems else ""
            raise UserError(
                f"{self.source.name}: '{self.raw}' has no image with a usable "
                f"{self.source.outlines.removesuffix('s')}.{first}"
            )
        groups = len({self.group_of(image) for image in outlined})
        if groups < self.num_folds:
            raise UserError(
                f"data.preparer.num_folds: {groups} {self.source.groups} cannot make {self.num_folds} folds. "
                "Ask for fewer folds."
            )
        return selection

    def _write_index(self, entries: Sequence[PreparedEntry]) -> list[str]:
        """Write it, and say which folds have no normal image where others have."""
        normals = [entry for entry in entries if entry.is_normal]
        outlined = [entry for entry in entries if not entry.is_normal]
        folds = self._folds(outlined)
        fold_of_patient = {entry.record.patient_id: fold for entry, fold in zip(outlined, folds, strict=True)}
        patients = [entry.record.patient_id for entry in normals]
        of_normals = assign_normals(patients, fold_of_patient, self.num_folds, self.fold_seed)
        info = {
            "name": self.source.name,
            "synthetic": False,
            "description": self.source.description,
            "license": self.source.license,
            "attribution": self.source.attribution,
            "url": self.source.url,
            **self.info(),
            "labels": self.labels,
            **({"normal_images": len(normals)} if normals else {}),
        }
        folds += of_normals
        write_index(self.folder, info, self._categories, [*outlined, *normals], folds, self.fold_seed)
        without = sorted(set(range(self.num_folds)) - set(of_normals)) if normals else []
        return [f"Fold {fold} has no normal image: there are too few." for fold in without]

    def _folds(self, entries: Sequence[PreparedEntry]) -> list[int]:
        labels = [sorted({segment.label for segment in entry.segments}) for entry in entries]
        frequency = Counter(label for own in labels for label in own)
        # An image of several classes stands for its rarest one, which is hardest to spread.
        strata = [self.names[min(own, key=lambda label: frequency[label])] for own in labels]
        patients = [entry.record.patient_id for entry in entries]
        return assign_folds(patients, strata, self.num_folds, self.fold_seed)

    def _report(
        self, selection: Selected, images: Sequence[FinishedImage] | None, problems: Sequence[str]
    ) -> PreparationReport:
        """Sum up; without ``images`` only the verification."""
        source, counts = self.source, dict(selection.counts)
        classes = {name: dict(row) for name, row in selection.classes.items()}
        tables = {source.class_table: classes, **self.tables(selection, images)}
        problems, notes = [*selection.problems, *problems], list(selection.notes)
        if images is not None:
            entries, hidden = [image.entry for image in images], [image.hidden for image in images]
            counts |= {
                "images prepared": len(images),
                **_count_normals(entries),
                f"{source.groups} prepared": len({entry.record.patient_id for entry in entries}),
                f"{source.segments} prepared": sum(len(entry.segments) for entry in entries),
                f"{source.segments} partly hidden by smaller ones": sum(map(len, hidden)),
            }
            for image in images:
                for what, number in image.counts.items():
                    counts[what] = counts.get(what, 0) + number
            for label, name in enumerate(self.names):
                own = [[segment.label for segment in entry.segments].count(label) for entry in entries]
                row = classes.setdefault(name, {})
                row["images prepared"] = sum(number > 0 for number in own)
                row[f"{source.segments} prepared"] = sum(own)
            tables[f"pixels of {source.segments} that smaller ones cover"] = hidden_pixels(images)
            problems += [problem for image in images for problem in image.problems]
            notes += [note for image in images for note in image.notes]
        return PreparationReport(source.name, False, str(self.folder), counts, problems, notes, tables)


def _count_normals(entries: Sequence[PreparedEntry]) -> dict[str, int]:
    """Count normal images for the report; nothing where there are none."""
    number = sum(entry.is_normal for entry in entries)
    return {"normal images prepared": number} if number else {}
