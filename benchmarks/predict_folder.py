"""Prediction of a folder of DICOM images: the command's way against one image after the other.

Run ``python benchmarks/predict_folder.py --checkpoint RUN/checkpoints/best.ckpt``. It writes synthetic
mammograms, run-length encoded, then predicts them (a) reading, predicting and writing one after the other,
and (b) as ``predict`` does, its tables included; each side several times in turn, in one process.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import lightning
import numpy as np
import torch
from hydra.utils import instantiate
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    DigitalMammographyXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    RLELossless,
    generate_uid,
)
from rich.console import Console
from rich.table import Table

from modise_lightning.callbacks.prediction_writer import PredictionWriter
from modise_lightning.configuration.assembly import categories_of
from modise_lightning.configuration.trained_model import load_trained
from modise_lightning.data.images.reading import read_image_file
from modise_lightning.messages import quieten_libraries
from modise_lightning.prediction.folders.folder import FolderPrediction, Model
from modise_lightning.prediction.folders.preparing import find_images, inspect_images
from modise_lightning.prediction.folders.run_settings import read_settings
from modise_lightning.prediction.predictor import Predictor
from modise_lightning.reporting.export import export_prediction


def write_dicom(path: Path, height: int, width: int, seed: int) -> None:
    """Write a synthetic mammogram of 12 bits with a window, run-length encoded."""
    generator = np.random.default_rng(seed)
    rows, columns = np.ogrid[:height, :width]
    breast = np.hypot((rows - height / 2) / (height * 0.45), columns / (width * 0.7)) < 1
    lesion = np.hypot(rows - height * generator.uniform(0.3, 0.7), columns - width * 0.3) < height / 20
    values = generator.normal(1500, 200, (height, width)) + 900 * lesion
    stored = np.where(breast, values, 0).clip(0, 4095).astype(np.uint16)
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = DigitalMammographyXRayImageStorageForPresentation
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.StudyInstanceUID = generate_uid(entropy_srcs=[str(seed // 4)])
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = height, width, 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.WindowCenter, dataset.WindowWidth = 1500, 3000
    dataset.PixelData = stored.tobytes()
    dataset.compress(RLELossless)
    dataset.save_as(path, enforce_file_format=True)


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """Measure seconds on the clock, and of the processors with those of ended worker processes."""
    before, start = os.times(), time.perf_counter()
    work()
    wall, after = time.perf_counter() - start, os.times()
    return wall, sum(after[:4]) - sum(before[:4])


def main() -> None:
    """Measure both sides and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--size", type=int, nargs=2, default=(1024, 832), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--writers", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch, on both sides")
    options = parser.parse_args()
    quieten_libraries()
    torch.set_num_threads(options.threads)
    module, trained, dataset = load_trained(options.checkpoint, {})
    transform = instantiate(trained.data.module.evaluation_transform)
    model = Model(
        categories=categories_of(trained),
        transform=transform,
        size_multiple=trained.data.module.size_multiple,
        in_colours=False,
        metadata={"model": trained.name},
        is_synthetic=bool(dataset["synthetic"]),
        identity={},
    )
    predictor = Predictor(
        module.segmenter,
        module.inference,
        transform=transform,
        size_multiple=model.size_multiple,
        device="cpu",
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "images").mkdir()
        for number in range(options.images):
            write_dicom(folder / "images" / f"{number:04}.dcm", *options.size, seed=number)
        files = sorted((folder / "images").iterdir())

        def one_after_another() -> None:
            for file in files:
                image = read_image_file(file)
                export_prediction(
                    folder / "one",
                    file.stem,
                    image,
                    predictor(image),
                    model.categories,
                    source=file.name,
                    metadata=model.metadata,
                    synthetic_training_data=model.is_synthetic,
                )

        def together() -> None:
            shutil.rmtree(folder / "all", ignore_errors=True)
            predict_folder(folder, module, model, options)

        together()  # both sides warm
        one_after_another()
        measured = [(seconds(one_after_another), seconds(together)) for _ in range(options.repeats)]
    show(measured, options)


def predict_folder(
    folder: Path, module: lightning.LightningModule, model: Model, options: argparse.Namespace
) -> None:
    """Predict the images of a folder as the command does."""
    settings = read_settings(
        {
            **{"input": str(folder / "images"), "output_dir": str(folder / "all"), "recursive": True},
            **{"white": "auto", "for_processing": "refuse", "frame": None, "identifiers": "remove"},
            **{
                "export": ["coco"],
                "contact_sheet_images": 0,
                "gallery_images": 1,
                "class_codes": [],
                "shards": 1,
                "shard": 0,
            },
            **{"batch_size": options.batch_size, "num_workers": options.workers, "num_threads": None},
            **{"num_writers": options.writers, "exams": {"pattern": None}},
            "lesions": {"source": "segments", "minimum_score": 0.0, "uncertainty": True},
            "archive": {"members": 1, "member_bytes": 1, "total_bytes": 1},
        }
    )
    inputs = inspect_images(find_images(settings), settings, lambda images, number: images)
    prediction = FolderPrediction(inputs, settings, model)
    with prediction.writing(lambda number: None) as writing:
        trainer = lightning.Trainer(
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[PredictionWriter(writing)],
        )
        trainer.predict(module, datamodule=prediction.data(), return_predictions=False)
    prediction.finish()


def show(measured: list[tuple[tuple[float, float], ...]], options: argparse.Namespace) -> None:
    """Print the medians and the ratios."""
    table = Table(title=f"{options.images} DICOM images of {options.size[0]} x {options.size[1]} pixels")
    for column in ("", "images / s", "seconds on the clock", "seconds of the processors"):
        table.add_column(column, justify="right" if column else "left")
    for side, title in enumerate(("one after the other", "predict")):
        wall, processor = (median(run[side][kind] for run in measured) for kind in (0, 1))
        table.add_row(title, f"{options.images / wall:.2f}", f"{wall:.2f}", f"{processor:.2f}")
    console = Console()
    console.print(table)
    ratios = sorted(one[0] / together[0] for one, together in measured)
    console.print("images / s, ratio of each pair: " + ", ".join(f"{ratio:.2f}" for ratio in ratios))


if __name__ == "__main__":
    main()
