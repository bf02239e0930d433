"""The number of threads follows what others leave, and nobody's own choice is changed."""

import logging
from collections.abc import Iterator

import cv2
import pytest
import torch

from modise_lightning.callbacks.thread_count import ThreadCount, follow_free_cores
from modise_lightning.free_cores import CoreTimes


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    """Leave them as they were."""
    before = torch.get_num_threads(), cv2.getNumThreads()
    yield
    torch.set_num_threads(before[0])
    cv2.setNumThreads(before[1])


class Cores:
    """Four cores, of which others leave some, for so many seconds."""

    def __init__(self) -> None:
        self.times = CoreTimes(0, 0, 0, 0)

    def pass_time(self, seconds: float, free: float) -> None:
        last, used = self.times, min(free, torch.get_num_threads())
        self.times = CoreTimes(
            clock=last.clock + seconds,
            unused=last.unused + seconds * (free - used),
            counted=last.counted + 4 * seconds,
            own=last.own + seconds * used,
        )

    def read(self) -> CoreTimes:
        return self.times


def test_it_follows(caplog: pytest.LogCaptureFixture) -> None:
    torch.set_num_threads(4)
    cv2.setNumThreads(4)
    cores = Cores()
    callback = ThreadCount(4, cores.read(), cores.read)
    found = []
    with caplog.at_level(logging.INFO):
        for seconds, free in [(6, 4), (6, 1.4), (2, 4), (2, 4), (6, 4), (6, 0.2), (6, 2.6), (6, 9)]:
            cores.pass_time(seconds, free)
            callback.on_train_batch_start(None, None, None, 0)
            found.append((torch.get_num_threads(), cv2.getNumThreads()))
    # Two seconds are too few to look again; never none, and never more than at the start.
    assert found == [(each, each) for each in (4, 1, 1, 1, 4, 1, 3, 4)]
    assert [record.message[:29] for record in caplog.records] == ["others use this machine: 1 of"]


def test_tests_and_validation_follow_too() -> None:
    torch.set_num_threads(2)
    cores = Cores()
    callback = ThreadCount(2, cores.read(), cores.read)
    cores.pass_time(6, 0.5)
    callback.on_validation_batch_start(None, None, None, 0, 0)
    assert torch.get_num_threads() == 1
    cores.pass_time(6, 2)
    callback.on_test_batch_start(None, None, None, 0, 0)
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize(
    ("seconds", "free", "expected"),
    [(6, 4, 4), (6, 1.4, 1), (2, 2.9, 3), (1.9, 0.5, 4)],
)
def test_the_start_of_the_program_counts(seconds: float, free: float, expected: int) -> None:
    torch.set_num_threads(4)
    cores = Cores()
    started = cores.read()
    cores.pass_time(seconds, free)
    ThreadCount(4, started, cores.read)
    assert torch.get_num_threads() == expected


def test_what_the_preparation_of_data_takes_is_no_others(caplog: pytest.LogCaptureFixture) -> None:
    torch.set_num_threads(4)
    cores = Cores()
    callback = ThreadCount(4, cores.read(), cores.read)
    with caplog.at_level(logging.INFO):
        cores.pass_time(60, 0.1)  # processes of this one use the cores
        callback.setup(None, None, "fit")
        cores.pass_time(6, 4)
        callback.on_train_batch_start(None, None, None, 0)
    assert torch.get_num_threads() == 4
    assert not caplog.records


def test_the_next_job_of_a_multirun_finds_all_threads() -> None:
    torch.set_num_threads(4)
    cores = Cores()
    callback = ThreadCount(4, cores.read(), cores.read)
    callback.setup(None, None, "fit")
    cores.pass_time(6, 1)
    callback.on_train_batch_start(None, None, None, 0)
    assert torch.get_num_threads() == 1
    callback.teardown(None, None, "fit")
    assert torch.get_num_threads() == 4
    callback.setup(None, None, "test")  # the test goes on with what the training found
    assert torch.get_num_threads() == 1


def test_without_counts_nothing_changes() -> None:
    torch.set_num_threads(3)
    callback = ThreadCount(3, CoreTimes(0, 0, 0, 0), lambda: CoreTimes(60, 0, 0, 3))
    callback.on_train_batch_start()
    assert torch.get_num_threads() == 3


def test_a_chosen_number_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert [type(each) for each in follow_free_cores(None, CoreTimes.now())] == [ThreadCount]
    assert follow_free_cores(2, CoreTimes.now()) == []
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert follow_free_cores(None, CoreTimes.now()) == []
