"""An ensemble is evaluated only on images that no member has seen."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig

from fold_runs import write_fold
from modise_lightning.configuration.assembly import build_data
from modise_lightning.configuration.ensembles import TrainedEnsemble, read_ensemble
from modise_lightning.configuration.seen_images import check_unseen
from modise_lightning.data.loading.datamodule import Split
from modise_lightning.errors import UserError
from modise_lightning.evaluate import evaluate
from modise_lightning.training.checkpoint import METADATA_KEY

pytestmark = pytest.mark.xdist_group("folds")
Compose = Callable[..., DictConfig]


def check(ensemble: TrainedEnsemble, split: Split, root: Path | None = None) -> None:
    if root is not None:
        ensemble.config.data.root = str(root)
    check_unseen(ensemble, build_data(ensemble.config), split)


def changed(phantom_root: Path, folder: Path, change: Callable[[Any, Any], None]) -> Path:
    """Copy the index of the dataset and change it; the images are not looked at."""
    root = folder / "changed"
    shutil.copytree(phantom_root, root)
    documents = [json.loads((root / name).read_text()) for name in ("panoptic.json", "folds.json")]
    change(*documents)
    for name, document in zip(("panoptic.json", "folds.json"), documents, strict=True):
        (root / name).write_text(json.dumps(document))
    return root


def other_seed(index: Any, folds: Any) -> None:
    index["info"]["parameters"]["seed"] = 9


def other_folds(index: Any, folds: Any) -> None:
    for image in folds["images"].values():
        image["fold"] = (image["fold"] + 1) % 5


def other_name(index: Any, folds: Any) -> None:
    index["info"]["name"] = "elsewhere"


@pytest.mark.parametrize("split", ["train", "test", "all"])
def test_folds_have_seen_each_other_s_images(split: Split, fold_runs: Path) -> None:
    with pytest.raises(UserError, match=rf"best\.ckpt' \(fold [01]\) has seen \d+ of the \d+ {split} images"):
        check(read_ensemble(str(fold_runs), {}), split)


def test_members_of_one_fold_have_not_seen_its_test_images(fold_runs: Path, tmp_path: Path) -> None:
    path = fold_runs / "1" / "checkpoints" / "best.ckpt"
    shutil.copy(path, tmp_path / "other_seed.ckpt")
    ensemble = read_ensemble([str(path), str(tmp_path / "other_seed.ckpt")], {})
    check(ensemble, "test")
    check(ensemble, "validation")
    with pytest.raises(UserError, match=r"of the \d+ train images"):
        check(ensemble, "train")


@pytest.mark.parametrize(
    ("change", "message"),
    [(other_seed, None), (other_name, None), (other_folds, "which of its images it has seen is not known")],
)
def test_another_dataset_is_unseen_and_another_version_of_it_is_not_known(
    change: Callable[[Any, Any], None],
    message: str | None,
    phantom_root: Path,
    fold_runs: Path,
    tmp_path: Path,
) -> None:
    root = changed(phantom_root, tmp_path, change)
    if message is None:
        check(read_ensemble(str(fold_runs), {}), "all", root)
        return
    with pytest.raises(UserError, match=message):
        check(read_ensemble(str(fold_runs), {}), "all", root)


def test_which_images_of_a_dataset_joint_training_has_seen_is_not_known(fold_runs: Path) -> None:
    ensemble = read_ensemble(str(fold_runs), {})
    for member in ensemble.members:
        member.checkpoint[METADATA_KEY]["data_fingerprint"] = "of both together"
        member.dataset.update({"name": "joint", "sources": [{"name": "elsewhere"}, {"name": "phantom"}]})
    with pytest.raises(UserError, match="which of its images it has seen is not known"):
        check(ensemble, "test")


def test_a_fold_that_is_changed_now_does_not_change_what_was_seen(fold_runs: Path) -> None:
    """Overrides say what is evaluated, not what was trained."""
    ensemble = read_ensemble(str(fold_runs), {"fold": 1})
    with pytest.raises(UserError, match=r"\(fold 0\) has seen"):
        check(ensemble, "test")


def test_an_official_test_set_is_unseen_by_all(phantom_root: Path, tmp_path: Path) -> None:
    def with_official_split(index: Any, folds: Any) -> None:
        for image in index["images"]:
            is_test = folds["images"][image["file_name"]]["fold"] == 4
            image["split"] = "test" if is_test else "training"

    root = changed(phantom_root, tmp_path, with_official_split)
    for fold in (0, 1):
        write_fold(root, tmp_path / "runs" / str(fold), f"fold={fold}", "data.split=official")
    ensemble = read_ensemble(str(tmp_path / "runs"), {})
    check(ensemble, "test")
    with pytest.raises(UserError, match="has seen"):
        check(ensemble, "validation")


def test_an_ensemble_is_evaluated_on_images_of_others(
    phantom_root: Path, fold_runs: Path, compose_config: Compose, tmp_path: Path
) -> None:
    root = changed(phantom_root, tmp_path, other_seed)
    settings = [f"checkpoint={fold_runs}", "split=test", "views=flip", "pictures.num_images=0"]
    settings += [f"+overrides.data.root={root}", "trainer.accelerator=cpu", "+trainer.limit_test_batches=1"]
    result = evaluate(compose_config("evaluate", settings, tmp_path / "out"))
    assert result.num_images == 2
    stored = json.loads((tmp_path / "out" / "results.json").read_text())
    assert stored["name"].endswith("(ensemble of 2)")
    assert stored["measurement"]["ensemble.members"] == 2
    assert stored["measurement"]["views.flips"] == "none+horizontal"
