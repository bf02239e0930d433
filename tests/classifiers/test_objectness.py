"""ODISE's caption model: similarity to texts among objects, and a layer that tells objects from nothing."""

import torch

from modise_lightning.classifiers.objectness import ObjectnessClassifier
from modise_lightning.structures import MaskGeneratorOutput


def test_probabilities_are_products() -> None:
    torch.manual_seed(0)
    head = ObjectnessClassifier(
        text_embeddings=torch.randn(4, 5),
        prompt_categories=torch.tensor([1, 0, 2, 1]),
        hidden_channels=8,
        mask_embedding_channels=6,
        num_layers=3,
        temperature=0.07,
        maximum_scale=100.0,
    )
    masks = MaskGeneratorOutput(torch.randn(2, 3, 4, 8), torch.randn(2, 3, 4, 8), torch.randn(3, 8, 6, 7))
    found = head(masks).softmax(-1)
    assert found.shape == (2, 3, 4, 4)
    objects = head.objectness(masks.hidden_states).softmax(-1)
    torch.testing.assert_close(found[..., -1], objects[..., 1])
    logits = head.compare(masks, head.text_embeddings)
    best = torch.stack([logits[..., 1], logits[..., [0, 3]].amax(-1), logits[..., 2]], dim=-1)
    torch.testing.assert_close(found[..., :-1], best.softmax(-1) * objects[..., :1])
    # Also where a probability is far below what a float can hold beside one.
    with torch.no_grad():
        head.objectness.bias += torch.tensor([-300.0, 0.0])
    assert head(masks).isfinite().all()


def test_every_parameter_has_a_gradient() -> None:
    torch.manual_seed(0)
    head = ObjectnessClassifier(
        text_embeddings=torch.randn(2, 5),
        prompt_categories=torch.tensor([0, 1]),
        hidden_channels=8,
        mask_embedding_channels=6,
        num_layers=2,
        temperature=0.07,
        maximum_scale=100.0,
    )
    masks = MaskGeneratorOutput(torch.randn(1, 1, 3, 8), torch.randn(1, 1, 3, 8), torch.randn(1, 8, 4, 4))
    torch.nn.functional.cross_entropy(head(masks)[0, 0], torch.tensor([0, 1, 2])).backward()
    names = dict(head.named_parameters())
    assert "null_embedding" not in names
    assert [name for name, value in names.items() if value.grad is None] == []
