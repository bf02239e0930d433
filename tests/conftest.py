"""What the tests share: small datasets and composed configurations."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.setdefault("WANDB_MODE", "offline")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, open_dict

from modise_lightning.command_line import config_directory

REPOSITORY = Path(__file__).parents[1]

# A few images, a step of training and of each evaluation.
ONE_STEP = [
    "trainer.max_epochs=1",
    "trainer.check_val_every_n_epoch=1",
    "trainer.limit_train_batches=1",
    "trainer.limit_val_batches=1",
    "trainer.limit_test_batches=1",
    "trainer.num_sanity_val_steps=0",
    "trainer.accelerator=cpu",
    "trainer.precision=32-true",
    "callbacks.progress=null",
    "data.module.num_workers=0",
    "data.module.batch_size=2",
    "data.module.evaluation_batch_size=2",
    "pictures.num_images=2",
]


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """The tests run in several processes, each on its own core."""
    torch.set_num_threads(1)


@pytest.fixture
def compose_config() -> Iterator[Callable[..., DictConfig]]:
    """Compose a shipped configuration as the command line does."""

    def composed(name: str, overrides: list[str], output_dir: Path) -> DictConfig:
        with initialize_config_dir(str(config_directory()), version_base="1.3"):
            config = compose(name, overrides=overrides, return_hydra_config=True)
        with open_dict(config):
            config.hydra.runtime.output_dir = str(output_dir)
        HydraConfig.instance().set_config(config)
        with open_dict(config):
            del config["hydra"]
        return config

    yield composed
    GlobalHydra.instance().clear()
    HydraConfig.instance().cfg = None


@pytest.fixture(scope="session")
def phantom_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a small phantom dataset, with the parameters that ``phantom_overrides`` gives."""
    from hydra.utils import instantiate

    root = tmp_path_factory.mktemp("phantom")
    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        config = compose("prepare", overrides=["data=phantom", *phantom_overrides(root)])
    instantiate(config.data.preparer, _convert_="all").prepare()
    return root


def phantom_overrides(root: Path) -> list[str]:
    """Configuration of the small phantom dataset."""
    return [
        f"data.root={root}",
        "data.preparer.num_patients=10",
        "data.preparer.image_size=128",
        "data.preparer.num_processes=1",
        "data.module.train_transform.crop_size=128",
        "data.module.evaluation_transform.longest_side=128",
    ]
