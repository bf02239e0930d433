"""Changes cells, columns and rows of CSV tables, and the XML inside of XLSX workbooks."""

from __future__ import annotations

import csv
import io
import json
import re
import zipfile
from random import Random

from fuzzing.byte_mutations import mutate_bytes
from fuzzing.tree_mutations import mutate_tree

_CELLS = [
    *(
        "",
        " ",
        "nan",
        "inf",
        "-1",
        "0",
        "1e400",
        "1e-200",
        "9" * 400,
        "0x1",
        "1_0",
        "٣",
        "²",
        "\x00",
        "=1+1",
        "'",
        '"',
    ),
    *(
        "é" * 50,
        "\ud800".encode("utf-8", "surrogatepass").decode("latin-1"),
        "x" * 200_000,
        "[]",
        "{}",
        "['",
        "a\nb",
    ),
]
_XML = [
    b"<!DOCTYPE x [<!ENTITY a 'aaaaaaaaaa'>]>",
    b"&a;",
    b"&#0;",
    b"<x>",
    b"]]>",
    b"<?x?>",
    b"\xff",
    b"999999999999",
    b"-1",
]
_LARGE = 200_000  # bytes
_FIXED_TIME = (1980, 1, 1, 0, 0, 0)


def mutate_csv(data: bytes, random: Random) -> bytes:
    """Change cells, columns, rows, the separator or the encoding."""
    try:
        rows = list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline="")))
    except (ValueError, csv.Error):
        return mutate_bytes(data, random)
    if not rows:
        return mutate_bytes(data, random)
    for _ in range(random.choice((1, 1, 2, 4))):
        row = random.choice(rows[:1] + rows)
        column = random.randrange(len(row) + 1)
        match random.randrange(7):
            case 0:
                rows.append(list(row))
            case 1:
                row.insert(column, random.choice(_CELLS))
            case 2:
                del row[column:]
            case 3:
                for each in rows:
                    del each[column : column + 1]
            case 4 if column < len(row) and row[column].startswith(("{", "[")):
                try:
                    row[column] = json.dumps(mutate_tree(json.loads(row[column]), random))
                except (ValueError, RecursionError, OverflowError):
                    row[column] = row[column] * 2
            case 5:
                random.shuffle(row)
            case _:
                row[column : column + 1] = [random.choice(_CELLS)]
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=random.choice(",,,,,,;\t"), quoting=random.choice((0, 0, 1))).writerows(rows)
    encoding = random.choice(("utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "latin-1"))
    return text.getvalue().encode(encoding, "replace")


def pack(members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Make a zip archive whose bytes depend on nothing but its members."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name, _FIXED_TIME), content, compression)
    return stream.getvalue()


def unpack(data: bytes) -> dict[str, bytes]:
    """Read the members of a zip archive."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def mutate_zip(data: bytes, random: Random) -> bytes:
    """Change, remove or rename members of an archive, or the flags of their headers."""
    try:
        members = unpack(data)
    except Exception:  # What an earlier mutation broke is changed as bytes.
        return mutate_bytes(data, random)
    name = random.choice(list(members))
    match random.randrange(6):
        case 0:
            del members[name]
        case 1:
            members[random.choice(("../x", "xl/x.xml", "/x"))] = members.pop(name)
        case 2 | 3:
            members[name] = _mutate_xml(members[name], random)
        case 4:
            members[name] = mutate_bytes(members[name], random)
        case _:
            return _mutate_headers(data, random)
    slow = len(data) > _LARGE  # to compress
    methods = (zipfile.ZIP_STORED,) if slow else (zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED, zipfile.ZIP_LZMA)
    return pack(members, random.choice(methods))


def _mutate_xml(content: bytes, random: Random) -> bytes:
    matches = list(re.finditer(rb'(?<=")[^"<>]*(?=")|(?<=>)[^<>]+(?=<)|<[^<>]+>', content))
    if not matches:
        return mutate_bytes(content, random)
    match = random.choice(matches)
    new = random.choice([b"", match[0] * 2, match[0] * 500, *_XML])
    return content[: match.start()] + new + content[match.end() :]


def _mutate_headers(data: bytes, random: Random) -> bytes:
    changed = bytearray(data)
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        for match in list(re.finditer(re.escape(signature), data))[:: random.choice((1, 3))]:
            # Flags, method, sizes and checksum lie in the next 20 bytes.
            place = match.start() + flags + random.choice((0, 2, 8, 12, 16))
            if place < len(changed):
                changed[place] = random.choice((0, 1, 9, 12, 14, 95, 99, 255))
    return bytes(changed)
