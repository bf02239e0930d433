"""Opens a page to look at exams with a trained model: ``python -m modise_lightning.serve model=...``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from modise_lightning.configuration.command_line import instantiate, run_command

if TYPE_CHECKING:
    from collections.abc import Sequence

    from omegaconf import DictConfig

    from modise_lightning.serving.models import BuiltModel, ServedModel
    from modise_lightning.structures import Category


def serve(config: DictConfig) -> None:
    """Serve the page until it is interrupted.

    Raises:
        UserError: The model cannot be built, a setting is wrong, or the address is in use.
    """
    import tempfile
    from pathlib import Path

    from omegaconf import OmegaConf

    from modise_lightning.configuration.config_check import check_config
    from modise_lightning.console import Console
    from modise_lightning.cores import use_threads
    from modise_lightning.messages import quieten_libraries
    from modise_lightning.serving.server import choose_token, listen, run_server
    from modise_lightning.serving.settings import read_serve_settings

    quieten_libraries()
    check_config(config)
    plain: Any = OmegaConf.to_container(config, resolve=True)
    settings = read_serve_settings(plain)
    with listen(settings) as opened:
        use_threads(settings.num_threads)
        served = load_served(config)
        token = choose_token(settings)
        with tempfile.TemporaryDirectory(prefix="modise-page-", ignore_cleanup_errors=True) as folder:
            address = f"http://{opened.address}/" + ("" if token is None else f"?token={token}")
            Console().print(
                f"{served.name}: {address} (Ctrl+C ends; nothing of an exam is kept). "
                "Research software, not a medical device.",
                highlight=False,
                soft_wrap=True,
            )
            run_server(opened, served, settings, Path(folder), token)


def load_served(config: DictConfig) -> ServedModel:
    """Load the model of the page.

    Args:
        config: Of ``conf/serve.yaml``.

    Raises:
        UserError: There is no such model, it does not fit, or its classes cannot be named.
    """
    from omegaconf import OmegaConf

    from modise_lightning.configuration.assembly import categories_of
    from modise_lightning.configuration.model_files import locate_model
    from modise_lightning.configuration.trained_model import read_trained
    from modise_lightning.configuration.vocabulary import read_vocabulary
    from modise_lightning.data.prepared.categories import categories_to_config
    from modise_lightning.prediction.folders.folder import Model
    from modise_lightning.serving.models import BuiltModel, ServedModel

    path = locate_model(config)
    first = read_trained(path, config.overrides, config.trusted_targets)
    overrides: Any = OmegaConf.to_container(config.overrides, resolve=True)

    def build(vocabulary: Sequence[Category] | None) -> BuiltModel:
        read = read_trained(path, config.overrides, config.trusted_targets)
        if vocabulary is not None:
            read.name_classes(vocabulary)
        module, trained = read.build(), read.config
        categories = categories_of(trained)
        metadata = {"checkpoint": path.name, "model": trained.name, "trained_on": read.dataset["name"]}
        model = Model(
            categories=categories,
            transform=instantiate(trained.data.module.evaluation_transform),
            size_multiple=trained.data.module.size_multiple,
            in_colours=OmegaConf.select(trained, "data.channels") == "rgb",
            metadata=metadata,
            is_synthetic=bool(read.dataset["synthetic"]),
            identity={"overrides": overrides, "categories": categories_to_config(categories)},
        )
        return BuiltModel(module, model)

    return ServedModel(
        build,
        name=str(first.config.name),
        has_vocabulary=first.config.text.encoder is not None,
        vocabulary=read_vocabulary(config.vocabulary),
        device=config.device,
    )


if __name__ == "__main__":
    run_command("serve", serve)
