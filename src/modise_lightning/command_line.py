"""What the entry points share: where the configuration is, and mistakes told in one line."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
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

    A user's mistake ends the program with exit code 1 and one line on the error stream. In a multirun the other
    jobs still run, and Hydra reports the failed ones at the end.
    """

    def guarded(config: DictConfig) -> None:
        try:
            task(config)
        except Exception as error:
            mistake = _user_mistake(error)
            if mistake is None:
                raise
            print(f"error: {mistake}", file=sys.stderr)
            if HydraConfig.get().mode == RunMode.MULTIRUN:
                raise
            sys.exit(1)

    hydra.main(config_path=str(config_directory()), config_name=config_name, version_base="1.3")(guarded)()


def _user_mistake(error: BaseException | None) -> str | None:
    """Find the user's mistake behind an error (Hydra wraps what a constructor raises)."""
    while error is not None:
        if isinstance(error, UserError | OmegaConfBaseException):
            return " ".join(str(error).split())
        error = error.__cause__ if isinstance(error, HydraException) else None
    return None
