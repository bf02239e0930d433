"""Loads the image tower or the text tower of a CLIP with open_clip; a local folder needs no network."""

from __future__ import annotations

import json
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard, cast

import torch

# The towers are built by open_clip's own functions: its public constructors build both towers, which doubles
# the memory and the time for the half that a captioner or a text encoder does not use.
from open_clip.hf_configs import arch_dict
from open_clip.model import _build_text_tower, _build_vision_tower, convert_to_custom_text_state_dict
from open_clip.transform import PreprocessCfg, merge_preprocess_dict
from torch import Tensor, nn

from modise_lightning.errors import UserError
from modise_lightning.json_text import parse_json
from modise_lightning.pretrained.weights import locate, read_state_dict
from modise_lightning.regular_files import check_regular

CONFIG_FILE = "open_clip_config.json"
# In open_clip's order. A repository may also hold ``model.safetensors``: that is timm's image tower alone.
WEIGHT_FILES = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
)


@dataclass(frozen=True)
class ClipSource:
    """What the towers of one CLIP are built from.

    Attributes:
        part: Config key of the part that asks, named in messages (``captioner``, ``text.encoder``).
        model_config: open_clip's ``model_cfg``: ``embed_dim``, ``quick_gelu``, ``vision_cfg``, ``text_cfg``.
        preprocess: How its images are resized and normalised.
        folder: Where the published files are; None for random weights.
        state: Tensors by name (``visual.*``, ``text.*``); None for random weights.
    """

    part: str
    model_config: Mapping[str, Any]
    preprocess: PreprocessCfg
    folder: Path | None
    state: Mapping[str, Tensor] | None

    @property
    def embedding_dim(self) -> int:
        """Width of the image and text embeddings."""
        return int(self.model_config["embed_dim"])


def open_clip_source(
    *, part: str, weights: str, repository: str, files: Sequence[str], architecture: Mapping[str, Any]
) -> ClipSource:
    """Find a CLIP and read its configuration and weights.

    Args:
        part: Config key of the part, named in messages.
        weights: ``hub``, ``random``, or a local folder in the layout that open_clip publishes.
        repository: Published id on the Hugging Face hub.
        files: File name patterns that ``hub`` downloads.
        architecture: open_clip's ``model_cfg`` of random weights; published weights bring their own, and only
            a ``quick_gelu`` that they do not state is taken from here.

    Raises:
        UserError: A file is missing or damaged.
    """
    folder = locate(part=part, weights=weights, repository=repository, patterns=files)
    if folder is None:
        if not _is_model_config(architecture):
            raise UserError(f"{part}.architecture: expected open_clip's embed_dim, vision_cfg and text_cfg.")
        return ClipSource(part, dict(architecture), PreprocessCfg(), None, None)
    if not folder.is_dir():
        raise UserError(
            f"{part}: '{folder}' is not a folder. Give the folder that holds {CONFIG_FILE} ({part}.weights)."
        )
    config_path = folder / CONFIG_FILE
    published = _read_json(part, config_path)
    model_config = published.get("model_cfg")
    if not _is_model_config(model_config):
        raise UserError(
            f"{part}: {config_path} has no model_cfg with embed_dim, vision_cfg and text_cfg. "
            f"Download '{repository}' again."
        )
    if "quick_gelu" not in model_config and architecture.get("quick_gelu"):
        warnings.warn(
            f"{part}: {config_path} does not state quick_gelu; taking {part}.architecture.quick_gelu, which "
            "is true. Set it to false for weights that were trained with the exact GELU.",
            stacklevel=2,
        )
        model_config["quick_gelu"] = True
    try:
        preprocess_config = merge_preprocess_dict(PreprocessCfg(), published.get("preprocess_cfg", {}))
        preprocess = PreprocessCfg(**preprocess_config)
    except (AssertionError, AttributeError, TypeError) as error:
        raise UserError(f"{part}: {config_path}: open_clip cannot read its preprocess_cfg.") from error
    return ClipSource(part, model_config, preprocess, folder, _read_weights(part, folder, repository))


def build_image_tower(source: ClipSource, *, seed: int) -> nn.Module:
    """Build the image tower, (B, 3, size, size) normalised to (B, embedding_dim).

    Args:
        source: The CLIP.
        seed: Of random weights; the global random state is left as it was.

    Raises:
        UserError: The configuration is not one that open_clip builds, or the weights do not fit it.
    """
    config = source.model_config
    vision = {**config["vision_cfg"], "timm_model_pretrained": False}
    tower = _build(
        source,
        seed,
        lambda: _build_vision_tower(config["embed_dim"], vision, config.get("quick_gelu", False)),
    )
    return _load(source, tower, "visual.")


def clip_scale(source: ClipSource) -> float:
    """Give the factor of the cosines between a CLIP's images and texts, at most 100 as in its training.

    Raises:
        UserError: The weights have none.
    """
    if source.state is None:
        return 1 / 0.07  # where CLIP's training starts
    scale = source.state.get("logit_scale")
    if scale is None or scale.numel() != 1:
        raise UserError(f"{source.part}: the weights in {source.folder} have no logit_scale.")
    return min(100.0, float(scale.float().exp()))


