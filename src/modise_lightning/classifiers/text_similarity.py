"""Classification of masks by the similarity of their embeddings to text embeddings, as in ODISE."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn
from torch.nn.functional import normalize
from torchvision.ops import MLP

from modise_lightning.classifiers.mask_pooling import pool_masks
from modise_lightning.structures import MaskGeneratorOutput


class TextSimilarityClassifier(nn.Module):
    """Scores each mask against the text embeddings of the categories (ODISE, "Mask Classification").

    A mask embedding is an MLP of the query state plus the projected mean of the mask features inside the
    mask. A logit is ``s * cos(mask embedding, Linear(text embedding))``; a category with several prompts
    takes the largest, and "no object" is a learned text embedding.

    Attributes:
        of_the_classes: Names in its state that other classes make anew.
    """

    of_the_classes: ClassVar[tuple[str, ...]] = ("text_embeddings", "prompt_categories")

    text_embeddings: Tensor
    prompt_categories: Tensor

    def __init__(
        self,
        *,
        text_embeddings: Tensor,
        prompt_categories: Tensor,
        null_embedding: Tensor,
        hidden_channels: int,
        mask_embedding_channels: PositiveInt,
        num_layers: PositiveInt,
        temperature: Annotated[float, Field(gt=0, allow_inf_nan=False)],
        maximum_scale: Annotated[float, Field(gt=0, allow_inf_nan=False)],
    ) -> None:
        """Build the trained layers and keep the text embeddings, so that a checkpoint needs no text encoder.

        Args:
            text_embeddings: (P, D) embeddings of the prompts, not normalised.
            prompt_categories: (P,) int64 class index of each prompt; each of 0..K-1 occurs.
            null_embedding: (D,) embedding of the empty text, where the "no object" embedding starts.
            hidden_channels: C of the query states and mask features.
            mask_embedding_channels: Width of the space in which masks and texts are compared.
            num_layers: Linear layers of the MLP that gives the mask embedding.
            temperature: The scale ``s`` starts at its inverse.
            maximum_scale: ``s`` is clamped to this.
        """
        super().__init__()
        self.register_buffer("text_embeddings", None)
        self.register_buffer("prompt_categories", None)
        self.set_vocabulary(text_embeddings, prompt_categories)
        self.null_embedding = nn.Parameter(null_embedding.detach().clone())
        self.text_projection = nn.Linear(text_embeddings.shape[1], mask_embedding_channels)
        self.pooled_projection = nn.Sequential(
            nn.LayerNorm(hidden_channels), nn.Linear(hidden_channels, hidden_channels)
        )
        widths = [hidden_channels] * (num_layers - 1) + [mask_embedding_channels]
        self.mask_embedding = nn.Sequential(nn.LayerNorm(hidden_channels), MLP(hidden_channels, widths))
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / temperature)))
        self.maximum_scale = maximum_scale

    def set_vocabulary(self, text_embeddings: Tensor, prompt_categories: Tensor) -> None:
        """Classify among these classes from now on.

        Args:
            text_embeddings: (P, D) embeddings of the prompts, not normalised.
            prompt_categories: (P,) int64 class index of each prompt; each of 0..K-1 occurs.
        """
        self.num_categories = int(prompt_categories.max()) + 1
        if set(prompt_categories.tolist()) != set(range(self.num_categories)):
            raise ValueError(f"prompt_categories: some class of 0..{self.num_categories - 1} has no prompt.")
        self.text_embeddings = text_embeddings.detach().clone()
        self.prompt_categories = prompt_categories.detach().clone()

    def forward(self, output: MaskGeneratorOutput) -> Tensor:
        """Classify the masks of every prediction.

        Returns:
            (L, B, Q, K + 1) logits; the last class is "no object".
        """
        texts = torch.cat([self.text_embeddings, self.null_embedding[None]])
        logits = self.compare(output, texts)
        category_logits = self.best_of_categories(logits[..., :-1])
        return torch.cat([category_logits, logits[..., -1:]], dim=-1)

    def compare(self, output: MaskGeneratorOutput, texts: Tensor) -> Tensor:
        """Compare the masks of every prediction with texts.

        Args:
            output: L predictions of Q masks.
            texts: (T, D) embeddings, not normalised.

        Returns:
            (L, B, Q, T) logits.
        """
        pooled = pool_masks(output.mask_features, output.mask_embeddings)
        masks = self.mask_embedding(output.hidden_states + self.pooled_projection(pooled))
        texts = self.text_projection(texts)
        # In bfloat16 a cosine has three digits, and the scale is up to 100.
        with torch.autocast(masks.device.type, enabled=False):
            cosine = normalize(masks.float(), dim=-1) @ normalize(texts.float(), dim=-1).T
        return self.log_scale.exp().clamp(max=self.maximum_scale) * cosine

    def best_of_categories(self, prompt_logits: Tensor) -> Tensor:
        """Take the largest of each category's prompts: (L, B, Q, P) to (L, B, Q, K)."""
        shape = prompt_logits.shape[:-1]
        return prompt_logits.new_zeros(*shape, self.num_categories).scatter_reduce(
            -1, self.prompt_categories.expand(*shape, -1), prompt_logits, "amax", include_self=False
        )
