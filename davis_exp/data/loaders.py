"""What loaders are made of beside the clips: whole sequences shared out over ranks, and how a worker begins."""

import contextlib
import ctypes
import multiprocessing
from typing import Any

import torch
from torch.utils.data import DataLoader

from davis_exp.data.sequences import VideoSequence
from davis_exp.utils import distributed, interrupts
from davis_exp.utils.following import follow


def whole(sequences: list[VideoSequence]) -> DataLoader[Any]:
    """A loader of the sequences themselves: frames are read, and moved, as inference asks for them."""
    share: Any = shares(sequences, distributed.world_size())[distributed.rank()]
    return DataLoader(share, batch_size=None, collate_fn=_same, generator=torch.Generator())


def shares(sequences: list[VideoSequence], world: int) -> list[list[VideoSequence | None]]:
    """Whole sequences shared out over `world` ranks, about as many frames to each; none is given out twice.

    Ranks must take equally many steps, or one waits for ever: None fills up what has fewer.
    """
    given: list[list[int]] = [[] for _ in range(world)]
    frames = [0] * world
    for i in sorted(range(len(sequences)), key=lambda i: -len(sequences[i])):
        rank = frames.index(min(frames))
        given[rank].append(i)
        frames[rank] += len(sequences[i])
    longest = max(map(len, given))
    return [[sequences[i] for i in sorted(share)] + [None] * (longest - len(share)) for share in given]


def _same(item: Any) -> Any:
    return item


def start_worker(worker: int) -> None:
    """What a loader's process begins with."""
    import cv2

    interrupts.leave_to_starter()
    if (starter := multiprocessing.parent_process()) is not None and starter.pid is not None:
        follow(starter.pid, kernel=False)
    cv2.setNumThreads(0)  # workers are the parallelism; OpenCV's threads would also dead-lock after a fork
    # Memory of decoded frames is kept for the next ones: getting it anew from the system, page by page, takes as long
    # as decoding does. (glibc's M_MMAP_THRESHOLD and M_TRIM_THRESHOLD.)
    with contextlib.suppress(AttributeError, OSError):  # another C library
        for parameter in (-3, -1):
            ctypes.CDLL(None).mallopt(parameter, 2**28)
