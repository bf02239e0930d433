"""Reads kinds of finding from the free text of CDD-CESM's sheet, whose spelling varies."""

from __future__ import annotations

import re

OTHER = "other"
# Chosen by reading the release's texts, misspellings included ("macrocalification", "assymetrical"), and
# compared with the workbook's pages on single kinds of finding, which not every download has. A nodule is the
# older name of a mass.
_KINDS = {
    "mass": re.compile(r"\b(?<!no )(?<!non )(?<!non-)(?:mass(?:es)?|nodules?)\b"),
    "non-mass enhancement": re.compile(r"\bnon[ -]?mass\b"),
    "calcification": re.compile(r"calc?if"),
    "distortion": re.compile(r"distor"),
    "asymmetry": re.compile(r"\bass?ymm?et"),
}
KINDS = (*_KINDS, OTHER)
_NEITHER = re.compile(r"\bno mass or non[ -]?mass\b")


def kinds_of_finding(text: str) -> tuple[str, ...]:
    """Find all kinds of finding that an image's text names.

    Args:
        text: The sheet's ``Findings``, several separated by ``$`` or simply joined in a sentence.

    Returns:
        The kinds in the order of ``KINDS``; ``other`` (postoperative changes, oedema, lymph nodes, foci, no
        enhancement, ...) if none is named.
    """
    words = _NEITHER.sub(" ", " ".join(text.lower().split()))
    return tuple(kind for kind, pattern in _KINDS.items() if pattern.search(words)) or (OTHER,)
