"""Writes the prediction of one image: an overlay, a panoptic id map, and its segments as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from modise_lightning.errors import UserError
from modise_lightning.metrics.segments.run_length import run_lengths
from modise_lightning.reporting.files import write_json_atomically, write_png_atomically
from modise_lightning.reporting.pictures.overlay import draw_overlay
from modise_lightning.reporting.pictures.uncertainty import draw_uncertainty
from modise_lightning.structures import Category, PixelUncertainty, Prediction

SYNTHETIC_NOTICE = (
    "The model was trained on synthetic phantom images; its predictions say nothing about patients."
)


@dataclass(frozen=True)
class PredictionFiles:
    """The files of one image's prediction."""

    overlay: Path
    panoptic: Path
    json: Path
    uncertainty: Path | None = None

    @property
    def all(self) -> list[Path]:
        """All that were written."""
        return [path for path in (self.overlay, self.panoptic, self.json, self.uncertainty) if path]


def choose_stems(names: Sequence[str], reserved: Sequence[str] = ()) -> dict[str, str]:
    """Choose what each image's files begin with, so that no image's files replace another one's.

    Args:
        names: File names of the images, all different.
        reserved: What other files begin with.

    Returns:
        By name: its stem where that is the only one of its kind, else the whole name with ``_`` for dots,
        else that with a number. Names that differ in capital letters alone count as one, as some file systems
        have it.
    """
    alone = Counter(Path(name).stem.casefold() for name in names)
    others = {stem.casefold() for stem in reserved}
    stems = {
        name: stem
        for name in names
        if alone[(stem := Path(name).stem).casefold()] == 1 and stem.casefold() not in others
    }
    taken = others | {stem.casefold() for stem in stems.values()}
    for name in names:
        if name in stems:
            continue
        wanted = name.replace(".", "_")
        candidates = (wanted if number == 1 else f"{wanted}_{number}" for number in count(1))
        stems[name] = next(stem for stem in candidates if stem.casefold() not in taken)
        taken.add(stems[name].casefold())
    return stems


