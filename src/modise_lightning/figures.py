"""Draws the figures of cross-validations: ``python -m modise_lightning.figures runs=FOLDER``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modise_lightning.configuration.command_line import run_command

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from omegaconf import DictConfig

    from modise_lightning.reporting.cross_validation.runs import FinishedRun
    from modise_lightning.reporting.figures.qualitative_grid import PredictedImages


def figures(config: DictConfig) -> list[Path]:
    """Write the figures of each dataset as vector and pixel files, with their numbers as CSV.

    Returns:
        The files.

    Raises:
        UserError: There are no runs, some cannot stand in one figure, or one has no records.
    """
    from pathlib import Path

    from omegaconf import OmegaConf

    from modise_lightning.configuration.config_check import check_config
    from modise_lightning.console import Console
    from modise_lightning.errors import PartlyDoneError
    from modise_lightning.messages import quieten_libraries
    from modise_lightning.reporting.cross_validation.files import file_names
    from modise_lightning.reporting.cross_validation.table import gather_tables
    from modise_lightning.reporting.figures.all_figures import make_figures
    from modise_lightning.reporting.figures.files import write_figure
    from modise_lightning.reporting.figures.settings import FigureSettings
    from modise_lightning.reporting.pictures.attempt import attempt_picture

    quieten_libraries()
    check_config(config)
    settings = FigureSettings.check(OmegaConf.to_container(config, resolve=True))
    tables = gather_tables(settings)

    def predict(run: FinishedRun, image_ids: Sequence[int]) -> PredictedImages:
        from modise_lightning.prediction.from_checkpoints import predict_images  # the whole network

        grid = settings.qualitative_grid
        return predict_images(
            run,
            image_ids,
            overrides=grid.overrides,
            trusted_targets=grid.trusted_targets,
            device=grid.device,
        )

    console = Console(soft_wrap=True, highlight=False)
    folder, written, left_out = Path(settings.output_dir), list[Path](), list[str]()
    for table, name in zip(tables, file_names(tables), strict=True):
        rows = ", ".join(f"{row.label} ({len(row.runs)}/{len(table.folds)} folds)" for row in table.models)
        console.print(f"{table.dataset}{', SYNTHETIC' if table.synthetic else ''}: {rows}")
        for note in table.notes:
            console.print(f"  {note}", markup=False)
        for figure, make in make_figures(table, settings, predict):
            with attempt_picture(f"{figure} of {table.dataset}", left_out):
                for made in make():
                    files = write_figure(
                        folder, f"{name}_{made.name}", made.figure, made.data, settings.formats
                    )
                    console.print(f"written: {', '.join(map(str, files))}", markup=False)
                    written += files
    if left_out:
        raise PartlyDoneError(f"figures: left out: {'; '.join(left_out)}. {len(written)} files are written.")
    return written


if __name__ == "__main__":
    run_command("figures", figures)
