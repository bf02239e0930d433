"""Published models become checkpoints that compute what the published model computed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig

from modise_lightning.configuration.assembly import load_trained
from modise_lightning.import_checkpoint import import_checkpoint
from published_models import (
    NARROW_MASK2FORMER,
    detectron2_arrays,
    transformers_logits,
    transformers_mask2former,
    write_detectron2,
)

Compose = Callable[..., DictConfig]
SIZES = ["mask_generator.decoder_layers=3", "data.root=data"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Mask2Former as transformers writes it."""
    path = tmp_path_factory.mktemp("published")
    transformers_mask2former().save_pretrained(path)
    return path


@pytest.fixture
def run_import(compose_config: Compose, tmp_path: Path) -> Callable[..., Path]:
    def run(source: Path, *overrides: str) -> Path:
        settings = [*NARROW_MASK2FORMER, *SIZES, *overrides]
        places = [f"source={source}", f"output={tmp_path / 'imported.ckpt'}"]
        return import_checkpoint(compose_config("import_checkpoint", [*settings, *places], tmp_path / "run"))

    return run


def check_computes_the_same(checkpoint: Path) -> None:
    images = torch.rand(2, 3, 96, 64, generator=torch.Generator().manual_seed(1))
    class_logits, mask_logits = transformers_logits(transformers_mask2former(), images)
    module, _, _ = load_trained(checkpoint, {})
    with torch.no_grad():
        output = module.segmenter(images, final_only=True)
    torch.testing.assert_close(output.class_logits[-1], class_logits, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(output.mask_logits(), mask_logits, rtol=1e-4, atol=1e-4)


def test_a_mask2former_of_transformers_computes_the_same(
    folder: Path, run_import: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    check_computes_the_same(run_import(folder))
    printed = capsys.readouterr().out
    assert "Mask2Former of transformers" in printed
    assert "criterion.empty_weight" in printed
    assert "no home" not in printed


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_mask2former_of_detectron2_computes_the_same(
    protocol: int, folder: Path, run_import: Callable[..., Path], tmp_path: Path
) -> None:
    write_detectron2(tmp_path / "model.pkl", detectron2_arrays(folder), protocol)
    check_computes_the_same(run_import(tmp_path / "model.pkl"))
