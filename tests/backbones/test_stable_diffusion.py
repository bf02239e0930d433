"""Published pipeline folders load offline; wrong or damaged ones are refused with one clear line."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from omegaconf import DictConfig, OmegaConf
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from modise_lightning.backbones.diffusion import DiffusionBackbone
from modise_lightning.backbones.frozen_execution import FrozenExecution
from modise_lightning.backbones.stable_diffusion import load_diffusion_backbone
from modise_lightning.configuration.config_check import check_config
from modise_lightning.errors import UserError
from modise_lightning.structures import ConditioningShape

Compose = Callable[..., DictConfig]
BEGIN, END = 8, 9


def load(folder: Path | str, **changes: object) -> DiffusionBackbone:
    torch.manual_seed(0)
    arguments: dict[str, Any] = {
        "weights": str(folder),
        "repository": "someone/something",
        "files": [],
        "seed": 0,
        "architecture": {},
        "timesteps": [0],
        "noise_seed": 42,
        "projection_channels": 16,
        "bottleneck_channels": 8,
        "normalization_groups": 4,
        "identity_shortcut": False,
        "window_size": None,
        "enlarge_small_images": False,
        "max_windows": None,
        "gradient_checkpointing": False,
        "frozen_precision": "trainer",
        "channels_last": False,
        "compile": None,
        "learning_rate_multiplier": 1.0,
    }
    return load_diffusion_backbone(**{**arguments, **changes})


def edit_config(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@torch.no_grad()
def test_a_folder_gives_the_model_that_was_saved(
    pipeline_folder: Path,
    unet: UNet2DConditionModel,
    vae: AutoencoderKL,
    text_encoder: CLIPTextModel,
    alphas_cumprod: Tensor,
) -> None:
    backbone = load(pipeline_folder)
    tokens = torch.tensor([[BEGIN] + [END] * 6])
    expected = text_encoder(tokens).last_hidden_state
    # Weights lie in memory as the file has them, not aligned, and some processors round a product with a
    # single row otherwise there: equal weights, features that differ in the last bits.
    torch.testing.assert_close(backbone.unconditional_context, expected)
    torch.manual_seed(0)
    direct = DiffusionBackbone(
        unet=unet,
        vae=vae,
        unconditional_context=expected,
        alphas_cumprod=alphas_cumprod,
        timesteps=[0],
        noise_seed=42,
        projection_channels=16,
        bottleneck_channels=8,
        normalization_groups=4,
        identity_shortcut=False,
        window_size=None,
        enlarge_small_images=False,
        max_windows=None,
        gradient_checkpointing=False,
        execution=FrozenExecution(precision="trainer", channels_last=False, compile=None),
        learning_rate_multiplier=1.0,
    )
    loaded, built = backbone.state_dict(), direct.state_dict()
    assert loaded.keys() == built.keys()
    assert all(torch.equal(loaded[name], value) for name, value in built.items() if "context" not in name)
    images = torch.rand(1, 3, 64, 64)
    for found, reference in zip(backbone(images, None).levels, direct(images, None).levels, strict=True):
        torch.testing.assert_close(found, reference, rtol=1e-4, atol=1e-5)


def test_half_precision_and_pickled_weights_load(
    pipeline_folder: Path, unet: UNet2DConditionModel, vae: AutoencoderKL
) -> None:
    expected = load(pipeline_folder).state_dict()
    unet_file = pipeline_folder / "unet" / "diffusion_pytorch_model.safetensors"
    save_file({name: value.half() for name, value in load_file(unet_file).items()}, unet_file)
    for folder, safe, pickled in (
        ("vae", "diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin"),
        ("text_encoder", "model.safetensors", "pytorch_model.bin"),
    ):
        path = pipeline_folder / folder / safe
        torch.save(load_file(path), pipeline_folder / folder / pickled)
        path.unlink()
    state = load(pipeline_folder).state_dict()
    assert state.keys() == expected.keys()
    for name, value in state.items():
        assert value.dtype == torch.float32
        reference = expected[name]
        assert torch.equal(value, reference.half().float() if name.startswith("unet.") else reference)


def test_a_tokenizer_that_transformers_wrote_loads(pipeline_folder: Path) -> None:
    expected = load(pipeline_folder).unconditional_context
    tokenizer = CLIPTokenizer.from_pretrained(pipeline_folder / "tokenizer")
    shutil.rmtree(pipeline_folder / "tokenizer")
    tokenizer.save_pretrained(pipeline_folder / "tokenizer")
    assert torch.equal(load(pipeline_folder).unconditional_context, expected)


def test_the_noise_schedule_is_the_folders(pipeline_folder: Path) -> None:
    schedule = {"beta_start": 0.001, "beta_end": 0.02, "beta_schedule": "linear", "num_train_timesteps": 500}
    edit_config(pipeline_folder / "scheduler" / "scheduler_config.json", **schedule)
    backbone = load(pipeline_folder, timesteps=[499])
    alpha = DDPMScheduler(**schedule).alphas_cumprod[499]
    torch.testing.assert_close(backbone.signal_scale.flatten()[0], alpha.sqrt())
    with pytest.raises(UserError, match="to 499"):
        load(pipeline_folder, timesteps=[500])


@pytest.mark.parametrize(
    ("part", "changes", "message"),
    [
        ("unet", {"in_channels": 9}, "in_channels is 9 .*inpainting"),
        ("unet", {"in_channels": 8}, "in_channels is 8, expected 4"),
        ("unet", {"layers_per_block": 1}, "layers_per_block is 1, expected 2.*layout of Stable Diffusion 1"),
        ("unet", {"down_block_types": ["DownBlock2D"] * 4}, "down_block_types is"),
        ("unet", {"cross_attention_dim": [8, 8, 8, 8]}, "cross_attention_dim has to be one number"),
        ("unet", {"cross_attention_dim": 32}, "do not fit|cannot be read|text encoder has"),
        ("unet", {"addition_embed_type": "text_time"}, "addition_embed_type is 'text_time', expected None"),
        ("vae", {"layers_per_block": 1}, "vae/config.json: layers_per_block is 1"),
        ("vae", {"latent_channels": 16}, "latent_channels is 16, expected 4"),
        ("vae", {"block_out_channels": [8, 8, 16, 32]}, "vae cannot be read"),
        ("vae", {"block_out_channels": "wide"}, "vae cannot be read"),
        ("text_encoder", {"hidden_size": 48}, "text_encoder"),
    ],
)
def test_other_layouts_are_refused(
    pipeline_folder: Path, part: str, changes: dict[str, object], message: str
) -> None:
    edit_config(pipeline_folder / part / "config.json", **changes)
    with pytest.raises(UserError, match=message) as error:
        load(pipeline_folder)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder", "tokenizer", "scheduler"])
def test_a_missing_part_is_named(pipeline_folder: Path, part: str) -> None:
    shutil.rmtree(pipeline_folder / part)
    with pytest.raises(UserError, match=f"{part}") as error:
        load(pipeline_folder)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "file",
    [
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
        "vae/config.json",
        "vae/diffusion_pytorch_model.safetensors",
        "text_encoder/config.json",
        "text_encoder/model.safetensors",
        "tokenizer/vocab.json",
        "tokenizer/tokenizer_config.json",
        "scheduler/scheduler_config.json",
    ],
)
@pytest.mark.parametrize("damage", ["removed", "cut", "garbage"])
def test_a_damaged_file_is_named(pipeline_folder: Path, file: str, damage: str) -> None:
    path = pipeline_folder / file
    content = path.read_bytes()
    if damage == "removed" and path.name == "tokenizer_config.json":
        pytest.skip("its values are the library's defaults")
    if damage == "removed":
        path.unlink()
    else:
        path.write_bytes(content[: len(content) // 2] if damage == "cut" else b"[" + content)
    with pytest.raises(UserError, match=file.split("/")[0]) as error:
        load(pipeline_folder)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
@pytest.mark.parametrize("change", ["missing", "unexpected", "mismatched"])
def test_weights_have_to_fit_their_configuration(pipeline_folder: Path, part: str, change: str) -> None:
    (path,) = (pipeline_folder / part).glob("*.safetensors")
    state = load_file(path)
    name = max(state)
    value = state.pop(name)
    if change == "unexpected":
        state.update({name: value, "one.too.many": value.clone()})
    elif change == "mismatched":
        state[name] = torch.zeros(3, 3)
    save_file(state, path, metadata={"format": "pt"})
    with pytest.raises(UserError, match=part) as error:
        load(pipeline_folder)
    assert "\n" not in str(error.value)


class Payload:
    """Unpickling this makes a file."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(  # noqa: D105
        self,
    ) -> tuple[Callable[..., object], tuple[str, str]]:
        return open, (self.path, "w")


