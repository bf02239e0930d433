"""Published CLIP folders load without a network, and give what open_clip's own model gives."""

import json
import shutil
import socket
from pathlib import Path
from typing import Any

import open_clip
import pytest
import safetensors.torch
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from transformers import BertTokenizer

from modise_lightning.captioners.implicit import ImplicitCaptioner, load_captioner
from modise_lightning.configuration.config_check import check_config
from modise_lightning.errors import UserError
from modise_lightning.structures import ConditioningShape
from modise_lightning.text.encoder import TextEncoder, load_text_encoder

CONF = Path(__file__).parents[2] / "conf"
SHAPE = ConditioningShape(context_length=7, context_channels=12, time_channels=20, timesteps=2)
BIOMEDBERT = "microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract"
VOCABULARY = [
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
    *("a", "benign", "malignant", "mass", "calcification", "##s", "in", "the", "breast"),
]
TINY_BERT = {
    "architectures": ["BertForMaskedLM"],
    "model_type": "bert",
    "vocab_size": len(VOCABULARY),
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "pad_token_id": 0,
}
BIOMEDCLIP = {  # the published open_clip_config.json with another image tower
    "embed_dim": 24,
    "vision_cfg": {
        "timm_model_name": "test_vit",
        "timm_model_pretrained": False,
        "timm_pool": "",
        "timm_proj": "linear",
        "image_size": 160,
    },
    "text_cfg": {
        "hf_model_name": BIOMEDBERT,
        "hf_tokenizer_name": BIOMEDBERT,
        "hf_proj_type": "mlp",
        "hf_pooler_type": "cls_last_hidden_state_pooler",
        "context_length": 256,
    },
}
OPENAI = {
    "embed_dim": 24,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 64, "layers": 2, "width": 64, "head_width": 32, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2},
}
TEXTS = ["malignant mass", "calcifications in the breast", ""]


def write_config(folder: Path, model_config: dict[str, Any]) -> None:
    preprocess = {"mean": open_clip.OPENAI_DATASET_MEAN, "std": open_clip.OPENAI_DATASET_STD}
    text = json.dumps({"model_cfg": model_config, "preprocess_cfg": preprocess})
    (folder / "open_clip_config.json").write_text(text)


