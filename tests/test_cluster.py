"""Sweeps through submitit: the SLURM launcher composes, the local one runs a job of one step."""

import json
from pathlib import Path

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from forked import forked
from modise_lightning.configuration.command_line import config_directory
from tiny_runs import ONE_STEP, phantom_overrides


def test_the_slurm_launcher_composes() -> None:
    overrides = ["hydra/launcher=slurm", "hydra.launcher.gpus_per_node=4", "trainer=ddp"]
    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        config = compose("train", overrides=overrides, return_hydra_config=True)
    launcher = config.hydra.launcher
    assert launcher._target_.endswith("SlurmLauncher")
    # Tasks a node follow the GPUs, as Lightning wants it.
    tasks = OmegaConf.select(config, "hydra.launcher.tasks_per_node")
    assert (launcher.nodes, launcher.gpus_per_node, tasks) == (1, 4, 4)
    assert config.trainer.devices == "auto"
    assert config.trainer.strategy._target_.endswith("DDPStrategy")


def test_a_job_runs_through_submitit(phantom_root: Path, tmp_path: Path) -> None:
    overrides = [*phantom_overrides(phantom_root), *ONE_STEP, "baselines=[]", "fold=1", "name=job"]
    launcher = ["hydra/launcher=local_jobs", f"hydra.sweep.dir={tmp_path}", "hydra.launcher.timeout_min=5"]
    done = forked("-m", "modise_lightning.train", "-m", *launcher, *overrides)
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "0" / "results.json").read_text())
    assert (results["name"], results["fold"]) == ("job", 1)
    assert list((tmp_path / ".submitit").rglob("*_result.pkl"))  # it did run in submitit's own process
