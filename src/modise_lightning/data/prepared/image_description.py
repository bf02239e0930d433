"""Reads from an image's attributes what evaluation knows it by: breast, view, density, size of a pixel."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

_SIDES = {"l": "left", "left": "left", "r": "right", "right": "right"}
# Views are DICOM's CC and MLO; densities are BI-RADS' letters, which VinDr-Mammo writes as DENSITY C.
_TEXTS: dict[str, tuple[str, Callable[[str], str]]] = {
    "study_id": ("study_id", str),
    "view": ("view", str.upper),
    "view_position": ("view", str.upper),
    "density": ("density", lambda text: text.upper().removeprefix("DENSITY ")),
    "breast_density": ("density", lambda text: text.upper().removeprefix("DENSITY ")),
    "modality": ("modality", str),
}


def describe_image(attributes: Mapping[str, str | int | float]) -> dict[str, Any]:
    """Give what the attributes say of an image, as far as they do, under the names of ``ImageRecord``.

    Args:
        attributes: Plain values of the index. ``laterality`` is L, R, left or right; ``row_spacing_mm`` and
            ``column_spacing_mm`` are the height and width of a pixel of the stored image; ``normal`` is 1
            where the source calls the image free of findings, 0 where it does not.
    """
    described: dict[str, Any] = {
        name: change(str(attributes[key]).strip())
        for key, (name, change) in _TEXTS.items()
        if str(attributes.get(key, "")).strip()
    }
    side = _SIDES.get(str(attributes.get("laterality", "")).strip().lower())
    if side is not None:
        described["laterality"] = side
    spacing = tuple(attributes.get(name) for name in ("row_spacing_mm", "column_spacing_mm"))
    if all(isinstance(value, int | float) and math.isfinite(value) and value > 0 for value in spacing):
        described["spacing_mm"] = spacing
    if attributes.get("normal") in (0, 1):
        described["normal"] = attributes["normal"] == 1
    return described
