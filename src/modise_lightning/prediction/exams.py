"""Which exam, breast and view each image is of, from DICOM's tags or from the names of files."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from modise_lightning.errors import UserError
from modise_lightning.prediction.inputs.inspection import InspectedImage

_GROUPS = {"exam", "laterality", "view"}
_SIDES = {"l": "left", "left": "left", "r": "right", "right": "right"}
_WHITE_8_BIT, _WHITE_16_BIT = 255, 65535
_LARGEST_EXAM = 16  # four views, with contrast eight, and as many again


@dataclass(frozen=True)
class ExamPlace:
    """Where an image belongs.

    Attributes:
        exam: Of DICOM a pseudonym of the study; else what the names say.
        laterality: ``left`` or ``right``; None where it is unknown.
        view: CC, MLO or another; None where it is unknown.
    """

    exam: str
    laterality: str | None
    view: str | None


class ExamNames:
    """Reads exam, breast and view from the names of files, where DICOM's tags do not say them."""

    def __init__(self, pattern: str | None) -> None:
        """Compile the pattern.

        Args:
            pattern: A regular expression that is searched in the path below the input, with the groups
                ``exam``, ``laterality`` and ``view``, each optional; None: a folder is an exam.

        Raises:
            UserError: It is no regular expression, or has other groups.
        """
        self._pattern = None
        if pattern is None:
            return
        try:
            self._pattern = re.compile(pattern)
        except re.error as error:
            raise UserError(f"exams.pattern: '{pattern}' is not a regular expression ({error}).") from error
        named = set(self._pattern.groupindex)
        if not named or named - _GROUPS:
            raise UserError(
                f"exams.pattern: '{pattern}' has the named groups {sorted(named)}; (?P<exam>...), "
                "(?P<laterality>...) and (?P<view>...) are known."
            )

    def place(self, inspected: InspectedImage) -> ExamPlace:
        """Say where an image belongs; what DICOM's tags say goes before its name."""
        path = PurePosixPath(*inspected.image.parts)
        found: dict[str, str] = {}
        if self._pattern is not None and (match := self._pattern.search(str(path))) is not None:
            found = {name: value for name, value in match.groupdict().items() if value}
        exam = found.get("exam")
        side = _SIDES.get(found.get("laterality", "").lower())
        view = found.get("view", "").upper() or None
        tags = inspected.tags
        if tags is not None:
            side, view = tags.laterality or side, tags.view or view
            if tags.study_uid is not None:
                exam = pseudonym("study", tags.study_uid)
            elif exam is not None and tags.identifies(exam):
                exam = pseudonym("exam", exam)
        if exam is None:
            folder = str(path.parent) if path.parent.parts else "."
            # A picture of a pattern that says nothing of it is alone.
            exam = folder if self._pattern is None else str(path)
            if tags is not None and tags.identifies(exam):
                exam = pseudonym("exam", exam)
        return ExamPlace(exam, side, view)

    def doubts(self, inspected: Sequence[InspectedImage], places: Sequence[ExamPlace]) -> list[str]:
        """Tell of a folder whose pictures are taken as one exam, but are more than an exam has.

        Args:
            inspected: All images.
            places: Of each of them, as ``place`` gave it.
        """
        if self._pattern is not None:
            return []
        pictures = Counter(
            place.exam for each, place in zip(inspected, places, strict=True) if each.tags is None
        )
        large = [(exam, number) for exam, number in pictures.most_common() if number > _LARGEST_EXAM]
        if not large:
            return []
        exam, number = large[0]
        others = f" ({len(large) - 1} more so)" if len(large) > 1 else ""
        return [
            f"{number} pictures {_where(exam)} are taken as one exam{others}; "
            "exams.pattern tells exams apart by names."
        ]


def pseudonym(kind: str, identifier: str) -> str:
    """Name something by the beginning of its identifier's SHA-256, from which it cannot be read."""
    return f"{kind}-{hashlib.sha256(identifier.encode('utf-8', 'surrogatepass')).hexdigest()[:12]}"


def choose_whites(
    exams: Sequence[str], largest: Sequence[int | None], white: int | str
) -> tuple[list[int | None], list[str]]:
    """Choose what is white in pictures that do not say it.

    Args:
        exams: Of each image.
        largest: The largest sample of each image whose 16 bits have no known white; None for others.
        white: A number, or ``auto``: for the pictures of an exam together, 2^b - 1 with the least b that
            holds the largest sample, from 8 bits on.

    Returns:
        The white of each image that needs one, and a sentence for each white that was chosen.
    """
    if white != "auto":
        return [None if value is None else int(white) for value in largest], []
    of_exam: dict[str, int] = {}
    for exam, value in zip(exams, largest, strict=True):
        if value is not None:
            of_exam[exam] = max(of_exam.get(exam, 0), value)
    chosen = {
        exam: min(max(2 ** value.bit_length() - 1, _WHITE_8_BIT), _WHITE_16_BIT)
        for exam, value in of_exam.items()
    }
    by_white: dict[int, list[str]] = {}
    for exam, own in chosen.items():
        by_white.setdefault(own, []).append(exam)
    notes = []
    for own, named in sorted(by_white.items()):
        first, value = named[0], of_exam[named[0]]
        others = f" and {len(named) - 1} more" if len(named) > 1 else ""
        notes.append(
            f"white=auto: {own} is white in the 16-bit pictures {_where(first)} (largest value {value})"
            f"{others}, which do not say it themselves."
        )
    whites = [None if value is None else chosen[exam] for exam, value in zip(exams, largest, strict=True)]
    return whites, notes


def _where(exam: str) -> str:
    return "that lie in the folder itself" if exam == "." else f"of exam '{exam}'"