@pytest.fixture(scope="module")
def biomedclip(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, open_clip.CustomTextCLIP]:
    """A folder in the layout of BiomedCLIP's repository, without BiomedBERT's config.json, and its model."""
    folder = tmp_path_factory.mktemp("biomedclip")
    bert = tmp_path_factory.mktemp("bert")
    (bert / "config.json").write_text(json.dumps(TINY_BERT))
    text = {**BIOMEDCLIP["text_cfg"], "hf_model_name": str(bert), "hf_model_pretrained": False}
    torch.manual_seed(1)
    model = open_clip.CustomTextCLIP(24, BIOMEDCLIP["vision_cfg"], text).eval()
    write_config(folder, BIOMEDCLIP)
    obsolete = {"text.transformer.embeddings.position_ids": torch.arange(512)[None]}
    torch.save({**model.state_dict(), **obsolete}, folder / "open_clip_pytorch_model.bin")
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY))
    BertTokenizer(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    return folder, model


@pytest.fixture(scope="module")
def openai(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, open_clip.CLIP]:
    """A folder in the layout of timm/vit_large_patch14_clip_336.openai, and its model."""
    folder = tmp_path_factory.mktemp("openai")
    torch.manual_seed(2)
    model = open_clip.CLIP(**OPENAI).eval()
    write_config(folder, OPENAI)
    safetensors.torch.save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    # timm's image tower, which lies beside it, is not what open_clip reads.
    safetensors.torch.save_file({"head.weight": torch.zeros(1)}, folder / "model.safetensors")
    return folder, model


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Every attempt to reach the network, all of which fail."""
    attempts: list[object] = []

    def refuse(*args: object, **_: object) -> None:
        attempts.append(args)
        raise OSError("no network in this test")

    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    return attempts


def captioner(weights: object, architecture: dict[str, Any] = OPENAI, seed: int = 0) -> ImplicitCaptioner:
    return load_captioner(
        weights=str(weights),
        repository="x/y",
        files=["*"],
        seed=seed,
        architecture=architecture,
        antialias=True,
        shape=SHAPE,
    )


def text_encoder(
    weights: object,
    architecture: dict[str, Any] = OPENAI,
    seed: int = 0,
    text_model_config: dict[str, Any] | None = None,
) -> TextEncoder:
    return load_text_encoder(
        weights=str(weights),
        repository="x/y",
        files=["*"],
        seed=seed,
        architecture=architecture,
        text_model_config=text_model_config,
    )


@pytest.mark.parametrize("where", ["sub-folder", "organisation/sub-folder", "known values"])
def test_biomedclip_folder_loads_without_network(
    biomedclip: tuple[Path, open_clip.CustomTextCLIP], tmp_path: Path, connections: list[object], where: str
) -> None:
    published, model = biomedclip
    folder = shutil.copytree(published, tmp_path / "copy")
    if where != "known values":
        path = BIOMEDBERT if where.startswith("organisation") else Path(BIOMEDBERT).name
        (folder / path).mkdir(parents=True)
        (folder / path / "config.json").write_text(json.dumps(TINY_BERT))
    known = TINY_BERT if where == "known values" else None
    encoder = text_encoder(folder, BIOMEDCLIP, text_model_config=known)
    images = torch.rand(2, 3, 160, 160)
    image_embedding = captioner(folder, BIOMEDCLIP).image_encoder(images)
    assert connections == []

    normalised = open_clip.transform.Normalize(open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)
    tokens = torch.tensor(
        [
            [2, 7, 8, 3] + [0] * 252,
            [2, 9, 10, 11, 12, 13, 3] + [0] * 249,
            [2, 3] + [0] * 254,
        ]
    )
    with torch.no_grad():
        torch.testing.assert_close(encoder(TEXTS), model.encode_text(tokens))
        torch.testing.assert_close(image_embedding, model.encode_image(normalised(images)))


def test_openai_folder_loads_without_network(
    openai: tuple[Path, open_clip.CLIP], connections: list[object]
) -> None:
    folder, model = openai
    images = torch.rand(2, 3, 64, 64)
    image_embedding = captioner(folder).image_encoder(images)
    text_embedding = text_encoder(folder)(TEXTS)
    assert connections == []
    normalised = open_clip.transform.Normalize(open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)
    with torch.no_grad():
        torch.testing.assert_close(image_embedding, model.encode_image(normalised(images)))
        torch.testing.assert_close(text_embedding, model.encode_text(open_clip.tokenize(TEXTS)))


def test_random_weights_come_from_the_seed_alone() -> None:
    images = torch.rand(1, 3, 64, 64)
    state = torch.get_rng_state()
    first = captioner("random")
    assert not torch.equal(state, torch.get_rng_state()), "the trained part follows the run's seed"
    torch.manual_seed(99)
    second, other = captioner("random"), captioner("random", seed=1)
    torch.testing.assert_close(first.image_encoder(images), second.image_encoder(images), rtol=0, atol=0)
    assert not torch.allclose(first.image_encoder(images), other.image_encoder(images))

    state = torch.get_rng_state()
    texts = [text_encoder("random", seed=seed)(TEXTS) for seed in (0, 0, 1)]
    assert torch.equal(state, torch.get_rng_state())
    torch.testing.assert_close(texts[0], texts[1], rtol=0, atol=0)
    assert not torch.allclose(texts[0], texts[2])


def test_quick_gelu_that_the_weights_do_not_state(
    openai: tuple[Path, open_clip.CLIP], tmp_path: Path
) -> None:
    published, model = openai
    folder = shutil.copytree(published, tmp_path / "copy")
    write_config(folder, {key: value for key, value in OPENAI.items() if key != "quick_gelu"})
    with pytest.warns(UserWarning, match="quick_gelu"):
        encoder = text_encoder(folder)
    torch.testing.assert_close(encoder(TEXTS), model.encode_text(open_clip.tokenize(TEXTS)).detach())
    exact = text_encoder(folder, {**OPENAI, "quick_gelu": False})
    assert not torch.allclose(encoder(TEXTS), exact(TEXTS))


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        ("remove open_clip_config.json", "text.encoder: .* holds no open_clip_config.json"),
        ("remove open_clip_pytorch_model.bin", "text.encoder: .* holds no .*open_clip_pytorch_model.bin"),
        ("remove tokenizer", "text.encoder: .* holds no tokenizer.json or vocab.txt"),
        ("break open_clip_config.json", "text.encoder: .*open_clip_config.json is not readable JSON"),
        ("break open_clip_pytorch_model.bin", "open_clip_pytorch_model.bin"),
        ("break tokenizer.json", "text.encoder: the tokenizer files in .* are not readable"),
        ("no model_cfg", "text.encoder: .*open_clip_config.json has no model_cfg"),
        ("no text_model_config", f"text.encoder: .*'{BIOMEDBERT}', whose config.json is needed"),
        ("two text_model_config", "text.encoder: '.*config.json' and '.*config.json' could both be"),
        ("foreign text model", "text.encoder: .*config.json: model_type is 'foreign'"),
        ("other shapes", r"text.encoder: .* [1-9]\d* of another shape"),
        ("unknown option", "text.encoder: open_clip cannot build .*open_clip_config.json"),
        ("small vocabulary", r"text.encoder: .* [1-9]\d* of another shape"),
        ("large tokenizer", "text.encoder: the tokenizer in .* knows 15 tokens, the text tower 14"),
    ],
)
def test_damaged_folder_is_one_clear_line(
    biomedclip: tuple[Path, open_clip.CustomTextCLIP], tmp_path: Path, damage: str, expected: str
) -> None:
    folder = shutil.copytree(biomedclip[0], tmp_path / "copy")
    bert: dict[str, Any] | None = TINY_BERT
    match damage.split(" ", 1):
        case ["remove", "tokenizer"]:
            for file in ("tokenizer.json", "vocab.txt"):
                (folder / file).unlink()
        case ["remove", file]:
            (folder / file).unlink()
        case ["break", file]:
            (folder / file).write_text("{")
        case ["no", "model_cfg"]:
            (folder / "open_clip_config.json").write_text("{}")
        case ["no", "text_model_config"]:
            bert = None
        case ["two", _]:
            for place in (".", "other"):
                sub_folder = folder / place / Path(BIOMEDBERT).name
                sub_folder.mkdir(parents=True)
                (sub_folder / "config.json").write_text(json.dumps(TINY_BERT))
        case ["foreign", _]:
            sub_folder = folder / Path(BIOMEDBERT).name
            sub_folder.mkdir()
            foreign = {"model_type": "foreign", "auto_map": {"AutoConfig": "evil.Config"}}
            (sub_folder / "config.json").write_text(json.dumps(foreign))
        case ["other", "shapes"]:
            bert = {**TINY_BERT, "intermediate_size": 65}
        case ["unknown", "option"]:
            text = {**BIOMEDCLIP["text_cfg"], "no_such_option": 1}
            write_config(folder, {**BIOMEDCLIP, "text_cfg": text})
        case ["small", "vocabulary"]:
            bert = {**TINY_BERT, "vocab_size": 13}
        case ["large", "tokenizer"]:
            for file in ("tokenizer.json", "tokenizer_config.json"):
                (folder / file).unlink()
            BertTokenizer(vocab={word: i for i, word in enumerate([*VOCABULARY, "more"])}).save_pretrained(
                folder
            )
        case _:
            pytest.fail(damage)
    with pytest.raises(UserError, match=expected) as error:
        text_encoder(folder, BIOMEDCLIP, text_model_config=bert)
    assert "\n" not in str(error.value)


def test_missing_weights_of_the_captioner_name_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^captioner: .* holds no open_clip_config\.json"):
        captioner(tmp_path)
    with pytest.raises(UserError, match=r"^captioner: .*nowhere"):
        captioner(tmp_path / "nowhere")
    (tmp_path / "file.bin").touch()
    with pytest.raises(UserError, match=r"^captioner: .*file\.bin' is not a folder"):
        captioner(tmp_path / "file.bin")


@pytest.mark.parametrize("name", ["clip_tiny", "biomedclip"])
def test_shipped_configurations_run_at_full_size_without_network(
    name: str, connections: list[object]
) -> None:
    """Random BiomedCLIP needs neither weights, nor tokenizer files, nor BiomedBERT's configuration."""
    with initialize_config_dir(str(CONF), version_base=None):
        config = compose(
            f"captioner/{name}", overrides=["captioner.weights=random", "captioner.antialias=true"]
        )
        text_config = compose(f"text/{name}", overrides=["text.encoder.weights=random"])
    check_config(config)
    check_config(text_config)
    module = instantiate(config.captioner, _convert_="all")(shape=SHAPE)
    conditioning = module(torch.rand(1, 3, 96, 128))
    assert conditioning.context.shape == (1, 7, 12)
    encoder = instantiate(text_config.text.encoder, _convert_="all")
    embeddings = encoder(["benign mass", "malignant mass", ""])
    assert embeddings.shape == (3, module.image_encoder.embedding_dim)
    assert torch.pdist(embeddings).min() > 0.01
    assert connections == []


@pytest.mark.parametrize("name", ["clip", "biomedclip"])
def test_shipped_architecture_is_the_published_one(name: str) -> None:
    with initialize_config_dir(str(CONF), version_base=None):
        config = compose(f"captioner/{name}", overrides=["captioner.antialias=true"]).captioner
    check_config(config)
    if name == "clip":
        assert config.architecture == open_clip.get_model_config("ViT-L-14-336-quickgelu")
        published = open_clip.get_pretrained_cfg("ViT-L-14-336-quickgelu", "openai")
        assert f"{config.repository}/" == published["hf_hub"]
    else:
        assert config.architecture.text_cfg.context_length == 256
        assert config.architecture.vision_cfg.timm_model_name == "vit_base_patch16_224"
