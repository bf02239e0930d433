"""Keeps the libraries' chatter out of a run's output; what they warn of in earnest still shows."""

from __future__ import annotations

import logging
import warnings

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


def quieten_libraries() -> None:
    """Silence expected messages; called after the libraries are imported, since they set their own levels."""
    for name in _LOUD_LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in _EXPECTED_WARNINGS:
        warnings.filterwarnings("ignore", message=message)
