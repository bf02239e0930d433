"""Predicts on one's own images: ``python -m modise_lightning.predict checkpoint=... input=...``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from modise_lightning.configuration.command_line import instantiate, run_command

if TYPE_CHECKING:
    from pathlib import Path

    from omegaconf import DictConfig

    from modise_lightning.prediction.folders.folder import FolderPrediction
    from modise_lightning.training.lightning_module import SegmentationModule


def predict(config: DictConfig) -> list[Path]:
    """Predict images, folders and archives, and write pictures, segments and tables.

    What an earlier run of the same command finished in the same folder is kept.

    Returns:
        The JSON files of the images, one an image.

    Raises:
        UserError: Nothing to read, or the only image cannot be.
        PartlyDoneError: Some images could not be read or written under their names; the others are done.
    """
    import torch
    from omegaconf import OmegaConf

    from modise_lightning.configuration.assembly import categories_of
    from modise_lightning.configuration.config_check import check_config
    from modise_lightning.configuration.model_files import locate_model
    from modise_lightning.configuration.trained_model import read_trained
    from modise_lightning.configuration.vocabulary import read_vocabulary
    from modise_lightning.console import quieten_libraries
    from modise_lightning.data.prepared.categories import categories_to_config
    from modise_lightning.prediction.folders.folder import FolderPrediction, Model
    from modise_lightning.prediction.folders.preparing import find_images, inspect_images
    from modise_lightning.prediction.folders.run_settings import read_settings
    from modise_lightning.prediction.inputs.inspection import hash_content
    from modise_lightning.prediction.progress import track_images

    quieten_libraries()
    check_config(config)
    plain: Any = OmegaConf.to_container(config, resolve=True)
    settings = read_settings(plain)
    found = find_images(settings)
    vocabulary = read_vocabulary(config.vocabulary)
    path = locate_model(config)
    read = read_trained(path, config.overrides, config.trusted_targets)
    if vocabulary is not None:
        read.name_classes(vocabulary)
    module, trained, dataset = read.build(), read.config, read.dataset
    module.predicted_semantic = "any_thing" if settings.lesions.uncertainty else "none"
    inputs = inspect_images(found, settings, track_images("looking at images"))
    if settings.num_threads is not None:
        torch.set_num_threads(settings.num_threads)
    categories = categories_of(trained)
    model = Model(
        categories=categories,
        transform=instantiate(trained.data.module.evaluation_transform),
        size_multiple=trained.data.module.size_multiple,
        in_colours=OmegaConf.select(trained, "data.channels") == "rgb",
        metadata={
            "checkpoint": str(config.checkpoint),
            "model": trained.name,
            "trained_on": dataset["name"],
        },
        is_synthetic=bool(dataset["synthetic"]),
        identity={
            "checkpoint": hash_content(path),
            "overrides": plain["overrides"],
            "categories": categories_to_config(categories),
            "precision": str(config.trainer.precision),
        },
    )
    prediction = FolderPrediction(inputs, settings, model)
    _run(prediction, module, config)
    return prediction.finish()


def _run(prediction: FolderPrediction, module: SegmentationModule, config: DictConfig) -> None:
    """Let Lightning predict what is not finished."""
    import lightning

    from modise_lightning.callbacks.prediction_writer import PredictionWriter
    from modise_lightning.configuration.devices import accelerator_of
    from modise_lightning.prediction.progress import ProgressBar

    trainer: lightning.Trainer = instantiate(
        config.trainer, **accelerator_of(config.device, config.trainer.devices)
    )
    prediction.process = trainer.global_rank
    if prediction.groups:
        data = prediction.data()
        with ProgressBar("predicting", prediction.number_left) as bar, prediction.writing(bar) as writing:
            trainer.callbacks.append(PredictionWriter(writing))  # type: ignore[attr-defined]
            trainer.predict(module, datamodule=data, return_predictions=False)
    trainer.strategy.barrier("predicted")


if __name__ == "__main__":
    run_command("predict", predict)