def export_prediction(
    folder: Path,
    stem: str,
    image: NDArray[np.float32],
    prediction: Prediction,
    categories: Sequence[Category],
    *,
    source: str,
    metadata: Mapping[str, Any],
    synthetic_training_data: bool,
    description: Mapping[str, Any] | None = None,
) -> PredictionFiles:
    """Write ``<stem>_overlay.png``, ``<stem>_panoptic.png`` and ``<stem>.json``.

    The panoptic picture holds segment ids as COCO's does: id = R + 256 G + 65536 B, and 0 where no segment
    is. The JSON holds of each segment and instance its category, score, box (x, y, width, height) and area in
    pixels, and of each instance its mask in COCO's compressed run lengths. Of several members
    ``<stem>_uncertainty.png`` shows how undecided they are, and the JSON has the means over the image and
    over each segment and instance. It is written last: where it is, the pictures are too. Segments and
    instances without pixels are left out.

    Args:
        folder: Where they go; made if it is missing.
        stem: Begins the file names; no folders.
        image: (H, W) in [0, 1].
        prediction: At (H, W).
        categories: Names and colours of the classes.
        source: Name of the image file.
        metadata: Plain values about the model, for the JSON.
        synthetic_training_data: Whether the JSON warns that the model knows only phantoms.
        description: Plain values about the image, for the JSON.

    Raises:
        UserError: The stem is not a plain file name. Nothing is written.
        ValueError: The image and its prediction differ in size, or a score is not a finite number. Nothing
            is written.
    """
    if stem in {"", ".", ".."} or any(sign in "/\\" or not sign.isprintable() for sign in stem):
        raise UserError(f"{source}: {stem!r} cannot begin a file name; rename the image.")
    panoptic, instances = prediction.panoptic, prediction.instances
    if not image.shape == tuple(panoptic.segment_ids.shape) == instances.packed.shape[1:]:
        raise ValueError(
            f"{source}: the image is {image.shape}, its segments {tuple(panoptic.segment_ids.shape)} "
            f"and its instances {instances.packed.shape[1:]}; give all at one size."
        )
    files = PredictionFiles(
        overlay=folder / f"{stem}_overlay.png",
        panoptic=folder / f"{stem}_panoptic.png",
        json=folder / f"{stem}.json",
        uncertainty=None if prediction.uncertainty is None else folder / f"{stem}_uncertainty.png",
    )
    unsure = _Unsure(prediction.uncertainty)
    ids = panoptic.segment_ids.cpu().numpy()
    panoptic_scores = [None] * len(panoptic.labels) if panoptic.scores is None else panoptic.scores.tolist()
    segments = [
        {
            "id": index + 1,
            **_describe(ids == index + 1, label, score, categories),
            **unsure.inside(ids == index + 1),
        }
        for index, (label, score) in enumerate(zip(panoptic.labels.tolist(), panoptic_scores, strict=True))
        if (ids == index + 1).any()
    ]
    found = [
        {
            **_describe(mask, label, score, categories),
            **unsure.inside(mask),
            "segmentation": run_lengths(mask),
        }
        for mask, label, score in zip(
            (mask.cpu().numpy() for mask in instances.packed),
            instances.labels.tolist(),
            instances.scores.tolist(),
            strict=True,
        )
        if mask.any()
    ]
    content: dict[str, Any] = {
        "image": source,
        "height": image.shape[0],
        "width": image.shape[1],
        **(description or {}),
        **({"notice": SYNTHETIC_NOTICE} if synthetic_training_data else {}),
        "synthetic_training_data": synthetic_training_data,
        "model": dict(metadata),
        "categories": [category.name for category in categories],
        "overlay": files.overlay.name,
        "panoptic": files.panoptic.name,
        **({} if files.uncertainty is None else {"uncertainty_picture": files.uncertainty.name}),
        **unsure.everywhere(),
        "segments": segments,
        "instances": found,
    }
    write_png_atomically(files.overlay, draw_overlay(image, panoptic, categories))
    write_png_atomically(files.panoptic, _paint_ids(ids))
    if files.uncertainty is not None and prediction.uncertainty is not None:
        write_png_atomically(files.uncertainty, draw_uncertainty(image, prediction.uncertainty, panoptic))
    write_json_atomically(files.json, content)
    return files


class _Unsure:
    """The means of the uncertainty, in bits, by their names in the JSON; none without several members."""

    def __init__(self, uncertainty: PixelUncertainty | None) -> None:
        self._maps: dict[str, NDArray[Any]] = {}
        if uncertainty is not None:
            self._maps["uncertainty"] = uncertainty.entropy.cpu().numpy()
            self._maps["disagreement"] = uncertainty.disagreement.cpu().numpy()

    def inside(self, mask: NDArray[np.bool_]) -> dict[str, float]:
        return {name: round(float(own[mask].mean(dtype=float)), 6) for name, own in self._maps.items()}

    def everywhere(self) -> dict[str, float]:
        return {name: round(float(own.mean(dtype=float)), 6) for name, own in self._maps.items()}


def _paint_ids(ids: NDArray[Any]) -> NDArray[np.uint8]:
    ids = np.maximum(ids, 0).astype(np.int32)  # of three bytes
    picture = np.empty((*ids.shape, 3), dtype=np.uint8)
    for channel in range(3):
        picture[..., channel] = ids >> 8 * channel & 255
    return picture


def _describe(
    mask: NDArray[np.bool_], label: int, score: float | None, categories: Sequence[Category]
) -> dict[str, Any]:
    if score is not None and not np.isfinite(score):
        raise ValueError(f"A {categories[label].name} has the score {score}; scores are finite numbers.")
    return {
        "category": categories[label].name,
        "score": None if score is None else round(score, 6),
        "bbox": list(cv2.boundingRect(mask.view(np.uint8))),
        "area": int(np.count_nonzero(mask)),
    }
