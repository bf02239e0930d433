"""Evaluates a trained checkpoint on a split: ``python -m modise_lightning.evaluate checkpoint=...``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modise_lightning.configuration.command_line import instantiate, run_command

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from modise_lightning.metrics.evaluation import EvaluationResult
    from modise_lightning.metrics.records.evaluation_records import EvaluationRecords


def evaluate(config: DictConfig) -> EvaluationResult:
    """Evaluate, print the results and say where everything is."""
    from pathlib import Path

    import lightning

    from modise_lightning.callbacks.evaluation import Evaluation
    from modise_lightning.callbacks.pictures import PredictionPictures
    from modise_lightning.callbacks.result_files import ResultFiles
    from modise_lightning.configuration.assembly import build_data, build_metrics, load_trained
    from modise_lightning.configuration.config_check import check_config
    from modise_lightning.configuration.evaluated_metrics import take_metrics, with_metrics
    from modise_lightning.configuration.run_identity import run_identity
    from modise_lightning.console import Console, quieten_libraries
    from modise_lightning.data.loading.datamodule import SPLITS
    from modise_lightning.errors import UserError
    from modise_lightning.metrics.records.evaluation_records import write_records
    from modise_lightning.reporting.results import write_results
    from modise_lightning.reporting.text_tables.results import render_results

    quieten_libraries()
    metrics = take_metrics(config)
    check_config(config)
    if config.split not in SPLITS:
        raise UserError(f"split: expected one of {', '.join(SPLITS)}, found '{config.split}'.")
    module, trained, _ = load_trained(Path(config.checkpoint), config.overrides, config.trusted_targets)
    if metrics is not None:
        trained = with_metrics(trained, metrics, config.suspicious)
    data = build_data(trained)
    dataset = data.dataset
    folder = Path(config.output_dir)
    evaluation = Evaluation(build_metrics(trained))
    pictures = PredictionPictures(
        folder=str(folder / "pictures"), categories=data.categories, note=dataset.note, **config.pictures
    )

    def write(result: EvaluationResult, records: EvaluationRecords) -> None:
        identity = run_identity(trained, dataset, config.split, precision=str(trainer.precision))
        write_results(folder / "results.json", {"trained": result}, identity)
        write_records(folder / "records" / "trained", records)

    trainer: lightning.Trainer = instantiate(
        config.trainer,
        logger=False,
        callbacks=[evaluation, ResultFiles(evaluation, write), pictures],
        enable_checkpointing=False,
    )
    data.trainer = trainer  # so that its processes share the images
    trainer.test(module, dataloaders=data.evaluation_dataloader(config.split), verbose=False)
    result = evaluation.results["test"]
    if trainer.is_global_zero:
        title = f"{trained.name} on {dataset.info['name']}: {config.split} images, test fold {trained.fold}"
        console = Console()
        notes = [dataset.note, data.describe_normals(config.split)]
        console.print(render_results(title, {"trained": result}, "; ".join(filter(None, notes)) or None))
        console.print(f"results, pictures, records by image: {folder}", highlight=False, soft_wrap=True)
    return result


if __name__ == "__main__":
    run_command("evaluate", evaluate)
