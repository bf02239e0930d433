"""Progress bars on the error stream, for work that goes on in this process and for work in threads."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn, track

from modise_lightning.console import Console


def track_images(title: str) -> Callable[[Iterable[Any], int], Iterable[Any]]:
    """Make what shows the progress of an iterable of so many images."""

    def tracked(images: Iterable[Any], number: int) -> Iterable[Any]:
        return track(images, title, number, console=Console(stderr=True), transient=True)

    return tracked


class ProgressBar:
    """A bar that any thread may advance."""

    def __init__(self, title: str, number: int) -> None:
        """Set what is counted.

        Args:
            title: Stands before the bar.
            number: Of images.
        """
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._bar.add_task(title, total=number)

    def __enter__(self) -> ProgressBar:
        """Show the bar."""
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the bar away."""
        self._bar.stop()

    def __call__(self, number: int) -> None:
        """Advance the bar."""
        self._bar.advance(self._task, number)
