"""Checkpoints, packages, the configuration in them, pretrained weights, and overrides of the command line."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import tempfile
import zipfile
from pathlib import Path
from random import Random
from typing import Any

import safetensors.torch
import torch
import yaml
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import DictConfig, open_dict
from omegaconf.errors import OmegaConfBaseException

from fuzzing.byte_mutations import mutate_bytes
from fuzzing.kinds import InsaneResultError, Kind, RefusedError, check_finite
from fuzzing.table_mutations import mutate_zip
from fuzzing.tree_mutations import FOREIGN, MARKER, mutate_json, mutate_tree, mutate_yaml
from modise_lightning.configuration.assembly import build_module, build_segmenter
from modise_lightning.configuration.command_line import config_directory
from modise_lightning.configuration.config_check import check_config
from modise_lightning.configuration.model_description import describe_model
from modise_lightning.configuration.trained_model import load_trained
from modise_lightning.configuration.vocabulary import read_vocabulary
from modise_lightning.inference.tuned_settings import read_tuned
from modise_lightning.inference.views import ViewSettings
from modise_lightning.packages.package import Evaluation, FrozenPart, write_package
from modise_lightning.pretrained.clip import _read_json
from modise_lightning.pretrained.weights import fingerprint, read_state_dict
from modise_lightning.training.checkpoint import METADATA_KEY, read_checkpoint, trained_state, versions

_OVERRIDES = [
    "backbone=swin_tiny",
    "captioner=none",
    "text=learned",
    "name=fuzzed",
    "output_dir=out",
    "data.root=data",
]
_WORDS = [
    *(
        "=",
        "+",
        "++",
        "~",
        "null",
        "nan",
        "inf",
        "-1",
        "0",
        "1e999",
        "true",
        "[]",
        "{}",
        "[1",
        "'",
        '"',
        "${",
        "${x}",
    ),
    *(
        "${oc.env:HOME}",
        "???",
        "_target_",
        "é",
        "\x00",
        "\x1b[31m",
        "{a:{b:1}}",
        "[[[[1]]]]",
        "os.mkdir",
        "a b",
        "/",
        "@",
        ":",
    ),
]
_CLASSES = b"""categories:
- {name: cyst, prompts: [cyst, simple cyst], isthing: true, color: [1, 2, 3]}
- lymph node
- {name: skin, isthing: false}
"""


_TUNED = b"""inference: {score_threshold: 0.3, overlap_threshold: 0.8, mask_threshold: 0.5, max_instances: 50}
views: {flips: [none, horizontal], scales: [1.0, 1.25]}
"""


class _Command:
    """Pickles as a call."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (MARKER,)


def model_kinds() -> list[Kind]:
    """Give the kinds."""
    checkpoint = make_checkpoint()
    state = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.zeros(2)}
    pickled = io.BytesIO()
    torch.save(state, pickled)
    clip = json.dumps(
        {"model_cfg": {"embed_dim": 8, "vision_cfg": {"layers": 1}}, "preprocess_cfg": {"mean": [0.5]}}
    )
    overrides = "\n".join(
        [
            "fold=1",
            "optimizer.learning_rate=1e-4",
            "data.categories=[{name:a,prompts:[a],isthing:true,color:[1,2,3]}]",
            "batch_size=3",
            "metrics.thresholds=[0.1,0.5]",
            "backbone=swin_tiny",
            "seed=3",
        ]
    )
    return [
        Kind("checkpoint", "best.ckpt", _load, [checkpoint], [mutate_checkpoint, mutate_zip, mutate_pickle]),
        Kind("package", "model.zip", _load_package, [_package(checkpoint)], [_mutate_package, mutate_zip]),
        Kind("stored-config", "best.ckpt", _load, [checkpoint], [_mutate_config], turn_seconds=3),
        Kind(
            "safetensors",
            "w.safetensors",
            _weights("w.safetensors"),
            [safetensors.torch.save(state, {"a": "b"})],
        ),
        Kind(
            "pickled-weights", "w.bin", _weights("w.bin"), [pickled.getvalue()], [mutate_zip, mutate_pickle]
        ),
        Kind("weights-config", "config.json", _clip_config, [clip.encode()], [mutate_json]),
        Kind("vocabulary", "classes.yaml", _read_classes, [_CLASSES], [mutate_yaml, mutate_bytes]),
        Kind("tuned-settings", "settings.yaml", _read_tuned, [_TUNED], [mutate_yaml, mutate_bytes]),
        Kind("overrides", "overrides.txt", _compose, [overrides.encode()], [_mutate_overrides]),
    ]


