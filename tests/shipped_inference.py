"""The rules of inference and of fusion that are shipped for small data, with changes."""

from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf

from modise_lightning.inference.fusion import FusionSettings
from modise_lightning.inference.inference import Inference

CONF = Path(__file__).parents[1] / "conf"


def shipped_inference(**changes: Any) -> Inference:
    protocol = OmegaConf.load(CONF / "protocol" / "small_data.yaml")
    config = OmegaConf.create({"protocol": protocol})
    config["inference"] = OmegaConf.load(CONF / "inference" / "default.yaml")
    values: Any = OmegaConf.to_container(config["inference"], resolve=True)
    del values["_target_"], values["_partial_"]
    return Inference(**{"isthing": [True, True, False, False], **values, **changes})


def shipped_fusion(**changes: Any) -> FusionSettings:
    values = yaml.safe_load((CONF / "fusion" / "default.yaml").read_text())
    del values["_target_"]
    return FusionSettings(**{**values, **changes})
