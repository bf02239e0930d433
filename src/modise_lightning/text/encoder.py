"""The frozen text tower of a CLIP: prompts to text embeddings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from open_clip.tokenizer import DEFAULT_CONTEXT_LENGTH, HFTokenizer, SimpleTokenizer
from torch import Tensor, nn

from modise_lightning.errors import UserError
from modise_lightning.pretrained.clip import ClipSource, build_text_tower, open_clip_source


class Tokenizer(Protocol):
    """open_clip's tokenizers: texts to (P, context_length) token ids, padded or cut off at the end."""

    def __call__(self, texts: list[str], context_length: int) -> Tensor:
        """Tokenise texts."""
        ...


class TextEncoder(nn.Module):
    """Encodes texts with a frozen CLIP text tower; it stays in evaluation mode and gives no gradient."""

    def __init__(
        self, *, tower: nn.Module, tokenizer: Tokenizer, context_length: int, padding_token: int
    ) -> None:
        """Freeze the tower.

        Args:
            tower: (P, context_length) token ids to (P, D).
            tokenizer: The tower's own.
            context_length: Number of tokens of a text.
            padding_token: Id that fills up shorter texts.
        """
        super().__init__()
        self.tower = tower.requires_grad_(False).eval()
        self.tokenizer = tokenizer
        self.context_length = context_length
        self.padding_token = padding_token

    def train(self, mode: bool = True) -> TextEncoder:
        """Stay in evaluation mode: the tower is frozen."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, texts: Sequence[str]) -> Tensor:
        """Encode texts.

        Returns:
            (P, D), not normalised.

        Raises:
            UserError: A text has more tokens than the tower takes.
        """
        # One place more than the tower has shows which texts a tokenizer would silently cut.
        tokens = self.tokenizer(list(texts), self.context_length + 1)
        for text, overflow in zip(texts, tokens[:, -1].tolist(), strict=True):
            if overflow != self.padding_token:
                raise UserError(
                    f"categories: the prompt '{text}' has more than the {self.context_length} tokens that "
                    "the text encoder takes. Shorten it."
                )
        device = next(self.tower.parameters()).device
        embeddings: Tensor = self.tower(tokens[:, : self.context_length].to(device))
        return embeddings


class FoldedTokenizer:
    """Tokenises for a text tower of random weights that has no tokenizer files.

    CLIP's tokens, which ship with open_clip, modulo the tower's vocabulary: different texts stay different,
    and random weights give them no meaning in any case.
    """

    def __init__(self, *, vocabulary_size: int) -> None:
        """Keep the size of the tower's vocabulary."""
        self.vocabulary_size = vocabulary_size
        self.tokenizer = SimpleTokenizer()

    def __call__(self, texts: list[str], context_length: int) -> Tensor:
        """Give (P, context_length) token ids below the vocabulary's size."""
        tokens: Tensor = self.tokenizer(texts, context_length)
        return tokens % self.vocabulary_size


def load_text_encoder(
    *,
    weights: str,
    repository: str,
    files: Sequence[str],
    seed: int,
    architecture: Mapping[str, Any],
    text_model_config: Mapping[str, Any] | None,
) -> TextEncoder:
    """Build the text encoder of a CLIP.

    Args:
        weights: ``hub``, ``random``, or a local folder in the layout that open_clip publishes.
        repository: Published id on the Hugging Face hub.
        files: File name patterns that ``hub`` downloads.
        seed: Of random weights.
        architecture: open_clip's ``model_cfg`` of random weights.
        text_model_config: Hugging Face configuration of a text tower that is a Hugging Face model, where the
            folder has no ``config.json`` of that model; None where the text tower is CLIP's own.

    Raises:
        UserError: The weights or the tokenizer's files are missing or damaged.
    """
    source = open_clip_source(
        part="text.encoder", weights=weights, repository=repository, files=files, architecture=architecture
    )
    tower = build_text_tower(source, seed=seed, text_model_config=text_model_config)
    tokenizer, padding_token = _build_tokenizer(source, tower)
    return TextEncoder(
        tower=tower,
        tokenizer=tokenizer,
        # The tower's own attribute is BERT's maximum (512), not what BiomedCLIP was trained with (256).
        context_length=source.model_config["text_cfg"].get("context_length", DEFAULT_CONTEXT_LENGTH),
        padding_token=padding_token,
    )


def _build_tokenizer(source: ClipSource, tower: nn.Module) -> tuple[Tokenizer, int]:
    """Give the tokenizer of a tower and its padding token."""
    text_config = source.model_config["text_cfg"]
    vocabulary_size = int(tower.vocab_size)  # type: ignore[arg-type]
    if source.folder is None:
        return FoldedTokenizer(vocabulary_size=vocabulary_size), 0
    if not text_config.get("hf_tokenizer_name"):
        return SimpleTokenizer(), 0
    tokenizer = _read_tokenizer(source.part, source.folder, text_config)
    if len(tokenizer.tokenizer) > vocabulary_size:
        raise UserError(
            f"{source.part}: the tokenizer in {source.folder} knows {len(tokenizer.tokenizer)} tokens, the "
            f"text tower {vocabulary_size}. Download the folder again."
        )
    return tokenizer, tokenizer.tokenizer.pad_token_id


def _read_tokenizer(part: str, folder: Path, text_config: Mapping[str, Any]) -> HFTokenizer:
    if not any((folder / name).is_file() for name in ("tokenizer.json", "vocab.txt")):
        raise UserError(
            f"{part}: {folder} holds no tokenizer.json or vocab.txt. Copy all published files there."
        )
    if text_config.get("tokenizer_mode"):
        raise UserError(
            f"{part}: {folder}: tokenizer_mode '{text_config['tokenizer_mode']}' is not supported."
        )
    options = dict(text_config.get("tokenizer_kwargs") or {})
    try:
        return HFTokenizer(str(folder), **{**options, "local_files_only": True, "trust_remote_code": False})
    except (OSError, ValueError, TypeError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise UserError(f"{part}: the tokenizer files in {folder} are not readable ({reason}).") from error
