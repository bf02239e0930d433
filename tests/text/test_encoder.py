"""The frozen text encoder: its tokens, its limits, and that it stays frozen."""

import pytest
import torch
from open_clip.tokenizer import SimpleTokenizer
from torch import nn

from modise_lightning.errors import UserError
from modise_lightning.text.encoder import FoldedTokenizer, TextEncoder, load_text_encoder

CONTEXT_LENGTH = 12


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    return load_text_encoder(
        weights="random",
        repository="x/y",
        files=[],
        seed=0,
        architecture={
            "embed_dim": 6,
            "vision_cfg": {},
            "text_cfg": {
                "context_length": CONTEXT_LENGTH,
                "vocab_size": 49408,
                "width": 16,
                "heads": 2,
                "layers": 1,
            },
        },
        text_model_config=None,
    )


def test_one_embedding_a_text_whatever_is_beside_it(encoder: TextEncoder) -> None:
    texts = ["a benign mass", "", "calcification"]
    embeddings = encoder(texts)
    assert embeddings.shape == (3, 6)
    torch.testing.assert_close(embeddings, torch.cat([encoder([text]) for text in texts]))
    assert torch.pdist(embeddings).min() > 1e-3
    assert (embeddings.norm(dim=-1) - 1).abs().min() > 1e-3, "not normalised"


def test_too_long_text_is_named(encoder: TextEncoder) -> None:
    fits = " ".join(["mass"] * (CONTEXT_LENGTH - 2))  # start and end take two
    assert encoder([fits]).shape == (1, 6)
    with pytest.raises(UserError, match=rf"'{fits} mass' has more than the {CONTEXT_LENGTH} tokens"):
        encoder(["short", f"{fits} mass"])


def test_tower_is_frozen(encoder: TextEncoder) -> None:
    nn.ModuleList([encoder]).train()
    assert not any(module.training for module in encoder.modules())
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
    assert not encoder(["a mass"]).requires_grad


def test_folded_tokens_are_clips_modulo_the_vocabulary() -> None:
    texts = ["architectural distortion", "mass"]
    tokens = FoldedTokenizer(vocabulary_size=30522)(texts, 20)
    assert tokens.max() < 30522
    assert torch.equal(tokens, SimpleTokenizer()(texts, 20).remainder(30522))
    assert not torch.equal(tokens[0], tokens[1])
