"""nnU-Net v2 in 2D: its own conversion, planning, preprocessing, augmentation, trainer and predictor.

Runs in the peers' environment: ``python -m peer_parts.nnunet --help``. Not as by default are the length of
the training, one core, no checkpoints, one batch of validation an epoch, and the width of ``nnunet_narrow``.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from peer_parts.budget import ProcessorClock, peak_memory_mb, steps_of_epoch, steps_within
from peer_parts.exchange import Exchange, ExchangedImage
from peer_parts.instances import instances_of_maps
from peer_parts.peer_process import PeerRun, run_peer
from peer_parts.predictions import PredictedImage, write_prediction

if TYPE_CHECKING:
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

DATASET = "Dataset001_mammograms"
_MOST_EPOCHS = 50  # its learning rate falls once an epoch: more steps of the schedule bring nothing
_MEASURED_STEPS = 3  # after one to warm up; a batch takes seconds
_AUGMENTATION_PROCESSES = "nnUNet_n_proc_DA"
_NARROW_FEATURES = 8  # of the first stage, instead of 32


def main() -> None:
    """Train, predict the test images, and write what it took."""
    run = run_peer(__doc__ or "")
    if run.model not in ("nnunet", "nnunet_narrow"):
        raise SystemExit(f"--model: {run.model} is none of nnU-Net's.")
    for name in ("raw", "preprocessed", "results"):  # nnU-Net reads them when it is imported
        folder_of(run, name).mkdir(parents=True, exist_ok=True)
        os.environ[f"nnUNet_{name}"] = str(folder_of(run, name))
    # One process and one thread for everything; it does not compile on a CPU anyway. The planner takes the
    # processes of the augmentation for its threads, so they become none (in the trainer's process) after it.
    os.environ |= {_AUGMENTATION_PROCESSES: "1", "nnUNet_def_n_proc": "1", "nnUNet_compile": "f"}
    trainer, clock, schedule = _train(run)
    memory = peak_memory_mb()
    seconds = _predict(run, trainer)
    run.write_cost(
        processor_seconds=clock.seconds,
        peak_memory_mb=memory,
        seconds_per_image=seconds,
        optimizer_steps=schedule["steps"],
        images_seen=schedule["steps"] * schedule["batch_size"],
        training=schedule,
        packages=("nnunetv2", "torch", "batchgeneratorsv2", "numpy", "scikit-image"),
    )


def folder_of(run: PeerRun, name: str) -> Path:
    """Name one of nnU-Net's three folders, which its environment variables are called like."""
    return run.work / f"nnUNet_{name}"


def convert(exchange: Exchange, fold: int, raw: Path) -> None:
    """Write the training and validation images of a fold in nnU-Net's layout, and nothing of the test images.

    Args:
        exchange: All images.
        fold: The test fold.
        raw: Folder ``nnUNet_raw``.
    """
    classes = {index: label for label, index in enumerate(sorted(exchange.categories), start=1)}
    images = [*exchange.split(fold, "train"), *exchange.split(fold, "validation")]
    for part in ("imagesTr", "labelsTr"):
        (raw / DATASET / part).mkdir(parents=True, exist_ok=True)
    for image in images:
        table = np.array([0, *(classes[label] for label in image.labels)], dtype=np.uint8)
        files = {
            f"imagesTr/{image.key}_0000.png": exchange.read_image(image),
            f"labelsTr/{image.key}.png": table[exchange.read_segments(image)],
        }
        for name, pixels in files.items():
            cv2.imwrite(str(raw / DATASET / name), pixels)
    names = {"background": 0} | {exchange.categories[index]: label for index, label in classes.items()}
    description = {
        "channel_names": {"0": "mammogram"},  # no CT: each image is normalised by itself
        "labels": names,
        "numTraining": len(images),
        "file_ending": ".png",
    }
    (raw / DATASET / "dataset.json").write_text(json.dumps(description, indent=1), encoding="utf-8")


def _prepare(run: PeerRun) -> tuple[dict[str, Any], dict[str, Any]]:
    """Convert, plan and preprocess; give plans and dataset description."""
    from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner
    from nnunetv2.experiment_planning.plan_and_preprocess_api import (
        extract_fingerprint_dataset,
        plan_experiment_dataset,
        preprocess_dataset,
    )

    class NarrowPlanner(ExperimentPlanner):  # type: ignore[misc]
        """Plans a network of a quarter of the width."""

        def __init__(self, *arguments: Any, **named: Any) -> None:  # noqa: ANN401 (nnU-Net's)
            super().__init__(*arguments, **named)
            self.UNet_base_num_features = _NARROW_FEATURES

    preprocessed = folder_of(run, "preprocessed") / DATASET
    plans = preprocessed / "nnUNetPlans.json"
    if not (preprocessed / "splits_final.json").is_file():  # written last
        convert(run.exchange, run.fold, folder_of(run, "raw"))
        extract_fingerprint_dataset(1, num_processes=1, check_dataset_integrity=True)
        planner = NarrowPlanner if run.model == "nnunet_narrow" else ExperimentPlanner
        plan_experiment_dataset(1, planner)
        preprocess_dataset(1, configurations=["2d"], num_processes=[1])
        split = {
            "train": [image.key for image in run.exchange.split(run.fold, "train")],
            "val": [image.key for image in run.exchange.split(run.fold, "validation")],
        }
        (preprocessed / "splits_final.json").write_text(json.dumps([split]), encoding="utf-8")
    os.environ[_AUGMENTATION_PROCESSES] = "0"
    description = json.loads((preprocessed / "dataset.json").read_text(encoding="utf-8"))
    return json.loads(plans.read_text(encoding="utf-8")), description


