"""The console that a person reads, which names of files and classes cannot steer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import rich.console
from rich.segment import Segment
from rich.text import Text

from modise_lightning.visible_text import visible


class Console(rich.console.Console):
    """Shows names as they are: no markup in them is obeyed, and no escape sequence reaches the terminal."""

    def __init__(self, **options: Any) -> None:  # noqa: ANN401 (rich's options, of several types)
        """Take rich's options; markup is off."""
        super().__init__(**{"markup": False, "emoji": False, **options})

    def render_str(self, text: str, **options: Any) -> Text:  # noqa: ANN401
        """Take text, such as a cell's, spelled out before its width is measured."""
        return super().render_str(visible(text), **options)

    def render(
        self, renderable: rich.console.RenderableType, options: rich.console.ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Render, with what would steer a terminal spelled out; rich's own controls stay."""
        for segment in super().render(renderable, options):
            text, style, control = segment
            yield segment if control else Segment(visible(text), style)
