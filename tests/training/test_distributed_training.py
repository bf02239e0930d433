"""Two processes train and evaluate as one process with the double batch; a file of its own, to start fast."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from forked import Forked, forked
from modise_lightning.configuration.command_line import config_directory
from modise_lightning.structures import PanopticSegmentation

# One worker of pytest-xdist runs them all, so that the processes are started once.
pytestmark = pytest.mark.xdist_group("two processes")
SIZE = 64
NUM_QUERIES = 5


class Loss(nn.Module):
    """A segmenter with its criterion."""

    def __init__(self, segmenter: nn.Module, criterion: nn.Module) -> None:
        super().__init__()
        self.segmenter = segmenter
        self.criterion = criterion

    def forward(self, images: Tensor, targets: list[PanopticSegmentation]) -> Tensor:
        losses: dict[str, Tensor] = self.criterion(self.segmenter(images), targets)
        return losses["loss"]


def build(class_weight: float) -> Loss:
    """Build the tiny M-ODISE; the same in every process."""
    from hydra import compose, initialize_config_dir

    from modise_lightning.configuration.assembly import build_segmenter
    from modise_lightning.configuration.command_line import instantiate

    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        overrides = ["backbone=sd_tiny", f"image_size={SIZE}", f"mask_generator.num_queries={NUM_QUERIES}"]
        config = compose("train", [*overrides, f"criterion.class_weight={class_weight}"])
    torch.manual_seed(0)
    return Loss(build_segmenter(config), instantiate(config.criterion)).train()


def images_and_targets(counts: tuple[int, ...]) -> tuple[Tensor, list[PanopticSegmentation]]:
    """Make one image a count, with so many segments."""
    images = torch.rand(len(counts), 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    targets = []
    for image, count in enumerate(counts):
        ids = torch.zeros(SIZE, SIZE, dtype=torch.int64)
        for index in range(count):
            ids[8 * image : 8 * image + 20, 12 * index + 2 : 12 * index + 10] = index + 1
        targets.append(PanopticSegmentation(ids, torch.arange(count) % 3))
    return images, targets


def same_points_for_all(shape: object, *more: object, **options: object) -> Tensor:
    """Stand in for the random points: every mask and image sees the same ones, however they are batched."""
    sizes = shape if isinstance(shape, tuple | torch.Size) else (shape, *more)
    *rows, points, coordinates = [int(size) for size in sizes]  # type: ignore[union-attr]
    one = torch.rand.__wrapped__(points, coordinates, generator=torch.Generator().manual_seed(2))  # type: ignore[attr-defined]
    return one.expand(*rows, points, coordinates).clone()


def fix_points() -> None:
    original = torch.rand
    same_points_for_all.__wrapped__ = original  # type: ignore[attr-defined]
    torch.rand = same_points_for_all  # type: ignore[assignment]


# Segments of each of four images, of which each process has two, and the weight of the class loss. Its mean
# is over a process's own queries, as in Mask2Former, and equals one process's where both have equally many.
CASES = [((1, 2, 2, 1), 2.0), ((3, 2, 1, 0), 0.0)]


def gradients(
    model: Loss | DistributedDataParallel, images: Tensor, targets: list[PanopticSegmentation]
) -> float:
    """Run two steps, of which the second would fail if a parameter had had no gradient."""
    for _ in range(2):
        model.zero_grad()
        loss: Tensor = model(images, targets)
        loss.backward()
    return float(loss.detach())


def run_process(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2
    )
    for case, (counts, class_weight) in enumerate(CASES):
        model = build(class_weight)
        wrapped = DistributedDataParallel(model, find_unused_parameters=False, gradient_as_bucket_view=True)
        images, targets = images_and_targets(counts)
        original = torch.rand
        fix_points()
        loss = gradients(wrapped, images[2 * rank : 2 * rank + 2], targets[2 * rank : 2 * rank + 2])
        torch.rand = original
        torch.save(
            {
                "loss": loss,
                "reduced_bytes": wrapped._get_ddp_logging_data()["total_parameter_size_bytes"],
                "gradients": {n: p.grad for n, p in model.named_parameters() if p.grad is not None},
            },
            folder / f"{rank}_{case}.pt",
        )
    run_sharded(rank, folder)
    torch.distributed.destroy_process_group()


def run_sharded(rank: int, folder: Path) -> None:
    """Shard the frozen diffusion model over the processes (PyTorch's FSDP2) and average the gradients."""
    counts, class_weight = CASES[0]
    model = build(class_weight)
    mesh = init_device_mesh("cpu", (2,))
    backbone = model.segmenter.backbone
    for part in (backbone.unet, backbone.vae):
        fully_shard(part, mesh=mesh)
    frozen = [p for part in (backbone.unet, backbone.vae) for p in part.parameters()]
    share = sum(p.to_local().numel() for p in frozen) / sum(p.numel() for p in frozen)
    images, targets = images_and_targets(counts)
    original = torch.rand
    fix_points()
    loss = gradients(model, images[2 * rank : 2 * rank + 2], targets[2 * rank : 2 * rank + 2])
    torch.rand = original
    averaged = {}
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            torch.distributed.all_reduce(parameter.grad)
            averaged[name] = parameter.grad / 2
    torch.save({"loss": loss, "gradients": averaged, "share": share}, folder / f"{rank}_sharded.pt")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of both processes."""
    folder = tmp_path_factory.mktemp("processes")
    processes = [Forked(__file__, str(rank), str(folder)) for rank in range(2)]
    for done in [process.wait() for process in processes]:
        assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("case", range(len(CASES)))
def test_two_processes_have_the_gradients_of_the_double_batch(
    case: int, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts, class_weight = CASES[case]
    assert_as_one_process(folder, str(case), counts, class_weight, monkeypatch)


def test_a_sharded_diffusion_model_gives_the_same_gradients(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = assert_as_one_process(folder, "sharded", *CASES[0], monkeypatch)
    assert all(0.4 < result["share"] < 0.6 for result in found)  # each process holds about half of it


def assert_as_one_process(
    folder: Path, name: str, counts: tuple[int, ...], class_weight: float, monkeypatch: pytest.MonkeyPatch
) -> list[dict[str, Any]]:
    """Compare with one process that has the whole batch; give what the two processes found."""
    found = [torch.load(folder / f"{rank}_{name}.pt", weights_only=True) for rank in range(2)]
    model = build(class_weight)
    images, targets = images_and_targets(counts)
    same_points_for_all.__wrapped__ = torch.rand  # type: ignore[attr-defined]
    monkeypatch.setattr(torch, "rand", same_points_for_all)
    loss = gradients(model, images, targets)
    assert (found[0]["loss"] + found[1]["loss"]) / 2 == pytest.approx(loss, rel=1e-5)
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    for result in found:
        assert result["gradients"].keys() == trained.keys()
        for name, parameter in trained.items():
            assert parameter.grad is not None
            # Batches of two and four round differently, and a ReLU or a sampled point at its edge then jumps.
            difference = float((result["gradients"][name] - parameter.grad).norm())
            assert difference <= 2e-3 * float(parameter.grad.norm()) + 1e-6, name
    return found


def test_only_trained_parameters_are_reduced(folder: Path) -> None:
    model = build(2.0)
    trained = sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)
    everything = sum(p.numel() * p.element_size() for p in model.parameters())
    assert trained < everything
    assert torch.load(folder / "0_0.pt", weights_only=True)["reduced_bytes"] == trained


def test_the_command_trains_and_evaluates_with_two_processes_as_with_one(
    phantom_root: Path, compose_config: Callable[..., DictConfig], tmp_path: Path
) -> None:
    from modise_lightning.configuration.assembly import build_data, build_metrics
    from modise_lightning.evaluate import evaluate
    from modise_lightning.prediction.baselines import evaluate_bright_blob
    from tiny_runs import ONE_STEP, phantom_overrides

    overrides = [
        "trainer=ddp",
        "trainer.precision=32-true",  # numbers are compared
        "trainer.devices=2",
        *phantom_overrides(phantom_root),
        *ONE_STEP,
        "trainer.limit_test_batches=null",
        "evaluation_batch_size=1",  # other batches round otherwise
        "num_threads=1",
        "feature_store=none",
        "metrics=clinical",
    ]
    run = tmp_path / "run"
    done = forked("-m", "modise_lightning.train", f"hydra.run.dir={run}", *overrides)
    assert done.returncode == 0, done.stderr
    assert (run / "train_ddp_process_1.log").is_file()  # there were two
    checkpoint = f"checkpoint={run / 'checkpoints' / 'best.ckpt'}"
    one = tmp_path / "one"
    settings = [checkpoint, "trainer.accelerator=cpu", "class_agnostic=false"]
    result = evaluate(compose_config("evaluate", settings, one))
    results = json.loads((run / "results.json").read_text())["results"]
    assert results["trained"] == result.to_dict()
    assert results["untrained"]["num_images"] == result.num_images
    config = compose_config("train", overrides, tmp_path / "blob")
    data = build_data(config)
    blob, _ = evaluate_bright_blob(
        data.dataset,
        indices=data.indices["test"],
        train_indices=data.indices["train"],
        metrics=build_metrics(config),
    )
    assert results["bright blob"] == blob.to_dict()
    assert result.clinical is not None
    assert result.num_images % 2 == result.clinical.counts["images"] % 2
    names = sorted(path.name for path in (one / "records" / "trained").iterdir())
    assert len(names) == 7
    for name in names:
        path = Path("records", "trained", name)
        assert (run / path).read_bytes() == (one / path).read_bytes()


if __name__ == "__main__":
    run_process(int(sys.argv[1]), Path(sys.argv[2]))
