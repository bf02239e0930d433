"""Writes the HTML report of an evaluation: ``python -m modise_lightning.report runs=FOLDER``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modise_lightning.configuration.command_line import run_command

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from omegaconf import DictConfig

    from modise_lightning.reporting.cross_validation.runs import FinishedRun
    from modise_lightning.reporting.html_report.gallery import PredictionStream


def report(config: DictConfig) -> list[Path]:
    """Write one self-contained HTML file a dataset: tables, curves, and a gallery of the test images.

    Returns:
        The files.

    Raises:
        UserError: There are no runs, some cannot stand in one report, or one is damaged.
    """
    from dataclasses import replace
    from pathlib import Path

    from omegaconf import OmegaConf
    from rich.progress import track

    from modise_lightning.atomic_files import write_text_atomically
    from modise_lightning.configuration.config_check import check_config
    from modise_lightning.console import Console
    from modise_lightning.errors import PartlyDoneError
    from modise_lightning.messages import quieten_libraries
    from modise_lightning.reporting.cross_validation.files import file_names
    from modise_lightning.reporting.cross_validation.table import gather_tables
    from modise_lightning.reporting.html_report.page import make_report, render_report
    from modise_lightning.reporting.html_report.settings import ReportSettings

    quieten_libraries()
    check_config(config)
    settings = ReportSettings.check(OmegaConf.to_container(config, resolve=True))
    tables = gather_tables(settings)
    console = Console(soft_wrap=True, highlight=False)

    def predict(run: FinishedRun, image_ids: Sequence[int]) -> PredictionStream:
        from modise_lightning.prediction.from_checkpoints import stream_predictions  # the whole network

        gallery = settings.gallery
        console.print(
            f"predicting {len(image_ids)} images of fold {run.identity.fold}: {run.folder}", markup=False
        )
        stream = stream_predictions(
            run,
            image_ids,
            overrides=gallery.overrides,
            trusted_targets=gallery.trusted_targets,
            device=gallery.device,
            setting="gallery",
        )
        rows = track(stream.rows, "predicting", len(image_ids), console=console, transient=True)
        return replace(stream, rows=iter(rows))

    written, left_out = list[Path](), list[str]()
    for table, name in zip(tables, file_names(tables), strict=True):
        made = make_report(table, settings, predict)
        left_out += made.left_out
        # A dataset a file: datasets never mix.
        path = Path(settings.output_dir) / ("report.html" if len(tables) == 1 else f"report_{name}.html")
        write_text_atomically(path, render_report(made))
        console.print(f"written: {path} ({path.stat().st_size / 1e6:.1f} MB)", markup=False)
        written.append(path)
    if left_out:
        raise PartlyDoneError(f"report: left out: {'; '.join(left_out)}. The pages have all else.")
    return written


if __name__ == "__main__":
    run_command("report", report)
