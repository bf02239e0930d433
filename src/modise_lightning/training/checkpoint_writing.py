"""Writes checkpoints beside their place and renames them, so that a killed run keeps its last whole one."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO

from modise_lightning.atomic_files import remove_unfinished_writes, write_bytes_atomically


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's reading and writing of checkpoint files, with an atomic replacement.

    Lightning writes to the folder for temporary files and moves from there, which is a copy where that is
    another file system: a run that is killed meanwhile has lost the old checkpoint and has half a new one.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: object | None = None
    ) -> None:
        """Replace a checkpoint, or leave it as it is; what a killed run left of an unfinished one is removed.

        Args:
            checkpoint: What ``torch.save`` takes.
            path: On a local file system; its folder is made if it is missing.
            storage_options: Has no meaning here.

        Raises:
            OSError: The file system is full or cannot be written to; the old checkpoint is whole.
        """
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        # A run's folder has one owner, so nobody else is writing them.
        remove_unfinished_writes(Path(path))
        write_bytes_atomically(Path(path), buffer.getbuffer())
