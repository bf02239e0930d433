"""The command line: fuzz all or some kinds of input for some time, or replay one input."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from fuzzing.all_kinds import all_kinds
from fuzzing.kinds import Kind
from fuzzing.session import Report, Session, fuzz
from fuzzing.worker import temporary_folder


def main(arguments: list[str]) -> int:
    """Fuzz or replay; give the exit code, 1 if anything was found."""
    parser = argparse.ArgumentParser(prog="fuzzing", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cases", type=int, help="end after so many cases of each kind")
    parser.add_argument("--kinds", nargs="*", help="names, or beginnings of names")
    parser.add_argument("--save", type=Path, default=Path("outputs/fuzzing"), help="folder for findings")
    parser.add_argument("--replay", nargs=2, metavar=("FILE", "KIND"))
    options = parser.parse_args(arguments)
    console = Console(soft_wrap=True, highlight=False, markup=False)
    wanted = [options.replay[1]] if options.replay else options.kinds or [""]
    save = options.save.resolve()
    # A forked worker would wait for ever for the threads that its parent's OpenMP had.
    torch.set_num_threads(1)
    with temporary_folder() as name:
        kinds = [kind for kind in all_kinds(Path(name)) if kind.name.startswith(tuple(wanted))]
        if not kinds:
            parser.error("no such kind")
        (Path(name) / "cases").mkdir()
        with Session(kinds, Path(name) / "cases") as session:
            if options.replay:
                outcome = session.run(0, Path(options.replay[0]).read_bytes())
                console.print(f"{outcome.verdict}: {outcome.message}")
                return int(outcome.verdict == "finding")

            def found(kind: Kind, iteration: int, data: bytes, message: str) -> None:
                path = save / f"{kind.name}_{options.seed}_{iteration}{Path(kind.file_name).suffix}"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
                console.print(f"FINDING seed {options.seed} {kind.name} {iteration}: {message} [{path}]")

            def progress(report: Report, seconds: float) -> None:
                cases = sum(count.total() for count in report.counts.values())
                console.print(f"{seconds:.0f} s, {cases} cases, {len(report.findings)} findings")

            report = fuzz(
                session,
                kinds,
                seed=options.seed,
                seconds=options.seconds,
                cases=options.cases,
                found=found,
                progress=progress,
            )
    console.print(_table(report))
    return int(bool(report.findings))


def _table(report: Report) -> Table:
    table = Table("kind", "cases", "accepted", "refused", "findings")
    for name, counts in report.counts.items():
        row = (counts.total(), counts["accepted"], counts["refused"], counts["finding"])
        table.add_row(name, *map(str, row))
    total = sum(counts.total() for counts in report.counts.values())
    verdicts = [
        sum(counts[v] for counts in report.counts.values()) for v in ("accepted", "refused", "finding")
    ]
    table.add_row("all", *map(str, (total, *verdicts)), style="bold")
    return table


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
