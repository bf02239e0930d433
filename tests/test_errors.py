"""Messages for users are one line of readable length, whatever they quote."""

from __future__ import annotations

import pickle

import pytest

from modise_lightning.errors import UserError


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("a: wrong. Mend it.", "a: wrong. Mend it."),
        (
            "a: while parsing\n  in 'x', line 3\n\t^; mend it.\n",
            "a: while parsing in 'x', line 3 ^; mend it.",
        ),
        ("a\r\nb\x0bc\x85d\u2028e", "a b c d e"),
    ],
)
def test_a_message_is_one_line(message: str, expected: str) -> None:
    assert str(UserError(message)) == expected
    assert str(pickle.loads(pickle.dumps(UserError(message)))) == expected  # as loader processes pass it on


def test_a_long_message_keeps_its_beginning_and_what_to_do() -> None:
    message = str(UserError(f"file.json: found {'x' * 10**6}. Get the file anew."))
    assert message.startswith("file.json: found xxx")
    assert message.endswith("xxx. Get the file anew.")
    assert len(message) < 1600
