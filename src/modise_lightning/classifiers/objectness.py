"""Classification by text similarity among objects, with a layer that tells objects from nothing (ODISE)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from modise_lightning.classifiers.text_similarity import TextSimilarityClassifier
from modise_lightning.structures import MaskGeneratorOutput


class ObjectnessClassifier(TextSimilarityClassifier):
    """Scores each mask as ODISE's caption model does, which has no text embedding of "no object".

    A linear layer on the query state says how probable an object is, the similarity to the texts which one;
    the logits are the logarithms of the products (ODISE's ``CaptionODISE``, inference).
    """

    def __init__(
        self,
        *,
        text_embeddings: Tensor,
        prompt_categories: Tensor,
        hidden_channels: int,
        mask_embedding_channels: int,
        num_layers: int,
        temperature: float,
        maximum_scale: float,
    ) -> None:
        """Build the trained layers and keep the text embeddings.

        Args:
            text_embeddings: (P, D) embeddings of the prompts, not normalised.
            prompt_categories: (P,) int64 class index of each prompt; each of 0..K-1 occurs.
            hidden_channels: C of the query states and mask features.
            mask_embedding_channels: Width of the space in which masks and texts are compared.
            num_layers: Linear layers of the MLP that gives the mask embedding.
            temperature: The scale of the cosine starts at its inverse.
            maximum_scale: The scale is clamped to this.
        """
        super().__init__(
            text_embeddings=text_embeddings,
            prompt_categories=prompt_categories,
            null_embedding=text_embeddings[0],
            hidden_channels=hidden_channels,
            mask_embedding_channels=mask_embedding_channels,
            num_layers=num_layers,
            temperature=temperature,
            maximum_scale=maximum_scale,
        )
        self.register_parameter("null_embedding", None)  # there is none
        self.objectness = nn.Linear(hidden_channels, 2)  # an object; none

    def forward(self, output: MaskGeneratorOutput) -> Tensor:
        """Classify the masks of every prediction.

        Returns:
            (L, B, Q, K + 1) logarithms of probabilities; the last class is "no object".
        """
        classes = self.best_of_categories(self.compare(output, self.text_embeddings)).log_softmax(-1)
        objectness = self.objectness(output.hidden_states).float().log_softmax(-1)
        return torch.cat([classes + objectness[..., :1], objectness[..., 1:]], dim=-1)