def build_text_tower(
    source: ClipSource, *, seed: int, text_model_config: Mapping[str, Any] | None
) -> nn.Module:
    """Build the text tower, (P, context) token ids to (P, embedding_dim).

    Args:
        source: The CLIP.
        seed: Of random weights; the global random state is left as it was.
        text_model_config: Hugging Face configuration of a text tower that is a Hugging Face model, where the
            folder has no ``config.json`` of that model; None where the text tower is CLIP's own.

    Raises:
        UserError: The configuration is not one that can be built, or the weights do not fit it.
    """
    config = source.model_config
    text = {**config["text_cfg"], "hf_model_pretrained": False}

    def build() -> nn.Module:
        return cast(nn.Module, _build_text_tower(config["embed_dim"], text, config.get("quick_gelu", False)))

    if not text.get("hf_model_name"):
        return _load(source, _build(source, seed, build), "text.")
    # open_clip reads the text model's configuration by name, which is a download; a local folder is not.
    text_model = _text_model_config(source, text["hf_model_name"], text_model_config)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps(text_model), encoding="utf-8")
        text["hf_model_name"] = folder
        tower = _build(source, seed, build)
    return _load(source, tower, "text.")


def _is_model_config(value: object) -> TypeGuard[dict[str, Any]]:
    return (
        isinstance(value, dict)
        and isinstance(value.get("embed_dim"), int)
        and isinstance(value.get("vision_cfg"), dict)
        and isinstance(value.get("text_cfg"), dict)
    )


def _text_model_config(source: ClipSource, name: str, default: Mapping[str, Any] | None) -> dict[str, Any]:
    """Give the configuration of the Hugging Face model ``name``, from a sub-folder of that name if any."""
    config = None if default is None else dict(default)
    origin = f"{source.part}.text_model_config"
    if source.folder is not None:
        identity = Path(name).name
        found = [*source.folder.glob("*/config.json"), *source.folder.glob("*/*/config.json")]
        paths = sorted(path for path in found if path.parent.name == identity)
        if len(paths) > 1:
            raise UserError(
                f"{source.part}: '{paths[0]}' and '{paths[1]}' could both be the text tower's. "
                "Remove one of them."
            )
        if paths:
            config, origin = _read_json(source.part, paths[0]), str(paths[0])
    if config is None:
        raise UserError(
            f"{source.part}: the text tower is '{name}', whose config.json is needed. "
            f"Put it into {source.folder}/{Path(name).name}/ or set {source.part}.text_model_config."
        )
    config.pop("auto_map", None)  # Names code that would be run.
    if config.get("model_type") not in arch_dict:
        raise UserError(
            f"{source.part}: {origin}: model_type is {config.get('model_type')!r}; "
            f"open_clip takes {', '.join(sorted(arch_dict))}."
        )
    return config


def _build(source: ClipSource, seed: int, build: Callable[[], nn.Module]) -> nn.Module:
    # Frozen random weights are not stored in checkpoints: the seed has to give them again, on any machine.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        try:
            return build().float()
        except Exception as error:  # The libraries raise many kinds on a wrong argument.
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            origin = f"{source.part}.architecture" if source.folder is None else source.folder / CONFIG_FILE
            raise UserError(
                f"{source.part}: open_clip cannot build the model of {origin} ({reason})."
            ) from error


def _load(source: ClipSource, tower: nn.Module, prefix: str) -> nn.Module:
    if source.state is None:
        return tower
    expected = tower.state_dict()
    found = {
        name.removeprefix(prefix): value for name, value in source.state.items() if name.startswith(prefix)
    }
    # Older transformers stored this constant, newer ones compute it.
    obsolete = "transformer.embeddings.position_ids"
    if obsolete not in expected:
        found.pop(obsolete, None)
    missing = sorted(expected.keys() - found.keys())
    unexpected = sorted(found.keys() - expected.keys())
    shapes = [
        f"{prefix}{name} is {tuple(found[name].shape)}, expected {tuple(expected[name].shape)}"
        for name in sorted(expected.keys() & found.keys())
        if found[name].shape != expected[name].shape
    ]
    if missing or unexpected or shapes:
        raise UserError(
            f"{source.part}: the weights in {source.folder} do not fit their configuration: "
            f"{len(missing)} missing {missing[:1]}, {len(unexpected)} unexpected {unexpected[:1]}, "
            f"{len(shapes)} of another shape {shapes[:1]}. Download the folder again."
        )
    tower.load_state_dict(found)
    return tower


def _read_weights(part: str, folder: Path, repository: str) -> Mapping[str, Tensor]:
    for name in WEIGHT_FILES:
        if (folder / name).is_file():
            return cast(
                Mapping[str, Tensor], convert_to_custom_text_state_dict(read_state_dict(folder / name))
            )
    raise UserError(
        f"{part}: {folder} holds no {WEIGHT_FILES[0]} or {WEIGHT_FILES[-1]}. Copy all files of "
        f"'{repository}' there, or give {part}.weights=random to run without."
    )


def _read_json(part: str, path: Path) -> dict[str, Any]:
    try:
        content = parse_json(check_regular(path).read_bytes())
    except FileNotFoundError as error:
        raise UserError(
            f"{part}: {path.parent} holds no {path.name}. Copy all published files there."
        ) from error
    except (OSError, ValueError) as error:
        raise UserError(f"{part}: {path} is not readable JSON ({error}). Download it again.") from error
    if not isinstance(content, dict):
        raise UserError(f"{part}: {path} holds no JSON object. Download it again.")
    return content
