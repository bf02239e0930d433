"""Reads whole published models, ODISE's or Mask2Former's, and gives their weights by this library's names."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from modise_lightning.errors import UserError
from modise_lightning.json_text import parse_json
from modise_lightning.pretrained.archive_check import check_archive
from modise_lightning.pretrained.array_pickle import read_array_pickle
from modise_lightning.pretrained.mask2former_names import DETECTRON2, TRANSFORMERS
from modise_lightning.pretrained.name_rules import NameRules, Translation
from modise_lightning.pretrained.odise_names import ODISE
from modise_lightning.pretrained.weights import read_state_dict
from modise_lightning.regular_files import check_regular

WEIGHTS_FILE = "model.safetensors"
# By the beginning of a name that only one of them has.
_KINDS: dict[str, tuple[str, NameRules]] = {
    "backbone.feature_extractor.": ("ODISE", ODISE),
    "model.pixel_level_module.": ("Mask2Former of transformers", TRANSFORMERS),
    "sem_seg_head.": ("Mask2Former of detectron2", DETECTRON2),
}
_FORMATS = (torch.float32, torch.float16, torch.bfloat16)
_MOST_TENSORS = 100_000


@dataclass(frozen=True)
class PublishedModel:
    """A published model's weights.

    Attributes:
        kind: Who wrote it, in words.
        path: The file or folder.
        digest: SHA-256 of the file of weights.
        translation: Its tensors by this library's names, float32.
        settings: What its ``config.json`` says; None where it has none.
    """

    kind: str
    path: Path
    digest: str
    translation: Translation
    settings: Mapping[str, Any] | None


def read_published(path: Path) -> PublishedModel:
    """Read a published model without running anything in it.

    Args:
        path: A checkpoint of ODISE or of detectron2 (``torch.save``'s archive, or a pickle of NumPy arrays),
            or the folder that transformers' ``save_pretrained`` writes.

    Raises:
        UserError: It is missing, damaged, would have to run code to be read, or is no such model.
    """
    settings = None
    if path.is_dir():
        weights = path / WEIGHTS_FILE
        if not weights.is_file():
            raise UserError(
                f"source: the folder '{path}' holds no {WEIGHTS_FILE}. Give a file, or a folder that "
                "transformers' save_pretrained wrote."
            )
        settings = _read_settings(path / "config.json")
        tensors: Mapping[Any, object] = read_state_dict(weights)
    else:
        weights = path
        try:
            check_regular(path)
        except OSError as error:
            raise UserError(f"source: '{path}': {error.strerror}. Give a published checkpoint.") from error
        tensors = _read_file(path)
    checked = _checked(path, tensors)
    kind, rules = _kind(path, checked)
    with weights.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return PublishedModel(kind, path, digest, rules.translate(checked), settings)


def _read_file(path: Path) -> Mapping[Any, object]:
    with path.open("rb") as file:
        beginning = file.read(2)
    if beginning == b"PK":
        check_archive(path, "source")
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            raise UserError(
                f"source: '{path}' is refused: it holds more than tensors and plain values, and reading it "
                "could run foreign code. Nothing of it was run."
            ) from error
        except Exception as error:  # A damaged archive makes torch raise almost anything.
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise UserError(f"source: '{path}' cannot be read: {reason}. Download it again.") from error
    elif beginning[:1] in (b"\x80", b""):
        content = read_array_pickle(path)
    else:
        raise UserError(
            f"source: '{path}' is neither an archive that torch wrote nor a pickle of arrays. Give a "
            "published checkpoint of ODISE (.pth) or Mask2Former (.pkl), or a folder of transformers."
        )
    if isinstance(content, dict) and isinstance(content.get("model"), dict):
        content = content["model"]
    if not isinstance(content, dict):
        raise UserError(f"source: '{path}' holds no tensors by name. Give a published checkpoint.")
    return content


def _read_settings(path: Path) -> Mapping[str, Any]:
    try:
        settings = parse_json(check_regular(path).read_bytes())
    except (OSError, ValueError) as error:
        raise UserError(f"source: '{path}' is no readable JSON ({error}). Copy the folder again.") from error
    if not isinstance(settings, dict):
        raise UserError(f"source: '{path}' is no JSON object. Copy the folder again.")
    return settings


def _checked(path: Path, content: Mapping[Any, object]) -> dict[str, Tensor]:
    """Give all tensors as float32, or refuse what is no weight."""
    if len(content) > _MOST_TENSORS:
        raise UserError(f"source: '{path}' has more than {_MOST_TENSORS} tensors.")
    tensors = {}
    for name, value in content.items():
        if not isinstance(name, str):
            raise UserError(f"source: '{path}': a tensor's name is no text. Is it a file of weights?")
        tensor = _as_tensor(value)
        if tensor is None:
            raise UserError(
                f"source: '{path}': '{name}' is no array of numbers. Give a published checkpoint."
            )
        tensors[name] = tensor
    return tensors


def _as_tensor(value: object) -> Tensor | None:
    if isinstance(value, np.ndarray):
        # A copy, as NumPy's view of the file's bytes cannot be written to, in this machine's byte order.
        return torch.from_numpy(value.astype(value.dtype.newbyteorder("=")))
    return value if isinstance(value, Tensor) and value.layout == torch.strided else None


def _kind(path: Path, tensors: Mapping[str, Tensor]) -> tuple[str, NameRules]:
    for beginning, kind in _KINDS.items():
        if any(name.startswith(beginning) for name in tensors):
            return kind
    raise UserError(
        f"source: '{path}' is neither an ODISE nor a Mask2Former (first names: {sorted(tensors)[:3]})."
    )


def check_weight(path: Path, name: str, tensor: Tensor, expected: Tensor) -> Tensor:
    """Check a weight before it is taken.

    Args:
        path: The published file, for messages.
        name: Its published name.
        tensor: By that name.
        expected: The parameter that takes it, for its shape; may be on any device.

    Returns:
        The weight in float32.

    Raises:
        UserError: It has another shape or number format, or is not finite.
    """
    if tensor.shape != expected.shape:
        raise UserError(
            f"source: '{path}' does not fit the configured model: '{name}' is {tuple(tensor.shape)}, "
            f"{tuple(expected.shape)} is needed. Give the experiment that it is of."
        )
    if tensor.dtype not in _FORMATS or not bool(tensor.isfinite().all()):
        raise UserError(
            f"source: '{path}': '{name}' is not finite or not of a number format of weights "
            f"({str(tensor.dtype).removeprefix('torch.')}). Download it again."
        )
    return tensor.float()
