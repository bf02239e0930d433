"""A run with shared-out frozen weights gives what trainer=ddp gives (which has a test of its own)."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from lightning.fabric.plugins.environments.lightning import find_free_network_port
from omegaconf import DictConfig
from torch import nn

from forked import Forked
from modise_lightning.errors import UserError
from modise_lightning.feature_store.memory import MemoryFeatureStore
from modise_lightning.feature_store.recall import FeatureRecall
from modise_lightning.training.checkpoint import read_checkpoint
from modise_lightning.training.sharding import find_frozen_part
from tiny_runs import ONE_STEP, phantom_overrides

# One worker of pytest-xdist runs them all, so that the two runs are made once.
pytestmark = pytest.mark.xdist_group("sharded")
ALL_PARTS = "[segmenter.backbone.unet,segmenter.backbone.vae,segmenter.captioner.image_encoder]"
Run = Callable[..., Path]


@pytest.fixture(scope="module")
def run(phantom_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Train with two processes through the command, and give the run's folder."""

    def command(*overrides: str) -> Path:
        folder = tmp_path_factory.mktemp("run")
        line = [
            *("-m", "modise_lightning.train", f"hydra.run.dir={folder}"),
            *phantom_overrides(phantom_root),
            *ONE_STEP,
            "trainer.devices=2",
            "trainer.precision=32-true",  # numbers are compared
            "trainer.max_epochs=2",
            "trainer.check_val_every_n_epoch=2",
            "trainer.gradient_clip_val=0.1",
            "trainer.limit_test_batches=null",
            "evaluation_batch_size=1",  # other batches round otherwise
            "num_threads=1",
            "feature_store=none",
            "baselines=[]",
            "callbacks.last_checkpoint.filename='last-{epoch}'",
            "+callbacks.last_checkpoint.save_top_k=-1",
            *overrides,
        ]
        # Lightning would start the second process by itself, which takes as long as the training.
        address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(find_free_network_port())}
        processes = [Forked(*line, LOCAL_RANK=str(rank), **address) for rank in range(2)]
        for done in [process.wait() for process in processes]:
            assert done.returncode == 0, done.stderr[-4000:]
        return folder

    return command


@pytest.fixture(scope="module")
def whole(run: Run) -> Path:
    """A run of two epochs in which every process has all weights."""
    return run("trainer=ddp")


@pytest.fixture(scope="module")
def sharded(run: Run, whole: Path) -> Path:
    """Its second epoch again, with everything frozen shared out and an evaluation before the first step."""
    return run(
        "trainer=fsdp",
        f"trainer.strategy.parts={ALL_PARTS}",
        "trainer.num_sanity_val_steps=1",
        "backbone.gradient_checkpointing=true",
        f"resume={whole / 'checkpoints' / 'last-0.ckpt'}",
        "+callbacks.probe._target_=sharding_probe.ShardingProbe",
        "+callbacks.probe.folder=${output_dir}/probe",
    )


def test_it_resumes_and_trains_as_with_whole_weights(sharded: Path, whole: Path) -> None:
    """Weights and optimizer state alike: so its own last checkpoint is one to resume from, too."""
    before, after = (read_checkpoint(whole / "checkpoints" / f"last-{epoch}.ckpt") for epoch in range(2))
    found = read_checkpoint(sharded / "checkpoints" / "last-1.ckpt")
    assert found.keys() == after.keys()
    name = "segmenter.classifier.log_scale"
    assert before["state_dict"][name] != after["state_dict"][name]  # it learned something
    for key in ("state_dict", "optimizer_states", "lr_schedulers", "global_step"):
        torch.testing.assert_close(found[key], after[key], rtol=1e-4, atol=1e-6, msg=key)
    assert found["modise_lightning"]["frozen_weights"] == after["modise_lightning"]["frozen_weights"]


def test_it_evaluates_as_with_whole_weights(sharded: Path, whole: Path) -> None:
    found, expected = (
        json.loads((folder / "results.json").read_text())["results"] for folder in (sharded, whole)
    )
    assert found == expected


def test_each_process_holds_a_share_and_averages_only_trained_weights(sharded: Path) -> None:
    for rank in range(2):
        found = json.loads((sharded / "probe" / f"{rank}.json").read_text())
        assert found["reduced_bytes"] == found["trained_bytes"] > 0
        assert 0.4 < found["share_in_training"] < 0.6
        assert found["share_in_evaluation"] == 1  # no process waits for another there


def test_one_process_evaluates_its_best_checkpoint(
    sharded: Path, compose_config: Callable[..., DictConfig], tmp_path: Path
) -> None:
    from modise_lightning.evaluate import evaluate

    overrides = [
        f"checkpoint={sharded / 'checkpoints' / 'best.ckpt'}",
        "trusted_targets=[sharding_probe.ShardingProbe]",
        "trainer.accelerator=cpu",
        "class_agnostic=false",  # which training does not measure
    ]
    result = evaluate(compose_config("evaluate", overrides, tmp_path))
    trained = json.loads((sharded / "results.json").read_text())["results"]["trained"]
    assert trained == result.to_dict()


class Owner(nn.Module):
    """A module with a frozen and a trained part."""

    def __init__(self, store: MemoryFeatureStore | None = None) -> None:
        super().__init__()
        self.frozen = nn.Linear(2, 2).requires_grad_(False)
        self.other = nn.Linear(2, 2).requires_grad_(False)
        self.trained = nn.Linear(2, 2)
        self.recall = FeatureRecall(store, what="features", module=self.frozen, settings={})


def test_what_cannot_be_shared_out_is_told() -> None:
    owner = nn.ModuleDict({"owner": Owner()})
    assert find_frozen_part(owner, "owner.frozen") is owner["owner"].frozen
    with pytest.raises(UserError, match=r"'owner\.missing' is no part"):
        find_frozen_part(owner, "owner.missing")
    with pytest.raises(UserError, match="trained weights"):
        find_frozen_part(owner, "owner.trained")
    owner["owner"].frozen.compile(backend="eager")
    with pytest.raises(UserError, match="compiled"):
        find_frozen_part(owner, "owner.frozen")


def test_a_part_behind_a_feature_store_is_told() -> None:
    store = MemoryFeatureStore(max_gigabytes=1.0, precision="float32")
    owner = nn.ModuleDict({"owner": Owner(store)})
    assert find_frozen_part(owner, "owner.other") is owner["owner"].other
    with pytest.raises(UserError, match="feature_store=none"):
        find_frozen_part(owner, "owner.frozen")
