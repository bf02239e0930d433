"""Trains a segmenter and tests it on the held-out fold: ``python -m modise_lightning.train``."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING, Any, cast

from modise_lightning.configuration.command_line import instantiate, run_command

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import lightning
    from omegaconf import DictConfig

    from modise_lightning.callbacks.evaluation import Evaluation
    from modise_lightning.console import Console
    from modise_lightning.data.loading.datamodule import PanopticDataModule, Split
    from modise_lightning.metrics.records.evaluation_records import EvaluationRecords
    from modise_lightning.metrics.result import EvaluationResult


def train(config: DictConfig) -> dict[str, EvaluationResult]:
    """Train, test with the best checkpoint, print the results and say where everything is.

    Returns:
        Test results of the trained model and of the configured baselines.
    """
    from modise_lightning.free_cores import CoreTimes

    started_at = CoreTimes.now()  # before the imports, which take seconds
    from pathlib import Path

    import lightning
    from omegaconf import OmegaConf

    from modise_lightning.callbacks.evaluation import Evaluation
    from modise_lightning.callbacks.evaluation_charts import EvaluationCharts
    from modise_lightning.callbacks.feature_store_report import FeatureStoreReport
    from modise_lightning.callbacks.pictures import PredictionPictures
    from modise_lightning.callbacks.result_files import ResultFiles
    from modise_lightning.callbacks.thread_count import follow_free_cores
    from modise_lightning.callbacks.wandb_dashboard import WandbDashboard
    from modise_lightning.configuration.assembly import (
        build_data,
        build_feature_store,
        build_metrics,
        build_module,
        build_segmenter,
        check_weights,
    )
    from modise_lightning.configuration.config_check import check_config
    from modise_lightning.configuration.resuming import (
        carry_metrics,
        check_resumable,
        check_same_data,
        keep_earlier_metrics,
    )
    from modise_lightning.configuration.run_identity import run_identity
    from modise_lightning.configuration.starting import read_start, start_from
    from modise_lightning.console import Console
    from modise_lightning.cores import use_threads
    from modise_lightning.messages import quieten_libraries
    from modise_lightning.metrics.records.evaluation_records import write_records
    from modise_lightning.reporting.results import write_results
    from modise_lightning.reporting.text_tables.results import render_results
    from modise_lightning.reporting.text_tables.run_summary import render_run_summary
    from modise_lightning.training.checkpoint_writing import AtomicCheckpointIO

    quieten_libraries()
    check_config(config)
    if config.resume is not None:
        check_resumable(Path(config.resume), config)
    start = read_start(config)
    check_weights(config)
    use_threads(config.num_threads)
    followers = follow_free_cores(config.num_threads, started_at)
    lightning.seed_everything(config.seed, workers=True, verbose=False)
    data = build_data(config)
    dataset = data.dataset
    feature_store = build_feature_store(config, data)
    segmenter = build_segmenter(config, feature_store=feature_store)
    started = None if start is None else start_from(start, segmenter, config)
    module = build_module(config, segmenter, dataset.info, data.fingerprint())
    if config.resume is not None:
        known = {key: module.metadata[key] for key in ("dataset", "data_fingerprint")}
        check_same_data(Path(config.resume), known)
    folder = Path(config.output_dir)
    evaluation = Evaluation(build_metrics(config))
    shown = [
        EvaluationCharts(
            evaluation, folder=str(folder / "pictures"), categories=data.categories, note=dataset.note
        ),
        WandbDashboard(evaluation, categories=data.categories, num_images=config.pictures.num_images),
    ]

    def build_trainer(*, callbacks: list[lightning.Callback], **settings: object) -> lightning.Trainer:
        return cast(
            lightning.Trainer,
            instantiate(config.trainer, callbacks=[*callbacks, *followers], **settings),
        )

    trainer = build_trainer(
        logger=instantiate(config.logger),
        callbacks=[
            evaluation,
            *shown,
            *([] if feature_store is None else [FeatureStoreReport(feature_store)]),
            *(instantiate(node) for node in config.callbacks.values() if node),
        ],
    )
    trainer.strategy.checkpoint_io = AtomicCheckpointIO()
    if trainer.is_global_zero:
        resumed = None if config.resume is None else Path(config.resume)
        keep_earlier_metrics(trainer.loggers, resumed)
        if resumed is not None:
            carry_metrics(trainer.loggers, resumed)
    for logger in trainer.loggers:
        logger.log_hyperparams(cast(dict[str, Any], OmegaConf.to_container(config, resolve=True)))
    console = Console(quiet=not trainer.is_global_zero)
    facts = _facts(config, data, trainer, started)
    console.print(render_run_summary(config.name, facts, segmenter), soft_wrap=True)
    compared, records = _compare(config, data, module, evaluation, build_trainer, console)

    lightning.seed_everything(config.seed, workers=True, verbose=False)
    best = _fit(trainer, module, data, config.resume)
    console.print("the best checkpoint:")
    pictures = PredictionPictures(
        folder=str(folder / "pictures"), categories=data.categories, note=dataset.note, **config.pictures
    )
    identity = run_identity(config, dataset, "test", precision=str(trainer.precision))

    def write(result: EvaluationResult, found: EvaluationRecords) -> None:
        write_results(folder / "results.json", {"trained": result, **compared}, identity)
        for model, each in {**records, "trained": found}.items():
            write_records(folder / "records" / model, each)

    tester = build_trainer(
        logger=trainer.loggers,
        callbacks=[evaluation, ResultFiles(evaluation, write), *shown, pictures],
        enable_checkpointing=False,
    )
    tester.test(module, datamodule=data, ckpt_path=best, weights_only=True, verbose=False)
    results = {"trained": evaluation.results["test"], **compared}
    title = f"{config.name} on {dataset.info['name']}: test fold {config.fold}"
    notes = [dataset.note, data.describe_normals("test")]
    console.print(render_results(title, results, "; ".join(filter(None, notes)) or None))
    _tell_where(console, folder, best)
    return results


def _fit(
    trainer: lightning.Trainer,
    module: lightning.LightningModule,
    data: PanopticDataModule,
    resume: str | None,
) -> str:
    """Train, and give the best checkpoint; who is interrupted is told how to go on.

    Raises:
        UserError: No checkpoint was written.
    """
    from modise_lightning.errors import UserError
    from modise_lightning.visible_text import visible

    try:
        trainer.fit(module, datamodule=data, ckpt_path=resume, weights_only=True)
    except (KeyboardInterrupt, SystemExit, OSError):
        if trainer.is_global_zero:
            print(visible(_how_to_resume(trainer)), file=sys.stderr)
        raise
    best = str(getattr(trainer.checkpoint_callback, "best_model_path", ""))
    if not best:
        raise UserError(
            "no checkpoint was written: the training ended before its first validation "
            "(trainer.max_epochs, trainer.check_val_every_n_epoch, callbacks.checkpoint)."
        )
    return best


def _tell_where(console: Console, folder: Path, best: str) -> None:
    for what, where in {
        "best checkpoint": best,
        "pictures": folder / "pictures",
        "results": folder / "results.json",
        "results by image": folder / "records",
        "config, log, metrics": folder,
    }.items():
        console.print(f"{what:>21}: {where}", highlight=False, soft_wrap=True)


def _facts(
    config: DictConfig, data: PanopticDataModule, trainer: lightning.Trainer, started: str | None
) -> dict[str, str]:
    """Give what a person wants to know before the training: its data, device, start and folder."""
    splits: tuple[Split, ...] = ("train", "validation", "test")
    parts = [f"{len(data.indices[split])} {split}" for split in splits]
    normals = {}
    if data.describe_normals("test") is not None:
        each = (f"{data.num_normals(split)} {split}" for split in splits)
        share = f", {data.normal_share:.0%} of an epoch" if data.normals == "all" else ""
        normals["normal images"] = f"{', '.join(each)} (data.normals={data.normals}{share})"
    alike = {}
    if config.feature_store.get("_target_") is not None and not data.dataset.info["synthetic"]:
        alike["images"] = (
            "always alike but for a flip, so that features can be kept; slower, but better on mammograms "
            "(docs/peers.md): augmentation=none feature_store=none"
        )
    device = f"{trainer.num_devices} x {type(trainer.accelerator).__name__}, {trainer.precision}"
    return {
        "data": f"{data.dataset.info['name']} in {data.dataset.root}: {', '.join(parts)} images",
        **normals,
        **alike,
        "device": device,
        **({} if started is None else {"start": started}),
        "folder": str(config.output_dir),
    }


def _compare(
    config: DictConfig,
    data: PanopticDataModule,
    module: lightning.LightningModule,
    evaluation: Evaluation,
    build_trainer: Callable[..., lightning.Trainer],
    console: Console,
) -> tuple[dict[str, EvaluationResult], dict[str, EvaluationRecords]]:
    """Evaluate the configured baselines on the test fold, before the module is trained.

    Returns:
        Their results, and their records by the name of the folder that they are written to.
    """
    from modise_lightning.configuration.assembly import build_metrics
    from modise_lightning.prediction.baselines import evaluate_bright_blob

    compared: dict[str, EvaluationResult] = {}
    records: dict[str, EvaluationRecords] = {}
    if "untrained" in config.baselines:
        console.print("before training, to compare with:")
        tester = build_trainer(logger=False, callbacks=[evaluation], enable_checkpointing=False)
        tester.test(module, datamodule=data, verbose=False)
        compared["untrained"], records["untrained"] = evaluation.results["test"], evaluation.records["test"]
    if "bright_blob" in config.baselines:
        compared["bright blob"], records["bright_blob"] = evaluate_bright_blob(
            data.dataset,
            indices=data.indices["test"],
            train_indices=data.indices["train"],
            metrics=build_metrics(config),
        )
    return compared, records


def _how_to_resume(trainer: lightning.Trainer) -> str:
    """Say how an ended training goes on: with the command that started it, from its last checkpoint."""
    from pathlib import Path

    from hydra.core.hydra_config import HydraConfig

    paths = [
        path
        for callback in trainer.checkpoint_callbacks
        # The best checkpoint holds weights alone.
        if not getattr(callback, "save_weights_only", True)
        and (path := getattr(callback, "best_model_path", ""))
        and Path(path).is_file()
    ]
    if not paths:
        return "The training ended before its first checkpoint: start it again."
    overrides = [
        text for text in HydraConfig.get().overrides.task if not text.startswith(("init=", "resume="))
    ]
    command = shlex.join([*overrides, f"resume={paths[-1]}"])
    return f"The training has not ended; go on with: python -m modise_lightning.train {command}"


if __name__ == "__main__":
    run_command("train", train)
