"""Feature stores against a plain model of what they should hold, with damage and with many processes."""

import logging
import multiprocessing
import os
import random
import time
import warnings
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from modise_lightning.errors import UserError
from modise_lightning.feature_store.disk import DiskFeatureStore
from modise_lightning.feature_store.entry_file import encode_entry
from modise_lightning.feature_store.memory import MemoryFeatureStore
from modise_lightning.feature_store.store import GIGABYTE, FeatureEntry, FeatureStore

Make = Callable[..., FeatureStore]


def make_entry(value: int, length: int = 1000) -> FeatureEntry:
    """Two tensors, of ``4 * length + 8`` bytes together."""
    tensors = (torch.full((2, length // 2), float(value)), torch.tensor([value, -value]).bfloat16().repeat(2))
    return FeatureEntry(tensors, (torch.float32, torch.float16), (False, True))


def assert_same(found: FeatureEntry | None, expected: FeatureEntry) -> None:
    assert found is not None
    assert found.dtypes == expected.dtypes
    assert found.channels_last == expected.channels_last
    for one, other in zip(found.tensors, expected.tensors, strict=True):
        assert one.dtype == other.dtype
        assert torch.equal(one, other)


@pytest.fixture(params=["memory", "disk"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    def make_store(max_bytes: int = 10**6) -> FeatureStore:
        limit = max_bytes / GIGABYTE
        if request.param == "memory":
            return MemoryFeatureStore(max_gigabytes=limit, precision="float32")
        return DiskFeatureStore(folder=str(tmp_path / "store"), max_gigabytes=limit, precision="float32")

    return make_store


def test_gives_back_what_it_was_given(make: Make) -> None:
    store = make()
    assert store.get("a") is None
    for key, value in (("a", 1), ("b", 2)):
        store.write(key, make_entry(value))
    assert_same(store.get("a"), make_entry(1))
    assert_same(store.get("b"), make_entry(2))
    assert (store.hits, store.misses) == (2, 1)
    store.write("a", make_entry(3))
    assert_same(store.get("a"), make_entry(3))
    assert store.used_bytes >= 2 * make_entry(1).size


def test_an_entry_larger_than_the_limit_is_not_kept(make: Make) -> None:
    store = make(max_bytes=2000)
    store.write("a", make_entry(1))
    assert store.get("a") is None
    assert store.used_bytes == 0


@given(calls=st.lists(st.tuples(st.booleans(), st.integers(0, 7)), max_size=40))
@settings(max_examples=50, deadline=None)
def test_memory_drops_the_least_recently_used(calls: list[tuple[bool, int]]) -> None:
    store = MemoryFeatureStore(max_gigabytes=3 * make_entry(0).size / GIGABYTE, precision="float32")
    model: OrderedDict[int, int] = OrderedDict()
    for number, (writes, key) in enumerate(calls):
        if writes:
            store.write(str(key), make_entry(number))
            model.pop(key, None)
            if len(model) == 3:
                model.popitem(last=False)
            model[key] = number
        elif key in model:
            model.move_to_end(key)
            assert_same(store.get(str(key)), make_entry(model[key]))
        else:
            assert store.get(str(key)) is None
        assert store.used_bytes == len(model) * make_entry(0).size


def test_disk_drops_the_least_recently_used(tmp_path: Path) -> None:
    size = len(encode_entry("a", make_entry(0)))
    store = DiskFeatureStore(folder=str(tmp_path), max_gigabytes=3.5 * size / GIGABYTE, precision="float32")
    for key in "abc":
        store.write(key, make_entry(ord(key)))
        time.sleep(0.01)  # file times are as fine as the kernel's clock ticks
    assert store.get("a") is not None
    time.sleep(0.01)
    store.write("d", make_entry(1))
    assert {path.name[0] for path in tmp_path.iterdir()} == {"a", "c", "d"}
    assert store.used_bytes <= store.max_bytes


def test_another_process_and_a_later_run_find_the_entries(tmp_path: Path) -> None:
    folder = str(tmp_path / "deep" / "store")
    DiskFeatureStore(folder=folder, max_gigabytes=1, precision="float32").write("a", make_entry(5))
    assert_same(DiskFeatureStore(folder=folder, max_gigabytes=1, precision="float32").get("a"), make_entry(5))


@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 0.6, 0.999])
@pytest.mark.parametrize("damage", ["cut", "flip", "zeros"])
def test_a_damaged_entry_is_told_dropped_and_computed_again(
    share: float, damage: str, tmp_path: Path
) -> None:
    store = DiskFeatureStore(folder=str(tmp_path), max_gigabytes=1, precision="float32")
    store.write("a", make_entry(3))
    (path,) = tmp_path.iterdir()
    data = bytearray(path.read_bytes())
    place = int(share * len(data))
    if damage == "cut":
        data = data[:place]
    elif damage == "flip":
        data[place] ^= 0x10
    else:
        data[place:] = bytes(len(data) - place)
    path.write_bytes(data)
    with pytest.warns(UserWarning, match=r"a\.features is damaged .* computed again"):
        assert store.get("a") is None
    assert not path.exists()
    store.write("a", make_entry(3))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_same(store.get("a"), make_entry(3))


def test_an_entry_under_another_name_is_not_taken(tmp_path: Path) -> None:
    store = DiskFeatureStore(folder=str(tmp_path), max_gigabytes=1, precision="float32")
    store.write("a", make_entry(3))
    (tmp_path / "a.features").rename(tmp_path / "b.features")
    with pytest.warns(UserWarning, match="damaged"):
        assert store.get("b") is None


def use_at_random(folder: str, seed: int, max_bytes: int) -> None:
    warnings.simplefilter("error")
    generator = random.Random(seed)
    store = DiskFeatureStore(folder=folder, max_gigabytes=max_bytes / GIGABYTE, precision="float32")
    for _ in range(150):
        key = generator.randrange(12)
        found = store.get(str(key))
        if found is None:
            store.write(str(key), make_entry(key))
        else:
            assert_same(found, make_entry(key))
    assert store.hits > 0
    assert store.misses > 0


def test_processes_share_a_folder(tmp_path: Path) -> None:
    size = len(encode_entry("10", make_entry(0)))
    limit = 8 * size
    context = multiprocessing.get_context("fork")
    processes = [
        context.Process(target=use_at_random, args=(str(tmp_path), seed, limit)) for seed in range(4)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    files = list(tmp_path.iterdir())
    assert all(path.suffix == ".features" for path in files)
    # Each of the others may have been about to write one more.
    assert len(files) * size <= limit + 3 * size


def test_half_written_files_of_ended_processes_are_dropped(tmp_path: Path) -> None:
    old, new = tmp_path / ".k.features.abc", tmp_path / ".k.features.def"
    other = tmp_path / "notes.txt"
    for path in (old, new, other):
        path.write_bytes(b"half")
    for path in (old, other):
        os.utime(path, (0, 0))
    store = DiskFeatureStore(folder=str(tmp_path), max_gigabytes=1, precision="float32")
    assert store.used_bytes == 0
    assert not old.exists()
    assert new.exists()
    assert other.exists()


def test_a_full_disk_is_told_once_and_does_not_end_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = DiskFeatureStore(folder=str(tmp_path), max_gigabytes=1, precision="float32")
    store.write("a", make_entry(1))

    def full(source: str, target: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.warns(UserWarning, match="cannot write .*No space left"):
        store.write("b", make_entry(2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        store.write("c", make_entry(2))
    assert [path.name for path in tmp_path.iterdir()] == ["a.features"]
    assert_same(store.get("a"), make_entry(1))


def test_the_size_is_told_in_advance(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    store = make(max_bytes=10**7)
    store.announce("VAE features", 1000)
    assert not caplog.messages  # nobody said how many
    store.expect(2000)
    store.announce("image embeddings", 1000)
    store.announce("VAE features", 10_000)
    first, second = caplog.messages
    assert first == f"feature store: image embeddings of 2000 windows take 2 MB in {store.where}"
    assert "VAE features of 2000 windows take 20 MB" in second
    assert "more than feature_store.max_gigabytes=0.01" in second


def test_what_does_not_fit_is_refused_before_anything_is_written(make: Make, tmp_path: Path) -> None:
    store = make(max_bytes=10**18)
    store.expect(10**9)
    store.announce("image embeddings", 1)
    with pytest.raises(UserError, match=r"max_gigabytes"):
        store.announce("VAE features", 10**8)
    assert store.used_bytes == 0


@pytest.mark.parametrize("limit", [0.0, -1.0, float("nan"), float("inf")])
def test_an_impossible_limit_is_refused(limit: float) -> None:
    with pytest.raises(UserError, match=r"feature_store\.max_gigabytes: .* must be positive"):
        MemoryFeatureStore(max_gigabytes=limit, precision="float16")


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"feature_store\.folder: .* cannot be made"):
        DiskFeatureStore(folder=str(tmp_path / "file" / "store"), max_gigabytes=1, precision="float16")
