"""A callback that writes down what a process of a sharded run holds and averages."""

import json
from pathlib import Path

import lightning
from torch import nn
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel


class ShardingProbe(lightning.Callback):
    """Writes ``FOLDER/RANK.json`` after the last validation."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)
        self.found: dict[str, float] = {}

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, *more: object
    ) -> None:
        assert isinstance(trainer.strategy.model, DistributedDataParallel)
        self.found = {
            "reduced_bytes": trainer.strategy.model._get_ddp_logging_data()["total_parameter_size_bytes"],
            "trained_bytes": sum(
                p.numel() * p.element_size() for p in pl_module.parameters() if p.requires_grad
            ),
            "share_in_training": share(pl_module),
        }

    def on_validation_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, *more: object
    ) -> None:
        self.found["share_in_evaluation"] = share(pl_module)

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self.folder.mkdir(exist_ok=True)
        (self.folder / f"{trainer.global_rank}.json").write_text(json.dumps(self.found))


def share(module: nn.Module) -> float:
    """Give the share of the frozen weights that this process holds."""
    frozen = [p for p in module.parameters() if not p.requires_grad]
    held = sum((p.to_local() if isinstance(p, DTensor) else p).numel() for p in frozen)
    return held / sum(p.numel() for p in frozen)
