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
from hypothesis import settings
from omegaconf import DictConfig, open_dict

from modise_lightning.configuration.command_line import config_directory
from tiny_runs import phantom_overrides

REPOSITORY = Path(__file__).parents[1]


# Continuous integration tries the same examples each time; on a developer's machine new ones.
settings.register_profile("ci", derandomize=True, deadline=None)
if os.environ.get("CI"):
    settings.load_profile("ci")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the groups that one process runs, so that none of them is left alone at the end."""
    items.sort(key=lambda item: item.get_closest_marker("xdist_group") is None)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Leave out what needs a GPU where there is none."""
    if item.get_closest_marker("cuda") and not torch.cuda.is_available():
        pytest.skip("needs a GPU")


@pytest.fixture(autouse=True, scope="session")
def _threads() -> None:
    """The tests run in several processes, each on its own core; TEST_THREADS tries more."""
    torch.set_num_threads(int(os.environ.get("TEST_THREADS", "1")))


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


@pytest.fixture(scope="session")
def fold_runs(phantom_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write checkpoints of folds 0 and 1, not trained, in a folder as a multirun has them."""
    from fold_runs import write_fold

    folder = tmp_path_factory.mktemp("multirun")
    for fold in (0, 1):
        write_fold(phantom_root, folder / str(fold), f"fold={fold}", f"seed={fold}")
    return folder
