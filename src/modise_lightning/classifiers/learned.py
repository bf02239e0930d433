"""A learned classifier of query states, as in Mask2Former."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from modise_lightning.structures import MaskGeneratorOutput


class LearnedClassifier(nn.Module):
    """One linear layer on the query states (Cheng et al. 2022, Mask2Former).

    Attributes:
        of_the_classes: Names in its state that other classes make anew.
    """

    of_the_classes: ClassVar[tuple[str, ...]] = ("linear.weight", "linear.bias")

    def __init__(self, *, num_categories: int, hidden_channels: int) -> None:
        """Build the layer.

        Args:
            num_categories: K classes; "no object" is added as the last one.
            hidden_channels: C of the query states.
        """
        super().__init__()
        self.linear = nn.Linear(hidden_channels, num_categories + 1)

    def forward(self, output: MaskGeneratorOutput) -> Tensor:
        """Classify the masks of every prediction.

        Returns:
            (L, B, Q, K + 1) logits; the last class is "no object".
        """
        logits: Tensor = self.linear(output.hidden_states)
        return logits
