"""Published models become checkpoints that compute what the published model computed."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
import yaml
from omegaconf import DictConfig
from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation, SwinConfig

from forked import forked
from modise_lightning.configuration.command_line import instantiate
from modise_lightning.configuration.trained_model import load_trained
from modise_lightning.errors import UserError
from modise_lightning.evaluate import evaluate
from modise_lightning.import_checkpoint import import_checkpoint
from modise_lightning.predict import predict
from modise_lightning.pretrained.mask2former_names import TRANSFORMERS
from modise_lightning.segmenter import Segmenter
from modise_lightning.train import train
from modise_lightning.training.checkpoint import METADATA_KEY, read_checkpoint
from published_models import (
    NARROW_MASK2FORMER,
    detectron2_arrays,
    transformers_logits,
    transformers_mask2former,
    write_detectron2,
)
from tiny_runs import ONE_STEP, phantom_overrides

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


def test_every_tensor_is_accounted_for(
    folder: Path, run_import: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arrays = detectron2_arrays(folder)
    arrays["sem_seg_head.predictor.new_idea.weight"] = np.zeros(3, np.float32)
    arrays["ema.decay"] = np.zeros((), np.float64)
    write_detectron2(tmp_path / "model.pkl", arrays)
    path = run_import(tmp_path / "model.pkl", "trained_on.name=COCO", "name=narrow")
    printed = capsys.readouterr().out.splitlines()
    assert "no home for: ema.decay" in printed
    assert "no home for: sem_seg_head.predictor.new_idea.weight" in printed
    metadata = read_checkpoint(path)[METADATA_KEY]
    about = metadata["published"]
    assert about["kind"] == "Mask2Former of detectron2"
    assert about["sha256"] == hashlib.sha256((tmp_path / "model.pkl").read_bytes()).hexdigest()
    assert set(about["homeless"]) == {"ema.decay", "sem_seg_head.predictor.new_idea.weight"}
    assert about["not_needed"] == [
        "criterion.empty_weight",
        "backbone.layers.0.blocks.0.attn.relative_position_index",
    ]
    taken = len(arrays) - 4
    assert f"{taken} of {len(arrays)} tensors taken" in printed[0]
    assert metadata["dataset"] == {"name": "COCO", "synthetic": False}
    config = yaml.safe_load(metadata["config"])
    assert not {"source", "output", "trained_on"} & set(config)
    assert (config["name"], config["backbone"]["weights"]) == ("narrow", "checkpoint")
    assert len(config["init_fingerprint"]) == 16


def test_evaluate_predict_and_train_take_it(
    folder: Path, run_import: Callable[..., Path], compose_config: Compose, phantom_root: Path, tmp_path: Path
) -> None:
    data = phantom_overrides(phantom_root)
    path = run_import(folder, *data, "image_size=128", "name=narrow")
    evaluated = tmp_path / "evaluated"
    overrides = [f"checkpoint={path}", "trainer.limit_test_batches=1", "trainer.accelerator=cpu"]
    result = evaluate(compose_config("evaluate", overrides, evaluated))
    assert result.num_images == 8
    stored = json.loads((evaluated / "results.json").read_text())
    assert stored["random_parts"] == []
    fingerprint = stored["measurement"]["init_fingerprint"]

    image = sorted((phantom_root / "images").iterdir())[0]
    predicted = tmp_path / "predicted"
    (written,) = predict(
        compose_config("predict", [f"checkpoint={path}", f"input={image}", "device=cpu"], predicted)
    )
    assert json.loads(written.read_text())["model"]["trained_on"] == f"the images of '{folder.name}'"

    settings = [*NARROW_MASK2FORMER, *SIZES[:1], *data, *ONE_STEP, "baselines=[]"]
    trained = tmp_path / "trained"
    train(compose_config("train", [*settings, f"init={path}", "backbone.weights=checkpoint"], trained))
    stored = json.loads((trained / "results.json").read_text())
    assert stored["measurement"]["init_fingerprint"] == fingerprint


def test_names_of_the_classes_are_compared_where_they_are_said(
    run_import: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = transformers_mask2former()
    model.config.id2label = {0: "Benign mass", 1: "cyst", 2: "calcification cluster"}
    model.save_pretrained(tmp_path / "named")
    run_import(tmp_path / "named")
    assert (
        "1 of 3 classes have other names in config.json (first: 'cyst', here 'malignant mass'); they are "
        "taken in their order"
    ) in capsys.readouterr().out.splitlines()


def test_an_older_layout_of_transformers_is_read(
    folder: Path, run_import: Callable[..., Path], tmp_path: Path
) -> None:
    """The Swin's names of transformers 5, without the names that are written for older ones."""
    state = safetensors.torch.load_file(folder / "model.safetensors")
    shutil.copy(folder / "config.json", tmp_path)
    prefix = "model.pixel_level_module.encoder."
    renamed = {}
    for name, tensor in state.items():
        for old, new in (
            (f"{prefix}encoder.", f"{prefix}swin.encoder."),
            (f"{prefix}embeddings.", f"{prefix}swin.embeddings."),
            ("attention.self.query", "attention.q_proj"),
            ("attention.self.key", "attention.k_proj"),
            ("attention.self.value", "attention.v_proj"),
            ("attention.self.relative", "attention.relative_position_bias.relative"),
            ("attention.output.dense", "attention.o_proj"),
            ("intermediate.dense", "mlp.fc1"),
            ("output.dense", "mlp.fc2"),
        ):
            name = name.replace(old, new)
        renamed[name] = tensor
    safetensors.torch.save_file(renamed, tmp_path / "model.safetensors")
    check_computes_the_same(run_import(tmp_path))


