"""Names cannot steer a terminal, and cells cannot compute in a spreadsheet."""

import csv
import io
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table
from rich.text import Text

from forked import forked
from modise_lightning import console
from modise_lightning.console import Console
from modise_lightning.csv_cells import guard_cell, unguard_cell
from modise_lightning.messages import make_messages_visible
from modise_lightning.regular_files import check_regular, is_file, is_there
from modise_lightning.visible_text import visible

EVIL = {
    "clears the screen": ("\x1b[2J", r"\x1b[2J"),
    "sets the title": ("\x1b]0;owned\x07", r"\x1b]0;owned\x07"),
    "one byte's command": ("\x9b31m", r"\x9b31m"),
    "returns to the line's start": ("safe\rrm", r"safe\rrm"),
    "goes back": ("a\x08b", r"a\x08b"),
    "turns the direction": ("a\u202egpj.exe", r"a\u202egpj.exe"),
    "is not seen": ("a\u200bb", r"a\u200bb"),
    "is no UTF-8": (os.fsdecode(b"\xff.png"), r"\udcff.png"),
}


@pytest.mark.parametrize(("text", "shown"), EVIL.values(), ids=EVIL.keys())
def test_what_steers_a_terminal_is_spelled_out(text: str, shown: str) -> None:
    assert visible(text) == shown
    assert visible(shown) == shown


@pytest.mark.parametrize("text", ["Brüste, 乳房", "a\tb", "line\nline", "[red]", "100 %", "🩻"])
def test_what_is_seen_stays(text: str) -> None:
    assert visible(text) == text


@pytest.mark.parametrize(("text", "shown"), EVIL.values(), ids=EVIL.keys())
@pytest.mark.parametrize("how", ["text", "styled", "cell", "title"])
def test_a_console_shows_names_and_obeys_none(how: str, text: str, shown: str) -> None:
    file = io.StringIO()
    console = Console(file=file, width=100, force_terminal=True, color_system=None)
    name = f"[bold]{text}[/bold]"
    if how in ("text", "styled"):
        console.print(name if how == "text" else Text(name, "bold"), highlight=False)
    else:
        table = Table(title=name if how == "title" else None)
        table.add_column("name", min_width=60)
        table.add_row("" if how == "title" else name)
        console.print(table)
    found = file.getvalue().replace("\n", "")
    if how == "styled":  # Rich itself leaves some out.
        for left_out in (r"\x07", r"\x08", r"\r"):
            shown = shown.replace(left_out, "")
    assert f"[bold]{shown}[/bold]" in found
    assert not set(file.getvalue()) & set("\x1b\x07\x9b\r\x08\u202e\u200b")


@pytest.fixture
def messages_visible() -> Iterator[None]:
    factory, formatted = logging.getLogRecordFactory(), warnings.formatwarning
    make_messages_visible()
    yield
    logging.setLogRecordFactory(factory)
    warnings.formatwarning = formatted


