"""Text from files and users as it may be shown: what would steer a terminal is spelled out instead."""

from __future__ import annotations

import re

# Control characters but tab and line feed (C0, DEL and C1, which terminals take for commands); marks that
# change the direction of text; separators that start a line; halves of characters, which names of files that
# are no UTF-8 have.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
)


def shortened(text: str, length: int) -> str:
    """Cut what is longer than ``length`` characters, with an ellipsis as the last one."""
    return text if len(text) <= length else f"{text[: length - 1]}…"


def visible(text: str) -> str:
    r"""Spell out what is not seen or would steer a terminal, as ``\x1b`` or ``\u202e``."""
    return _UNSEEN.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)
