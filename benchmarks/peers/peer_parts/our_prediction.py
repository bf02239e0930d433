"""Measures how long a model of this library takes for an image: ``python -m peer_parts.our_prediction``."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import cv2
import torch

from modise_lightning.configuration.assembly import build_data
from modise_lightning.configuration.trained_model import load_trained
from modise_lightning.prediction.predictor import Predictor
from peer_parts.peer_process import write_json
from peer_parts.settings import CLOCK


def main() -> None:
    """Predict the test images one by one, from pixels to results at the stored size."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("output", type=Path, help="JSON file")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    module, config, _ = load_trained(arguments.checkpoint, {}, [CLOCK])
    data = build_data(config)
    predictor = Predictor(
        module.segmenter,
        module.inference,
        transform=data.evaluation_transform,
        size_multiple=data.size_multiple,
        device="cpu",
    )
    indices = data.indices["test"]
    spent = 0.0
    for index in indices:
        image = data.dataset.read_input(index)
        before = time.process_time()
        predictor(image)
        spent += time.process_time() - before
    write_json(arguments.output, {"seconds_per_image": spent / len(indices)})


if __name__ == "__main__":
    main()
