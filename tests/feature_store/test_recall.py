"""Features from a store against features that are computed; what changes a key."""

import copy
import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from modise_lightning.feature_store.memory import MemoryFeatureStore
from modise_lightning.feature_store.recall import FeatureRecall
from modise_lightning.feature_store.store import Precision


class Tower(nn.Module):
    """Two features of an image, in different types; counts the images that it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3)
        self.register_buffer("offset", torch.zeros(4, 1, 1), persistent=False)
        self.seen = 0

    @torch.no_grad()
    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        self.seen += len(images)
        features = self.convolution(images) + self.offset
        return features, features.mean((2, 3)).bfloat16()


@pytest.fixture
def tower() -> Tower:
    torch.manual_seed(0)
    return Tower()


def make_store(precision: Precision = "float32") -> MemoryFeatureStore:
    return MemoryFeatureStore(max_gigabytes=0.1, precision=precision)


def recall_of(store: MemoryFeatureStore, tower: Tower, **settings: object) -> FeatureRecall:
    return FeatureRecall(store, what="features", module=tower, settings=settings)


def assert_equal(found: tuple[Tensor, ...], expected: tuple[Tensor, ...]) -> None:
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == other.dtype
        assert torch.equal(one, other)


def test_only_what_is_absent_is_computed_and_everything_is_in_place(tower: Tower) -> None:
    images = torch.rand(6, 3, 8, 8)
    expected = tower(images)
    recall = recall_of(make_store(), tower)
    for rows, computed in (([0, 1], 2), ([3, 1, 4, 0], 2), ([5], 1), ([0, 1, 2, 3, 4, 5], 2), ([2], 0)):
        tower.seen = 0
        found = recall(tower, images[rows])
        # One image alone is convolved by another algorithm than several.
        torch.testing.assert_close(found, tuple(feature[rows] for feature in expected))
        assert tower.seen == computed
    assert recall.store is not None
    assert (recall.store.hits, recall.store.misses) == (8, 6)


def test_without_a_store_everything_is_computed(tower: Tower) -> None:
    images = torch.rand(2, 3, 8, 8)
    recall = FeatureRecall(None, what="features", module=tower, settings={})
    assert_equal(recall(tower, images), recall(tower, images))
    assert tower.seen == 4


def change_weight(tower: Tower) -> None:
    weight = tower.convolution.weight.data
    weight[0, 0, 0, 0], weight[0, 0, 0, 1] = weight[0, 0, 0, 1].clone(), weight[0, 0, 0, 0].clone()


def change_buffer(tower: Tower) -> None:
    tower.get_buffer("offset")[1] = 0.5


def change_type(tower: Tower) -> None:
    tower.double().float().convolution.half()


def change_layout(tower: Tower) -> None:
    tower.convolution.padding = (1, 1)


@pytest.mark.parametrize("change", [change_weight, change_buffer, change_type, change_layout])
def test_another_module_does_not_get_the_features(tower: Tower, change: Callable[[Tower], None]) -> None:
    store, image = make_store(), torch.rand(1, 3, 8, 8)
    recall_of(store, tower)(tower, image)
    other = copy.deepcopy(tower)
    recall_of(store, other)(tower, image)
    assert (store.hits, store.misses) == (1, 1)
    change(other)
    recall_of(store, other)(tower, image)
    assert (store.hits, store.misses) == (1, 2)


def test_other_settings_and_other_numerics_do_not_get_the_features(tower: Tower) -> None:
    store, image = make_store(), torch.rand(1, 3, 8, 8)
    recall = recall_of(store, tower, size=8)
    recall(tower, image)
    recall_of(store, tower, size=9)(tower, image)
    with torch.autocast("cpu", torch.bfloat16):
        recall(tower, image)
    recall(lambda images: tower(images.float()), image.double())
    recall_of(store, tower, size=8)(tower, image.view(1, 3, 4, 16))
    assert (store.hits, store.misses) == (0, 5)
    recall_of(store, tower, size=8)(tower, image)
    assert store.hits == 1


@pytest.mark.parametrize("place", [(0, 0, 0), (2, 7, 7), (1, 3, 4)])
def test_the_smallest_change_of_a_pixel_is_another_image(tower: Tower, place: tuple[int, int, int]) -> None:
    recall = recall_of(make_store(), tower)
    image = torch.rand(3, 8, 8)
    recall(tower, image[None])
    changed = image.clone()
    changed[place] = torch.nextafter(changed[place], torch.tensor(2.0))
    assert_equal(recall(tower, changed[None]), tower(changed[None]))
    assert recall.store is not None
    assert recall.store.hits == 0


def test_another_process_makes_the_same_keys() -> None:
    program = """