@pytest.mark.usefixtures("messages_visible")
def test_logs_and_warnings_spell_it_out(caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("modise_lightning").warning("store '%s' is full", "\x1b[2J")
    assert r"store '\x1b[2J' is full" in caplog.text
    assert "\x1b" not in caplog.text
    assert r"\x1b[2J" in warnings.formatwarning("\x1b[2J", UserWarning, "file.py", 1)
    assert 400 < len(warnings.formatwarning("x" * 10**6, UserWarning, "file.py", 1)) <= 501


@pytest.mark.usefixtures("messages_visible")
def test_a_librarys_warning_of_each_file_is_shown_a_few_times() -> None:
    library, ours = warnings.__file__, console.__file__
    shown = ""
    for number in range(20):
        shown += warnings.formatwarning(f"value {number} is damaged", UserWarning, library, 7)
        shown += warnings.formatwarning(f"file {number} has no window", UserWarning, ours, 7)
    assert shown.count("is damaged") == 10
    assert shown.count(f"{library}:7: more warnings, not shown\n") == 1
    assert shown.count("has no window") == 20


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-2", "@SUM(A1)", "\t=1", "\r=1", "'=1", "''=1"])
def test_a_formula_becomes_text_and_is_read_back(cell: str) -> None:
    guarded = guard_cell(cell)
    assert guarded.startswith("'")
    assert unguard_cell(guarded) == cell


@given(st.text())
def test_every_text_is_read_back(text: str) -> None:
    assert unguard_cell(guard_cell(text)) == text
    assert not guard_cell(text).startswith(("=", "+", "-", "@", "\t", "\r"))


KINDS: dict[str, Callable[[Path], object]] = {
    "a named pipe": os.mkfifo,
    "a folder": os.mkdir,
    "a device": lambda path: path.symlink_to("/dev/zero"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_only_regular_files_are_opened(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "thing"
    KINDS[kind](path)
    with pytest.raises(OSError, match=f"is {kind}, not a file"):
        check_regular(path)
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    assert check_regular(tmp_path / "link") == tmp_path / "link"
    with pytest.raises(FileNotFoundError):
        check_regular(tmp_path / "nothing")


@pytest.mark.parametrize("name", ["a" * 300, "a/" * 3000, "loop", "nothing", "folder"])
def test_a_path_that_none_can_have_is_no_file(name: str, tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    assert not is_file(tmp_path / name)
    assert is_there(tmp_path / name) == (name == "folder")
    assert is_file(tmp_path / "file")


# Each reads a path's file, or one in its folder; none may wait for a pipe.
READERS = {
    "checkpoint": ("checkpoint.ckpt", "training.checkpoint", "read_checkpoint(path)"),
    "results": ("results.json", "reporting.results", "read_results(path, dict)"),
    "records": ("images.csv", "metrics.records.evaluation_records", "read_records(path.parent)"),
    "CSV table": ("table.csv", "data.preparation.csv_table", "read_csv_table(path, [])"),
    "VIA regions": ("via.csv", "data.preparation.via", "read_via_regions(path)"),
    "workbook": ("book.xlsx", "data.preparation.workbook", "read_workbook(path, preferred_sheet='all')"),
    "image": ("image.png", "data.images.reading", "read_image_file(path)"),
    "DICOM": ("image.dcm", "data.images.reading", "read_image_file(path)"),
    "weights": ("model.safetensors", "pretrained.weights", "read_state_dict(path)"),
    "pickled weights": ("model.bin", "pretrained.weights", "read_state_dict(path)"),
    "journal": ("journal", "data.preparation.journal", "PreparationJournal(path.parent).read()"),
}


@pytest.mark.parametrize("kind", ["a named pipe", "a folder"])
def test_no_reader_waits_for_a_pipe(kind: str, tmp_path: Path) -> None:
    """All readers in one process, since its start takes longest."""
    lines = ["import importlib, pathlib", "from modise_lightning.errors import UserError"]
    for name, (file, module, call) in READERS.items():
        folder = tmp_path / name
        folder.mkdir()
        KINDS[kind](folder / file)
        function = call.partition("(")[0]
        lines += [
            f"path = pathlib.Path({str(folder / file)!r})",
            f"{function} = importlib.import_module('modise_lightning.{module}').{function}",
            f"try: {call}",
            "except (UserError, OSError): pass",
            f"print({name!r})",
        ]
    program = tmp_path / "program.py"
    program.write_text("\n".join(lines))
    done = forked(str(program), timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:-1] == list(READERS)


def test_every_csv_writer_guards_its_cells(tmp_path: Path) -> None:
    """What is written is in one place each; new writers have to be added here."""
    package = Path(__file__).parents[1] / "src" / "modise_lightning"
    writers = {
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if "to_csv(" in path.read_text() or "csv.writer(" in path.read_text()
    }
    assert writers == {
        "metrics/records/tables.py",
        "prediction/tables/files.py",
        "reporting/clinical/layout.py",
        "reporting/cross_validation/cross_dataset.py",
        "reporting/cross_validation/csv_rows.py",
        "reporting/figures/files.py",
    }
    assert all("guard_cell" in (package / name).read_text() for name in writers)
    row = next(csv.reader(io.StringIO(guard_cell("=1+1"))))
    assert row == ["'=1+1"]
