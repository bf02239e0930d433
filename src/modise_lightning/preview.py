"""Draws training images as steps see them: ``python -m modise_lightning.preview augmentation=...``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modise_lightning.configuration.command_line import run_command

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from omegaconf import DictConfig

    from modise_lightning.data.loading.datamodule import PanopticDataModule
    from modise_lightning.reporting.pictures.contact_sheet import ContactSheetImage

PICTURE = "training_images.png"


def preview(config: DictConfig) -> Path:
    """Write the contact sheet, and tell how often an epoch shows each class.

    Returns:
        The picture.

    Raises:
        UserError: The dataset is not there, or a setting is wrong.
    """
    from pathlib import Path

    from modise_lightning.configuration.assembly import build_data
    from modise_lightning.configuration.config_check import check_config
    from modise_lightning.console import Console
    from modise_lightning.reporting.files import write_png_atomically
    from modise_lightning.reporting.pictures.contact_sheet import draw_contact_sheet

    check_config(config)
    data = build_data(config)
    console = Console(soft_wrap=True, highlight=False)
    for line in describe_classes(data):
        console.print(line, markup=False)
    cells = show_training_images(data, config.images, config.versions)
    sheet = draw_contact_sheet(cells, data.categories, data.dataset.note, columns=1 + config.versions)
    path = Path(config.output_dir) / PICTURE
    path.parent.mkdir(parents=True, exist_ok=True)
    write_png_atomically(path, sheet)
    console.print(f"written: {path}", markup=False)
    return path


def describe_classes(data: PanopticDataModule) -> Iterator[str]:
    """Say of each class how many training images show it, and how many of an epoch do on average."""
    labels = [set(data.dataset.segment_labels(index)) for index in data.indices["train"]]
    times = data.times_an_epoch()
    yield f"{len(labels)} training images, {sum(times):.0f} an epoch"
    for index, category in enumerate(data.categories):
        shown = [time for own, time in zip(labels, times, strict=True) if index in own]
        yield f"  {category.name}: {len(shown)} training images, {sum(shown):.1f} an epoch"


def show_training_images(
    data: PanopticDataModule, num_images: int, num_versions: int
) -> Iterator[ContactSheetImage]:
    """Give the first images of the first epoch: each as it is stored, then as the next epochs show it.

    Args:
        data: Its order and seeds are those of a training in one process.
        num_images: How many, at most.
        num_versions: Of each.

    Yields:
        For each image the stored one, and its versions.
    """
    from pathlib import Path

    from modise_lightning.data.loading.transforms import luminance
    from modise_lightning.reporting.pictures.contact_sheet import ContactSheetImage

    images, sampler = data.training_images(), data.training_sampler()
    seen: dict[int, list[tuple[int, int]]] = {}
    epoch = 0
    while epoch == 0 or min(map(len, seen.values())) < num_versions:
        sampler.set_epoch(epoch)
        for position, seed in sampler:
            if epoch == 0 and len(seen) < num_images:
                seen.setdefault(position, [])
            if position in seen and len(seen[position]) < num_versions:
                seen[position].append((epoch, seed))
        epoch += 1
    times = data.times_an_epoch()
    for position, versions in seen.items():
        index = images.indices[position]
        name = Path(data.dataset.records[index].file_name).stem
        often = "" if data.repeat_threshold is None else f", {times[position]:.2f} times an epoch"
        yield ContactSheetImage(
            f"{name}{often}", data.dataset.read_image(index), data.dataset.read_target(index)
        )
        for number, seed in versions:
            image, target, *_ = images[position, seed]
            grey = luminance(image.permute(1, 2, 0).numpy())
            yield ContactSheetImage(f"epoch {number + 1}", grey, target)


if __name__ == "__main__":
    run_command("preview", preview)
