"""Makes the table of results and says which are missing: ``python benchmarks/peers/table.py``."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from modise_lightning.console import Console
from modise_lightning.reporting.text_tables.rendering import render_table, to_markdown
from peer_parts.comparison_table import cost_table, find_results, measure, missing_results, quality_table
from peer_parts.settings import KEPT
from peer_parts.shared_lesions import shared_lesions_table

_REFERENCE = "ours_sd_tiny"


def main() -> int:
    """Print the tables, and write them as Markdown where that is wanted."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--results", type=Path, default=KEPT, help="folder of the result files")
    parser.add_argument(
        "--samples", type=int, default=2000, help="resamples of the patients; 0: no intervals"
    )
    parser.add_argument("--markdown", type=Path, help="file for the tables")
    arguments = parser.parse_args()
    found = find_results(arguments.results)
    print("\n".join(missing_results(found)) or "no fold is missing")
    if not any(found.values()):
        print(f"{arguments.results}: no results yet", file=sys.stderr)
        return 1
    reference = _REFERENCE if found[_REFERENCE] else next(model for model in found if found[model])
    with tempfile.TemporaryDirectory() as folder:
        table, models = measure(found, Path(folder), samples=arguments.samples, reference=reference)
        tables = [quality_table(models, found, reference), cost_table(found)]
        tables.append(shared_lesions_table(table, arguments.samples))
    console = Console(width=240)
    for each in tables:
        console.print(render_table(each))
    if arguments.markdown is not None:
        arguments.markdown.write_text("\n".join(map(to_markdown, tables)), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
