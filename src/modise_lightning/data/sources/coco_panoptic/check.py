"""Checks a dataset in COCO's panoptic layout for ``prepare``, which has nothing to convert there."""

from __future__ import annotations

from rich.progress import track

from modise_lightning.console import Console
from modise_lightning.data.preparation.report import PreparationReport
from modise_lightning.data.prepared.dataset import PreparedDataset
from modise_lightning.errors import UserError


class CocoPanopticCheck:
    """Reads every image and id map of a dataset once."""

    def __init__(self, *, dataset: PreparedDataset) -> None:
        """Nothing but the index is read yet.

        Args:
            dataset: An opened dataset.
        """
        self._dataset = dataset

    def prepare(self) -> PreparationReport:
        """Refuse: the dataset is read as it is.

        Raises:
            UserError: Always.
        """
        root = self._dataset.root
        raise UserError(
            f"data: '{root}' is read as it is, there is nothing to prepare. verify_only=true reads every "
            f"image of it once; python -m modise_lightning.train data=coco_panoptic data.root={root} trains."
        )

    def verify(self) -> PreparationReport:
        """Read every image and id map.

        Returns:
            What was found; a problem for each image or id map that cannot be read or does not fit the index.
        """
        dataset = self._dataset
        problems: list[str] = []
        classes = {
            category.name: {"images": 0, "segments": 0, "pixels": 0} for category in dataset.categories
        }
        void = 0
        for index in track(
            range(len(dataset.images)), "Reading", console=Console(stderr=True), transient=True
        ):
            try:
                dataset.read_input(index)
                target = dataset.read_target(index)
            except UserError as error:
                problems.append(str(error))
                continue
            pixels = (target.segment_ids.flatten() + 1).bincount(minlength=len(target.labels) + 2)
            void += int(pixels[0])
            for label, area in zip(target.labels.tolist(), pixels[2:].tolist(), strict=True):
                classes[dataset.categories[label].name]["segments"] += 1
                classes[dataset.categories[label].name]["pixels"] += area
            for label in set(target.labels.tolist()):
                classes[dataset.categories[label].name]["images"] += 1
        counts = {
            "images": len(dataset.images),
            "images that can be used": len(dataset.images) - len(problems),
            "groups that no fold divides (patients)": len({r.patient_id for r in dataset.records}),
            "segments": sum(row["segments"] for row in classes.values()),
            "void pixels": void,
        }
        folds = {
            f"fold {fold}": {"images": dataset.folds.count(fold)} for fold in range(max(dataset.folds) + 1)
        }
        return PreparationReport(
            name=str(dataset.info["name"]),
            synthetic=bool(dataset.info["synthetic"]),
            root=str(dataset.root),
            counts=counts,
            problems=problems,
            tables={"categories": classes, "folds": folds},
        )
