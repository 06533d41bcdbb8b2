"""Frames by several threads at once, with memory for a few of them."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Value = TypeVar("Value")
Progress = Callable[[int, int], None]  # called with how many are done, and how many there are

BATCH = 256  # frames handed to the threads at a time


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
    pool = ThreadPoolExecutor(max(workers, 1), thread_name_prefix="frames")
    try:
        values = _batches(function, iter(items), pool.map) if workers > 1 else map(function, items)
        for done, value in enumerate(values, 1):
            if progress:
                progress(done, total)
            yield value
    finally:
        pool.shutdown(cancel_futures=True)


def _batches(
    function: Callable[[Item], Value],
    items: Iterator[Item],
    parallel_map: Callable[[Callable[[Item], Value], list[Item]], Iterator[Value]],
) -> Iterator[Value]:
    while batch := list(islice(items, BATCH)):
        yield from parallel_map(function, batch)