@pytest.mark.parametrize("part", ["unet", "text_encoder"])
def test_a_pickle_that_runs_code_is_refused(pipeline_folder: Path, tmp_path: Path, part: str) -> None:
    (path,) = (pipeline_folder / part).glob("*.safetensors")
    path.unlink()
    name = "pytorch_model.bin" if part == "text_encoder" else "diffusion_pytorch_model.bin"
    torch.save({"weight": Payload(str(tmp_path / "ran"))}, pipeline_folder / part / name)
    with pytest.raises(UserError, match=part):
        load(pipeline_folder)
    assert not (tmp_path / "ran").exists()


def test_the_tiny_configuration_builds_reproducibly(compose_config: Compose, tmp_path: Path) -> None:
    config = compose_config("train", ["backbone=sd_tiny"], tmp_path).backbone
    check_config(config)
    arguments: Any = OmegaConf.to_container(config, resolve=True)
    del arguments["_target_"]
    torch.manual_seed(1)
    first = load_diffusion_backbone(**arguments)
    torch.manual_seed(2)
    second = load_diffusion_backbone(**arguments)
    other = load_diffusion_backbone(**{**arguments, "seed": 1})
    for name, parameter in first.named_parameters():
        trained = parameter.requires_grad
        assert trained == name.startswith("projection.")
        if parameter.ndim > 1:
            # The frozen part follows the part's own seed, the trained part the run's.
            assert torch.equal(parameter, second.get_parameter(name)) is not trained
            assert not torch.equal(parameter, other.get_parameter(name))
    assert torch.equal(first.unconditional_context, second.unconditional_context)
    pyramid = first(torch.rand(1, 3, 128, 128), None)
    assert [tuple(level.shape[1:]) for level in pyramid.levels] == [
        (64, 32, 32),
        (64, 16, 16),
        (64, 8, 8),
        (64, 4, 4),
    ]


