"""Gathers runs as the commands do, with the settings that are shipped."""

from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from modise_lightning.reporting.cross_validation.settings import RunSettings
from modise_lightning.reporting.cross_validation.table import DatasetTable, gather_tables

SHIPPED = Path(__file__).parents[1] / "conf" / "gathering" / "default.yaml"


def gather(folder: Path, **changes: Any) -> list[DatasetTable]:
    """Give a table a dataset of the runs in a folder; ``changes`` replace shipped settings."""
    shipped = OmegaConf.to_container(OmegaConf.load(SHIPPED))
    assert isinstance(shipped, dict)
    return gather_tables(RunSettings.check({**shipped, "runs": [str(folder)], "output_dir": "", **changes}))
