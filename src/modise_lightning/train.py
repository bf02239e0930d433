"""Trains a segmenter and tests it on the held-out fold: ``python -m modise_lightning.train``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modise_lightning.command_line import run_command

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from modise_lightning.metrics.evaluation import EvaluationResult


def train(config: DictConfig) -> dict[str, EvaluationResult]:
    """Train, test with the best checkpoint, print the results and say where everything is.

    Returns:
        Test results of the trained model and of the configured baselines.
    """
    from pathlib import Path

    import hydra.utils
    import lightning
    import torch
    from rich.console import Console

    from modise_lightning.assembly import (
        build_data,
        build_metrics,
        build_module,
        build_segmenter,
        categories_of,
        check_weights,
    )
    from modise_lightning.baselines import test_baselines
    from modise_lightning.callbacks.evaluation import Evaluation
    from modise_lightning.callbacks.pictures import PredictionPictures
    from modise_lightning.config_check import check_config
    from modise_lightning.errors import UserError
    from modise_lightning.reporting.results import write_results
    from modise_lightning.reporting.run_summary import render_run_summary
    from modise_lightning.reporting.table import render_results

    check_config(config)
    if config.resume is not None and not Path(config.resume).is_file():
        raise UserError(f"resume: no file '{config.resume}'. Give a checkpoint, <run folder>/checkpoints/last.ckpt.")
    check_weights(config)
    if config.num_threads is not None:
        torch.set_num_threads(config.num_threads)
    lightning.seed_everything(config.seed, workers=True, verbose=False)
    data = build_data(config)
    data.setup()
    segmenter = build_segmenter(config)
    module = build_module(config, segmenter, data.dataset.info)
    evaluation = Evaluation(build_metrics(config))
    folder = Path(config.output_dir)
    pictures = PredictionPictures(
        folder=str(folder / "pictures"),
        categories=categories_of(config),
        note=data.dataset.note,
        **config.pictures,
    )
    configured = [hydra.utils.instantiate(node, _convert_="all") for node in config.callbacks.values() if node]
    trainer: lightning.Trainer = hydra.utils.instantiate(
        config.trainer,
        logger=hydra.utils.instantiate(config.logger, _convert_="all"),
        callbacks=[evaluation, *configured],
        _convert_="all",
    )
    console = Console()
    console.print(render_run_summary(config.name, segmenter, data, trainer))
    results = test_baselines(config.baselines, module, data, evaluation, trainer)

    lightning.seed_everything(config.seed, workers=True, verbose=False)
    trainer.fit(module, datamodule=data, ckpt_path=config.resume, weights_only=True)
    if not trainer.checkpoint_callback or not trainer.checkpoint_callback.best_model_path:
        raise UserError(
            "no checkpoint was written: the training ended before its first validation "
            "(trainer.max_epochs against trainer.check_val_every_n_epoch)."
        )
    best = trainer.checkpoint_callback.best_model_path
    trainer.callbacks.append(pictures)
    trainer.test(module, datamodule=data, ckpt_path=best, weights_only=True, verbose=False)
    results = {"trained": evaluation.results["test"], **results}

    if trainer.is_global_zero:
        title = f"{config.name} on {data.dataset.info['name']}, test fold {config.fold}"
        write_results(folder / "results.json", results, dataset=data.dataset.info, fold=config.fold, name=config.name)
        console.print(render_results(results["trained"], title, data.dataset.note, comparisons=results))
        for what, where in {
            "best checkpoint": best,
            "pictures": folder / "pictures",
            "results": folder / "results.json",
            "everything": folder,
        }.items():
            console.print(f"{what:>16}: {where}", highlight=False, soft_wrap=True)
    return results


if __name__ == "__main__":
    run_command("train", train)
