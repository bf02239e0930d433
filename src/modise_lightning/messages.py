"""Log records and warnings: what steers a terminal is spelled out, and libraries' chatter is kept out."""

from __future__ import annotations

import logging
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

from modise_lightning.visible_text import shortened, visible

_LONGEST_WARNING = 500  # characters
_MOST_WARNINGS = 10  # of one line of a library, which may quote another value of each file
_OWN = Path(__file__).parent
_LOUD_LOGGERS = (
    "lightning.pytorch",
    "lightning.fabric",
    "faster_coco_eval",
    "transformers",
    "httpx",
    "fsspec",
    "fontTools",
)
# Expected here: frozen parts stay in evaluation mode; the run folder already holds other files; the test has
# a trainer of its own; small datasets have few batches, and load fast enough without worker processes.
_EXPECTED_WARNINGS = (
    r".*module\(s\) in eval mode at the start of training.*",
    r".*Experiment logs directory .* exists and is not empty.*",
    r".*callbacks used to create the checkpoint need to be provided.*",
    r".*number of training batches .* smaller than the logging interval.*",
    r".*does not have many workers.*",
    r".*`isinstance\(treespec, LeafSpec\)` is deprecated.*",
    r".*Starting from v1\.9\.0, `tensorboardX` has been removed.*",
)


def make_messages_visible() -> None:
    """Spell out in log records and warnings what would steer a terminal; called by the entry points.

    Warnings are shortened, and of those that one line of another library gives the first few are shown.
    """
    make_record = logging.getLogRecordFactory()

    def make_visible_record(*arguments: Any, **keywords: Any) -> logging.LogRecord:  # noqa: ANN401
        record = make_record(*arguments, **keywords)
        record.msg, record.args = visible(record.getMessage()), ()
        return record

    logging.setLogRecordFactory(make_visible_record)
    format_warning = warnings.formatwarning
    shown: Counter[tuple[str, int]] = Counter()

    def format_visibly(
        message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
    ) -> str:
        if not Path(filename).is_relative_to(_OWN):
            shown[filename, lineno] += 1
            if shown[filename, lineno] > _MOST_WARNINGS:
                is_next = shown[filename, lineno] == _MOST_WARNINGS + 1
                return f"{visible(filename)}:{lineno}: more warnings, not shown\n" if is_next else ""
        # Libraries quote values from files, which may have any length.
        text = visible(format_warning(message, category, filename, lineno, line)).rstrip("\n")
        return f"{shortened(text, _LONGEST_WARNING)}\n"

    warnings.formatwarning = format_visibly


def quieten_libraries() -> None:
    """Silence expected messages; called after the libraries are imported, since they set their own levels."""
    for name in _LOUD_LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in _EXPECTED_WARNINGS:
        warnings.filterwarnings("ignore", message=message)