def _changed(arrays: dict[str, Any], name: str, change: Callable[[Any], Any]) -> dict[str, Any]:
    return {**arrays, name: change(arrays[name])}


QUERIES = "sem_seg_head.predictor.query_feat.weight"
JOINED = "sem_seg_head.predictor.transformer_self_attention_layers.0.self_attn.in_proj_weight"
# By name: what becomes of the arrays, and what is told.
WRONG: dict[str, tuple[Callable[[dict[str, Any]], dict[str, Any]], str]] = {
    "another width": (
        lambda arrays: _changed(arrays, QUERIES, lambda array: array[:, :16]),
        r"'sem_seg_head\.predictor\.query_feat\.weight' is \(7, 16\), \(7, 32\) is needed",
    ),
    "another number of queries": (
        lambda arrays: _changed(arrays, QUERIES, lambda array: array[:-1]),
        r"is \(6, 32\), \(7, 32\) is needed",
    ),
    "whole numbers": (
        lambda arrays: _changed(arrays, QUERIES, lambda array: array.astype(np.int64)),
        r"not of a number format of weights \(int64\)",
    ),
    "double": (
        lambda arrays: _changed(arrays, QUERIES, lambda array: array.astype(np.float64)),
        r"not of a number format of weights \(float64\)",
    ),
    "not finite": (
        lambda arrays: _changed(arrays, QUERIES, lambda array: array * np.nan),
        r"is not finite",
    ),
    "a tensor missing": (
        lambda arrays: {name: array for name, array in arrays.items() if name != QUERIES},
        r"missing are 1 \(mask_generator\.transformer_module\.queries_features\.weight\); no home for none",
    ),
    "a residual network as backbone": (
        lambda arrays: {
            name.replace("backbone.layers", "backbone.res"): array for name, array in arrays.items()
        },
        r"missing are \d+ \(backbone\.swin\.swin\.encoder.*\.\.\.\); no home for \d+ \(backbone\.res",
    ),
    "no projections": (
        lambda arrays: _changed(arrays, JOINED, lambda array: array[:-1]),
        r"is \(95, 32\), which cannot be the projections",
    ),
    "a scalar as projections": (
        lambda arrays: _changed(arrays, JOINED, lambda array: array[0, 0]),
        r"is \(\), which cannot be the projections",
    ),
    "a weight twice": (
        lambda arrays: {**arrays, "sem_seg_head.predictor.static_query.weight": arrays[QUERIES]},
        r"'sem_seg_head\.predictor\.static_query\.weight' and '.*query_feat\.weight' are the same weight",
    ),
    "a list": (lambda arrays: {**arrays, "x": [1, 2]}, r"'x' is no array of numbers"),
    "a number as name": (lambda arrays: {**arrays, 3: arrays[QUERIES]}, r"a tensor's name is no text"),
    "another model": (
        lambda arrays: {"encoder.weight": arrays[QUERIES]},
        r"neither an ODISE nor a Mask2Former",
    ),
    "nothing": (lambda arrays: {}, r"neither an ODISE nor a Mask2Former"),
    "a scalar as classes": (
        lambda arrays: _changed(arrays, "sem_seg_head.predictor.class_embed.bias", lambda array: array[0]),
        r"'sem_seg_head\.predictor\.class_embed\.bias' is \(\), \(4,\) is needed",
    ),
    "other classes": (
        lambda arrays: {
            name: array[:3] if "class_embed" in name else array for name, array in arrays.items()
        },
        r"has 2 classes, data\.categories has 3",
    ),
}


