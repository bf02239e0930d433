"""Chooses the settings of inference on validation images: ``python -m modise_lightning.tune runs=...``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from modise_lightning.configuration.command_line import instantiate, run_command

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from modise_lightning.configuration.ensembles import TrainedEnsemble
    from modise_lightning.inference.fusion import FusionSettings
    from modise_lightning.tuning.choice import TunedRun
    from modise_lightning.tuning.settings import Candidate, TuneSettings
    from modise_lightning.tuning.showing import Tuning


def tune(config: DictConfig) -> Tuning:
    """Choose, show what it is worth on test images, and write the settings.

    Raises:
        UserError: A setting is wrong, a run is missing or damaged, or runs cannot be tuned together.
    """
    from dataclasses import replace
    from pathlib import Path

    from omegaconf import OmegaConf

    from modise_lightning.configuration.assembly import build_data
    from modise_lightning.configuration.config_check import check_config
    from modise_lightning.configuration.ensembles import read_ensemble
    from modise_lightning.console import Console
    from modise_lightning.cores import use_threads
    from modise_lightning.messages import quieten_libraries
    from modise_lightning.reporting.text_tables.rendering import render_table
    from modise_lightning.tuning.choice import choose
    from modise_lightning.tuning.settings import TuneSettings
    from modise_lightning.tuning.showing import Tuning, tuning_table, write_tuning

    quieten_libraries()
    check_config(config)
    plain: Any = OmegaConf.to_container(config, resolve=True)
    fusion: FusionSettings = instantiate(config.fusion)
    settings = TuneSettings.check(plain, fusion.minimum_score)
    models = read_ensemble(settings.runs, config.overrides, config.trusted_targets, "runs")
    models.check()
    use_threads(settings.num_threads)
    default = _default(models)
    candidates = settings.candidates(default)
    # The default must find what it finds alone.
    fusion = replace(fusion, minimum_score=min(fusion.minimum_score, default.score_threshold))
    dataset = build_data(models.config).dataset
    runs = _count(models, candidates, settings, fusion)
    bootstrap = settings.bootstrap
    choice = choose(
        runs,
        settings.metric,
        samples=bootstrap.samples,
        confidence=bootstrap.confidence,
        seed=bootstrap.seed,
    )
    tuning = Tuning(
        model=str(models.config.name),
        dataset=str(dataset.info["name"]),
        note=dataset.note,
        checkpoints=models.paths,
        candidates=candidates,
        runs=runs,
        choice=choice,
        metric=settings.metric,
        iou_threshold=settings.iou_threshold,
        confidence=bootstrap.confidence,
    )
    console = Console()
    console.print(render_table(tuning_table(tuning)))
    written = write_tuning(Path(settings.output_dir), tuning)
    console.print(f"written: {', '.join(map(str, written))}", highlight=False, soft_wrap=True)
    return tuning


def _default(models: TrainedEnsemble) -> Candidate:
    """Give what the models do by default; they share their rules."""
    from modise_lightning.configuration.assembly import categories_of
    from modise_lightning.tuning.settings import Candidate

    isthing = [category.isthing for category in categories_of(models.config)]
    return Candidate.of(instantiate(models.config.inference)(isthing=isthing))


def _count(
    models: TrainedEnsemble,
    candidates: list[Candidate],
    settings: TuneSettings,
    fusion: FusionSettings,
) -> list[TunedRun]:
    """Predict validation and test images of each run, one model in memory after another."""
    from functools import partial

    import torch
    from rich.progress import track

    from modise_lightning.configuration.assembly import build_data, build_metrics
    from modise_lightning.configuration.devices import torch_device
    from modise_lightning.console import Console
    from modise_lightning.tuning.choice import TunedRun
    from modise_lightning.tuning.measuring import count_split

    device: torch.device = torch_device(settings.device)
    # All datasets are looked at before the first image is predicted.
    read = [(member, build_data(member.config)) for member in models.members]
    console = Console(stderr=True)
    runs = []
    for number, (member, data) in enumerate(read, start=1):
        title = f"run {number} of {len(read)}"
        count = partial(
            count_split,
            member.build(),
            data,
            candidates=candidates,
            fusion=fusion,
            metrics=build_metrics(member.config),
            iou_threshold=settings.iou_threshold,
            device=device,
            track=partial(track, description=title, console=console, transient=True),
        )
        runs.append(TunedRun(validation=count("validation"), test=count("test")))
    return runs


if __name__ == "__main__":
    run_command("tune", tune)
