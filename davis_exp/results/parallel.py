"""Frames by several threads at once, with memory for a few of them."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Value = TypeVar("Value")
Progress = Callable[[int, int], None]  # called with how many are done, and how many there are

BATCH = 256


def ordered(
    function: Callable[[Item], Value],
    items: Iterable[Item],
    total: int,
    workers: int,
    progress: Progress | None = None,
) -> Iterator[Value]:
    """`function` of every item, in order, by `workers` threads that run a bounded number of items ahead.

    Decoding and the arithmetic of the metrics let go of the interpreter's lock, so threads do use the cores.
    """
    items, done = iter(items), 0
    pool = ThreadPoolExecutor(max(workers, 1), thread_name_prefix="frames")
    try:
        while batch := list(islice(items, BATCH)):
            for value in pool.map(function, batch):
                done += 1
                if progress:
                    progress(done, total)
                yield value
    finally:
        pool.shutdown(cancel_futures=True)