import torch
from torch import nn
from modise_lightning.feature_store.recall import _identify, _key
torch.manual_seed(0)
module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.TransformerEncoderLayer(4, 2, 8, activation=torch.relu))
print(_key(_identify(module, {"size": 3}, torch.float16), torch.ones(3, 4, 4)))
"""
    keys = {subprocess.check_output([sys.executable, "-c", program]) for _ in range(2)}
    assert len(keys) == 1
    assert len(keys.pop().strip()) == 40


@pytest.mark.parametrize(("precision", "tolerance"), [("float16", 1e-3), ("bfloat16", 8e-3)])
def test_a_rounded_entry_is_the_same_whether_it_was_there_or_not(
    tower: Tower, precision: Precision, tolerance: float
) -> None:
    images = torch.rand(2, 3, 8, 8)
    recall = recall_of(make_store(precision), tower)
    first = recall(tower, images)
    assert_equal(recall(tower, images), first)
    exact = tower(images)
    assert first[0].dtype == torch.float32
    assert not torch.equal(first[0], exact[0])
    torch.testing.assert_close(first[0], exact[0], rtol=tolerance, atol=tolerance)


def test_what_half_precision_cannot_hold_is_kept_as_it_is(tower: Tower) -> None:
    images = torch.rand(2, 3, 8, 8)
    images[0] *= 1e6
    recall = recall_of(make_store("float16"), tower)
    with pytest.warns(UserWarning, match="too large for float16"):
        first = recall(tower, images)
    assert torch.equal(first[0][0], tower(images)[0][0])
    assert first[0].isfinite().all()
    assert_equal(recall(tower, images), first)


def test_what_validation_stored_takes_part_in_training(tower: Tower) -> None:
    images = torch.rand(2, 3, 8, 8)
    recall = recall_of(make_store(), tower)
    with torch.inference_mode():
        recall(tower, images)
    features, _ = recall(tower, images)
    scale = torch.ones(1, requires_grad=True)
    (features * scale).sum().backward()
    assert scale.grad is not None
    torch.testing.assert_close(scale.grad[0], features.sum())
    assert not features.is_inference()


def test_a_dropped_batch_frees_its_memory(tower: Tower) -> None:
    store = make_store()
    recall_of(store, tower)(tower, torch.rand(4, 3, 8, 8))
    for entry in store._entries.values():
        for tensor in entry.tensors:
            assert tensor.untyped_storage().nbytes() == tensor.nbytes


def test_features_come_back_in_the_memory_format_they_were_computed_in(tower: Tower) -> None:
    images = torch.rand(3, 3, 8, 8)
    recall = recall_of(make_store(), tower)
    for memory_format in (torch.contiguous_format, torch.channels_last):

        def compute(absent: Tensor, memory_format: torch.memory_format = memory_format) -> tuple[Tensor, ...]:
            return (tower(absent)[0].contiguous(memory_format=memory_format),)

        for _ in range(2):
            (found,) = recall(compute, images)
            assert found.stride() == compute(images)[0].stride()
            assert torch.equal(found, compute(images)[0])
        images = images + 1


@pytest.mark.parametrize("precision", ["float16", "bfloat16", "float32"])
def test_stored_features_come_back_under_mixed_precision_on_a_cpu(precision: Precision, tower: Tower) -> None:
    images = torch.rand(3, 3, 8, 8)
    recall = recall_of(make_store(precision), tower)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        first, again = recall(tower, images), recall(tower, images)
    assert_equal(again, first)
