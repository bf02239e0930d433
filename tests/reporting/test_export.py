"""The exported files say what the prediction says; checked by brute force and by COCO's own tools."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from modise_lightning.errors import UserError
from modise_lightning.reporting.export import PredictionFiles, choose_stems, export_prediction
from modise_lightning.reporting.pictures.overlay import draw_overlay
from modise_lightning.structures import Category, InstanceSegmentation, PanopticSegmentation, Prediction

CATEGORIES = (
    Category("benign", ("benign",), color=(86, 180, 233)),
    Category("malignant", ("malignant",), color=(230, 159, 0)),
)


def make_prediction(seed: int, height: int, width: int, segments: int, instances: int) -> Prediction:
    generator = np.random.default_rng(seed)
    ids = generator.integers(-1, segments + 1, (height, width))
    masks = generator.random((instances, height, width)) < generator.random((instances, 1, 1)) ** 2
    return Prediction(
        PanopticSegmentation(
            torch.from_numpy(ids),
            torch.from_numpy(generator.integers(0, 2, segments)),
            torch.from_numpy(generator.random(segments)),
        ),
        InstanceSegmentation(
            torch.from_numpy(masks),
            torch.from_numpy(generator.integers(0, 2, instances)),
            torch.from_numpy(generator.random(instances)),
        ),
        torch.zeros((2, height, width)),
    )


def export(
    folder: Path, prediction: Prediction, stem: str = "image", synthetic: bool = False
) -> PredictionFiles:
    image = np.full(prediction.panoptic.segment_ids.shape, 0.5, dtype=np.float32)
    return export_prediction(
        folder,
        stem,
        image,
        prediction,
        CATEGORIES,
        source="image.dcm",
        metadata={"model": "tiny", "version": "1.0"},
        synthetic_training_data=synthetic,
    )


def read_png(path: Path) -> NDArray[np.int64]:
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)[..., ::-1].astype(np.int64)


def brute_force(mask: NDArray[np.bool_]) -> dict[str, Any]:
    pixels = [(x, y) for y in range(mask.shape[0]) for x in range(mask.shape[1]) if mask[y, x]]
    left, top = min(x for x, _ in pixels), min(y for _, y in pixels)
    right, bottom = max(x for x, _ in pixels), max(y for _, y in pixels)
    return {"bbox": [left, top, right - left + 1, bottom - top + 1], "area": len(pixels)}


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 1000),
    height=st.integers(1, 12),
    width=st.integers(1, 12),
    segments=st.integers(0, 5),
    instances=st.integers(0, 4),
)
def test_json_and_id_map_hold_the_prediction(
    tmp_path: Path, seed: int, height: int, width: int, segments: int, instances: int
) -> None:
    prediction = make_prediction(seed, height, width, segments, instances)
    files = export(tmp_path, prediction)
    content = json.loads(files.json.read_text())
    assert (content["height"], content["width"]) == (height, width)
    ids = prediction.panoptic.segment_ids.numpy()
    decoded = read_png(files.panoptic) @ [1, 256, 65536]
    np.testing.assert_array_equal(decoded, np.where(ids == -1, 0, ids))
    assert [segment["id"] for segment in content["segments"]] == sorted(set(decoded.flatten()) - {0})
    for segment in content["segments"]:
        index = segment["id"] - 1
        assert brute_force(decoded == segment["id"]).items() <= segment.items()
        assert segment["category"] == CATEGORIES[int(prediction.panoptic.labels[index])].name
        assert prediction.panoptic.scores is not None
        assert segment["score"] == pytest.approx(float(prediction.panoptic.scores[index]), abs=1e-6)
    masks = prediction.instances.masks.numpy()
    kept = [index for index in range(instances) if masks[index].any()]
    for index, instance in zip(kept, content["instances"], strict=True):
        assert brute_force(masks[index]).items() <= instance.items()
        assert instance["category"] == CATEGORIES[int(prediction.instances.labels[index])].name
        assert instance["score"] == pytest.approx(float(prediction.instances.scores[index]), abs=1e-6)
        np.testing.assert_array_equal(coco_mask.decode(instance["segmentation"]), masks[index])


def test_ids_beyond_a_byte_are_decodable(tmp_path: Path) -> None:
    prediction = make_prediction(0, 2, 300, 0, 0)
    ids = torch.arange(1, 301).expand(2, 300)
    prediction.panoptic = PanopticSegmentation(ids, torch.zeros(300, dtype=torch.int64))
    decoded = read_png(export(tmp_path, prediction).panoptic) @ [1, 256, 65536]
    np.testing.assert_array_equal(decoded, ids.numpy())


def test_overlay_is_the_drawn_one_and_names_are_as_told(tmp_path: Path) -> None:
    prediction = make_prediction(3, 80, 90, 2, 1)
    files = export(tmp_path / "new", prediction, stem="P1_L.CC")
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [
        "P1_L.CC.json",
        "P1_L.CC_overlay.png",
        "P1_L.CC_panoptic.png",
    ]
    expected = draw_overlay(np.full((80, 90), 0.5, np.float32), prediction.panoptic, CATEGORIES)
    np.testing.assert_array_equal(read_png(files.overlay), expected)
    content = json.loads(files.json.read_text())
    assert (content["overlay"], content["panoptic"]) == (files.overlay.name, files.panoptic.name)
    assert content["image"] == "image.dcm"
    assert content["model"] == {"model": "tiny", "version": "1.0"}
    assert content["categories"] == ["benign", "malignant"]


@pytest.mark.parametrize("synthetic", [False, True])
def test_a_model_that_knows_only_phantoms_says_so(synthetic: bool, tmp_path: Path) -> None:
    content = json.loads(
        export(tmp_path, make_prediction(0, 8, 8, 1, 1), synthetic=synthetic).json.read_text()
    )
    assert content["synthetic_training_data"] is synthetic
    assert ("notice" in content) is synthetic
    assert not synthetic or "phantom" in content["notice"]


def test_segments_without_scores_have_none(tmp_path: Path) -> None:
    prediction = make_prediction(0, 8, 8, 2, 0)
    prediction.panoptic.scores = None
    content = json.loads(export(tmp_path, prediction).json.read_text())
    assert [segment["score"] for segment in content["segments"]] == [None, None]


@pytest.mark.parametrize("stem", ["", ".", "..", "a/b", "../a", "/etc/a", "a\\b", "a\0b", "a\nb"])
def test_stems_that_are_no_plain_names_are_refused(stem: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="rename the image"):
        export(tmp_path / "out", make_prediction(0, 8, 8, 1, 1), stem=stem)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("score", [math.nan, math.inf])
@pytest.mark.parametrize("part", ["panoptic", "instances"])
def test_scores_that_are_no_numbers_are_refused_and_nothing_is_written(
    part: str, score: float, tmp_path: Path
) -> None:
    prediction = make_prediction(0, 20, 20, 1, 1)
    found = prediction.instances
    masks = found.masks
    masks[0, 3, 3] = True
    prediction.instances = InstanceSegmentation(masks, found.labels, found.scores)
    getattr(prediction, part).scores[0] = score
    with pytest.raises(ValueError, match="finite"):
        export(tmp_path / "out", prediction)
    assert not list(tmp_path.iterdir())


def test_an_image_of_another_size_is_refused(tmp_path: Path) -> None:
    prediction = make_prediction(0, 8, 8, 1, 1)
    found = prediction.instances
    prediction.instances = InstanceSegmentation(
        torch.zeros((1, 4, 4), dtype=torch.bool), found.labels, found.scores
    )
    with pytest.raises(ValueError, match="at one size"):
        export(tmp_path / "out", prediction)
    assert not list(tmp_path.iterdir())


def test_where_the_json_is_missing_the_export_failed(tmp_path: Path) -> None:
    (tmp_path / "image.json").mkdir()
    with pytest.raises(OSError, match=r"image\.json"):
        export(tmp_path, make_prediction(0, 8, 8, 1, 1))
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize(
    ("names", "stems"),
    [
        (["a.png", "b.jpg"], ["a", "b"]),
        (["a.png", "a.jpg"], ["a_png", "a_jpg"]),
        (["a.png", "a.jpg", "a_png.png"], ["a_png_2", "a_jpg", "a_png"]),
        (["A.png", "a.jpg"], ["A_png", "a_jpg"]),
        (["A.PNG", "a.png"], ["A_PNG", "a_png_2"]),
        (["1.2.3.dcm", "1.2.4.dcm"], ["1.2.3", "1.2.4"]),
    ],
)
def test_no_image_replaces_the_files_of_another(names: list[str], stems: list[str]) -> None:
    assert choose_stems(names) == dict(zip(names, stems, strict=True))


@given(st.lists(st.text("aA._", min_size=1, max_size=6), unique=True, max_size=12))
def test_stems_differ_whatever_the_names(names: list[str]) -> None:
    stems = choose_stems(names)
    assert stems.keys() == set(names)
    assert len({stem.casefold() for stem in stems.values()}) == len(names)
