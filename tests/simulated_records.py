"""Records of evaluations that never took place: patients with breasts and views, lesions and detections."""

from __future__ import annotations

import numpy as np

from modise_lightning.metrics.records.evaluation_records import EvaluationRecords, make_table
from modise_lightning.structures import ImageRecord

NAMES = ["benign", "malignant"]


def image_row(image: ImageRecord, truths: int, predicted: int, dice: float = 0.5) -> tuple[object, ...]:
    at_a_threshold = (0.1, 0, 0, 0, np.nan, np.nan)
    return (
        image.image_id,
        image.file_name,
        image.patient_id,
        truths,
        predicted,
        *at_a_threshold,
        *at_a_threshold,
        dice,
    )


def simulate(
    seed: int, *, patients: int = 6, normals: float = 0.4, first_image: int = 0, prefix: str = "p"
) -> tuple[EvaluationRecords, list[ImageRecord]]:
    """Simulate two breasts of two views a patient, with few distinct scores, so that many are equal."""
    generator = np.random.default_rng(seed)
    images: list[ImageRecord] = []
    rows: list[tuple[object, ...]] = []
    segments: list[tuple[object, ...]] = []
    overlaps: list[tuple[object, ...]] = []
    for patient in range(patients):
        healthy = generator.random() < normals
        for laterality in ("left", "right"):
            for view in ("CC", "MLO"):
                number = first_image + len(images)
                image = ImageRecord(
                    number,
                    f"{number}.png",
                    f"{prefix}{patient}",
                    100,
                    80,
                    laterality=laterality,  # type: ignore[arg-type]
                    view=view,
                    density="ABCD"[patient % 4],
                )
                num_truth = 0 if healthy else int(generator.integers(0, 3))
                truth_names = generator.choice(NAMES, num_truth)
                for index, name in enumerate(truth_names):
                    segments.append((number, "truth", index, name, np.nan, int(generator.integers(5, 60)), 0))
                for source, most in (("instance", 6), ("panoptic", 3)):
                    found = int(generator.integers(0, most))
                    predicted_names = generator.choice(NAMES, found)
                    taken: set[int] = set()
                    for index, name in enumerate(predicted_names):
                        score = float(generator.integers(0, 9)) / 8
                        void = 30 if generator.random() < 0.1 else 0
                        segments.append((number, source, index, name, score, 50, void))
                        for truth in range(num_truth):
                            # Panoptic segments do not overlap, so that only one has most of a lesion.
                            high = source == "instance" or truth not in taken
                            if generator.random() < 0.5:
                                iou = float(generator.uniform(0.05, 0.95 if high else 0.3))
                                taken.add(truth)
                                overlaps.append((number, source, index, truth, iou))
                images.append(image)
                rows.append(image_row(image, num_truth, 0, float(generator.random())))
    records = EvaluationRecords(
        make_table("images", rows), make_table("instances", segments), make_table("overlaps", overlaps)
    )
    return records, images
