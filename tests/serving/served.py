"""What the tests of the page share: a model whose network was not trained, and images of an exam."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf

from fuzzing.model_kinds import make_checkpoint
from modise_lightning.serve import load_served
from modise_lightning.serving.models import ServedModel
from modise_lightning.serving.settings import ServeSettings, read_serve_settings


def composed_serve(folder: Path, *overrides: str) -> DictConfig:
    """Compose the command's configuration, with a checkpoint that compares masks with texts."""
    from hydra import compose, initialize_config_dir

    from modise_lightning.configuration.command_line import config_directory

    checkpoint = folder / "best.ckpt"
    if not checkpoint.exists():
        content = torch.load(io.BytesIO(make_checkpoint("text=clip_tiny")), weights_only=True)
        for name, value in content["state_dict"].items():
            if "mask_embedder.2." in name:
                value *= 30  # masks with borders: an untrained network draws a grey veil
        torch.save(content, checkpoint)
    given = [f"checkpoint={checkpoint}", f"output_dir={folder}", "device=cpu", *overrides]
    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        return compose("serve", overrides=given)


def settings_of(config: DictConfig) -> ServeSettings:
    plain: Any = OmegaConf.to_container(config, resolve=True)
    return read_serve_settings(plain)


def serve_model(config: DictConfig) -> ServedModel:
    return load_served(config)


def breast(side: str, height: int = 96, width: int = 64) -> NDArray[np.uint8]:
    """Draw half an ellipse with a bright spot, the chest wall where an image of this side has it."""
    rows, columns = np.mgrid[:height, :width]
    inside = np.hypot((rows - height / 2) / (height / 2), columns / (0.8 * width)) < 1
    picture = np.where(inside, 90, 0).astype(np.uint8)
    picture[np.hypot(rows - 40, columns - 20) < 8] = 230
    return picture[:, ::-1].copy() if side == "R" else picture


def exam_files(name: str = "P1") -> dict[str, bytes]:
    """Give four views as PNG."""
    return {
        f"{name}_{side}_{view}.png": cv2.imencode(".png", breast(side))[1].tobytes()
        for side in "LR"
        for view in ("MLO", "CC")
    }
