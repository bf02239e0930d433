"""Prediction of a full-field mammogram, from the DICOM file to all results on disk."""

from __future__ import annotations

import itertools
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import (
    DigitalMammographyXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    generate_uid,
)

from gpu_parts.models import CLASSES, DiffusionWeights, build_backbone, build_segmenter, compose_config
from gpu_parts.record import Part
from modise_lightning.configuration.command_line import instantiate
from modise_lightning.data.images.reading import read_image_file
from modise_lightning.data.loading.batches import pad_to_multiple
from modise_lightning.inference.placement import place_prediction
from modise_lightning.prediction.predictor import Predictor
from modise_lightning.reporting.export import export_prediction
from modise_lightning.structures import Category


def measure(part: Part) -> None:
    """Predict the same image several times and split the latency."""
    config = compose_config("m_odise", part.tiny, [], Path("."))
    weights = DiffusionWeights.random(config, part.device)
    backbone = build_backbone(config, weights, part.device)
    predictor = Predictor(
        build_segmenter(config, backbone, part.device),
        instantiate(config.inference)(isthing=[True] * CLASSES),
        transform=instantiate(config.data.module.evaluation_transform),
        size_multiple=int(config.data.module.size_multiple),
        device=part.device.type,
    )
    categories = [Category(f"class {index}", (f"class {index}",)) for index in range(CLASSES)]
    height, width = (350, 280) if part.tiny else (3500, 2800)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "image.dcm"
        _write_dicom(path, height, width)
        laps: dict[str, list[float]] = {}
        for repeat in range(2 if part.tiny else 5):
            marks = [("", time.perf_counter())]

            def lap(name: str, marks: list[tuple[str, float]] = marks) -> None:
                part.synchronize()
                marks.append((name, time.perf_counter()))

            image = read_image_file(path)
            lap("decoding")
            with torch.inference_mode():
                resized, region = predictor.transform(image)
                size = (resized.shape[-2], resized.shape[-1])
                padded = pad_to_multiple(resized[None], predictor.size_multiple).to(predictor.device)
                lap("resizing and copying")
                with torch.autocast(part.device.type, dtype=torch.bfloat16):
                    output = predictor.segmenter(padded, final_only=True)
                lap("network")
                padded_size = (padded.shape[-2], padded.shape[-1])
                found = predictor.inference(output, padded_size, [size], [(region.height, region.width)])[0]
                prediction = place_prediction(found, region, *image.shape)
            lap("post-processing")
            export_prediction(
                Path(folder),
                f"image{repeat}",
                image,
                prediction,
                categories,
                source="image.dcm",
                metadata={},
                synthetic_training_data=True,
            )
            lap("writing")
            if repeat:  # The first one warms up.
                for (_, before), (name, after) in itertools.pairwise(marks):
                    laps.setdefault(name, []).append(after - before)
    medians = {name: statistics.median(each) for name, each in laps.items()}
    latency = sum(medians.values())
    part.add(f"prediction of a DICOM of {height} x {width}: latency", 1000 * latency, "ms")
    part.add("prediction, one image after the other", 1 / latency, "images/s")
    for name, seconds in medians.items():
        part.add(
            f"prediction: {name}",
            1000 * seconds,
            "ms",
            beside=f"{100 * seconds / latency:.0f} % of the latency",
        )


def _write_dicom(path: Path, height: int, width: int) -> None:
    """Write an uncompressed mammogram of noise in 12 bits."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = DigitalMammographyXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID = (
        meta.MediaStorageSOPClassUID,
        meta.MediaStorageSOPInstanceUID,
    )
    dataset.Modality, dataset.PresentationIntentType = "MG", "FOR PRESENTATION"
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = height, width, 1
    dataset.PhotometricInterpretation, dataset.PixelRepresentation = "MONOCHROME2", 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    pixels = np.random.default_rng(0).normal(1500, 300, (height, width)).clip(0, 4095)
    dataset.PixelData = pixels.astype("<u2").tobytes()
    dataset.save_as(path, enforce_file_format=True)
