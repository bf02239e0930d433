"""Says what a trained model is, without building it: ``python -m modise_lightning.info model=model.zip``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modise_lightning.configuration.command_line import run_command

if TYPE_CHECKING:
    from omegaconf import DictConfig


def info(config: DictConfig) -> None:
    """Print what a package or a checkpoint holds.

    Raises:
        UserError: It is missing, damaged or neither.
    """
    from modise_lightning.configuration.config_check import check_config
    from modise_lightning.configuration.model_description import describe_model
    from modise_lightning.configuration.model_files import locate_model
    from modise_lightning.console import Console
    from modise_lightning.reporting.text_tables.rendering import render_table

    check_config(config)
    console = Console()
    for table in describe_model(locate_model(config), config.trusted_targets):
        console.print(render_table(table))


if __name__ == "__main__":
    run_command("info", info)
