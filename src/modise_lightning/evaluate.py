"""Evaluates a trained checkpoint on a split: ``python -m modise_lightning.evaluate checkpoint=...``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modise_lightning.command_line import run_command

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from modise_lightning.metrics.evaluation import EvaluationResult


def evaluate(config: DictConfig) -> dict[str, EvaluationResult]:
    """Evaluate, print the results and say where everything is.

    Returns:
        Results of the trained model and of the configured baselines.
    """
    from pathlib import Path

    import hydra.utils
    import lightning
    from rich.console import Console

    from modise_lightning.assembly import build_data, build_metrics, categories_of, load_trained
    from modise_lightning.baselines import test_baselines
    from modise_lightning.callbacks.evaluation import Evaluation
    from modise_lightning.callbacks.pictures import PredictionPictures
    from modise_lightning.config_check import check_config
    from modise_lightning.reporting.results import write_results
    from modise_lightning.reporting.table import render_results

    check_config(config)
    module, trained, _ = load_trained(Path(config.checkpoint), list(config.overrides))
    data = build_data(trained)
    data.split = config.split
    data.setup("test")
    evaluation = Evaluation(build_metrics(trained))
    folder = Path(config.output_dir)
    pictures = PredictionPictures(
        folder=str(folder / "pictures"),
        categories=categories_of(trained),
        note=data.dataset.note,
        **config.pictures,
    )
    trainer: lightning.Trainer = hydra.utils.instantiate(
        config.trainer, callbacks=[evaluation, pictures], logger=False, _convert_="all"
    )
    trainer.test(module, datamodule=data, verbose=False)
    results = {"trained": evaluation.results["test"]}
    title = f"{trained.name} on {data.dataset.info['name']}, {config.split} split of fold {trained.fold}"
    write_results(folder / "results.json", results, dataset=data.dataset.info, fold=trained.fold, name=trained.name)
    console = Console()
    console.print(render_results(results["trained"], title, data.dataset.note, comparisons=results))
    console.print(f"everything: {folder}", highlight=False, soft_wrap=True)
    return results


if __name__ == "__main__":
    run_command("evaluate", evaluate)
