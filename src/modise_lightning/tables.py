"""Gathers the folds of cross-validations in tables: ``python -m modise_lightning.tables runs=FOLDER``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modise_lightning.configuration.command_line import run_command

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from modise_lightning.console import Console
    from modise_lightning.reporting.cross_validation.settings import TableSettings
    from modise_lightning.reporting.cross_validation.table import DatasetTable


def tables(config: DictConfig) -> list[DatasetTable]:
    """Print a table a dataset, with the paper's rows, and write them as Markdown, LaTeX and CSV.

    Returns:
        What was printed, but for cross_dataset=true.

    Raises:
        UserError: There are no runs, or some cannot stand in one table.
    """
    from pathlib import Path

    from omegaconf import OmegaConf

    from modise_lightning.configuration.config_check import check_config
    from modise_lightning.console import Console
    from modise_lightning.reporting.clinical.layout import clinical_tables, intervals_csv, strata_csv
    from modise_lightning.reporting.clinical.model_folds import StatisticsReader
    from modise_lightning.reporting.clinical.model_intervals import measure_models
    from modise_lightning.reporting.cross_validation.comparison import compare_models
    from modise_lightning.reporting.cross_validation.files import file_names, write_csv, write_table
    from modise_lightning.reporting.cross_validation.layout import comparison_table, result_table
    from modise_lightning.reporting.cross_validation.settings import TableSettings
    from modise_lightning.reporting.cross_validation.table import gather_tables
    from modise_lightning.reporting.text_tables.rendering import render_table

    check_config(config)
    settings = TableSettings.check(OmegaConf.to_container(config, resolve=True))
    console = Console()
    if not console.is_terminal:
        console = Console(width=160)  # a file or a pipe has no width of its own
    if settings.cross_dataset:
        _show_cross_dataset(settings, console)
        return []
    made = gather_tables(settings)
    for table, name in zip(made, file_names(made), strict=True):
        reader = StatisticsReader()
        parts = [result_table(table, per_class=settings.per_class)]
        comparisons, notes = compare_models(table, reader.counts, **settings.comparison.model_dump())
        if comparisons:
            parts.append(comparison_table(comparisons, notes, settings.comparison.confidence))
        confidence = settings.comparison.confidence
        clinical, clinical_notes = measure_models(table, settings.comparison, reader)
        parts += clinical_tables(table, clinical, clinical_notes, confidence=confidence)
        for part in parts:
            console.print(render_table(part))
        written = write_table(Path(settings.output_dir), table, parts, name)
        if clinical:
            contents = {"intervals": intervals_csv(table, clinical)}
            if any(model.strata for model in clinical):
                contents["strata"] = strata_csv(table, clinical, confidence=confidence)
            written += write_csv(Path(settings.output_dir), name, contents)
        console.print(f"written: {', '.join(map(str, written))}", highlight=False, soft_wrap=True)
    return made


def _show_cross_dataset(settings: TableSettings, console: Console) -> None:
    """Print a table a metric of trainings and the datasets that they were tested on, and write them."""
    from pathlib import Path

    from modise_lightning.reporting.cross_validation.cross_dataset import (
        cross_csv,
        cross_tables,
        gather_cross_table,
    )
    from modise_lightning.reporting.cross_validation.files import write_parts
    from modise_lightning.reporting.text_tables.rendering import render_table

    table = gather_cross_table(settings)
    parts = cross_tables(table)
    for part in parts:
        console.print(render_table(part))
    written = write_parts(Path(settings.output_dir), parts, cross_csv(table), "cross_dataset")
    console.print(f"written: {', '.join(map(str, written))}", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    run_command("tables", tables)