def test_wrong_architectures_are_refused(compose_config: Compose, tmp_path: Path) -> None:
    for override, message in (
        ("unet.layers_per_block=3", r"backbone\.architecture\.unet: layers_per_block is 3"),
        ("unet.cross_attention_dim=32", "text encoder has 64 channels, the UNet expects 32"),
        ("unet.norm_num_groups=5", r"backbone\.architecture: the model cannot be built"),
        ("+unet.wings=2", r"backbone\.architecture: the model cannot be built"),
    ):
        added = "+" if override.startswith("+") else ""
        overrides = ["backbone=sd_tiny", f"{added}backbone.architecture.{override.removeprefix('+')}"]
        arguments: Any = OmegaConf.to_container(compose_config("train", overrides, tmp_path).backbone)
        del arguments["_target_"]
        with pytest.raises(UserError, match=message):
            load_diffusion_backbone(**arguments)


@pytest.mark.parametrize("name", ["sd", "mame"])
def test_the_real_configurations_are_stable_diffusion(
    name: str, compose_config: Compose, tmp_path: Path
) -> None:
    """Built on the meta device, which costs no memory: parameters as published, 859.5 M and 83.7 M."""
    config = compose_config("train", [f"backbone={name}"], tmp_path).backbone
    check_config(config)
    arguments: Any = OmegaConf.to_container(config)
    del arguments["_target_"]
    with torch.device("meta"):
        unet = UNet2DConditionModel(**arguments["architecture"]["unet"])
        vae = AutoencoderKL(**arguments["architecture"]["vae"])
    assert sum(parameter.numel() for parameter in unet.parameters()) == 859_520_964
    assert sum(parameter.numel() for parameter in vae.parameters()) == 83_653_863
    assert OmegaConf.to_container(config.architecture.scheduler) == {
        "num_train_timesteps": 1000,
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
    }
    assert vae.config.scaling_factor == 0.18215
    for key in ("weights", "repository", "files", "seed", "architecture"):
        del arguments[key]
    execution = FrozenExecution(
        precision=arguments.pop("frozen_precision"),
        channels_last=arguments.pop("channels_last"),
        compile=arguments.pop("compile"),
        compiled_parts=arguments.pop("compiled_parts"),
    )
    backbone = DiffusionBackbone(
        unet=unet,
        vae=vae,
        unconditional_context=torch.empty(1, 77, 768),
        alphas_cumprod=torch.ones(1000),
        execution=execution,
        **arguments,
    )
    assert backbone.conditioning_shape == ConditioningShape(77, 768, 1280, 1)
    assert backbone.feature_channels == (512, 512, 512, 512)
    assert backbone.window_size == 512
