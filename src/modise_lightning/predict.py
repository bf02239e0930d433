"""Predicts on one's own images: ``python -m modise_lightning.predict checkpoint=... input=...``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modise_lightning.configuration.command_line import instantiate, run_command

if TYPE_CHECKING:
    from pathlib import Path

    from omegaconf import DictConfig


def predict(config: DictConfig) -> list[Path]:
    """Predict one image or every image in a folder, and write pictures and segments.

    Returns:
        The JSON files written, one an image.

    Raises:
        UserError: Nothing to read, or the only image cannot be.
        PartlyDoneError: Some images could not be read or written under their names; the others are done.
    """
    from pathlib import Path

    from omegaconf import OmegaConf
    from rich.progress import track

    from modise_lightning.configuration.assembly import categories_of
    from modise_lightning.configuration.config_check import check_config
    from modise_lightning.configuration.trained_model import read_trained
    from modise_lightning.configuration.vocabulary import read_vocabulary
    from modise_lightning.console import Console, quieten_libraries
    from modise_lightning.data.images.colours import read_colours
    from modise_lightning.data.images.reading import find_images, read_image_file
    from modise_lightning.data.loading.transforms import luminance
    from modise_lightning.errors import PartlyDoneError, UserError
    from modise_lightning.prediction.predictor import Predictor
    from modise_lightning.reporting.export import choose_stems, export_prediction

    quieten_libraries()
    check_config(config)
    files = find_images(Path(config.input))
    stems = choose_stems([file.name for file in files])
    vocabulary = read_vocabulary(config.vocabulary)
    model = read_trained(Path(config.checkpoint), config.overrides, config.trusted_targets)
    if vocabulary is not None:
        model.name_classes(vocabulary)
    module, trained, dataset = model.build(), model.config, model.dataset
    predictor = Predictor(
        module.segmenter,
        module.inference,
        transform=instantiate(trained.data.module.evaluation_transform),
        size_multiple=trained.data.module.size_multiple,
        device=config.device,
        with_semantic=False,
    )
    in_colours = OmegaConf.select(trained, "data.channels") == "rgb"
    folder = Path(config.output_dir)
    console = Console()
    written: list[Path] = []
    failures: list[str] = []
    for file in track(files, description="predicting", console=console):
        try:
            pixels = read_colours(file) if in_colours else read_image_file(file)
            image = luminance(pixels)
            exported = export_prediction(
                folder,
                stems[file.name],
                image,
                predictor(pixels),
                categories_of(trained),
                source=file.name,
                metadata={
                    "checkpoint": str(config.checkpoint),
                    "model": trained.name,
                    "trained_on": dataset["name"],
                },
                synthetic_training_data=bool(dataset["synthetic"]),
            )
        except UserError as error:
            if len(files) == 1:
                raise
            failures.append(str(error))
            continue
        written.append(exported.json)
    console.print(f"{len(written)} of {len(files)} images predicted; everything: {folder}", highlight=False)
    if failures:
        raise PartlyDoneError(
            f"{len(failures)} of {len(files)} images could not be predicted: " + "; ".join(failures)
        )
    return written


if __name__ == "__main__":
    run_command("predict", predict)
