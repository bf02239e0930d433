"""``--help`` is a menu: choices with what each is for, and the command's own settings."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig

from modise_lightning.configuration.command_line import config_directory
from modise_lightning.configuration.help_menu import register_menu

NEVER_CHOSEN = ["classifier", "clip", "comparison", "curves", "diffusion", "fusion", "gathering", "reading"]
NEVER_CHOSEN += ["scale"]
NEVER_CHOSEN += ["swin"]
OF_TRAINING = ["augmentation", "backbone", "captioner", "criterion", "data", "experiment", "feature_store"]
OF_TRAINING += [
    "hydra/launcher",
    "inference/clip_head",
    "logger",
    "mask_generator",
    "metrics",
    "optimizer",
    "protocol",
    "sampling",
    "text",
    "trainer",
]
OF_A_MODEL = ["backbone", "captioner", "data", "experiment", "inference/clip_head", "mask_generator"]
OF_A_MODEL += ["metrics", "protocol", "text"]
CHOICES = {
    "train": OF_TRAINING,
    "import_checkpoint": OF_A_MODEL,
    "prepare": ["data"],
    "preview": ["augmentation", "data", "sampling"],
    "evaluate": ["data", "metrics", "trainer", "views"],
    "predict": ["views"],
    "tables": [],
    "figures": [],
    "report": [],
    "tune": [],
    "package": [],
    "info": [],
    "serve": [],
}
# A setting that each command must be given, or is known for.
SETTINGS = {
    "train": "fold: 0",
    "import_checkpoint": "source: ???",
    "prepare": "verify_only: false",
    "preview": "versions: 5",
    "evaluate": "checkpoint: ${model}",
    "predict": "input: ???",
    "tables": "runs: ???",
    "figures": "runs: ???",
    "report": "runs: ???",
    "tune": "runs: ???",
    "package": "runs: ???",
    "info": "model: null",
    "serve": "port: 8501",
}


@pytest.fixture(autouse=True)
def _hydra_forgets() -> Iterator[None]:
    yield
    GlobalHydra.instance().clear()
    HydraConfig.instance().cfg = None


@cache
def shown_help(command: str, *overrides: str) -> str:
    register_menu()
    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        config = compose(command, overrides=list(overrides), return_hydra_config=True)
    HydraConfig.instance().set_config(config)
    return str(config.hydra.help.template).replace("$$", "$")


def test_every_command_is_listed() -> None:
    assert sorted(CHOICES) == sorted(file.stem for file in config_directory().glob("*.yaml"))


@pytest.mark.parametrize("command", CHOICES)
def test_the_menu_lists_only_choices(command: str) -> None:
    text = shown_help(command)
    menu = text.split("== Choices")[1].split("== Settings")[0]
    assert re.findall(r"^(\S+)=$", menu, re.MULTILINE) == CHOICES[command]
    for group in NEVER_CHOSEN:
        assert f"{group}=" not in menu
    settings = text.split("== Settings of this command ==")[1]
    assert f"  {SETTINGS[command]}" in settings
    assert max(map(len, menu.splitlines())) <= 110
    assert len(text.splitlines()) < 120


@pytest.mark.parametrize("command", ["train", "prepare", "preview", "evaluate", "predict"])
def test_every_choice_has_a_line_with_its_purpose(command: str) -> None:
    lines = shown_help(command).splitlines()
    for group in CHOICES[command]:
        start = lines.index(f"{group}=")
        for file in config_directory().joinpath(group).glob("*.yaml"):
            if (group, file.stem) == ("data", "base"):
                continue
            comments = [line for line in file.read_text().splitlines() if not line.startswith("# @package")]
            purpose = comments[0].removeprefix("# ")[:40]
            line = next(line for line in lines[start:] if re.match(rf"  [* ] {file.stem} ", line))
            assert purpose in line


def test_a_star_marks_what_is_chosen() -> None:
    text = shown_help("train", "backbone=mame")
    assert re.search(r"^  \* mame ", text, re.MULTILINE)
    assert re.search(r"^  \* full ", text, re.MULTILINE), "the trainer follows the backbone"
    assert not re.search(r"^  \* sd_tiny ", text, re.MULTILINE)
    assert "image_size: 1024" in text


def test_choices_of_a_plug_in_are_listed(tmp_path: Path) -> None:
    (tmp_path / "backbone").mkdir()
    (tmp_path / "backbone" / "mine.yaml").write_text("# A backbone of one's own.\n_target_: mine.load\n")
    text = shown_help("train", f"hydra.searchpath=[file://{tmp_path}]")
    assert re.search(r"^    mine +A backbone of one's own\.$", text, re.MULTILINE)
