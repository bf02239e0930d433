"""JSON of strangers: encodings that are read, and what is refused with one kind of error."""

from __future__ import annotations

import pytest

from modise_lightning.json_text import parse_json


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_every_encoding_of_json_is_read(encoding: str) -> None:
    assert parse_json('{"naïve": [1, null]}'.encode(encoding)) == {"naïve": [1, None]}


@pytest.mark.parametrize(
    "data", [b"", b"{", b"\xff", b"[" * 100_000, b'{"a": 1} x', b"1" * 10_000, b"\0\0\0"]
)
def test_what_is_no_json_is_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_json(data)
