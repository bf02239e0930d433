"""Keeps checkpoints so that a resumed training knows the best score so far, wherever it writes to."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch.callbacks import ModelCheckpoint

from modise_lightning.errors import UserError


class ResumableCheckpoint(ModelCheckpoint):
    """Lightning's ``ModelCheckpoint``, whose scores are not tied to the folder that it wrote to.

    Lightning forgets the scores when a training goes on in another folder, so that the first checkpoint there
    is the best one, however bad. Here the files that the scores are of come along.
    """

    def on_load_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Copy the best checkpoints so far from beside the one that training goes on from.

        Raises:
            UserError: One is not there.
        """
        state = checkpoint["callbacks"].get(self.state_key)
        if state is None or not trainer.is_global_zero:
            return
        assert trainer.ckpt_path is not None
        assert self.dirpath is not None
        source_folder = Path(trainer.ckpt_path).resolve().parent
        for name in (Path(path).name for path in state["best_k_models"]):
            source, target = source_folder / name, Path(self.dirpath) / name
            if not source.is_file():
                raise UserError(
                    f"resume: '{source}' is missing, the best checkpoint so far. It belongs beside the one "
                    "to resume from."
                )
            if source != target.resolve():
                _copy_atomically(source, target)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the scores, with the checkpoints in this run's folder."""
        moved = {
            key: self._moved(state_dict[key])
            for key in ("best_model_path", "kth_best_model_path", "last_model_path")
        }
        scores = {self._moved(path): score for path, score in state_dict["best_k_models"].items()}
        super().load_state_dict({**state_dict, **moved, "best_k_models": scores, "dirpath": self.dirpath})

    def _moved(self, path: str) -> str:
        assert self.dirpath is not None
        return str(Path(self.dirpath) / Path(path).name) if path else path


def _copy_atomically(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as folder:
        copy = Path(folder) / target.name
        shutil.copyfile(source, copy)
        copy.replace(target)
