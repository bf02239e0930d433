"""The rules of inference and of fusion that are shipped, with changes."""

from pathlib import Path
from typing import Any

import yaml

from modise_lightning.inference.fusion import FusionSettings
from modise_lightning.inference.inference import Inference

CONF = Path(__file__).parents[1] / "conf"


def shipped_inference(**changes: Any) -> Inference:
    values = yaml.safe_load((CONF / "inference" / "default.yaml").read_text())
    del values["_target_"], values["_partial_"]
    values |= {"score_threshold": 0.5, "no_object_competes": False}
    return Inference(**{"isthing": [True, True, False, False], **values, **changes})


def shipped_fusion(**changes: Any) -> FusionSettings:
    values = yaml.safe_load((CONF / "fusion" / "default.yaml").read_text())
    del values["_target_"]
    return FusionSettings(**{**values, **changes})
