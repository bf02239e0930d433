"""The notebook's cells run on a run of the ordinary command."""

import json
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import pandas as pd
import pytest
from omegaconf import DictConfig

from modise_lightning.train import train
from tiny_runs import ONE_STEP, phantom_overrides

NOTEBOOK = Path(__file__).parents[1] / "notebooks" / "look_at_a_run.ipynb"


def test_the_notebook_runs(
    phantom_root: Path,
    compose_config: Callable[..., DictConfig],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    overrides = [*phantom_overrides(phantom_root), *ONE_STEP, "baselines=[]"]
    train(compose_config("train", overrides, tmp_path / "outputs" / "train" / "run"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("matplotlib.pyplot.show", lambda: None)
    mpl.use("agg")
    names: dict[str, object] = {}
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    for number, source in enumerate(code):
        exec(compile(source, f"cell {number}", "exec"), names)
    assert len(code) == 5
    images = names["images"]
    assert isinstance(images, pd.DataFrame)
    assert len(images) == 2
    assert all(cell.get("outputs", []) == [] for cell in cells)
