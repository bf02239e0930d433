"""The few dataclasses that cross a boundary between the parts of the library.

Shapes use B images, Q queries, K classes, C channels, H and W pixels, N segments, P prompts and L predictions
(one for every decoder layer and one for the learned queries; the last one is the result).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

# Importing torch takes seconds and 0.4 GB, which the processes that prepare images would pay each.
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import torch
    from torch import Tensor

    from modise_lightning.packed_masks import PackedMasks


@dataclass(frozen=True)
class Category:
    """One kind of thing or stuff that a dataset labels.

    Attributes:
        name: Unique name in the dataset.
        prompts: Texts that describe it (synonyms), for text-similarity classification; at least one.
        isthing: Whether its instances are told apart (Kirillov et al. 2019).
        color: RGB in 0-255 for pictures.
    """

    name: str
    prompts: tuple[str, ...]
    isthing: bool = True
    color: tuple[int, int, int] = (230, 159, 0)


@dataclass(frozen=True)
class ImageRecord:
    """Where an image comes from, and what its source says of it; None where the source does not say.

    Attributes:
        image_id: Unique number in its dataset.
        file_name: File name in its dataset.
        patient_id: Patient that it shows; folds never split a patient. Empty where it is not known.
        height: Height of the stored image in pixels.
        width: Width of the stored image in pixels.
        study_id: Examination that it belongs to.
        laterality: Which breast it shows.
        view: Projection, such as ``CC`` or ``MLO``.
        density: Breast density, such as BI-RADS' ``A`` to ``D``.
        modality: Kind of image where a dataset has several, such as ``low energy`` or ``subtracted``.
        spacing_mm: Height and width of a pixel of the stored image in millimetres.
        source: Dataset that it was taken from.
        fold: Its cross-validation fold.
        normal: Whether the source calls it free of findings.
    """

    image_id: int
    file_name: str
    patient_id: str
    height: int
    width: int
    study_id: str | None = None
    laterality: Literal["left", "right"] | None = None
    view: str | None = None
    density: str | None = None
    modality: str | None = None
    spacing_mm: tuple[float, float] | None = None
    source: str | None = None
    fold: int | None = None
    normal: bool | None = None


@dataclass
class PanopticSegmentation:
    """A map that assigns each pixel to at most one segment.

    Attributes:
        segment_ids: (H, W) int64; 0 no segment, -1 void (ignored by every metric), 1..N the segments.
        labels: (N,) int64 class index in [0, K) of each segment.
        scores: (N,) float in [0, 1], confidence of each segment; None for ground truth.
        crowd: (H, W) int64 in ground truth with crowd regions (COCO: objects that are not told apart): the
            class index of each of their pixels, -1 elsewhere. They are void, but not for panoptic quality,
            which treats them as panopticapi does (``metrics.pairs``). None without such regions.
        annotated: (K,) bool in ground truth: the classes whose every instance is outlined. The absence of
            another class says nothing. None: all of them.
    """

    segment_ids: Tensor
    labels: Tensor
    scores: Tensor | None = None
    crowd: Tensor | None = None
    annotated: Tensor | None = None

    @property
    def masks(self) -> Tensor:
        """(N, H, W) bool, one mask a segment."""
        import torch

        ids = torch.arange(1, len(self.labels) + 1, device=self.segment_ids.device)
        return self.segment_ids[None] == ids[:, None, None]

    def each_mask(self, indices: Iterable[int] | None = None) -> Iterator[Tensor]:
        """Make one (H, W) bool mask after another: of all segments, or of some by their index from 0."""
        chosen = range(len(self.labels)) if indices is None else indices
        return (self.segment_ids == index + 1 for index in chosen)

    def of_one_class(self) -> PanopticSegmentation:
        """Give the same segments as if there were only one class, with index 0."""
        crowd = None if self.crowd is None else self.crowd.clamp(max=0)
        return replace(self, labels=self.labels.new_zeros(len(self.labels)), crowd=crowd, annotated=None)

    def areas(self) -> Tensor:
        """Count the pixels of each segment, (N,) int64."""
        import torch

        ids = self.segment_ids.clamp(min=0).flatten()
        return torch.bincount(ids, minlength=len(self.labels) + 1)[1:]

    def to(self, device: torch.device | str, non_blocking: bool = False) -> PanopticSegmentation:
        """Copy to a device."""
        return PanopticSegmentation(
            self.segment_ids.to(device, non_blocking=non_blocking),
            self.labels.to(device, non_blocking=non_blocking),
            None if self.scores is None else self.scores.to(device, non_blocking=non_blocking),
            None if self.crowd is None else self.crowd.to(device, non_blocking=non_blocking),
            None if self.annotated is None else self.annotated.to(device, non_blocking=non_blocking),
        )

    def pin_memory(self) -> PanopticSegmentation:
        """Copy to page-locked memory."""
        return PanopticSegmentation(
            self.segment_ids.pin_memory(),
            self.labels.pin_memory(),
            None if self.scores is None else self.scores.pin_memory(),
            None if self.crowd is None else self.crowd.pin_memory(),
            None if self.annotated is None else self.annotated.pin_memory(),
        )


class InstanceSegmentation:
    """Scored object masks of one image, which may overlap.

    Attributes:
        packed: N masks of (H, W).
        labels: (N,) int64 class index in [0, K).
        scores: (N,) float in [0, 1].
    """

    def __init__(self, masks: Tensor | PackedMasks, labels: Tensor, scores: Tensor) -> None:
        """Pack the masks.

        Args:
            masks: (N, H, W) bool, or packed already.
            labels: (N,) int64 class index in [0, K).
            scores: (N,) float in [0, 1].
        """
        from modise_lightning.packed_masks import PackedMasks

        self.packed = masks if isinstance(masks, PackedMasks) else PackedMasks.of(masks)
        self.labels = labels
        self.scores = scores

    @property
    def masks(self) -> Tensor:
        """(N, H, W) bool, unpacked anew at each call; take ``packed`` where images are large."""
        return self.packed.unpack()


@dataclass(frozen=True)
class PixelUncertainty:
    """How sure several members are of whether a pixel shows any lesion; both in bits, 0 to 1.

    Attributes:
        entropy: (H, W) float, of the members' mean: 0 sure, 1 undecided.
        disagreement: (H, W) float, the part of it that is between the members (mutual information).
    """

    entropy: Tensor
    disagreement: Tensor


@dataclass
class Prediction:
    """Everything that inference says of one image.

    Attributes:
        panoptic: Non-overlapping segments.
        instances: Scored, possibly overlapping masks of the thing classes.
        semantic: (K, H, W) float; sum over queries of class probability times mask probability. (1, H, W)
            with all thing classes together, or (0, H, W), where that was wanted.
        uncertainty: Of several members together; None of one alone, or where it was not wanted.
    """

    panoptic: PanopticSegmentation
    instances: InstanceSegmentation
    semantic: Tensor
    uncertainty: PixelUncertainty | None = None


@dataclass(frozen=True)
class Region:
    """A box of whole pixels of an image.

    Attributes:
        top: First row.
        left: First column.
        height: Rows.
        width: Columns.
    """

    top: int
    left: int
    height: int
    width: int


@dataclass
class Batch:
    """Images of a step with their ground truth.

    Attributes:
        images: (B, 3, H, W) float32 RGB in [0, 1], zero-padded on the right and at the bottom.
        image_sizes: (height, width) of each image inside the padding.
        targets: Ground truth of each image: at the image's own size in training; at the stored image's
            size (``records``) in evaluation.
        records: Where each image comes from.
        regions: In evaluation, the part of the stored image that each image shows; None in training, where
            outputs are never put back.
    """

    images: Tensor
    image_sizes: list[tuple[int, int]]
    targets: list[PanopticSegmentation]
    records: list[ImageRecord]
    regions: list[Region] | None = None

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Batch:
        """Copy to a device."""
        return replace(
            self,
            images=self.images.to(device, non_blocking=non_blocking),
            targets=[target.to(device, non_blocking) for target in self.targets],
        )

    def pin_memory(self) -> Batch:
        """Copy to page-locked memory."""
        return replace(
            self, images=self.images.pin_memory(), targets=[target.pin_memory() for target in self.targets]
        )


@dataclass
class FeaturePyramid:
    """Image features at strides 4, 8, 16 and 32, each (B, C, H / stride, W / stride)."""

    s2: Tensor
    s3: Tensor
    s4: Tensor
    s5: Tensor

    @property
    def levels(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The four levels from high to low resolution."""
        return self.s2, self.s3, self.s4, self.s5