def _read_tuned(folder: Path) -> None:
    tuned, _ = read_tuned(str(folder / "settings.yaml"))
    thresholds = tuned.with_overrides({}).get("inference", {})
    check_finite(
        [value for name, value in thresholds.items() if name.endswith("threshold")], 0, 1, "settings"
    )
    tuned.choose_views(ViewSettings(["none"], [1.0]))


def _read_classes(folder: Path) -> None:
    categories = read_vocabulary(str(folder / "classes.yaml"))
    if not categories or any(not isinstance(text, str) for each in categories for text in each.prompts):
        raise InsaneResultError(f"classes {categories}")


def _composed(overrides: list[str]) -> DictConfig:
    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        return compose("train", overrides=overrides)


def make_checkpoint(*overrides: str) -> bytes:
    """Make a checkpoint as a run does, with an untrained network; ``overrides`` come last."""
    config = _composed([*_OVERRIDES, *overrides])
    with open_dict(config):
        config.mask_generator.num_queries = 4
    torch.manual_seed(0)
    module = build_module(config, build_segmenter(config), {"name": "phantom", "synthetic": True})
    stream = io.BytesIO()
    content = {
        "state_dict": trained_state(module, module.state_dict()),
        METADATA_KEY: {**module.metadata, "versions": versions(), "frozen_weights": fingerprint(module)},
    }
    torch.save(content, stream)
    return stream.getvalue()


def _load(folder: Path) -> None:
    module, config, dataset = load_trained(folder / "best.ckpt", {})
    if module.training or not isinstance(config, DictConfig) or not isinstance(dataset, dict):
        raise InsaneResultError(f"a module with the dataset {dataset!r}")
    if not all(bool(torch.isfinite(value).all()) for value in module.state_dict().values()):
        raise InsaneResultError("weights that are not finite were loaded")


def _package(checkpoint: bytes) -> bytes:
    """Make a package of a checkpoint, as the command does."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.zip")
        Path(folder, "best.ckpt").write_bytes(checkpoint)
        write_package(
            path,
            read_checkpoint(Path(folder, "best.ckpt")),
            name="fuzzed",
            fold=0,
            frozen_parts=[FrozenPart(part="backbone", repository="a/b", weights="hub", fingerprint="0")],
            settings="inference: {score_threshold: 0.3}",
            evaluation=Evaluation.of({"PQ": (0.5, 0.4, None)}, 0.95, []),
            card="# Card",
        )
        return path.read_bytes()


def _load_package(folder: Path) -> None:
    path = folder / "model.zip"
    describe_model(path)
    module, _, _ = load_trained(path, {})
    if not all(bool(torch.isfinite(value).all()) for value in module.state_dict().values()):
        raise InsaneResultError("weights that are not finite were loaded")


def _mutate_package(data: bytes, random: Random) -> bytes:
    """Change a member, and let the manifest say so, as whoever writes a package can."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = random.choice(list(members))
    mutate = {".json": mutate_json, ".yaml": mutate_yaml}.get(Path(name).suffix, mutate_bytes)
    members[name] = mutate(members[name], random)
    if name != "manifest.json":
        manifest = json.loads(members["manifest.json"])
        manifest["digests"][name] = hashlib.sha256(members[name]).hexdigest()
        members["manifest.json"] = json.dumps(manifest).encode()
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for own, content in members.items():
            archive.writestr(own, content)
    return stream.getvalue()


def _weights(name: str):  # noqa: ANN202
    def read(folder: Path) -> None:
        for key, value in read_state_dict(folder / name).items():
            if not isinstance(key, str) or not isinstance(value, torch.Tensor):
                raise InsaneResultError(f"{key!r} is {type(value)}")

    return read


def _clip_config(folder: Path) -> None:
    _read_json(
        "clip",
        folder / "config.json",
    )


