"""A journal's lines are believed only as they were written."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modise_lightning.data.preparation.journal import FinishedImage, PreparationJournal
from modise_lightning.data.prepared.writing import PreparedEntry, PreparedSegment
from modise_lightning.structures import ImageRecord


def finished(number: int) -> FinishedImage:
    record = ImageRecord(number, f"{number}.png", f"P{number}", 20, 16)
    entry = PreparedEntry(record, (PreparedSegment(1, 0, 12, (1, 2, 3, 4)),), {"view": "CC"})
    return FinishedImage(f"key{number}", entry, (10, 20), [{"row": 2}], ["é\u2028"], ["note"], {"x": 1})


def test_what_is_written_is_read(tmp_path: Path) -> None:
    journal = PreparationJournal(tmp_path)
    journal.write([finished(1)])
    journal.append(finished(2))
    assert journal.read() == {"1.png": finished(1), "2.png": finished(2)}


@pytest.mark.parametrize(
    "alter",
    [
        lambda line: line[:-40],
        lambda line: line.replace(b"key1", b"key9"),
        lambda line: line.replace(b'"label": 0', b'"label": 7'),
        lambda line: line.replace(b"1.png", b"../1.png"),
        lambda line: line[9:],
        lambda line: b"00000000 " + line[9:],
        lambda line: b"[" * 100_000,
        lambda line: b"\xff\xfe\0",
        lambda line: line.upper(),
    ],
)
def test_an_altered_line_does_not_count_and_the_others_do(
    alter: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    journal = PreparationJournal(tmp_path)
    journal.write([finished(1), finished(2)])
    lines = journal.path.read_bytes().split(b"\n")
    journal.path.write_bytes(b"\n".join([alter(lines[1]), lines[2]]))
    assert journal.read() == {"2.png": finished(2)}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("key", 3),
        ("file_sizes", [1]),
        ("counts", []),
        ("counts", {"x": "y"}),
        ("problems", [3]),
        ("entry", None),
    ],
)
def test_a_line_of_other_types_does_not_count_although_its_checksum_is_right(
    key: str, value: Any, tmp_path: Path
) -> None:
    journal = PreparationJournal(tmp_path)
    journal.write([finished(1)])
    content = json.loads(journal.path.read_bytes().strip()[9:])
    document = json.dumps({**content, key: value}).encode()
    journal.path.write_bytes(b"%08x %s" % (zlib.crc32(document), document))
    assert journal.read() == {}