@dataclass(frozen=True)
class ConditioningShape:
    """What a diffusion model expects of its conditioning.

    Attributes:
        context_length: Number of text tokens (77 for Stable Diffusion).
        context_channels: Width of a token (768 for Stable Diffusion 1).
        time_channels: Width of the time embedding (1280 for Stable Diffusion 1).
        timesteps: Number of timesteps that features are taken at.
    """

    context_length: int
    context_channels: int
    time_channels: int
    timesteps: int


@dataclass
class Conditioning:
    """What an implicit captioner adds to a diffusion model's unconditional inputs.

    Attributes:
        context: (B, context_length, context_channels), added to the encoding of the empty text.
        time_embedding: (B, timesteps, time_channels), added to the UNet's time embedding.
    """

    context: Tensor
    time_embedding: Tensor


@dataclass
class MaskGeneratorOutput:
    """What the mask generator says before anything is classified.

    Attributes:
        hidden_states: (L, B, Q, C) layer-normed query states.
        mask_embeddings: (L, B, Q, C); the mask logits are their products with the mask features.
        mask_features: (B, C, H / 4, W / 4) per-pixel embeddings.
    """

    hidden_states: Tensor
    mask_embeddings: Tensor
    mask_features: Tensor

    def final(self) -> MaskGeneratorOutput:
        """Keep the last of the L predictions, which is the result."""
        return replace(self, hidden_states=self.hidden_states[-1:], mask_embeddings=self.mask_embeddings[-1:])


@dataclass
class SegmenterOutput:
    """Classified masks of every prediction.

    Attributes:
        class_logits: (L, B, Q, K + 1); the last class is "no object".
        mask_embeddings: (L, B, Q, C); the mask logits are their products with the mask features.
        mask_features: (B, C, H / 4, W / 4) per-pixel embeddings.
    """

    class_logits: Tensor
    mask_embeddings: Tensor
    mask_features: Tensor

    def mask_logits(self, prediction: int = -1) -> Tensor:
        """Compute the masks of one of the L predictions, by default the result; (B, Q, H / 4, W / 4)."""
        import torch

        return torch.einsum("bqc,bchw->bqhw", self.mask_embeddings[prediction], self.mask_features)