def _compose(folder: Path) -> None:
    lines = (folder / "overrides.txt").read_text(encoding="utf-8", errors="surrogateescape").split("\n")
    try:
        config = _composed([*_OVERRIDES, *filter(None, lines)])
    except (
        HydraException,
        OmegaConfBaseException,
        ValueError,
        TypeError,
    ) as error:  # ``run_command`` prints these.
        raise RefusedError(str(error)) from error
    try:
        check_config(config)
    except OmegaConfBaseException as error:
        raise RefusedError(str(error)) from error


def _mutate_overrides(data: bytes, random: Random) -> bytes:
    lines = data.decode("utf-8", "surrogateescape").split("\n")
    kept = random.sample(lines, random.randrange(1, len(lines) + 1))
    position = random.randrange(len(kept))
    parts = kept[position].partition("=")
    place = random.randrange(len(kept[position]) + 1)
    kept[position] = random.choice(
        (
            f"{parts[0]}={random.choice(_WORDS)}",
            f"{random.choice(_WORDS)}{kept[position]}",
            kept[position][:place] + random.choice(_WORDS) + kept[position][place:],
            f"+{parts[0]}._target_={random.choice(('os.mkdir', 'x', 'modise_lightning.train.train'))}",
        )
    )
    return "\n".join(kept).encode("utf-8", "surrogateescape")


def _open(data: bytes) -> Any:
    return torch.load(io.BytesIO(data), weights_only=True)


def _save(content: Any) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream)
    return stream.getvalue()


def mutate_checkpoint(data: bytes, random: Random) -> bytes:
    """Change tensors and metadata."""
    content = _open(data)
    tensors = [
        torch.zeros(2),
        torch.full((3,), torch.nan),
        torch.zeros(0),
        torch.tensor(1),
        torch.zeros(2, dtype=torch.int8),
    ]
    tensors += [torch.zeros(2, dtype=torch.complex64), torch.eye(2).to_sparse(), torch.zeros(1).expand(10**9)]
    match random.randrange(4):
        case 0:
            return _save(mutate_tree(content, random, [tensors[random.randrange(7)]]))
        case 1:
            content[METADATA_KEY] = mutate_tree(content[METADATA_KEY], random)
        case 2:
            name = random.choice(list(content["state_dict"]))
            old = content["state_dict"][name]
            content["state_dict"][name] = random.choice(
                [
                    *tensors,
                    old * torch.nan,
                    old.double(),
                    old[..., :-1],
                    old.to(torch.int64),
                    3,
                    None,
                    "x",
                    [old],
                    old.to_sparse() if old.ndim else old,
                ]
            )
        case _:
            state = content["state_dict"]
            name = random.choice(list(state))
            state[random.choice((3, None, "x", "segmenter.classifier.text_embeddings", ("a",)))] = state[name]
    return _save(content)


def _mutate_config(data: bytes, random: Random) -> bytes:
    """Change values of the configuration in a checkpoint, also to such as name foreign code."""
    content = _open(data)
    text = content[METADATA_KEY]["config"]
    if random.random() < 0.1:
        text = mutate_bytes(text.encode(), random).decode(errors="replace")
    else:
        try:
            text = yaml.safe_dump(mutate_tree(yaml.safe_load(text), random, FOREIGN), allow_unicode=True)
        except (RecursionError, ValueError, OverflowError):
            text = text[: random.randrange(len(text))]
    content[METADATA_KEY]["config"] = text.encode("utf-8", "replace").decode()
    return _save(content)


def mutate_pickle(data: bytes, random: Random) -> bytes:
    """Put a call into a pickle, or a pickle in the place of the archive."""
    if random.random() < 0.5:
        return pickle.dumps(random.choice(({"state_dict": _Command()}, _Command(), {1: 2}, [], {"a": {}})))
    try:
        content = _open(data)
    except Exception:  # What an earlier mutation broke is changed as bytes.
        return mutate_bytes(data, random)
    content[random.choice(("state_dict", METADATA_KEY, "x"))] = random.choice(
        (_Command(), None, 3, {}, [], "x", {"": 1})
    )
    return _save(content)
