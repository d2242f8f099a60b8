"""Tiles in several threads: the same bits, in the same order; errors are not lost."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
import torch

from geoforecast.validate.scoring.accumulate import score_raster
from geoforecast.validate.scoring.threads import in_order


@pytest.mark.parametrize("jobs", [1, 2, 5])
def test_results_come_in_order_and_few_are_held(jobs: int) -> None:
    held, most, lock = 0, 0, threading.Lock()

    def work(item: int) -> int:
        nonlocal held, most
        with lock:
            held += 1
            most = max(most, held)
        return item * item

    found = []
    for item, made in in_order(work, range(20), jobs):
        found.append((item, made))
        with lock:
            held -= 1
    assert found == [(k, k * k) for k in range(20)]
    assert most <= (1 if jobs == 1 else jobs + 1)


def test_no_thread_waits_while_a_result_is_taken_in() -> None:
    started = [threading.Event() for _ in range(6)]
    walk = in_order(lambda item: started[item].set(), range(6), 2)
    next(walk)
    next(walk)  # the second is taken in now, the third and the fourth are at work
    assert started[2].wait(60)
    assert started[3].wait(60)
    walk.close()


def test_the_first_is_done_before_any_other() -> None:
    started: list[int] = []
    walk = in_order(started.append, range(6), 3)
    next(walk)
    assert started == [0]
    walk.close()


def test_an_error_comes_out_and_ends_it() -> None:
    done: list[int] = []

    def work(item: int) -> None:
        if item == 3:
            raise ValueError("three")
        done.append(item)

    with pytest.raises(ValueError, match="three"):
        for _ in in_order(work, range(100), 2):
            pass
    assert len(done) < 10


def test_torch_has_one_thread_each_and_gets_its_own_back() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        seen = [made for _, made in in_order(lambda _: torch.get_num_threads(), range(3), 1)]
        assert seen == [1, 1, 1]
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_threads_change_no_bit_of_the_scores(engine: Any) -> None:
    found = []
    for jobs in (1, 3):
        tiles: list[Any] = []
        scores = score_raster(
            engine,
            engine.methods,
            8,
            lambda tile, _, tiles=tiles: tiles.append(tile),  # type: ignore[misc]
            jobs=jobs,
            events=[(0.4,), ()],
        )
        found.append((scores, tiles))
    (one, first), (other, second) = found
    assert first == second
    np.testing.assert_array_equal(one.sums, other.sums)
    np.testing.assert_array_equal(one.event_counts, other.event_counts)
    for key, sums in one.temporal.items():
        np.testing.assert_array_equal(sums, other.temporal[key])
