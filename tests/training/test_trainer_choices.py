"""Every shipped trainer, precision and optimizer trains as the documentation and the configuration say."""

import re
from collections.abc import Callable
from pathlib import Path

import lightning
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn
from torch.utils.data import DataLoader

from forked import forked
from modise_lightning.configuration.command_line import config_directory, instantiate
from modise_lightning.train import train
from modise_lightning.training.checkpoint import METADATA_KEY, read_checkpoint
from one_convolution import segmenter
from tiny_runs import ONE_STEP, phantom_overrides

REPOSITORY = Path(__file__).parents[2]
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")
OPTIMIZERS = sorted(path.stem for path in (config_directory() / "optimizer").glob("*.yaml"))
TRAINERS = sorted(path.stem for path in (config_directory() / "trainer").glob("*.yaml"))
# `trainer=default` is what the others start from, and has no number of epochs.
SEVERAL_PROCESSES = ("ddp", "fsdp")
ONE_PROCESS = tuple(name for name in TRAINERS if name not in ("default", *SEVERAL_PROCESSES))


class OneLayerModule(lightning.LightningModule):
    """A step through the optimizer that a configuration describes."""

    def __init__(self, optimizer: torch.optim.Optimizer, layer: nn.Module) -> None:
        super().__init__()
        self.optimizer, self.layer = optimizer, layer
        self.clipped: Tensor | None = None

    def training_step(self, batch: Tensor, batch_index: int) -> Tensor:
        loss: Tensor = self.layer(batch).square().mean()
        return loss

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        super().configure_gradient_clipping(optimizer, gradient_clip_val, gradient_clip_algorithm)
        self.clipped = torch.cat([parameter.grad.flatten() for parameter in self.layer.parameters()])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.optimizer


@pytest.mark.parametrize("clip_algorithm", ["norm", "value"])
@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_steps_and_clips_in_every_precision(
    name: str, precision: str, fused: bool, clip_algorithm: str, tmp_path: Path
) -> None:
    overrides = [f"optimizer={name}", f"optimizer.fused={fused}", "optimizer.weight_decay=0"]
    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        config = compose("train", overrides=overrides)
    torch.manual_seed(0)
    model = segmenter()
    layer = model.classifier
    before = layer.weight.detach().clone()
    module = OneLayerModule(instantiate(config.optimizer).optimizer(model), layer)
    trainer = lightning.Trainer(
        accelerator="cpu",
        precision=precision,
        gradient_clip_val=1e-3,
        gradient_clip_algorithm=clip_algorithm,
        max_steps=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(module, DataLoader(torch.rand(4, 4), batch_size=4))
    assert not torch.equal(layer.weight, before)
    assert layer.weight.isfinite().all()
    # Clipped after the loss scale is undone: neither larger than the limit nor 2^16 times too small.
    assert module.clipped is not None
    size = module.clipped.norm() if clip_algorithm == "norm" else module.clipped.abs().max()
    assert float(size) == pytest.approx(1e-3, rel=1e-2)


@pytest.mark.parametrize("name", ONE_PROCESS)
def test_every_trainer_of_one_process_runs_as_shipped(
    name: str, phantom_root: Path, compose_config: Callable[..., DictConfig], tmp_path: Path
) -> None:
    overrides = [f"trainer={name}", *phantom_overrides(phantom_root), *ONE_STEP, "baselines=[]"]
    train(compose_config("train", overrides, tmp_path))
    assert (tmp_path / "results.json").is_file()


@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_precision_runs_with_the_default_optimizer(
    precision: str, phantom_root: Path, compose_config: Callable[..., DictConfig], tmp_path: Path
) -> None:
    overrides = [
        f"trainer.precision={precision}",
        *phantom_overrides(phantom_root),
        *ONE_STEP,
        "baselines=[]",
    ]
    train(compose_config("train", overrides, tmp_path))
    assert (tmp_path / "results.json").is_file()


@pytest.mark.parametrize("name", SEVERAL_PROCESSES)
def test_the_command_for_several_processes_runs_as_documented(
    name: str, phantom_root: Path, tmp_path: Path
) -> None:
    documented = re.findall(
        rf"`(trainer={name} trainer\.devices=)\d+`", (REPOSITORY / "docs" / "speed.md").read_text()
    )
    assert documented
    arguments = [f"hydra.run.dir={tmp_path}", *phantom_overrides(phantom_root), *ONE_STEP]
    done = forked("-m", "modise_lightning.train", *f"{documented[0]}2".split(), *arguments)
    assert done.returncode == 0, done.stderr[-4000:]
    assert (tmp_path / "train_ddp_process_1.log").is_file()  # there were two
    assert (tmp_path / "results.json").is_file()
    stored = read_checkpoint(tmp_path / "checkpoints" / "last.ckpt")
    config = OmegaConf.create(stored[METADATA_KEY]["config"])
    assert OmegaConf.select(config, "trainer.precision") == "bf16-mixed"
