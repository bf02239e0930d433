"""Coded names of what the classes show, and of the program that says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from highdicom import AlgorithmIdentificationSequence
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

import modise_lightning

MANUFACTURER = "modise_lightning"
# Category of every lesion (DICOM PS3.16, CID 7150).
CATEGORY = codes.SCT.MorphologicallyAbnormalStructure


@dataclass(frozen=True)
class ClassCode:
    """What classes of some names are called in a coding scheme.

    Attributes:
        contains: A part of the class's name, in small letters; empty for all that no other fits.
        value: The code, e.g. 4147007.
        scheme: The coding scheme, e.g. SCT for SNOMED CT.
        meaning: The code in words.
    """

    contains: str
    value: str
    scheme: str
    meaning: str


def code_of(name: str, known: Sequence[ClassCode]) -> Code:
    """Give the code of a class: the first one whose part is in its name.

    Args:
        name: Of the class.
        known: In the order in which they are tried; the last one fits all.
    """
    found = next(each for each in known if each.contains in name.casefold())
    return Code(found.value, found.scheme, found.meaning)


def algorithm_of(metadata: Mapping[str, Any]) -> AlgorithmIdentificationSequence:
    """Say which model it was, of which program in which version."""
    return AlgorithmIdentificationSequence(
        name=str(metadata["model"])[:64],
        family=codes.DCM.ArtificialIntelligence,
        version=modise_lightning.__version__,
        source=MANUFACTURER,
    )
