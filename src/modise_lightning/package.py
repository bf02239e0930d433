"""Makes one file of a trained model, to keep or to give: ``python -m modise_lightning.package runs=...``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modise_lightning.configuration.command_line import run_command

if TYPE_CHECKING:
    from pathlib import Path

    from omegaconf import DictConfig


def package(config: DictConfig) -> Path:
    """Write a package of the model of some runs, and push it if that is wanted.

    Returns:
        The file.

    Raises:
        UserError: The runs are of several models, have no checkpoint, or a setting is wrong.
    """
    from pathlib import Path

    from omegaconf import OmegaConf

    from modise_lightning.configuration.assembly import categories_of
    from modise_lightning.configuration.config_check import check_config
    from modise_lightning.configuration.packing import pack_checkpoint
    from modise_lightning.configuration.trained_model import read_trained
    from modise_lightning.console import Console
    from modise_lightning.inference.tuned_settings import read_tuned
    from modise_lightning.messages import quieten_libraries
    from modise_lightning.packages.hub import parse_reference, push
    from modise_lightning.packages.making.card import CardContent, write_card
    from modise_lightning.packages.making.evaluation import choose_run, evaluation_of
    from modise_lightning.packages.making.settings import PackageSettings
    from modise_lightning.packages.package import write_package
    from modise_lightning.reporting.cross_validation.runs import checkpoint_of
    from modise_lightning.reporting.cross_validation.table import gather_tables

    quieten_libraries()
    check_config(config)
    settings = PackageSettings.check(OmegaConf.to_container(config, resolve=True))
    tuned, tuned_text = read_tuned(settings.settings)
    if settings.push is not None:
        parse_reference(settings.push, "push")
    table, run = choose_run(gather_tables(settings), settings.test_fold)
    packed = pack_checkpoint(checkpoint_of(run), settings.overrides, settings.trusted_targets)
    evaluation = evaluation_of(table, settings.comparison)
    metadata = packed.checkpoint["modise_lightning"]
    card = write_card(
        CardContent(
            name=run.identity.name,
            dataset=packed.trained.dataset,
            categories=categories_of(packed.trained.config),
            fold=run.identity.fold,
            folds=list(table.models[0].runs),
            num_folds=len(table.folds),
            num_images=table.num_images,
            is_official=table.data_split == "official",
            has_vocabulary=packed.trained.config.text.encoder is not None,
            frozen_parts=packed.frozen_parts,
            num_weights=sum(value.numel() for value in packed.checkpoint["state_dict"].values()),
            versions=metadata.get("versions", {}),
            settings=tuned.plain(),
            evaluation=evaluation,
            licence=settings.licence,
            remarks=settings.remarks,
        )
    )
    path = Path(settings.output)
    write_package(
        path,
        packed.checkpoint,
        name=run.identity.name,
        fold=run.identity.fold,
        frozen_parts=packed.frozen_parts,
        settings=tuned_text,
        evaluation=evaluation,
        card=card,
    )
    read_trained(path, {}, settings.trusted_targets)  # as whoever gets it does
    console = Console()
    console.print(
        f"{path}: {run.identity.name}, trained without fold {run.identity.fold} of {run.identity.dataset}, "
        f"{path.stat().st_size / 1e6:.1f} MB; look at it with python -m modise_lightning.info model={path}",
        highlight=False,
        soft_wrap=True,
    )
    if settings.push is not None:
        pushed = push(path, card, settings.push, private=settings.private)
        console.print(f"pushed: model={pushed}", highlight=False, soft_wrap=True)
    return path


if __name__ == "__main__":
    run_command("package", package)
