"""What the entry points share: where the configuration is, and mistakes told in one line."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
import hydra.utils
from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from modise_lightning.errors import UserError


def config_directory() -> Path:
    """Find ``conf/``: inside the installed package, or at the top of the checkout."""
    package = Path(__file__).resolve().parent
    installed = package / "conf"
    return installed if installed.is_dir() else package.parents[1] / "conf"


def run_command(config_name: str, task: Callable[[DictConfig], object]) -> None:
    """Compose the configuration from the command line and run a task with it.

    A user's mistake ends the program with exit code 1 and one line on the error stream. In a multirun the
    other jobs still run, and Hydra reports the failed ones at the end.
    """

    def guarded(config: DictConfig) -> None:
        try:
            task(config)
        except (UserError, OmegaConfBaseException) as error:
            print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
            if HydraConfig.get().mode == RunMode.MULTIRUN:
                raise
            sys.exit(1)

    hydra.main(config_path=str(config_directory()), config_name=config_name, version_base="1.3")(guarded)()


def instantiate(node: DictConfig, **arguments: object) -> Any:  # noqa: ANN401 (what it builds is up to the configuration)
    """Build what a ``_target_`` node names, from plain lists and dicts.

    Raises:
        UserError: As the constructor raised it, not wrapped by Hydra.
    """
    try:
        return hydra.utils.instantiate(node, _convert_="all", **arguments)
    except InstantiationException as error:
        if isinstance(error.__cause__, UserError):
            raise error.__cause__ from None
        raise
