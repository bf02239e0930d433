"""Makes a prepared dataset of a download: ``python -m modise_lightning.prepare data=... data.raw=...``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from modise_lightning.configuration.command_line import instantiate, run_command

if TYPE_CHECKING:
    from collections.abc import Iterator

    from omegaconf import DictConfig

    from modise_lightning.data.preparation.report import PreparationReport
    from modise_lightning.data.prepared.dataset import PreparedDataset
    from modise_lightning.reporting.pictures.contact_sheet import ContactSheetImage


def prepare(config: DictConfig) -> PreparationReport:
    """Verify the download, convert it, and show what was found, used, repaired and left out.

    Returns:
        What is also in ``report.json``.

    Raises:
        UserError: Nothing can be prepared, or something is wrong and preparation is strict.
    """
    from pathlib import Path
    from typing import Any, cast

    from omegaconf import OmegaConf

    from modise_lightning.configuration.config_check import check_config
    from modise_lightning.configuration.ownership import wait_to_own
    from modise_lightning.console import Console
    from modise_lightning.data.preparation.report import render, write_report
    from modise_lightning.data.prepared.categories import categories_from_config
    from modise_lightning.data.prepared.dataset import PreparedDataset
    from modise_lightning.errors import UserError
    from modise_lightning.reporting.files import write_png_atomically
    from modise_lightning.reporting.pictures.attempt import attempt_picture
    from modise_lightning.reporting.pictures.contact_sheet import draw_contact_sheet

    check_config(config)
    if config.data.preparer is None:
        raise UserError(f"data={config.data.name}: prepare its sources, each with data=NAME.")
    if config.data.normals != "none" and "normals" not in config.data.preparer:
        raise UserError(
            f"data.normals: {config.data.name} names no images without findings; set data.normals=none."
        )
    preparer = instantiate(config.data.preparer)
    console = Console()
    if config.verify_only:
        if not hasattr(preparer, "verify"):
            raise UserError(f"verify_only: {config.data.name} is made without a download; nothing to verify.")
        report: PreparationReport = preparer.verify()
        console.print(render(report))
        return report
    root = Path(config.data.root)
    with wait_to_own(root, f"the preparation of '{root}'"):
        report = preparer.prepare()
    console.print(render(report))
    folder = Path(config.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    write_report(report, folder)
    nodes = cast("list[dict[str, Any]]", OmegaConf.to_container(config.data.categories, resolve=True))
    categories = categories_from_config(nodes)
    dataset = PreparedDataset.open(root, categories)
    images = choose_images(dataset, config.contact_sheet_images, config.seed)
    with attempt_picture("contact_sheet.png"):
        sheet = draw_contact_sheet(images, dataset.categories, dataset.note)
        write_png_atomically(folder / "contact_sheet.png", sheet)
    console.print(f"everything: {folder}", highlight=False, soft_wrap=True)
    return report


def choose_images(dataset: PreparedDataset, num_images: int, seed: int) -> Iterator[ContactSheetImage]:
    """Read random images, in the order of the dataset.

    Args:
        dataset: A prepared dataset.
        num_images: How many, at most.
        seed: Of the choice.

    Yields:
        Images with their segments, one at a time.
    """
    import random
    from pathlib import Path

    from modise_lightning.reporting.pictures.contact_sheet import ContactSheetImage

    number = len(dataset.entries)
    for index in sorted(random.Random(seed).sample(range(number), min(num_images, number))):
        name = Path(dataset.entries[index].record.file_name).stem
        yield ContactSheetImage(name, dataset.read_image(index), dataset.read_target(index))


def prepare_and_tell(config: DictConfig) -> None:
    """Prepare, and end with exit code 2 if something wrong with the input was left out or guessed."""
    report = prepare(config)
    if report.problems:
        print(
            f"prepared with {len(report.problems)} problems (see above); data.strict=true stops at the first",
            file=sys.stderr,
        )
        sys.exit(2)


if __name__ == "__main__":
    run_command("prepare", prepare_and_tell)
