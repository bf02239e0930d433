"""What the entry points share: where the configuration is, and mistakes told in one line."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NoReturn

import hydra
import hydra.utils
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import CompactHydraException, InstantiationException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from modise_lightning.configuration.help_menu import register_menu
from modise_lightning.configuration.interruption import (
    INTERRUPTED,
    Terminated,
    end_by_exception,
    is_interruption,
)
from modise_lightning.errors import UserError
from modise_lightning.messages import make_messages_visible
from modise_lightning.visible_text import visible

# What a file system or its owner refuses, which is no mistake of the program.
_REFUSALS = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.ENOTDIR,
    errno.EEXIST,
    errno.EIO,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENAMETOOLONG,
    errno.ELOOP,
)


def config_directory() -> Path:
    """Find ``conf/``: inside the installed package, or at the top of the checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "conf"
    return installed if installed.is_dir() else package.parents[1] / "conf"


def run_command(config_name: str, task: Callable[[DictConfig], object]) -> None:
    """Compose the configuration from the command line and run a task with it.

    A user's mistake ends the program with one line on the error stream and its exit code (1, or 2 if all else
    is done), SIGTERM with 143, Ctrl+C with 130. In a multirun the other jobs still run, and Hydra reports the
    failed ones at the end.
    """
    for stream in (sys.stdout, sys.stderr):
        # A terminal that knows few letters shows others as question marks, instead of ending the program.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    # Lets exceptions through: Hydra shows a traceback for a folder that it cannot make.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    make_messages_visible()
    end_by_exception()
    register_menu()

    is_composed = False

    def guarded(config: DictConfig) -> None:
        nonlocal is_composed
        is_composed = True
        _run_task(config_name, task, config)

    try:
        hydra.main(config_path=str(config_directory()), config_name=config_name, version_base="1.3")(
            guarded
        )()
    except CompactHydraException as error:
        # A setting or choice that does not exist; Hydra's message says in several lines what there is.
        sys.exit("\n".join(visible(str(part)) for part in (error, error.__cause__) if part is not None))
    except (ValueError, TypeError) as error:
        if is_composed:
            raise
        _tell(_mistaken_choice(sys.argv[1:]) or f"{' '.join(sys.argv[1:])}: {error}.")
        sys.exit(1)
    except (UserError, OmegaConfBaseException):
        sys.exit(1)  # of a job of a multirun, which has told it
    except BrokenPipeError:
        _end_quietly()
    except OSError as error:
        if error.errno not in (*_REFUSALS, errno.ENOENT):
            raise
        _tell(_describe(error))
        sys.exit(1)
    except Terminated:
        _tell("ended by SIGTERM.")
        raise
    except (KeyboardInterrupt, SystemExit) as error:
        if not is_interruption(error):
            raise
        _tell("interrupted.")
        sys.exit(INTERRUPTED)


def _run_task(config_name: str, task: Callable[[DictConfig], object], config: DictConfig) -> None:
    """Run a task as the owner of its output folder; a user's mistake is told and ends it."""
    # Later, so that --help is quick.
    from modise_lightning.configuration.ownership import is_first_process, own_output_folder

    try:
        folder = config.get("output_dir")
        # Preparations of one dataset wait for each other; a folder that is no text is told by the task.
        is_owned = config_name != "prepare" and isinstance(folder, str)
        with own_output_folder(Path(folder)) if is_owned else nullcontext():
            if is_first_process():
                _keep_configuration(config)
            task(config)
    except BrokenPipeError:
        _end_quietly()
    except (UserError, OmegaConfBaseException, UnicodeEncodeError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in _REFUSALS:
            raise
        message = _mistake(error)
        _tell(message)
        if HydraConfig.get().mode == RunMode.MULTIRUN:
            raise UserError(message) from error
        sys.exit(error.exit_code if isinstance(error, UserError) else 1)


def _mistake(error: Exception) -> str:
    if isinstance(error, UnicodeEncodeError):  # of a library that takes UTF-8 alone, such as TensorBoard
        name = visible(error.object)[:200]
        return f"'{name}': a name that is no UTF-8, which not every part can use. Rename the folder or file."
    return _describe(error) if isinstance(error, OSError) else str(error)


def _mistaken_choice(arguments: list[str]) -> str | None:
    """Find a choice that is no name, which Hydra's message does not tell; None if there is none."""
    given = [each for each in arguments if "=" in each and each[0] != "-"]
    for override in OverridesParser.create().parse_overrides(given):
        if override.is_sweep_override() or isinstance(override.value(), str | list):
            continue
        if config_directory().joinpath(override.key_or_group).is_dir():
            return f"{override.input_line}: it is chosen by a name that --help lists, or by a list of them."
    return None


def _end_quietly() -> NoReturn:
    """End as who read the output has enough of it (``| head``); what is in the buffer goes nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(1)


def _keep_configuration(config: DictConfig) -> None:
    """Write what Hydra would write into ``.hydra``, but only after the folder was found to be free."""
    from modise_lightning.atomic_files import write_text_atomically

    hydra_config = HydraConfig.get()
    contents = {
        "config": config,
        "hydra": OmegaConf.create({"hydra": hydra_config}),
        "overrides": hydra_config.overrides.task,
    }
    for name, content in contents.items():
        path = Path(hydra_config.runtime.output_dir, ".hydra", f"{name}.yaml")
        write_text_atomically(path, OmegaConf.to_yaml(content))


def _tell(message: str) -> None:
    print(f"error: {visible(' '.join(message.split()))}", file=sys.stderr)


def _describe(error: OSError) -> str:
    where = f"'{error.filename}': " if error.filename is not None else ""
    return f"{where}{error.strerror or error}."


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
