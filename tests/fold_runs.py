"""Checkpoints of folds of the small phantom as training writes them, before the first step of training."""

from pathlib import Path

import lightning
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import open_dict

from modise_lightning.configuration.assembly import build_data, build_module, build_segmenter
from modise_lightning.configuration.command_line import config_directory
from tiny_runs import phantom_overrides


def write_fold(phantom_root: Path, folder: Path, *overrides: str) -> Path:
    """Write the checkpoint of a model of two queries, drawn with the seed of the run."""
    settings = [*phantom_overrides(phantom_root), "num_workers=0", "evaluation_batch_size=2"]
    settings += ["mask_generator.num_queries=2", *overrides]
    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        config = compose("train", overrides=settings, return_hydra_config=True)
    with open_dict(config):
        config.hydra.runtime.output_dir = str(folder)
    HydraConfig.instance().set_config(config)
    with open_dict(config):
        del config["hydra"]
    try:
        torch.manual_seed(config.seed)
        data = build_data(config)
        module = build_module(config, build_segmenter(config), data.dataset.info, data.fingerprint())
    finally:
        GlobalHydra.instance().clear()
        HydraConfig.instance().cfg = None
    trainer = lightning.Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_model_summary=False
    )
    trainer.strategy.connect(module)
    path = folder / "checkpoints" / "best.ckpt"
    trainer.save_checkpoint(path, weights_only=True)
    return path
