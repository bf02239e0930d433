"""The plug-ins in ``examples/`` train when Hydra chooses them, and predict when they are trusted."""

import re
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from omegaconf import DictConfig

from modise_lightning.errors import UserError
from modise_lightning.predict import predict
from modise_lightning.prepare import prepare
from modise_lightning.train import train
from tiny_runs import ONE_STEP

EXAMPLES = Path(__file__).parents[1] / "examples"
SEARCHED = "hydra.searchpath=[pkg://convolutional_backbone.conf,pkg://circles_dataset.conf]"
TRUSTED = [
    "convolutional_backbone.backbone.ConvolutionalBackbone",
    "circles_dataset.preparer.CirclesPreparer",
]
Compose = Callable[..., DictConfig]


@pytest.fixture
def circles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write five images with a bright circle each, and make both packages importable."""
    for package in ("convolutional_backbone", "circles_dataset"):
        monkeypatch.syspath_prepend(str(EXAMPLES / package))
    raw = tmp_path / "raw"
    raw.mkdir()
    lines = ["image,patient,x,y,radius,category"]
    for number in range(5):
        pixels = np.zeros((128, 128), np.uint8)
        cv2.circle(pixels, (40 + number, 60), 10, 200, cv2.FILLED)
        cv2.imwrite(str(raw / f"{number}.png"), pixels)
        lines.append(f"{number}.png,patient {number},{40 + number},60,10,lesion")
    (raw / "circles.csv").write_text("\n".join(lines) + "\n")
    return raw


def test_both_plug_ins_prepare_train_and_predict(
    circles: Path, compose_config: Compose, tmp_path: Path
) -> None:
    data = [SEARCHED, "data=circles", f"data.raw={circles}", f"data.root={tmp_path / 'prepared'}"]
    report = prepare(compose_config("prepare", data, tmp_path / "prepared"))
    assert report.counts == {"images": 5, "lesion": 5}
    id_map = cv2.imread(str(tmp_path / "prepared" / "panoptic" / "3.png"))
    assert set(np.argwhere(id_map.any(axis=2)).mean(axis=0)) == {60.0, 43.0}, "the circle's centre: y, x"

    overrides = [*data, "backbone=convolutions", "text=learned", "baselines=[]", *ONE_STEP]
    results = train(compose_config("train", overrides, tmp_path / "run"))
    assert results["trained"].num_images == 1

    checkpoint = tmp_path / "run" / "checkpoints" / "best.ckpt"
    arguments = [f"checkpoint={checkpoint}", f"input={circles / '0.png'}", "device=cpu"]
    with pytest.raises(UserError, match=r"trusted_targets='\["):
        predict(compose_config("predict", arguments, tmp_path / "refused"))
    trusting = [*arguments, f"trusted_targets=[{','.join(TRUSTED)}]"]
    (written,) = predict(compose_config("predict", trusting, tmp_path / "predicted"))
    assert written.is_file()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0.png,p,forty,60,10,lesion", "circles.csv, row 2, column x: 'forty' is no whole number"),
        ("0.png,p,40,60,10,tumor", r"circles.csv, row 2: no category 'tumor'"),
        ("../0.png,p,40,60,10,lesion", "row 2: image '../0.png' is no plain file name"),
        ("9.png,p,40,60,10,lesion", "no image"),
    ],
)
def test_the_dataset_names_what_is_wrong(
    line: str, message: str, circles: Path, compose_config: Compose, tmp_path: Path
) -> None:
    table = circles / "circles.csv"
    table.write_text("\n".join([table.read_text().splitlines()[0], line]) + "\n")
    data = [SEARCHED, "data=circles", f"data.raw={circles}", f"data.root={tmp_path / 'prepared'}"]
    with pytest.raises(UserError, match=message):
        prepare(compose_config("prepare", data, tmp_path / "prepared"))


def test_the_readme_names_what_has_to_be_trusted() -> None:
    told = re.findall(r"trusted_targets=\[([\w.]+)\]", (EXAMPLES / "README.md").read_text())
    assert told == TRUSTED
