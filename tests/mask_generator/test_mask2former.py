"""The mask generator equals transformers' Mask2Former with the same weights, and starts like it."""

from pathlib import Path
from typing import Literal

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation, SwinConfig

from modise_lightning.errors import UserError
from modise_lightning.mask_generator.mask2former import Mask2FormerMaskGenerator
from modise_lightning.structures import FeaturePyramid

CHANNELS = (16, 32, 64, 128)


def reference(pre_norm: bool = False) -> Mask2FormerForUniversalSegmentation:
    backbone = SwinConfig(
        embed_dim=16,
        depths=[1, 1, 1, 1],
        num_heads=[1, 1, 2, 2],
        window_size=4,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    config = Mask2FormerConfig(
        backbone_config=backbone,
        feature_size=32,
        mask_feature_size=32,
        hidden_dim=32,
        encoder_feedforward_dim=48,
        encoder_layers=2,
        decoder_layers=4,
        num_attention_heads=4,
        dim_feedforward=40,
        dropout=0.0,
        pre_norm=pre_norm,
        num_queries=5,
        num_labels=3,
    )
    torch.manual_seed(0)
    return Mask2FormerForUniversalSegmentation(config).eval()


def build(
    weights: str = "random",
    channels: tuple[int, ...] = CHANNELS,
    *,
    pre_norm: bool = False,
    dropout: float = 0.0,
    initialization: Literal["original", "transformers"] = "transformers",
    full_precision_pixel_decoder: bool = False,
    **changes: int,
) -> Mask2FormerMaskGenerator:
    sizes = {
        "hidden_channels": 32,
        "num_queries": 5,
        "num_heads": 4,
        "pixel_decoder_layers": 2,
        "pixel_decoder_feedforward": 48,
        "decoder_layers": 3,
        "decoder_feedforward": 40,
        **changes,
    }
    return Mask2FormerMaskGenerator(
        feature_channels=channels,
        pre_norm=pre_norm,
        dropout=dropout,
        initialization=initialization,
        full_precision_pixel_decoder=full_precision_pixel_decoder,
        weights=weights,
        repository="published/model",
        files=[],
        **sizes,
    )


@pytest.fixture
def published(tmp_path: Path) -> Path:
    reference().save_pretrained(tmp_path)
    return tmp_path


@pytest.mark.parametrize("pre_norm", [False, True])
def test_masks_and_states_equal_transformers(published: Path, pre_norm: bool) -> None:
    model = reference(pre_norm)
    images = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        expected = model(images)
        maps = model.model.pixel_level_module.encoder(images).feature_maps
        decoded = model.model.pixel_level_module.decoder(list(maps))
        modules = model.model.transformer_module(list(decoded.multi_scale_features), decoded.mask_features)
        output = build(str(published), pre_norm=pre_norm).eval()(FeaturePyramid(*maps))
    masks = torch.einsum("lbqc,bchw->lbqhw", output.mask_embeddings, output.mask_features)
    assert masks.shape == (4, 2, 5, 16, 24)
    torch.testing.assert_close(masks[-1], expected.masks_queries_logits)
    torch.testing.assert_close(masks, torch.stack(modules.masks_queries_logits))
    states = torch.stack(modules.intermediate_hidden_states).transpose(1, 2)
    torch.testing.assert_close(output.hidden_states, states)
    torch.testing.assert_close(output.mask_features, decoded.mask_features)


def test_random_weights_are_initialised_as_transformers_does() -> None:
    torch.manual_seed(0)
    own = build().state_dict()
    theirs = reference().state_dict()
    prefixes = {
        "pixel_decoder.": "model.pixel_level_module.decoder.",
        "transformer_module.": "model.transformer_module.",
    }
    for name, tensor in own.items():
        prefix = next(prefix for prefix in prefixes if name.startswith(prefix))
        expected = theirs[prefixes[prefix] + name.removeprefix(prefix)]
        assert torch.isfinite(tensor).all(), name
        # Constants are the same; random values have the same spread, as far as few samples tell.
        if expected.std() == 0 or "sampling_offsets" in name:
            assert torch.allclose(tensor, expected), name
        elif tensor.numel() > 500:
            assert float(tensor.std()) == pytest.approx(float(expected.std()), rel=0.2), name
    assert float(own["pixel_decoder.level_embed"].abs().max()) < 10


def test_initialisation_does_not_depend_on_what_memory_held() -> None:
    torch.manual_seed(1)
    first = build().state_dict()
    garbage = [torch.full((1000,), 1e30) for _ in range(100)]
    del garbage
    torch.manual_seed(1)
    second = build().state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_dropout_leaves_no_prediction_out() -> None:
    torch.manual_seed(0)
    model = build(dropout=0.9).train()
    features = FeaturePyramid(
        *(
            torch.randn(1, channels, size, size)
            for channels, size in zip(CHANNELS, (16, 8, 4, 2), strict=True)
        )
    )
    for _ in range(4):
        assert len(model(features).mask_embeddings) == 4


def test_every_parameter_that_makes_masks_gets_a_finite_gradient() -> None:
    torch.manual_seed(0)
    model = build().train()
    features = FeaturePyramid(
        *(
            torch.randn(2, channels, size, size)
            for channels, size in zip(CHANNELS, (16, 8, 4, 2), strict=True)
        )
    )
    output = model(features)
    masks = torch.einsum("lbqc,bchw->lbqhw", output.mask_embeddings, output.mask_features)
    (masks.square().mean() + output.hidden_states.sin().mean()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


def test_other_channels_and_queries_stay_fresh(published: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        model = build(str(published), channels=(8, 8, 8, 8), num_queries=7)
    weights = load_file(published / "model.safetensors")
    name = "transformer_module.decoder.layers.0.fc1.weight"
    assert torch.equal(model.state_dict()[name], weights[f"model.{name}"])
    assert "pixel_decoder.input_projections.0.0.weight" in caplog.text
    assert "transformer_module.queries_embedder.weight" in caplog.text
    assert "decoder.layers" not in caplog.text


def test_other_sizes_are_refused(published: Path) -> None:
    with pytest.raises(UserError, match=r"has other sizes than configured: .* is "):
        build(str(published), decoder_feedforward=64)
    with pytest.raises(UserError, match="is not a Mask2Former with these layers"):
        build(str(published), decoder_layers=2)


def test_a_file_that_is_no_mask2former_is_refused(tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match="is not a Mask2Former"):
        build(str(tmp_path))
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"model\.safetensors' is missing"):
        build(str(tmp_path))
