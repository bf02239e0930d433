"""What a run is about to do, as a table: the data, the parts and what of them is trained."""

from __future__ import annotations

from collections.abc import Mapping

from rich.table import Table
from rich.text import Text
from torch import nn


def render_run_summary(name: str, facts: Mapping[str, str], segmenter: nn.Module) -> Table:
    """Make the table that a run begins with.

    Args:
        name: The run's name.
        facts: Rows to begin with (data, device, folder).
        segmenter: Its direct parts are listed with their parameters in millions.
    """
    table = Table(title=Text(name, "bold"), title_justify="left", show_header=False, box=None, padding=(0, 2))
    for label, value in facts.items():
        table.add_row(label, value)
    for part, module in segmenter.named_children():
        trained = sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)
        frozen = sum(parameter.numel() for parameter in module.parameters() if not parameter.requires_grad)
        table.add_row(
            part.replace("_", " "), f"{trained / 1e6:.2f} M parameters trained, {frozen / 1e6:.2f} M frozen"
        )
    return table
