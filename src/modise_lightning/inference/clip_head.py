"""A second opinion on what a mask shows: a frozen CLIP that looks at the image inside the mask only.

MaskCLIP (Ding et al. 2023, arXiv 2208.08984) as ODISE uses it in inference: each mask gets a token that
starts as CLIP's class token and attends to the patches that the mask touches, and to the class token; patches
and class token never attend to it, so one pass of the tower serves all masks. Its similarity to the texts of
the classes is combined with the trained classification.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modise_lightning.errors import UserError
from modise_lightning.inference.mask_tokens import encode_masks
from modise_lightning.pretrained.clip import ClipSource, build_image_tower, clip_scale, open_clip_source
from modise_lightning.structures import SegmenterOutput

_LEAST_PROBABILITY = 1e-8  # whose logarithm is still finite; ODISE


class ClipHead(nn.Module):
    """Combines the trained classification of masks with that of a frozen CLIP."""

    mean: Tensor
    std: Tensor
    text_embeddings: Tensor
    prompt_categories: Tensor
    weights: Tensor

    def __init__(
        self,
        *,
        tower: nn.Module,
        size: int,
        mean: Sequence[float],
        std: Sequence[float],
        scale: float,
        text_embeddings: Tensor,
        prompt_categories: Tensor,
        seen: Sequence[bool],
        alpha: float,
        beta: float,
    ) -> None:
        """Freeze the tower and keep the texts' embeddings.

        Args:
            tower: open_clip's vision transformer, or timm's in open_clip's wrapper.
            size: Side of its square input in pixels.
            mean: Of each RGB channel, in [0, 1].
            std: Of each RGB channel.
            scale: Of the cosines; CLIP's own.
            text_embeddings: (P, D) of the prompts by the same CLIP.
            prompt_categories: (P,) class index of each prompt.
            seen: For each of the K classes, whether training had a text of it.
            alpha: CLIP's share in the decision on seen classes, in [0, 1].
            beta: Likewise on other ones.

        Raises:
            UserError: A share is out of its range.
        """
        super().__init__()
        for name, value in (("alpha", alpha), ("beta", beta)):
            if not 0 <= value <= 1:
                raise UserError(f"clip_head.{name} must be in [0, 1]; found {value}.")
        self.tower = tower.requires_grad_(False).eval()
        self.size = size
        self.scale = scale
        self.register_buffer("mean", torch.tensor(list(mean)).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(list(std)).view(3, 1, 1))
        self.register_buffer("text_embeddings", F.normalize(text_embeddings.float(), dim=-1))
        self.register_buffer("prompt_categories", prompt_categories)
        self.register_buffer("weights", torch.tensor([alpha if known else beta for known in seen]))

    @torch.no_grad()
    def forward(self, images: Tensor, output: SegmenterOutput) -> SegmenterOutput:
        """Replace the class logits of the result, the last of the L predictions.

        Args:
            images: (B, 3, H, W) in [0, 1], which the masks cover.
            output: Of these images.

        Returns:
            One prediction, whose class logits are logarithms of probabilities.
        """
        embeddings = self.mask_embeddings(images, output.mask_logits())
        logits = self.combine(output.class_logits[-1].float(), self.clip_logits(embeddings))
        return SegmenterOutput(logits[None], output.mask_embeddings[-1:], output.mask_features)

    def mask_embeddings(self, images: Tensor, mask_logits: Tensor) -> Tensor:
        """Encode what masks (B, Q, h, w) show of images (B, 3, H, W); (B, Q, D), not normalised."""
        square = (self.size, self.size)
        resized = F.interpolate(images.float(), square, mode="bilinear", align_corners=False)
        masks = F.interpolate(mask_logits.float(), square, mode="bilinear", align_corners=False)
        return encode_masks(self.tower, (resized - self.mean) / self.std, masks >= 0)  # sigmoid(x) >= 0.5

    def clip_logits(self, embeddings: Tensor) -> Tensor:
        """Compare mask embeddings (B, Q, D) with the texts; (B, Q, K), of several texts the largest."""
        similar = self.scale * F.normalize(embeddings.float(), dim=-1) @ self.text_embeddings.T
        shape = similar.shape[:-1]
        return similar.new_zeros(*shape, len(self.weights)).scatter_reduce(
            -1, self.prompt_categories.expand(*shape, -1), similar, "amax", include_self=False
        )

    def combine(self, class_logits: Tensor, clip_logits: Tensor) -> Tensor:
        """Combine the two classifications.

        A class gets p^(1 - w) q^w of the trained probability p and CLIP's q, both among the classes, with w
        being alpha or beta; "no object" keeps its trained probability.

        Args:
            class_logits: (B, Q, K + 1) of the trained classification.
            clip_logits: (B, Q, K).

        Returns:
            (B, Q, K + 1) logarithms of probabilities.
        """
        classes = self.log_products(class_logits[..., :-1], clip_logits).softmax(-1)
        no_object = class_logits.softmax(-1)[..., -1:]
        return (torch.cat([classes * (1 - no_object), no_object], dim=-1) + _LEAST_PROBABILITY).log()

    def log_products(self, class_logits: Tensor, clip_logits: Tensor) -> Tensor:
        """Give the logarithms of p^(1 - w) q^w, (B, Q, K)."""
        return (1 - self.weights) * class_logits.log_softmax(-1) + self.weights * clip_logits.log_softmax(-1)


def load_clip_head(
    *,
    weights: str,
    repository: str,
    files: Sequence[str],
    seed: int,
    architecture: Mapping[str, Any],
    alpha: float,
    beta: float,
    text_embeddings: Tensor,
    prompt_categories: Tensor,
    seen: Sequence[bool],
) -> ClipHead:
    """Build a CLIP head on the image tower of a CLIP.

    Args:
        weights: ``hub``, ``random``, or a local folder in the layout that open_clip publishes.
        repository: Published id on the Hugging Face hub.
        files: File name patterns that ``hub`` downloads.
        seed: Of random weights.
        architecture: open_clip's ``model_cfg`` of random weights.
        alpha: CLIP's share in the decision on classes that training had a text of.
        beta: Likewise on other ones.
        text_embeddings: (P, D) of the prompts in the template.
        prompt_categories: (P,) class index of each prompt.
        seen: For each class, whether training had a text of it.

    Raises:
        UserError: The weights are missing or damaged, or the tower is of another kind.
    """
    source: ClipSource = open_clip_source(
        part="clip_head",
        weights=weights,
        repository=repository,
        files=files,
        architecture=architecture,
    )
    tower = build_image_tower(source, seed=seed)
    size = tower.image_size
    return ClipHead(
        tower=tower,
        size=int(size if isinstance(size, int) else size[0]),  # type: ignore[index]
        mean=source.preprocess.mean,
        std=source.preprocess.std,
        scale=clip_scale(source),
        text_embeddings=text_embeddings,
        prompt_categories=prompt_categories,
        seen=seen,
        alpha=alpha,
        beta=beta,
    )


def apply_template(template: str, texts: Sequence[str]) -> list[str]:
    """Put texts where the template has ``{}``.

    Raises:
        UserError: The template has no such place, or several.
    """
    if template.count("{}") != 1:
        raise UserError(
            f"template: '{template}' needs one {{}}, where the text goes (clip_head.template, text.template)."
        )
    return [template.replace("{}", text) for text in texts]
