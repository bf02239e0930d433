"""The images of a grid: by rank of Dice, the same for all models, or those that were asked for."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from modise_lightning.errors import UserError
from modise_lightning.metrics.records.evaluation_records import IMAGE_COLUMNS, EvaluationRecords, make_table
from modise_lightning.reporting.cross_validation.models import ModelFolds
from modise_lightning.reporting.figures.image_choice import choose_images
from modise_lightning.reporting.figures.model_records import ModelRecords


def model(label: str, dice_by_fold: dict[int, dict[int, float]]) -> ModelRecords:
    """Make records that hold the Dice of images, by fold and image."""
    by_fold = {}
    for fold, dice in dice_by_fold.items():
        images = pd.DataFrame(0, index=range(len(dice)), columns=list(IMAGE_COLUMNS))
        images["image_id"], images["dice"] = list(dice), list(dice.values())
        images["file_name"] = [f"{image_id}.png" for image_id in dice]
        by_fold[fold] = EvaluationRecords(images, make_table("instances", []), make_table("overlaps", []))
    return ModelRecords(ModelFolds(label, "trained", {}, 0.5), by_fold, ["mass"], [True])


FIRST = model("first", {0: {1: 0.9, 2: 0.5, 3: 0.1}, 1: {4: 0.7, 5: 0.3, 6: math.nan}})
# Image 5 is missing, image 1 is much worse: 2 is the best for both.
SECOND = model("second", {0: {1: 0.0, 2: 0.8, 3: 0.1}, 1: {4: 0.2}})


def test_best_median_and_worst_of_one_model() -> None:
    chosen = choose_images([FIRST], images=None, best=1, median=1, worst=1)
    assert [(image.reason, image.image_id, image.fold) for image in chosen] == [
        ("best", 1, 0),
        ("median", 2, 0),
        ("worst", 3, 0),
    ]
    assert chosen[0].dice == {"first": 0.9}
    assert chosen[0].file_name == "1.png"


def test_all_images_can_be_chosen_once() -> None:
    for best, median, worst in [(2, 2, 1), (4, 1, 0), (0, 1, 4), (0, 5, 0)]:
        chosen = choose_images([FIRST], images=None, best=best, median=median, worst=worst)
        assert [image.image_id for image in chosen] == [1, 4, 2, 5, 3]
    with pytest.raises(UserError, match=r"6 images are wanted .* only 5 were tested with first"):
        choose_images([FIRST], images=None, best=2, median=2, worst=2)


def test_several_models_share_the_images_that_all_have() -> None:
    chosen = choose_images([FIRST, SECOND], images=None, best=1, median=0, worst=1)
    assert [image.image_id for image in chosen] == [2, 3]
    assert chosen[0].dice == {"first": 0.5, "second": 0.8}


def test_images_that_are_asked_for() -> None:
    chosen = choose_images([FIRST], images=[6, 1, 6], best=1, median=1, worst=1)
    assert [(image.image_id, image.fold, image.reason) for image in chosen] == [
        (6, 1, "chosen"),
        (1, 0, "chosen"),
    ]
    with pytest.raises(UserError, match="no fold has tested image 5 with first and second"):
        choose_images([FIRST, SECOND], images=[1, 5], best=1, median=1, worst=1)


def test_an_image_of_several_folds_is_of_the_first() -> None:
    official = model("m", {1: {1: 0.2, 2: 0.3}, 0: {1: 0.9, 2: 0.1}})
    chosen = choose_images([official], images=None, best=1, median=0, worst=1)
    assert [(image.image_id, image.fold, image.dice["m"]) for image in chosen] == [(1, 0, 0.9), (2, 0, 0.1)]
