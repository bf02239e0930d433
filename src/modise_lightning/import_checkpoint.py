"""Makes a published model a checkpoint: ``python -m modise_lightning.import_checkpoint source=... ...``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modise_lightning.configuration.command_line import run_command

if TYPE_CHECKING:
    from pathlib import Path

    from omegaconf import DictConfig


def import_checkpoint(config: DictConfig) -> Path:
    """Read a published model, build the configured one with its weights, and write the checkpoint.

    Returns:
        The checkpoint.

    Raises:
        UserError: The source is no published model, does not fit what is configured, or the output is there.
    """
    from pathlib import Path

    from modise_lightning.configuration.assembly import (
        build_module,
        build_segmenter,
        categories_of,
        check_weights,
    )
    from modise_lightning.configuration.config_check import check_config
    from modise_lightning.configuration.importing import describe, load_published, prepare_config
    from modise_lightning.configuration.vocabulary import read_vocabulary, vocabulary_for
    from modise_lightning.console import Console
    from modise_lightning.data.prepared.categories import categories_to_config
    from modise_lightning.errors import UserError
    from modise_lightning.messages import quieten_libraries
    from modise_lightning.pretrained.published import read_published
    from modise_lightning.training.checkpoint import state_fingerprint, trained_state
    from modise_lightning.training.checkpoint_writing import AtomicCheckpointIO

    quieten_libraries()
    check_config(config)
    if (vocabulary := read_vocabulary(config.vocabulary)) is not None:
        known = categories_of(config) if config.data.categories is not None else vocabulary
        config.data.categories = categories_to_config(vocabulary_for(vocabulary, known))
    output = Path(config.output)
    if output.exists():
        raise UserError(f"output: '{output}' is there already. Give another name, or remove it.")
    published = read_published(Path(config.source))
    dataset = {
        "name": config.trained_on.name or f"the images of '{published.path.name}'",
        "synthetic": config.trained_on.synthetic,
    }
    prepare_config(config, published)
    check_weights(config)
    segmenter = build_segmenter(config)
    account = load_published(segmenter, published)
    config.init_fingerprint = state_fingerprint(
        trained_state(segmenter, segmenter.state_dict()), "segmenter."
    )
    module = build_module(config, segmenter, dataset)
    module.metadata["published"] = {
        "kind": published.kind,
        "file": published.path.name,
        "sha256": published.digest,
        "not_needed": list(account.not_needed),
        "homeless": list(account.homeless),
    }
    checkpoint = {"state_dict": module.state_dict()}
    module.on_save_checkpoint(checkpoint)
    AtomicCheckpointIO().save_checkpoint(checkpoint, output)
    console = Console()
    for line in describe(published, account, config):
        console.print(line, highlight=False, soft_wrap=True, markup=False)
    console.print(f"written: {output}", highlight=False, soft_wrap=True, markup=False)
    return output


if __name__ == "__main__":
    run_command("import_checkpoint", import_checkpoint)