# Both containers give the same tensors; a few cases show it.
@pytest.mark.parametrize(
    ("case", "container"),
    [
        *((case, "pkl") for case in WRONG),
        *((case, "pth") for case in ("another width", "whole numbers", "a list")),
    ],
)
def test_what_does_not_fit_is_told_and_nothing_written(
    case: str, container: str, folder: Path, run_import: Callable[..., Path], tmp_path: Path
) -> None:
    change, message = WRONG[case]
    arrays = change(detectron2_arrays(folder))
    source = tmp_path / f"model.{container}"
    if container == "pkl":
        write_detectron2(source, arrays)
    else:
        tensors = {
            name: torch.from_numpy(np.array(array)) if isinstance(array, np.ndarray | np.generic) else array
            for name, array in arrays.items()
        }
        torch.save({"model": tensors}, source)
    with pytest.raises(UserError, match=message) as told:
        run_import(source)
    assert "\n" not in str(told.value)
    assert not (tmp_path / "imported.ckpt").exists()


class _Marker:
    """Pickles as a call."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Say what is to be called."""
        return os.mkdir, ("marker",)


def _saved(content: object) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream)
    return stream.getvalue()


def _compressed() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(10**7))
    return stream.getvalue()


FILES: dict[str, tuple[Callable[[], bytes], str]] = {
    "code in a pickle": (lambda: pickle.dumps({"model": {"a": _Marker()}}), r"asks for '(posix|nt)\.mkdir'"),
    "code in an archive": (lambda: _saved({"model": {"a": _Marker()}}), "Nothing of it was run"),
    "half an archive": (lambda: _saved({"model": {"a": torch.zeros(1000)}})[:2000], "cannot be read"),
    "half a pickle": (lambda: pickle.dumps({"model": {"a": np.zeros(99)}})[:200], "not a whole pickle"),
    "empty": (lambda: b"", "is empty"),
    "a text": (lambda: b"<html>404</html>", "neither an archive that torch wrote nor a pickle"),
    "a compressed archive": (_compressed, "unfold to more than it holds"),
    "a tensor alone": (lambda: _saved(torch.zeros(3)), "holds no tensors by name"),
    "sparse": (lambda: _saved({"backbone.feature_extractor.x": torch.eye(3).to_sparse()}), "no array of"),
    "vast": (
        lambda: _saved({f"sem_seg_head.predictor.{QUERIES}": torch.zeros(1).expand(10**14)}),
        "missing are",
    ),
}