def _train(run: PeerRun) -> tuple[nnUNetTrainer, ProcessorClock, dict[str, Any]]:
    """Measure some steps with a trainer that is thrown away, then train until the budget is spent."""
    import torch
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    clock = ProcessorClock()
    budget, taken = run.minutes * 60, [0]  # seconds; optimizer steps until now

    class TimedTrainer(nnUNetTrainer):  # type: ignore[misc]
        """Counts the epochs of training without the validation between them, and divides what is left."""

        def on_train_epoch_start(self) -> None:
            if taken[0]:
                self.num_iterations_per_epoch = steps_of_epoch(
                    budget - clock.seconds, self.num_epochs - self.current_epoch, clock.seconds / taken[0]
                )
            clock.start()
            super().on_train_epoch_start()

        def on_train_epoch_end(self, train_outputs: list[dict[str, Any]]) -> None:
            super().on_train_epoch_end(train_outputs)
            clock.stop()
            taken[0] += len(train_outputs)

    def build() -> nnUNetTrainer:
        plans, description = _prepare(run)
        torch.manual_seed(run.seed)
        np.random.seed(run.seed)
        trainer = TimedTrainer(
            {**plans, "continue_training": False}, "2d", 0, description, torch.device("cpu")
        )
        trainer.disable_checkpointing = True
        trainer.num_val_iterations_per_epoch = (
            1  # only logged: the last weights are the result, as by default
        )
        return trainer

    probe = build()
    probe.on_train_start()
    probe.on_train_epoch_start()
    clock.stop()
    measured = ProcessorClock()
    for step in range(1 + _MEASURED_STEPS):
        if step == 1:
            measured.start()
        probe.train_step(next(probe.dataloader_train))
    measured.stop()
    step_seconds = measured.seconds / _MEASURED_STEPS
    del probe
    clock.seconds = 0.0
    trainer = build()
    trainer.num_epochs = min(_MOST_EPOCHS, steps_within(budget, step_seconds))
    trainer.num_iterations_per_epoch = steps_of_epoch(budget, trainer.num_epochs, step_seconds)
    trainer.run_training()
    settings = trainer.configuration_manager
    schedule = {
        "measured_step_seconds": step_seconds,
        "epochs": trainer.num_epochs,
        "steps": taken[0],
        "batch_size": settings.batch_size,
        "patch_size": [int(side) for side in settings.patch_size],
        "parameters": sum(weights.numel() for weights in trainer.network.parameters()),
    }
    return trainer, clock, schedule


def _predict(run: PeerRun, trainer: nnUNetTrainer) -> float:
    """Predict the test images with nnU-Net's predictor; give processor seconds an image."""
    import torch
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    trainer.set_deep_supervision_enabled(False)
    trainer.network.eval()
    predictor = nnUNetPredictor(device=torch.device("cpu"), allow_tqdm=False)
    predictor.manual_initialization(
        trainer.network,
        trainer.plans_manager,
        trainer.configuration_manager,
        None,
        trainer.dataset_json,
        type(trainer).__name__,
        trainer.inference_allowed_mirroring_axes,
    )
    # Without a list of weights to load the predictor keeps the network's own.
    predictor.list_of_parameters = [trainer.network.state_dict()]
    images = run.exchange.split(run.fold, "test")
    spent = 0.0
    for image in images:
        pixels = run.exchange.read_image(image)
        before = time.process_time()
        prediction = predict_image(predictor, pixels, image, sorted(run.exchange.categories))
        spent += time.process_time() - before
        write_prediction(run.predictions / f"{image.key}.npz", prediction)
    return spent / len(images)


def predict_image(
    predictor: nnUNetPredictor, pixels: np.ndarray, image: ExchangedImage, labels: list[int]
) -> PredictedImage:
    """Predict an image with nnU-Net's defaults (mirrored views too), and take components as instances.

    Args:
        predictor: Initialised.
        pixels: (h, w) 8-bit grey.
        image: Says the size of the result.
        labels: Index of each class in the prepared dataset.
    """
    # As nnU-Net's reader of natural images gives them: (channels, 1, h, w), and this spacing.
    properties = {"spacing": (999, 1, 1)}
    _, maps = predictor.predict_single_npy_array(
        pixels[None, None].astype(np.float32), properties, save_or_return_probabilities=True
    )
    size = (image.width, image.height)
    enlarged = np.stack([cv2.resize(each[0], size, interpolation=cv2.INTER_LINEAR) for each in maps])
    return instances_of_maps(enlarged.astype(np.float32), labels)


if __name__ == "__main__":
    main()
