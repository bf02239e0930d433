"""Predicts on one's own images: ``python -m modise_lightning.predict checkpoint=... input=...``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from modise_lightning.configuration.command_line import instantiate, run_command

if TYPE_CHECKING:
    from pathlib import Path

    from omegaconf import DictConfig

    from modise_lightning.prediction.folders.folder import FolderPrediction
    from modise_lightning.training.ensemble_module import EnsembleModule
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
    from dataclasses import asdict

    from omegaconf import OmegaConf

    from modise_lightning.configuration.assembly import categories_of
    from modise_lightning.configuration.config_check import check_config
    from modise_lightning.configuration.ensembles import read_ensemble
    from modise_lightning.configuration.model_files import locate_models
    from modise_lightning.configuration.vocabulary import read_vocabulary
    from modise_lightning.cores import use_threads
    from modise_lightning.data.prepared.categories import categories_to_config
    from modise_lightning.inference.tuned_settings import read_tuned
    from modise_lightning.messages import quieten_libraries
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
    tuned, _ = read_tuned(config.settings)
    overrides = tuned.with_overrides(plain["overrides"])
    read = read_ensemble(locate_models(config), overrides, config.trusted_targets)
    views = read.choose_views(tuned.choose_views(instantiate(config.views)))
    fusion = instantiate(config.fusion)
    if vocabulary is not None:
        read.name_classes(vocabulary)
    module, trained = read.build(views, fusion), read.config
    module.predicted_semantic = "any_thing" if settings.lesions.uncertainty else "none"
    inputs = inspect_images(found, settings, track_images("looking at images"))
    use_threads(settings.num_threads)
    categories = categories_of(trained)
    names = [str(path) for path in read.paths]
    model = Model(
        categories=categories,
        transform=instantiate(trained.data.module.evaluation_transform),
        size_multiple=trained.data.module.size_multiple,
        in_colours=OmegaConf.select(trained, "data.channels") == "rgb",
        metadata={
            "checkpoint": names[0] if len(names) == 1 else names,
            "model": read.name,
            "trained_on": read.trained_on,
            **({} if views.is_plain else {"views": asdict(views)}),
        },
        is_synthetic=read.is_synthetic,
        identity={
            "checkpoint": [hash_content(path) for path in read.paths],
            "views": asdict(views),
            "fusion": plain["fusion"],
            "overrides": overrides,
            "categories": categories_to_config(categories),
            "precision": str(config.trainer.precision),
        },
    )
    prediction = FolderPrediction(inputs, settings, model)
    _run(prediction, module, config)
    return prediction.finish()


def _run(
    prediction: FolderPrediction, module: SegmentationModule | EnsembleModule, config: DictConfig
) -> None:
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
