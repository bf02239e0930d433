"""A contact sheet of some of the images says so."""

from __future__ import annotations

import pytest

from modise_lightning.prediction.folders.contact_sheet import note_of_choice


@pytest.mark.parametrize(
    ("number", "of_all", "note", "expected"),
    [
        (3, 3, None, None),
        (3, 3, "Synthetic.", "Synthetic."),
        (48, 1686, None, "48 of 1,686 images, those with the highest scores."),
        (1, 2, "Synthetic.", "1 of 2 images, those with the highest scores. Synthetic."),
    ],
)
def test_the_note_says_which_are_shown(
    number: int, of_all: int, note: str | None, expected: str | None
) -> None:
    assert note_of_choice(number, of_all, note) == expected
