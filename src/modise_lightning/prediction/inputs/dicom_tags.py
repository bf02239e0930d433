"""What a DICOM file says beside its pixels: study, breast, view, size of a pixel, and whose image it is."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import pydicom
from pydicom.dataset import Dataset

from modise_lightning.data.images.dicom import check_inflated_size
from modise_lightning.data.images.image_file import ImageFile
from modise_lightning.data.images.pixel_spacing import pixel_spacing
from modise_lightning.data.images.reading import MAXIMUM_PIXELS
from modise_lightning.errors import UserError

# What the tables of ``identifiers=keep`` show, and what no other result may hold.
IDENTIFYING = {
    "patient_id": "PatientID",
    "patient_name": "PatientName",
    "birth_date": "PatientBirthDate",
    "accession_number": "AccessionNumber",
    "study_date": "StudyDate",
    "study_uid": "StudyInstanceUID",
}
_OTHER_UIDS = ("SeriesInstanceUID", "SOPInstanceUID")
_SIDES = {"L": "left", "R": "right"}
# View codes of SNOMED CT and SNOMED RT (DICOM PS3.16, CID 4014), for files without ViewPosition.
_VIEW_CODES = {
    "399162004": "CC",
    "399368009": "MLO",
    "399260004": "ML",
    "399352003": "LM",
    "R-10242": "CC",
    "R-10226": "MLO",
    "R-10224": "ML",
    "R-10228": "LM",
}
_LEAST_LETTERS = 3  # shorter parts of names are in many file names by chance


@dataclass(frozen=True)
class DicomTags:
    """What the tags say.

    Attributes:
        study_uid: Which study the image is of; None where it is not said.
        laterality: ``left`` or ``right``; None where it is not said.
        view: CC, MLO or another of DICOM's; None where it is not said.
        spacing_mm: Height and width of a pixel in millimetres; None where it is not said.
        has_implant: Whether the breast has an implant; None where it is not said.
        is_deidentified: Whether the identity has been removed already.
        identifiers: Whose image it is and when it was made, by the names of ``IDENTIFYING``.
        uids: Of series and image.
    """

    study_uid: str | None
    laterality: str | None
    view: str | None
    spacing_mm: tuple[float, float] | None
    has_implant: bool | None
    is_deidentified: bool
    identifiers: dict[str, str] = field(repr=False)
    uids: tuple[str, ...] = field(repr=False)

    def identifies(self, text: str) -> bool:
        """Tell whether a text, such as the name of a file, holds what identifies the patient or the study."""
        if self.is_deidentified:
            return False
        folded = text.casefold()
        held = [value for name, value in self.identifiers.items() if name != "patient_name"]
        held += [*self.uids, *re.split(r"[\^=\s,]+", self.identifiers.get("patient_name", ""))]
        return any(len(value) >= _LEAST_LETTERS and value.casefold() in folded for value in held)


def read_tags(file: ImageFile) -> DicomTags:
    """Read the tags of a DICOM file, without its pixels.

    Raises:
        UserError: It is no readable DICOM.
    """
    try:
        check_inflated_size(file, MAXIMUM_PIXELS)
        with file.open("rb") as stream:
            header = pydicom.dcmread(stream, stop_before_pixels=True)
        return tags_of(header)
    except UserError:
        raise
    except Exception as error:  # Damaged files make pydicom raise almost anything.
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"'{file}' is not a readable DICOM image ({reason}).") from error


def tags_of(header: Dataset) -> DicomTags:
    """Take from a data set what the results need."""
    side = _text(header, "ImageLaterality") or _text(header, "Laterality") or _frame_laterality(header)
    implant = _text(header, "BreastImplantPresent").upper()
    return DicomTags(
        study_uid=_text(header, "StudyInstanceUID") or None,
        laterality=_SIDES.get(side.upper()[:1]) if side else None,
        view=_view(header),
        spacing_mm=pixel_spacing(header),
        has_implant={"YES": True, "NO": False}.get(implant),
        is_deidentified=_text(header, "PatientIdentityRemoved").upper() == "YES",
        identifiers={name: text for name, keyword in IDENTIFYING.items() if (text := _text(header, keyword))},
        uids=tuple(text for keyword in _OTHER_UIDS if (text := _text(header, keyword))),
    )


def _text(header: Any, keyword: str) -> str:  # noqa: ANN401 (a pydicom data set)
    value = header.get(keyword)
    return "" if value is None else str(value).strip()


def _frame_laterality(header: Dataset) -> str:
    for groups in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for item in (header.get(groups) or ())[:1]:
            for anatomy in item.get("FrameAnatomySequence") or ():
                if text := _text(anatomy, "FrameLaterality"):
                    return text
    return ""


def _view(header: Dataset) -> str | None:
    if text := _text(header, "ViewPosition"):
        return text.upper()
    for item in header.get("ViewCodeSequence") or ():
        if (view := _VIEW_CODES.get(_text(item, "CodeValue"))) is not None:
            return view
    # CBIS-DDSM has its view here.
    orientation = _text(header, "PatientOrientation").upper()
    return orientation if orientation in _VIEW_CODES.values() else None
