"""Predicts chosen test images with the checkpoint that a run kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from modise_lightning.configuration.assembly import build_data
from modise_lightning.configuration.run_identity import run_identity
from modise_lightning.configuration.trained_model import load_trained
from modise_lightning.data.prepared.dataset import PreparedDataset
from modise_lightning.errors import UserError
from modise_lightning.prediction.predictor import Predictor
from modise_lightning.reporting.comparison import ComparisonRow
from modise_lightning.reporting.cross_validation.runs import FinishedRun, checkpoint_of
from modise_lightning.reporting.figures.qualitative_grid import PredictedImages
from modise_lightning.reporting.html_report.gallery import PredictionStream


def predict_images(
    run: FinishedRun,
    image_ids: Sequence[int],
    *,
    overrides: Mapping[str, Any],
    device: str,
    trusted_targets: Sequence[str] = (),
) -> PredictedImages:
    """Predict a few images as the run's test did, for the qualitative grid.

    Args:
        run: A training run with its checkpoint.
        image_ids: Images of its dataset.
        overrides: Nested changes to the configuration in the checkpoint (``data.root``, say).
        trusted_targets: Plug-ins that the checkpoint may name.
        device: A torch device, or ``auto``.

    Raises:
        UserError: The run has no checkpoint, or the dataset is no longer the one that was tested.
    """
    path = checkpoint_of(run)
    if not path.is_file():
        raise UserError(
            f"{path}: no checkpoint, which qualitative_grid runs; give the folder of the training run, or "
            "leave qualitative_grid out of figures."
        )
    stream = stream_predictions(
        run,
        image_ids,
        overrides=overrides,
        trusted_targets=trusted_targets,
        device=device,
        setting="qualitative_grid",
    )
    return PredictedImages(dict(stream.rows), stream.categories, stream.note)


def stream_predictions(
    run: FinishedRun,
    image_ids: Sequence[int],
    *,
    overrides: Mapping[str, Any],
    device: str,
    setting: str,
    trusted_targets: Sequence[str] = (),
) -> PredictionStream:
    """Predict images one after another as the run's test did, so that any number fits into memory.

    Args:
        run: A training run with its checkpoint.
        image_ids: Images of its dataset, in this order.
        overrides: Nested changes to the configuration in the checkpoint (``data.root``, say).
        trusted_targets: Plug-ins that the checkpoint may name.
        device: A torch device, or ``auto``.
        setting: Where the user sets ``overrides``, for messages.

    Raises:
        UserError: The dataset is no longer the one that was tested.
    """
    module, trained, _ = load_trained(checkpoint_of(run), overrides, trusted_targets)
    data = build_data(trained)
    dataset = data.dataset
    tested, now = (
        run.identity.dataset_digest,
        run_identity(trained, dataset, "test", precision=None).dataset_digest,
    )
    positions = {record.image_id: index for index, record in enumerate(dataset.records)}
    unknown = sorted(set(image_ids) - set(positions))
    if unknown or (tested is not None and tested != now):
        raise UserError(
            f"'{dataset.root}' is not the dataset that {run.folder} was tested on (it was prepared again, or "
            f"is another one); set {setting}.overrides.data.root to that one."
        )
    predictor = Predictor(
        module.segmenter,
        module.inference,
        transform=data.evaluation_transform,
        size_multiple=data.size_multiple,
        device=device,
    )
    rows = _predict(predictor, dataset, [(image_id, positions[image_id]) for image_id in image_ids])
    return PredictionStream(rows, dataset.categories, dataset.note)


def _predict(
    predictor: Predictor, dataset: PreparedDataset, images: Sequence[tuple[int, int]]
) -> Iterator[tuple[int, ComparisonRow]]:
    for image_id, position in images:
        image, target = dataset.read_image(position), dataset.read_target(position)
        name = dataset.records[position].file_name
        yield image_id, ComparisonRow(name, image, target, predictor(dataset.read_input(position)))
