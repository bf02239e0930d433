"""The mask generator: transformers' Mask2Former decoders over any feature pyramid."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field, PositiveInt
from torch import nn
from transformers import Mask2FormerConfig
from transformers.models.mask2former.modeling_mask2former import Mask2FormerPreTrainedModel

from modise_lightning.errors import UserError
from modise_lightning.mask_generator.initialization import initialize_as_original
from modise_lightning.mask_generator.pixel_decoder import PixelDecoder
from modise_lightning.mask_generator.pretrained import start_from_published
from modise_lightning.mask_generator.transformer_decoder import TransformerDecoder
from modise_lightning.pretrained.weights import locate
from modise_lightning.structures import FeaturePyramid, MaskGeneratorOutput

_GROUPS = 32  # of channels that the pixel decoder normalises together (Mask2Former)


class _Decoders(Mask2FormerPreTrainedModel):  # type: ignore[no-untyped-call]
    """Both decoders under the class that knows how to initialise them: alone, parts stay uninitialised.

    ``post_init`` would not do: in subclasses from outside transformers it leaves out every module whose
    parameters are all in its children, such as the deformable attention.
    """

    def __init__(self, config: Mask2FormerConfig, feature_channels: Sequence[int]) -> None:
        super().__init__(config)
        self.pixel_decoder = PixelDecoder(config, feature_channels)
        self.transformer_module = TransformerDecoder(in_features=config.feature_size, config=config)
        self.apply(self._init_weights)


class Mask2FormerMaskGenerator(nn.Module):
    """Predicts masks and query states from a feature pyramid (Mask2Former, section 3)."""

    def __init__(
        self,
        *,
        feature_channels: Sequence[int],
        hidden_channels: PositiveInt,
        num_queries: PositiveInt,
        num_heads: PositiveInt,
        pixel_decoder_layers: PositiveInt,
        pixel_decoder_feedforward: PositiveInt,
        decoder_layers: PositiveInt,
        decoder_feedforward: PositiveInt,
        pre_norm: bool,
        dropout: Annotated[float, Field(ge=0, lt=1)],
        initialization: Literal["original", "transformers"],
        full_precision_pixel_decoder: bool,
        weights: str,
        repository: str,
        files: Sequence[str],
    ) -> None:
        """Build the decoders.

        Args:
            feature_channels: Channels of s2, s3, s4 and s5.
            hidden_channels: C of query states and mask features.
            num_queries: Q.
            num_heads: Of all attentions.
            pixel_decoder_layers: Layers of multi-scale deformable attention.
            pixel_decoder_feedforward: Width of their feed-forward parts.
            decoder_layers: L - 1 layers of masked attention; the learned queries give one prediction more.
            decoder_feedforward: Width of their feed-forward parts.
            pre_norm: Normalise before each part of a decoder layer instead of after it.
            dropout: In both decoders, in [0, 1).
            initialization: Random weights of the original Mask2Former or of transformers'.
            full_precision_pixel_decoder: Compute the pixel decoder in float32 also under autocast.
            weights: ``random``, ``hub``, or the local copy of a published Mask2Former to start from.
            repository: Published id on the Hugging Face hub.
            files: File name patterns that ``hub`` downloads.

        Raises:
            UserError: The sizes do not fit together, or the weights are missing or are not a Mask2Former's of
                these sizes.
        """
        super().__init__()
        multiple = math.lcm(_GROUPS, num_heads)
        if hidden_channels % multiple:
            raise UserError(
                f"mask_generator.hidden_channels: expected a multiple of {multiple} ({_GROUPS} groups of "
                f"channels are normalised, num_heads={num_heads} share them), found {hidden_channels}."
            )
        config = Mask2FormerConfig(
            feature_size=hidden_channels,
            mask_feature_size=hidden_channels,
            hidden_dim=hidden_channels,
            encoder_feedforward_dim=pixel_decoder_feedforward,
            encoder_layers=pixel_decoder_layers,
            decoder_layers=decoder_layers + 1,
            num_attention_heads=num_heads,
            dropout=dropout,
            dim_feedforward=decoder_feedforward,
            pre_norm=pre_norm,
            num_queries=num_queries,
            common_stride=4,
            feature_strides=[4, 8, 16, 32],
        )
        self.hidden_channels = hidden_channels
        self.full_precision_pixel_decoder = full_precision_pixel_decoder
        decoders = _Decoders(config, feature_channels)
        if initialization == "original":
            initialize_as_original(decoders.pixel_decoder, decoders.transformer_module)
        self.pixel_decoder = decoders.pixel_decoder
        self.transformer_module = decoders.transformer_module
        path = locate(part="mask_generator", weights=weights, repository=repository, patterns=files)
        if path is not None:
            start_from_published(self, path)

    def forward(self, features: FeaturePyramid) -> MaskGeneratorOutput:
        """Predict masks.

        Args:
            features: Of sizes H / 4, H / 8, H / 16 and H / 32.
        """
        levels = features.levels
        if self.full_precision_pixel_decoder:
            with torch.autocast(levels[0].device.type, enabled=False):
                decoded = self.pixel_decoder([level.float() for level in levels])
        else:
            decoded = self.pixel_decoder(list(levels))
        states, mask_embeddings = self.transformer_module(decoded.multi_scale_features, decoded.mask_features)
        return MaskGeneratorOutput(states, mask_embeddings, decoded.mask_features)
