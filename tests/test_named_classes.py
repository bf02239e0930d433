"""Classes that are named at prediction and evaluation time, with a checkpoint that was trained on others."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from modise_lightning.configuration.command_line import config_directory
from modise_lightning.configuration.trained_model import load_trained, read_trained
from modise_lightning.configuration.vocabulary import read_vocabulary
from modise_lightning.errors import UserError
from modise_lightning.evaluate import evaluate
from modise_lightning.predict import predict
from modise_lightning.structures import Category
from modise_lightning.train import train
from tiny_runs import ONE_STEP, phantom_overrides

Compose = Callable[..., DictConfig]


def train_once(root: Path, folder: Path, *overrides: str) -> Path:
    every = [*phantom_overrides(root), *ONE_STEP, "baselines=[]", f"output_dir={folder}", "name=model"]
    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        train(compose("train", overrides=[*every, *overrides]))
    return folder / "checkpoints" / "best.ckpt"


@pytest.fixture(scope="module")
def checkpoint(phantom_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a model that compares masks with texts."""
    return train_once(phantom_root, tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def other_root(phantom_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same phantom in the general layout, with other names of the same classes."""
    root = tmp_path_factory.mktemp("other")
    for name in ("images", "panoptic"):
        (root / name).symlink_to(phantom_root / name)
    content = json.loads((phantom_root / "panoptic.json").read_text())
    for category, name in zip(content["categories"], ["round lump", "spiky lump", "specks"], strict=True):
        category["name"] = name
    (root / "panoptic.json").write_text(json.dumps(content))
    return root


def load(checkpoint: Path, setting: Any) -> Any:
    model = read_trained(checkpoint, {})
    vocabulary = read_vocabulary(setting)
    assert vocabulary is not None
    model.name_classes(vocabulary)
    return model.build()


def logits(module: Any) -> torch.Tensor:
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        result: torch.Tensor = module.segmenter(images, final_only=True).class_logits
    return result


def test_the_same_words_give_the_same_result_to_the_last_bit(checkpoint: Path) -> None:
    own, config, _ = load_trained(checkpoint, {})
    named = load(checkpoint, "phantom")
    assert torch.equal(logits(own), logits(named))
    nodes = [{"name": each.name, "prompts": list(each.prompts)} for each in config.data.categories]
    # Beside other words it is the same but for the order of sums, which the number of texts decides.
    moved = logits(load(checkpoint, [nodes[2], "cyst", nodes[0]]))
    torch.testing.assert_close(moved[..., [0, 2, 3]], logits(own)[..., [2, 0, 3]], rtol=1e-5, atol=1e-5)


def test_new_words_are_encoded_as_training_would_have(
    checkpoint: Path, phantom_root: Path, tmp_path: Path
) -> None:
    """A model that was built for these classes has the same embeddings."""
    named = load(checkpoint, ["spiculated mass", "cyst"])
    other = train_once(
        phantom_root,
        tmp_path,
        "data.categories=[{name: benign mass, prompts: [spiculated mass]}, "
        "{name: malignant mass, prompts: [cyst]}, {name: calcification cluster, prompts: [specks]}]",
        "data.root=" + str(tmp_path / "phantom"),
    )
    embeddings = load_trained(other, {})[0].segmenter.classifier.text_embeddings[:2]
    torch.testing.assert_close(named.segmenter.classifier.text_embeddings, embeddings, rtol=1e-4, atol=1e-5)
    assert logits(named).shape[-1] == 3


def test_own_words_need_no_text_encoder_and_new_ones_do(checkpoint: Path) -> None:
    missing = {"text": {"encoder": {"weights": "/nowhere/clip"}}}
    load_trained(checkpoint, missing)
    model = read_trained(checkpoint, missing)
    model.name_classes((Category("cyst", ("cyst",)),))
    with pytest.raises(UserError, match=r"text\.encoder.*/nowhere/clip"):
        model.build()


def test_predict_names_the_classes_that_it_was_asked_for(
    checkpoint: Path, phantom_root: Path, compose_config: Compose, tmp_path: Path
) -> None:
    image = sorted((phantom_root / "images").iterdir())[0]
    settings = [
        f"checkpoint={checkpoint}",
        f"input={image}",
        "vocabulary=[spiculated mass, cyst, lymph node]",
    ]
    (written,) = predict(compose_config("predict", settings, tmp_path))
    assert json.loads(written.read_text())["categories"] == ["spiculated mass", "cyst", "lymph node"]


def test_evaluate_on_another_dataset_has_its_classes(
    checkpoint: Path, other_root: Path, compose_config: Compose, tmp_path: Path
) -> None:
    settings = [f"checkpoint={checkpoint}", "data=coco_panoptic", f"data.root={other_root}", "split=all"]
    settings += ["data.name=other", "+trainer.limit_test_batches=3", "trainer.accelerator=cpu"]
    settings += ["data.synthetic=true", "+data.prompts.specks=[calcification cluster]"]
    evaluate(compose_config("evaluate", settings, tmp_path))
    content = json.loads((tmp_path / "results.json").read_text())
    assert content["dataset"] == "other"
    assert content["measurement"]["trained_on"] == "phantom"
    assert content["unseen_categories"] == ["round lump", "spiky lump"]
    result = content["results"]["trained"]
    assert result["category_names"] == ["round lump", "spiky lump", "specks"]
    assert len(result["class_agnostic"]["panoptic_quality"]) == len(result["thresholds"])


def test_evaluate_takes_other_texts_of_the_datasets_classes(
    checkpoint: Path, compose_config: Compose, tmp_path: Path
) -> None:
    names = ["benign mass", "malignant mass", "calcification cluster"]
    settings = [f"checkpoint={checkpoint}", "+trainer.limit_test_batches=1", "trainer.accelerator=cpu"]
    texts = "vocabulary=[calcification cluster, benign mass, malignant mass]"
    result = evaluate(compose_config("evaluate", [*settings, texts], tmp_path))
    assert result.category_names == names
    content = json.loads((tmp_path / "results.json").read_text())
    assert len(content["measurement"]["vocabulary"]) == 12
    assert "trained_on" not in content["measurement"]
    with pytest.raises(UserError, match="lacks the dataset's 'benign mass'"):
        evaluate(compose_config("evaluate", [*settings, "vocabulary=[cyst]"], tmp_path))


def test_a_learned_classifier_says_that_its_classes_are_fixed(
    phantom_root: Path, compose_config: Compose, tmp_path: Path
) -> None:
    learned = train_once(
        phantom_root, tmp_path / "run", "text=learned", "captioner=none", "inference/clip_head=none"
    )
    image = sorted((phantom_root / "images").iterdir())[0]
    settings = [f"checkpoint={learned}", f"input={image}", "vocabulary=[cyst]"]
    with pytest.raises(UserError, match="whose classes are fixed: benign mass, malignant"):
        predict(compose_config("predict", settings, tmp_path))
