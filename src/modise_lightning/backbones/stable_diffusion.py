"""Builds the diffusion backbone from a pipeline folder that diffusers wrote, or with random weights."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar, cast

import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from pydantic import Field, PositiveInt
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from modise_lightning.backbones.diffusion import DiffusionBackbone
from modise_lightning.backbones.frozen_execution import (
    CompileBackend,
    FrozenExecution,
    FrozenPart,
    FrozenPrecision,
)
from modise_lightning.backbones.layout import check_unet, check_vae
from modise_lightning.errors import UserError
from modise_lightning.feature_store.store import FeatureStore
from modise_lightning.pretrained.weights import locate
from modise_lightning.regular_files import check_regular

T = TypeVar("T")

_DIFFUSERS_FILES = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin")


@dataclass(frozen=True)
class DiffusionModel:
    """The parts of a text-to-image diffusion model that its features need.

    Attributes:
        unet: In the layout of Stable Diffusion 1.
        vae: In the layout of Stable Diffusion 1.
        unconditional_context: (1, tokens, channels), the text encoder's encoding of the empty text.
        alphas_cumprod: (T,) of the noise schedule.
    """

    unet: UNet2DConditionModel
    vae: AutoencoderKL
    unconditional_context: Tensor
    alphas_cumprod: Tensor


def load_diffusion_backbone(
    *,
    weights: str,
    repository: str,
    files: Sequence[str],
    seed: int,
    architecture: Mapping[str, Mapping[str, Any]],
    timesteps: Sequence[int],
    noise_seed: int,
    projection_channels: PositiveInt,
    bottleneck_channels: PositiveInt,
    normalization_groups: PositiveInt,
    identity_shortcut: bool,
    window_size: int | None,
    enlarge_small_images: bool,
    max_windows: int | None,
    gradient_checkpointing: bool,
    frozen_precision: FrozenPrecision,
    channels_last: bool,
    compile: CompileBackend | None,
    learning_rate_multiplier: Annotated[float, Field(ge=0, allow_inf_nan=False)],
    compiled_parts: Sequence[FrozenPart] = ("vae", "unet"),
    feature_store: FeatureStore | None = None,
) -> DiffusionBackbone:
    """Build a diffusion backbone.

    Args:
        weights: ``hub``, ``random``, or a local folder with diffusers' ``unet``, ``vae``, ``text_encoder``,
            ``tokenizer`` and ``scheduler``.
        repository: Published id on the Hugging Face hub.
        files: File name patterns that ``hub`` downloads.
        seed: Of random frozen weights.
        architecture: Of random weights: arguments of ``unet``, ``vae``, ``text_encoder`` and ``scheduler``.
        timesteps: Where features are taken; -1 is timestep 0 without noise.
        noise_seed: Of the fixed noise.
        projection_channels: Channels of each pyramid level.
        bottleneck_channels: Channels inside the projections.
        normalization_groups: Groups of each GroupNorm of the projections.
        identity_shortcut: Whether a tap of ``projection_channels`` goes past its projection as it is.
        window_size: Height and width of the input in pixels; None for any multiples of 32.
        enlarge_small_images: Whether windows of an image that is smaller than a window are as large as its
            shorter side and are enlarged; else the image is padded with zeros.
        max_windows: Windows that are computed at a time, which caps the memory; None for all.
        gradient_checkpointing: Less memory, more computation in training; the result is the same.
        frozen_precision: Number format of the frozen diffusion model; see ``FrozenExecution``.
        channels_last: Its memory layout; likewise.
        compile: Backend of ``torch.compile`` for it; None for none.
        learning_rate_multiplier: Share of the learning rate that the projections get.
        compiled_parts: Which parts ``compile`` is for. Checkpoints made before there was this choice have
            both.
        feature_store: Where the VAE's latents and taps are kept; None computes them each time.

    Raises:
        UserError: The weights are missing, damaged, or of another layout than Stable Diffusion 1.
    """
    folder = locate(part="backbone", weights=weights, repository=repository, patterns=files)
    model = _random_model(architecture, seed) if folder is None else read_diffusion_model(folder)
    return DiffusionBackbone(
        unet=model.unet,
        vae=model.vae,
        unconditional_context=model.unconditional_context,
        alphas_cumprod=model.alphas_cumprod,
        timesteps=timesteps,
        noise_seed=noise_seed,
        projection_channels=projection_channels,
        bottleneck_channels=bottleneck_channels,
        normalization_groups=normalization_groups,
        identity_shortcut=identity_shortcut,
        window_size=window_size,
        enlarge_small_images=enlarge_small_images,
        max_windows=max_windows,
        gradient_checkpointing=gradient_checkpointing,
        execution=FrozenExecution(
            precision=frozen_precision,
            channels_last=channels_last,
            compile=compile,
            compiled_parts=compiled_parts,
        ),
        learning_rate_multiplier=learning_rate_multiplier,
        feature_store=feature_store,
    )


def read_diffusion_model(folder: Path) -> DiffusionModel:
    """Read a pipeline folder of diffusers without running any code in it.

    Raises:
        UserError: A sub-folder is missing or damaged, or the layout is not that of Stable Diffusion 1.
    """
    check_unet(_read_config(folder / "unet"), str(folder / "unet" / "config.json"))
    check_vae(_read_config(folder / "vae"), str(folder / "vae" / "config.json"))
    context = _encode_empty_text(folder)
    scheduler_folder = folder / "scheduler"
    scheduler = _read(
        scheduler_folder,
        lambda: cast(Any, DDPMScheduler).from_pretrained(scheduler_folder, local_files_only=True),
    )
    unet: Any = _read_model(UNet2DConditionModel, folder / "unet", *_DIFFUSERS_FILES)
    vae = _read_model(AutoencoderKL, folder / "vae", *_DIFFUSERS_FILES)
    _check_context(unet.config.cross_attention_dim, context, str(folder))
    return DiffusionModel(unet, vae, context, scheduler.alphas_cumprod)


def _random_model(architecture: Mapping[str, Mapping[str, Any]], seed: int) -> DiffusionModel:
    where = "backbone.architecture"
    for part in ("unet", "vae", "text_encoder", "scheduler"):
        if not isinstance(architecture.get(part), Mapping):
            raise UserError(f"{where}.{part}: missing.")
    check_unet(architecture["unet"], f"{where}.unet")
    check_vae(architecture["vae"], f"{where}.vae")
    # Frozen random weights are not stored in checkpoints: the seed has to give them again.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        try:
            scheduler = cast(Any, DDPMScheduler)(**architecture["scheduler"])
            unet = cast(Any, UNet2DConditionModel)(**architecture["unet"])
            vae = cast(Any, AutoencoderKL)(**architecture["vae"])
            text_encoder = CLIPTextModel(CLIPTextConfig(**architecture["text_encoder"]))
            config: Any = text_encoder.config
            ids = torch.full((1, config.max_position_embeddings), config.pad_token_id)
            ids[0, :2] = torch.tensor([config.bos_token_id, config.eos_token_id])
            context = _encode(text_encoder, ids)
        except Exception as error:  # The libraries raise many kinds on a wrong argument.
            raise UserError(f"{where}: the model cannot be built ({_first_line(error)}).") from error
    _check_context(unet.config.cross_attention_dim, context, where)
    return DiffusionModel(unet, vae, context, scheduler.alphas_cumprod)


def _encode_empty_text(folder: Path) -> Tensor:
    text_encoder = _read_model(
        CLIPTextModel, folder / "text_encoder", "model.safetensors", "pytorch_model.bin"
    )
    tokenizer_folder = folder / "tokenizer"

    def encode() -> Tensor:
        files = {path.name for path in tokenizer_folder.iterdir()}
        if "tokenizer.json" not in files and not {"vocab.json", "merges.txt"} <= files:
            # Without this the library makes an empty vocabulary of its own.
            raise FileNotFoundError("no vocab.json and merges.txt, and no tokenizer.json")
        tokenizer = CLIPTokenizer.from_pretrained(tokenizer_folder, local_files_only=True)
        length = text_encoder.config.max_position_embeddings
        tokens = tokenizer("", padding="max_length", max_length=length, truncation=True, return_tensors="pt")
        return _encode(text_encoder, tokens.input_ids)

    return _read(tokenizer_folder, encode)


@torch.no_grad()
def _encode(text_encoder: CLIPTextModel, token_ids: Tensor) -> Tensor:
    text_encoder.requires_grad_(False).train(False)
    return cast(Tensor, text_encoder(token_ids).last_hidden_state)


def _read_model(model_class: Any, folder: Path, safe_name: str, pickle_name: str) -> Any:  # noqa: ANN401
    """Load a model, from safetensors where there is one, else from a pickle that holds nothing but tensors.

    Args:
        model_class: A model class of diffusers or transformers; both read pickles with ``weights_only=True``.
        folder: With its ``config.json`` and weights.
        safe_name: File name of the weights as safetensors.
        pickle_name: File name of the weights as a pickle.
    """
    safe, pickled = folder / safe_name, folder / pickle_name
    if not safe.is_file() and not pickled.is_file():
        raise UserError(
            f"backbone: {folder} holds neither {safe.name} nor {pickled.name}. Copy the published files "
            "there (backbone.weights), or give backbone.weights=random to run without."
        )
    options = {} if model_class is CLIPTextModel else {"low_cpu_mem_usage": False}
    model, report = _read(
        folder,
        lambda: model_class.from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=safe.is_file(),
            dtype=torch.float32,
            output_loading_info=True,
            **options,
        ),
    )
    wrong = {
        kind: sorted(map(str, report[f"{kind}_keys"])) for kind in ("missing", "unexpected", "mismatched")
    }
    # Older transformers stored this constant, newer ones compute it.
    wrong["unexpected"] = [
        name for name in wrong["unexpected"] if not name.endswith("embeddings.position_ids")
    ]
    for kind, keys in wrong.items():
        if keys:
            raise UserError(
                f"backbone: the weights in {folder} do not fit its config.json: {len(keys)} {kind}, first "
                f"{keys[0]}. Copy the folder again."
            )
    return model


def _read(folder: Path, read: Callable[[], T]) -> T:
    if not folder.is_dir():
        raise UserError(
            f"backbone: no folder '{folder}'. backbone.weights has to be a diffusers pipeline folder with "
            "unet, vae, text_encoder, tokenizer and scheduler."
        )
    try:
        return read()
    except Exception as error:  # The libraries raise many kinds on a damaged or hostile file.
        raise UserError(
            f"backbone: {folder} cannot be read ({_first_line(error)}). Copy the published folder again."
        ) from error


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    config = _read(folder, lambda: json.loads(check_regular(path).read_text(encoding="utf-8")))
    if not isinstance(config, dict):
        raise UserError(f"backbone: {path} holds no JSON object. Copy the published folder again.")
    return config


def _check_context(expected: int, context: Tensor, where: str) -> None:
    if context.shape[-1] != expected:
        raise UserError(
            f"backbone: {where}: the text encoder has {context.shape[-1]} channels, the UNet expects "
            f"{expected} (cross_attention_dim). Take both from the same model."
        )


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
