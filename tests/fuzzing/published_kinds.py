"""Published models, and checkpoints that a training starts from."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from fuzzing.byte_mutations import mutate_bytes
from fuzzing.kinds import InsaneResultError, Kind
from fuzzing.model_kinds import make_checkpoint, mutate_checkpoint, mutate_pickle
from fuzzing.table_mutations import mutate_zip
from fuzzing.tree_mutations import mutate_json, mutate_tree
from modise_lightning.configuration.assembly import build_segmenter
from modise_lightning.configuration.command_line import config_directory
from modise_lightning.configuration.importing import load_published, prepare_config
from modise_lightning.configuration.starting import read_start, start_from
from modise_lightning.pretrained.published import read_published
from modise_lightning.segmenter import Segmenter
from published_models import NARROW_MASK2FORMER, detectron2_arrays, transformers_mask2former

_SETTINGS = [*NARROW_MASK2FORMER, "mask_generator.decoder_layers=3", "name=fuzzed", "output_dir=out"]
_SETTINGS += ["data.root=data"]


def published_kinds(folder: Path) -> list[Kind]:
    """Give the kinds.

    Args:
        folder: For what is written on the way.
    """
    transformers_mask2former().save_pretrained(folder)
    weights, settings = (folder / name for name in ("model.safetensors", "config.json"))
    arrays = detectron2_arrays(folder)
    pickles = [pickle.dumps({"model": arrays, "__author__": "x"}, protocol) for protocol in (2, 3, 4, 5)]
    archive = io.BytesIO()
    torch.save({"model": {name: torch.from_numpy(array) for name, array in arrays.items()}}, archive)

    def with_file(path: Path) -> Callable[[Path], None]:
        content = path.read_bytes()

        def prepare(place: Path) -> None:
            (place / "model").mkdir()
            (place / "model" / path.name).write_bytes(content)

        return prepare

    return [
        Kind("published-pickle", "model", _import, pickles, [_mutate_arrays]),
        Kind("published-archive", "model", _import, [archive.getvalue()], [mutate_zip, mutate_pickle]),
        Kind(
            "published-config",
            "model/config.json",
            _import,
            [settings.read_bytes()],
            [mutate_json],
            with_file(weights),
        ),
        Kind(
            "published-weights",
            "model/model.safetensors",
            _import,
            [weights.read_bytes()],
            prepare=with_file(settings),
        ),
        Kind("init", "init.ckpt", _start, [make_checkpoint()], [mutate_checkpoint, mutate_pickle]),
    ]


def _composed(command: str, *overrides: str) -> DictConfig:
    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        return compose(command, overrides=list(overrides))


@cache
def _importing() -> tuple[DictConfig, Segmenter]:
    config = _composed("import_checkpoint", *_SETTINGS, "source=model", "output=out.ckpt")
    return config, build_segmenter(config)


@cache
def _training() -> tuple[DictConfig, Segmenter]:
    settings = ("backbone=swin_tiny", "captioner=none", "text=learned", "mask_generator.num_queries=4")
    config = _composed("train", *settings, "name=x", "output_dir=out", "data.root=data", "init=x")
    return config, build_segmenter(config)


def _import(folder: Path) -> None:
    published = read_published(folder / "model")
    config, segmenter = _importing()
    prepare_config(copy.deepcopy(config), published)
    account = load_published(segmenter, published)
    _check(segmenter)
    if not account.taken:
        raise InsaneResultError("nothing was taken")


def _start(folder: Path) -> None:
    config, segmenter = copy.deepcopy(_training()[0]), _training()[1]
    config.init = str(folder / "init.ckpt")
    start = read_start(config)
    if start is None or "weights taken" not in start_from(start, segmenter, config):
        raise InsaneResultError(f"started from {start}")
    _check(segmenter)


def _check(segmenter: Segmenter) -> None:
    if not all(bool(torch.isfinite(value).all()) for value in segmenter.state_dict().values()):
        raise InsaneResultError("weights that are not finite were loaded")


def _mutate_arrays(data: bytes, random: Random) -> bytes:
    """Change arrays, names and what is between them, or instructions of the pickle alone."""
    content = pickle.loads(data)  # a valid file of ours
    model = content["model"]
    name = random.choice(list(model))
    array = model[name]
    try:
        match random.randrange(4):
            case 0:
                model[name] = random.choice(
                    [
                        array.astype("f8"),
                        array.astype(">f4"),
                        array * np.nan,
                        array[..., None],
                        array.astype(object),
                        np.array(["x"]),
                        np.float32(1),
                        3,
                        None,
                        [array],
                    ]
                )
            case 1:
                model[random.choice([3, None, "x", "sem_seg_head.x", (1,), b"x"])] = model.pop(name)
            case 2:
                content = mutate_tree({"model": {name: "array"}, "trainer": {"a": [1, "x"]}}, random)
            case _:
                # Most of the bytes are numbers: the beginning is not.
                return mutate_bytes(data[:400], random) + data[400:]
        return pickle.dumps(content, protocol=random.choice((0, 2, 3, 4, 5)))
    except (ValueError, RecursionError, OverflowError, UnicodeEncodeError):
        return data[: random.randrange(len(data))]
