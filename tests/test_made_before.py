"""What was made before the modules got rooms of their own still works: a dataset, a checkpoint, a run."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from modise_lightning.configuration.moved_targets import MOVED_TARGETS, with_present_targets
from modise_lightning.configuration.stored_targets import STORED_TARGETS
from modise_lightning.errors import UserError
from modise_lightning.evaluate import evaluate
from modise_lightning.predict import predict
from modise_lightning.report import report
from modise_lightning.tables import tables

Compose = Callable[..., DictConfig]
# PyTorch draws normal numbers by another formula there, and the run's frozen weights are random.
of_its_processor = pytest.mark.skipif(
    torch.backends.cpu.get_cpu_capability() == "DEFAULT",
    reason="the checkpoint's random frozen weights were drawn by a processor with AVX2",
)


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Unpack a phantom of ten patients (``phantom/``) and a run on it (``run/``) of the version before."""
    folder = tmp_path_factory.mktemp("made_before")
    with zipfile.ZipFile(Path(__file__).with_name("made_before.zip")) as archive:
        archive.extractall(folder)
    return folder


@of_its_processor
def test_the_checkpoint_is_evaluated_on_the_dataset_with_the_same_result(
    before: Path, compose_config: Compose, tmp_path: Path
) -> None:
    overrides = [
        f"checkpoint={before / 'run' / 'checkpoints' / 'best.ckpt'}",
        f"+overrides.data.root={before / 'phantom'}",
        "trainer.accelerator=cpu",
    ]
    found = evaluate(compose_config("evaluate", overrides, tmp_path)).to_dict()
    stored = json.loads((before / "run" / "results.json").read_text())["results"]["trained"]
    assert found["num_images"] == stored["num_images"] > 0
    for key in ("dice", "best_threshold", "average_precision", "panoptic_quality"):
        assert found[key] == pytest.approx(stored[key], abs=1e-3), key


@of_its_processor
def test_the_checkpoint_is_measured_with_what_came_later(
    before: Path, compose_config: Compose, tmp_path: Path
) -> None:
    overrides = [
        f"checkpoint={before / 'run' / 'checkpoints' / 'best.ckpt'}",
        f"+overrides.data.root={before / 'phantom'}",
        "trainer.accelerator=cpu",
        "metrics=clinical",
    ]
    with pytest.raises(UserError, match=r"suspicious: .* Give some of benign mass, malignant mass"):
        evaluate(compose_config("evaluate", overrides, tmp_path / "unsaid"))
    overrides.append("suspicious=[malignant mass]")
    found = evaluate(compose_config("evaluate", overrides, tmp_path))
    stored = json.loads((before / "run" / "results.json").read_text())["results"]["trained"]
    assert found.dice == pytest.approx(stored["dice"], abs=1e-3)
    assert found.clinical is not None
    assert found.clinical.settings["suspicious"] == ["malignant mass"]
    assert found.clinical.counts["images"] == stored["num_images"]
    assert "breast AUC" in found.clinical.values
    assert (tmp_path / "records" / "trained" / "boundaries.csv").is_file()
    wanting = [*overrides, "+overrides.data.module.normals=evaluation"]
    with pytest.raises(UserError, match=r"data\.normals: 'evaluation', but .* has no image that is marked"):
        evaluate(compose_config("evaluate", wanting, tmp_path / "normals"))


@of_its_processor
def test_the_checkpoint_predicts(before: Path, compose_config: Compose, tmp_path: Path) -> None:
    image = next((before / "phantom" / "images").iterdir())
    checkpoint = before / "run" / "checkpoints" / "best.ckpt"
    overrides = [f"checkpoint={checkpoint}", f"input='{image}'", "device=cpu"]
    assert predict(compose_config("predict", overrides, tmp_path))


@of_its_processor
def test_the_run_stands_in_tables_and_reports(before: Path, compose_config: Compose, tmp_path: Path) -> None:
    (table,) = tables(compose_config("tables", [f"runs={before / 'run'}"], tmp_path))
    assert [row.label for row in table.models] == ["sd_tiny-clip_tiny"]
    options = [f"runs={before / 'run'}", f"+gallery.overrides.data.root={before / 'phantom'}", "figures=[]"]
    (page,) = report(compose_config("report", options, tmp_path))
    assert "sd_tiny-clip_tiny" in page.read_text()


def test_every_moved_target_is_where_the_table_says_and_may_be_built() -> None:
    allowed = frozenset().union(*STORED_TARGETS.values())
    for old, new in MOVED_TARGETS.items():
        assert new in allowed
        assert callable(get_object(new))
        with pytest.raises(Exception, match=r"No module named|is importable"):
            get_object(old)


def test_only_targets_are_renamed() -> None:
    old = "modise_lightning.optimization.OptimizerFactory"
    tree = {"a": [{"_target_": old, "name": old}, {"_target_": "os.system"}], "_target_": {"_target_": old}}
    new = "modise_lightning.training.optimization.OptimizerFactory"
    expected = {
        "a": [{"_target_": new, "name": old}, {"_target_": "os.system"}],
        "_target_": {"_target_": new},
    }
    assert with_present_targets(tree) == expected
    assert OmegaConf.create(expected)
