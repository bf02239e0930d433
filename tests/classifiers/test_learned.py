"""The learned head is one linear layer with the null class last."""

import torch

from modise_lightning.classifiers.learned import LearnedClassifier
from modise_lightning.structures import MaskGeneratorOutput


def test_linear_layer_on_the_query_states() -> None:
    head = LearnedClassifier(num_categories=2, hidden_channels=3)
    with torch.no_grad():
        head.linear.weight.copy_(torch.eye(3))
        head.linear.bias.copy_(torch.tensor([0.0, 0.0, 7.0]))
    states = torch.randn(2, 1, 4, 3)
    logits = head(MaskGeneratorOutput(states, torch.empty(2, 1, 4, 5, 5), torch.empty(1, 3, 5, 5)))
    torch.testing.assert_close(logits, states + torch.tensor([0.0, 0.0, 7.0]))
