"""Reads INbreast's outlines: property lists that OsiriX exported, one a case."""

from __future__ import annotations

import plistlib
import re
from dataclasses import dataclass
from pathlib import Path

from modise_lightning.data.preparation.via_shapes import Ellipse, Polygon, Shape
from modise_lightning.errors import UserError
from modise_lightning.regular_files import check_regular

_MAXIMUM_BYTES = 32 * 2**20  # the release's files have some megabytes at most
_LARGEST_COORDINATE = 1e6  # far beyond any image; keeps the products of coordinates finite
_NUMBER = r"[+-]?\d{1,7}(?:\.\d{0,40})?(?:[eE][+-]?\d{1,2})?"
_POINT = re.compile(rf"\(?\s*({_NUMBER})\s*,\s*({_NUMBER})\s*\)?")

FINDINGS = ("mass", "spiculated region", "cluster", "calcification", "distortion", "asymmetry")
_SPELLINGS = {
    "masses": "mass",
    "calcifications": "calcification",
    "espiculated region": "spiculated region",
    "assymetry": "asymmetry",
}
# OsiriX's own names of marks that no one named: in the release they are single calcifications.
_UNNAMED = re.compile(r"|unnamed|point \d{1,3}")


@dataclass(frozen=True)
class Region:
    """An outline of a case.

    Attributes:
        number: Its place in the file, from 1.
        name: As it stands there; empty if it has none.
        finding: One of ``FINDINGS``; None if the name is no finding of the release.
        points: (x, y) in pixels.
    """

    number: int
    name: str
    finding: str | None
    points: tuple[tuple[float, float], ...]

    @property
    def is_named(self) -> bool:
        """Whether someone named it, and not the program that it was drawn with."""
        return _UNNAMED.fullmatch(_plain(self.name)) is None

    def shape(self, point_radius: float) -> Shape | None:
        """Give what it encloses.

        Args:
            point_radius: Of the disc that a single point becomes, in pixels; 0 gives none.

        Returns:
            None if it encloses nothing: two points, or one without a disc.
        """
        if len(self.points) == 1:
            return Ellipse(self.points[0], (point_radius, point_radius)) if point_radius > 0 else None
        return Polygon(self.points) if len(set(self.points)) >= 3 else None


def finding_of(name: str) -> str | None:
    """Give the finding that a name means, in whatever spelling; None if it is none of the release."""
    plain = _plain(name)
    plain = _SPELLINGS.get(plain, plain)
    if _UNNAMED.fullmatch(plain):
        return "calcification"
    return plain if plain in FINDINGS else None


def read_regions(path: Path) -> tuple[list[Region], list[str]]:
    """Read a case's outlines.

    Args:
        path: The XML file.

    Returns:
        The outlines, and what is wrong with those that cannot be read, the end of a sentence each.

    Raises:
        UserError: It is too large, no property list in XML, declares entities, or has other contents.
    """
    try:
        size = check_regular(path).stat().st_size
        if size > _MAXIMUM_BYTES:
            raise UserError(f"it has {size} bytes, more than {_MAXIMUM_BYTES}")
        # plistlib refuses declarations of entities and fetches nothing from outside.
        document = plistlib.loads(path.read_bytes(), fmt=plistlib.FMT_XML)
    except UserError:
        raise
    except Exception as error:  # Damaged files make expat and plistlib raise almost anything.
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"it is no property list in XML ({reason})") from error
    images = document.get("Images") if isinstance(document, dict) else None
    if not isinstance(images, list) or not all(isinstance(image, dict) for image in images):
        raise UserError("it has no list of Images")
    found = [region for image in images for region in _listed(image)]
    regions: list[Region] = []
    problems: list[str] = []
    for number, region in enumerate(found, start=1):
        try:
            regions.append(_region(number, region))
        except ValueError as error:
            problems.append(f"region {number} {error}")
    return regions, problems


def _listed(image: dict[str, object]) -> list[object]:
    """Give the regions of an image.

    Raises:
        UserError: There is no list of them, or their number is another.
    """
    regions = image.get("ROIs", [])
    if not isinstance(regions, list):
        raise UserError("its ROIs are no list")
    number = image.get("NumberOfROIs", len(regions))
    if number != len(regions):
        raise UserError(f"it has {len(regions)} regions and says that it has {number!r}")
    return regions


def _region(number: int, region: object) -> Region:
    """Read a region.

    Raises:
        ValueError: Says what of it is wrong, without naming it.
    """
    if not isinstance(region, dict):
        raise ValueError("is no dictionary")
    name, texts = region.get("Name", ""), region.get("Point_px")
    if not isinstance(name, str):
        raise ValueError(f"has the name {str(name)[:40]!r}, expected a text")
    if not isinstance(texts, list) or not texts:
        raise ValueError("has no Point_px")
    count = region.get("NumberOfPoints", len(texts))
    if count != len(texts):
        raise ValueError(f"has {len(texts)} points and says that it has {str(count)[:20]}")
    return Region(number, name, finding_of(name), tuple(_point(text) for text in texts))


def _point(text: object) -> tuple[float, float]:
    match = _POINT.fullmatch(text.strip()) if isinstance(text, str) and len(text) < 200 else None
    if match is None:
        raise ValueError(f"has the point {str(text)[:40]!r}, expected (x, y)")
    x, y = float(match[1]), float(match[2])
    if max(abs(x), abs(y)) > _LARGEST_COORDINATE:
        raise ValueError(f"has the point {str(text)[:40]!r}, far outside any image")
    return x, y


def _plain(name: str) -> str:
    return " ".join(name.lower().split())
