"""Predicts chosen test images with the checkpoint that a run kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from modise_lightning.assembly import build_data, load_trained
from modise_lightning.errors import UserError
from modise_lightning.prediction import Predictor
from modise_lightning.reporting.comparison import ComparisonRow
from modise_lightning.reporting.cross_validation_runs import FinishedRun
from modise_lightning.reporting.figures.qualitative_grid import PredictedImages
from modise_lightning.run_identity import run_identity

CHECKPOINT = "checkpoints/best.ckpt"


def predict_images(
    run: FinishedRun, image_ids: Sequence[int], *, overrides: Mapping[str, Any], device: str
) -> PredictedImages:
    """Predict images as the run's test did.

    Args:
        run: A training run with its checkpoint.
        image_ids: Images of its dataset.
        overrides: Nested changes to the configuration in the checkpoint (``data.root``, say).
        device: A torch device, or ``auto``.

    Raises:
        UserError: The run has no checkpoint, or the dataset is no longer the one that was tested.
    """
    path = run.folder / CHECKPOINT
    if not path.is_file():
        raise UserError(
            f"{path}: no checkpoint, which qualitative_grid runs; give the folder of the training run, or "
            "leave qualitative_grid out of figures."
        )
    module, trained, _ = load_trained(path, overrides)
    data = build_data(trained)
    dataset = data.dataset
    tested, now = run.identity.dataset_digest, run_identity(trained, dataset, "test").dataset_digest
    positions = {record.image_id: index for index, record in enumerate(dataset.records)}
    unknown = sorted(set(image_ids) - set(positions))
    if unknown or (tested is not None and tested != now):
        raise UserError(
            f"'{dataset.root}' is not the dataset that {run.folder} was tested on (it was prepared again, or "
            "is another one); set qualitative_grid.overrides.data.root to that one."
        )
    predictor = Predictor(
        module.segmenter,
        module.inference,
        longest_side=data.evaluation_transform.longest_side,
        trim_background=data.evaluation_transform.trim_background,
        device=device,
    )
    rows = {}
    for image_id in image_ids:
        image, target = dataset.read_image(positions[image_id]), dataset.read_target(positions[image_id])
        name = dataset.records[positions[image_id]].file_name
        rows[image_id] = ComparisonRow(name, image, target, predictor(image))
    return PredictedImages(rows, dataset.categories, dataset.note)
