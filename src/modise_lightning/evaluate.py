"""Evaluates one or more checkpoints on a split: ``python -m modise_lightning.evaluate checkpoint=...``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modise_lightning.configuration.command_line import instantiate, run_command

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from modise_lightning.metrics.records.evaluation_records import EvaluationRecords
    from modise_lightning.metrics.result import EvaluationResult


def evaluate(config: DictConfig) -> EvaluationResult:
    """Evaluate, print the results and say where everything is."""
    from dataclasses import replace
    from pathlib import Path

    import lightning
    from omegaconf import OmegaConf

    from modise_lightning.callbacks.evaluation import Evaluation
    from modise_lightning.callbacks.pictures import PredictionPictures
    from modise_lightning.callbacks.result_files import ResultFiles
    from modise_lightning.configuration.assembly import build_data, build_metrics, categories_of
    from modise_lightning.configuration.config_check import check_config
    from modise_lightning.configuration.ensembles import read_ensemble
    from modise_lightning.configuration.evaluated_metrics import take_metrics, with_metrics
    from modise_lightning.configuration.model_files import locate_models
    from modise_lightning.configuration.run_identity import ModelOrigin, run_identity
    from modise_lightning.configuration.seen_images import check_unseen
    from modise_lightning.configuration.vocabulary import fingerprint_of, read_vocabulary, vocabulary_for
    from modise_lightning.console import Console
    from modise_lightning.cores import use_threads
    from modise_lightning.data.loading.datamodule import SPLITS
    from modise_lightning.errors import UserError
    from modise_lightning.inference.tuned_settings import read_tuned
    from modise_lightning.messages import quieten_libraries
    from modise_lightning.metrics.records.evaluation_records import write_records
    from modise_lightning.reporting.results import write_results
    from modise_lightning.reporting.text_tables.results import render_results

    quieten_libraries()
    metrics = take_metrics(config)
    other_data = OmegaConf.select(config, "data")  # refers to what only the checkpoint's configuration has
    check_config(OmegaConf.masked_copy(config, [str(key) for key in config if key != "data"]))
    if config.split not in SPLITS:
        raise UserError(f"split: expected one of {', '.join(SPLITS)}, found '{config.split}'.")
    use_threads(config.num_threads)
    tuned, _ = read_tuned(config.settings)
    model = read_ensemble(
        locate_models(config), tuned.with_overrides(config.overrides), config.trusted_targets
    )
    views = model.choose_views(tuned.choose_views(instantiate(config.views)))
    fusion = instantiate(config.fusion)
    vocabulary = read_vocabulary(config.vocabulary)
    if other_data is not None:
        model.use_dataset(other_data)
    model.check()
    if metrics is not None:
        model = model.with_config(with_metrics(model.config, metrics, config.suspicious))
    trained = model.config
    data = build_data(trained)
    dataset = data.dataset
    if len(model.members) > 1:
        check_unseen(model, data, config.split)
    model.name_classes(vocabulary_for(vocabulary, categories_of(trained)))
    module = model.build(views, fusion)
    origin = ModelOrigin(
        trained_on=model.trained_on,
        unseen=model.unseen(),
        vocabulary=None if vocabulary is None else fingerprint_of(vocabulary),
        combination=model.combination(views, fusion),
        trained_on_sources=model.trained_on_sources,
    )
    folder = Path(config.output_dir)
    evaluation = Evaluation(build_metrics(trained, class_agnostic=config.class_agnostic))
    pictures = PredictionPictures(
        folder=str(folder / "pictures"), categories=data.categories, note=dataset.note, **config.pictures
    )

    def write(result: EvaluationResult, records: EvaluationRecords) -> None:
        identity = run_identity(
            trained, dataset, config.split, precision=str(trainer.precision), origin=origin
        )
        write_results(folder / "results.json", {"trained": result}, replace(identity, name=model.name))
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
        is_other = origin.trained_on != dataset.info["name"]
        model_name = f"{model.name} (trained on {origin.trained_on})" if is_other else model.name
        title = f"{model_name} on {dataset.info['name']}: {config.split} images"
        if len(model.members) == 1:
            title += f", test fold {trained.fold}"
        console = Console()
        notes = "; ".join(filter(None, [dataset.note, data.describe_normals(config.split)])) or None
        console.print(render_results(title, {"trained": result}, notes, unseen=origin.unseen))
        console.print(f"results, pictures, records by image: {folder}", highlight=False, soft_wrap=True)
    return result


if __name__ == "__main__":
    run_command("evaluate", evaluate)
