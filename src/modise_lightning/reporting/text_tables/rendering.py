"""A table as texts, and how it is written for the terminal, Markdown and LaTeX."""

from __future__ import annotations

from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

_LATEX_SPECIAL = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        **{sign: f"\\{sign}" for sign in "&%$#_{}"},
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "±": r"$\pm$",
    }
)
_MARKDOWN_SPECIAL = str.maketrans({sign: f"\\{sign}" for sign in "\\|*_`<>[]"})


@dataclass(frozen=True)
class Line:
    """A line of a table.

    Attributes:
        cells: Texts, one a column.
        bold: Whether each is the best of its column.
        minor: Whether it belongs to the line above (the paper's row, a class).
    """

    cells: list[str]
    bold: list[bool]
    minor: bool


@dataclass(frozen=True)
class TextTable:
    """A table as texts, whatever it is written as.

    Attributes:
        title: Above.
        columns: Heads; all but the first are numbers.
        lines: Rows.
        notes: Below, a sentence each.
    """

    title: str
    columns: list[str]
    lines: list[Line]
    notes: list[str]


def render_table(table: TextTable) -> Table:
    """Make the terminal's table."""
    # As Text, because names may hold brackets, which are markup in plain strings.
    rendered = Table(
        title=Text(table.title, style="bold"),
        caption=Text("\n".join(table.notes), style="dim"),
        title_justify="left",
        caption_justify="left",
        box=SIMPLE_HEAD,
    )
    for index, column in enumerate(table.columns):
        # Folded where the terminal is narrow: nothing is cut off.
        rendered.add_column(Text(column), justify="right" if index else "left", overflow="fold")
    for line in table.lines:
        cells = zip(line.cells, line.bold, strict=True)
        rendered.add_row(
            *(Text(cell, style="bold" if bold else "") for cell, bold in cells),
            style="dim" if line.minor else None,
        )
    return rendered


def to_markdown(table: TextTable) -> str:
    """Write a Markdown table, with its title above and its notes below."""
    rows = [
        [
            f"**{cell.translate(_MARKDOWN_SPECIAL)}**" if bold else cell.strip().translate(_MARKDOWN_SPECIAL)
            for cell, bold in zip(line.cells, line.bold, strict=True)
        ]
        for line in table.lines
    ]
    heads = [column.translate(_MARKDOWN_SPECIAL) for column in table.columns]
    rule = ["---", *["---:"] * (len(heads) - 1)]
    lines = [f"| {' | '.join(cells)} |" for cells in (heads, rule, *rows)]
    notes = [f"- {note.translate(_MARKDOWN_SPECIAL)}" for note in table.notes]
    return "\n".join([f"**{table.title.translate(_MARKDOWN_SPECIAL)}**", "", *lines, "", *notes]) + "\n"


def to_latex(table: TextTable) -> str:
    """Write a LaTeX table for the package booktabs; the notes are comments and, in small, below it."""
    rows = []
    for line in table.lines:
        cells = [
            f"\\textbf{{{cell.translate(_LATEX_SPECIAL)}}}"
            if bold
            else cell.strip().translate(_LATEX_SPECIAL)
            for cell, bold in zip(line.cells, line.bold, strict=True)
        ]
        rows.append(("\\quad " if line.minor else "") + " & ".join(cells) + r" \\")
    notes = [note.translate(_LATEX_SPECIAL) + r"\par" for note in table.notes]
    return "\n".join(
        [
            "% needs \\usepackage{booktabs}",
            r"\begin{table}",
            r"\centering",
            f"\\caption{{{table.title.translate(_LATEX_SPECIAL)}}}",
            f"\\begin{{tabular}}{{l{'r' * (len(table.columns) - 1)}}}",
            r"\toprule",
            " & ".join(column.translate(_LATEX_SPECIAL) for column in table.columns) + r" \\",
            r"\midrule",
            *rows,
            r"\bottomrule",
            r"\end{tabular}",
            r"\par\footnotesize",
            *notes,
            r"\end{table}",
            "",
        ]
    )