@pytest.mark.parametrize("case", FILES)
def test_a_bad_file_is_told_and_nothing_of_it_run(
    case: str, run_import: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    content, message = FILES[case]
    (tmp_path / "model.pth").write_bytes(content())
    with pytest.raises(UserError, match=message) as told:
        run_import(tmp_path / "model.pth")
    assert "\n" not in str(told.value)
    assert not (tmp_path / "marker").exists()
    assert not (tmp_path / "imported.ckpt").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_attention_heads": 8}, r"num_attention_heads=8, 4 is needed \(mask_generator\.num_heads\)"),
        ({"pre_norm": True}, r"pre_norm=True, False is needed"),
        ({"activation_function": "gelu"}, r"activation_function=gelu, relu is needed"),
        (
            {"backbone_config": {"model_type": "resnet"}},
            r"backbone_config\.model_type=resnet, swin is needed",
        ),
        (None, r"config\.json' is no JSON object"),
        ("", r"config\.json' is no readable JSON"),
    ],
)
def test_settings_that_no_shape_shows_are_compared(
    change: Any, message: str, folder: Path, run_import: Callable[..., Path], tmp_path: Path
) -> None:
    source = tmp_path / "published"
    shutil.copytree(folder, source)
    settings = json.loads((source / "config.json").read_text())
    text = "{" if change == "" else json.dumps(change and {**settings, **change})
    (source / "config.json").write_text(text)
    with pytest.raises(UserError, match=message):
        run_import(source)


def test_places_are_checked(folder: Path, run_import: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"source: '.*nowhere\.pkl': No such file"):
        run_import(tmp_path / "nowhere.pkl")
    with pytest.raises(UserError, match=r"source: the folder '.*' holds no model\.safetensors"):
        run_import(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="named pipe"):
        run_import(tmp_path / "pipe")
    with pytest.raises(UserError, match=r"data\.categories: a published model does not say"):
        run_import(folder, "data=coco_panoptic")
    (tmp_path / "imported.ckpt").write_bytes(b"mine")
    with pytest.raises(UserError, match=r"output: '.*imported\.ckpt' is there already"):
        run_import(folder)
    assert (tmp_path / "imported.ckpt").read_bytes() == b"mine"


def test_the_command_ends_with_a_line(tmp_path: Path) -> None:
    (tmp_path / "model.pkl").write_bytes(pickle.dumps({"model": {"a": _Marker()}}))
    arguments = [*NARROW_MASK2FORMER, "source=model.pkl", "output=out.ckpt"]
    answer = forked("-m", "modise_lightning.import_checkpoint", *arguments, folder=tmp_path)
    assert answer.returncode == 1
    (line,) = answer.stderr.splitlines()
    assert line.startswith("error: source: 'model.pkl' is refused: it asks for 'posix.mkdir'")
    assert not (tmp_path / "marker").exists()
    assert not (tmp_path / "out.ckpt").exists()


def test_mask2former_of_real_size_leaves_nothing_missing(compose_config: Compose, tmp_path: Path) -> None:
    """Names and shapes of Swin-L with 200 queries and COCO's 133 classes, without memory for weights."""
    backbone = SwinConfig(
        image_size=384,
        embed_dim=192,
        depths=[2, 2, 18, 2],
        num_heads=[6, 12, 24, 48],
        window_size=12,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    # transformers' own sizes of the decoders are the published ones, but for the layers and queries.
    settings = Mask2FormerConfig(
        backbone_config=backbone, encoder_layers=6, decoder_layers=10, num_queries=200, num_labels=133
    )
    config = compose_config("train", ["experiment=m2f_swin_l", "backbone.weights=checkpoint"], tmp_path)
    with torch.device("meta"):
        published = Mask2FormerForUniversalSegmentation(settings)
        swin = instantiate(config.backbone)
        segmenter = Segmenter(
            backbone=swin,
            captioner=None,
            mask_generator=instantiate(config.mask_generator)(feature_channels=swin.feature_channels),
            classifier=instantiate(config.text.classifier)(num_categories=133, hidden_channels=256),
        )
    translation = TRANSFORMERS.translate(published.state_dict())
    expected = {name: value.shape for name, value in segmenter.named_parameters()}
    assert {name: value.shape for name, value in translation.state.items()} == expected
    assert translation.unknown == ()
    assert set(translation.not_needed) == {
        "criterion.empty_weight",
        "model.pixel_level_module.encoder.swin.layernorm.weight",
        "model.pixel_level_module.encoder.swin.layernorm.bias",
    }
