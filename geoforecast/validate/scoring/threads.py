"""Tiles scored side by side, and taken in in their order, so that sums have the same bits."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

T = TypeVar("T")
R = TypeVar("R")


def in_order(work: Callable[[T], R], items: Sequence[T], jobs: int) -> Iterator[tuple[T, R]]:
    """Each item and what became of it, in the order of the items.

    The first is done before any other: what is learned once for all, such as motion and
    weights, is learned then by one thread. While a result is taken in every thread has work: no
    more than ``jobs`` + 1 results are held.

    Args:
        work: done in threads.
        items: what for.
        jobs: threads, 1 or more.
    """
    if not items:
        return
    with _one_thread_each() if len(items) > 1 else contextlib.nullcontext():
        yield items[0], work(items[0])
        if jobs == 1:
            for item in items[1:]:
                yield item, work(item)
            return
        pool = ThreadPoolExecutor(jobs, thread_name_prefix="score")
        try:
            waiting = deque(items[1:])
            running: deque[tuple[T, Future[R]]] = deque()
            while waiting or running:
                while waiting and len(running) <= jobs:
                    item = waiting.popleft()
                    running.append((item, pool.submit(work, item)))
                item, made = running.popleft()
                result = made.result()
                del made  # which holds the result as well
                yield item, result
                del result
        finally:
            pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def _one_thread_each() -> Iterator[None]:
    """Let torch use one thread for each of ours, however many those are: no bit hangs on them."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
