"""Reads JSON that someone else may have written."""

from __future__ import annotations

import json
from typing import Any


def parse_json(data: bytes) -> Any:  # noqa: ANN401 (whatever the text holds)
    """Decode a JSON document in UTF-8, -16 or -32, with or without a byte order mark.

    Args:
        data: The bytes of the file.

    Raises:
        ValueError: It is none, or nested too deeply to be read.
    """
    try:
        return json.loads(data)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
