"""A process that goes when the one that started it has gone, however that happened."""

import contextlib
import ctypes
import functools
import os
import signal
import sys
import threading
import time

STARTER_CHECK_EVERY = 0.2  # seconds between looks at whether the starter is still there
PR_SET_PDEATHSIG = 1  # of <sys/prctl.h>


@functools.cache  # one thread, however often a process is asked to
def follow(starter: int, *, kernel: bool = True) -> None:
    """Kill this process, and its group where it leads one, as soon as its parent, process `starter`, is gone.

    A thread looks. Where `kernel` holds, Linux is told as well, which ends this process even while native code keeps
    every thread of Python's waiting; but it does so when the *thread* that started this process ends, so that thread
    must be one that waits for it.
    """
    if kernel and sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # no such call in this C library
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != starter:  # gone before anything looked
        _go()
    threading.Thread(target=_look, args=(starter,), name="follow", daemon=True).start()


def be_started_by(starter: int) -> None:
    """Begin as a job of process `starter`: follow it, and hear its signals whatever it ignores itself.

    What a script starts with `&` ignores SIGINT, and so would everything below it.
    """
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    follow(starter)


def _look(starter: int) -> None:
    while os.getppid() == starter:
        time.sleep(STARTER_CHECK_EVERY)
    _go()


def _go() -> None:
    if os.getpgrp() == os.getpid():  # else the group is that of others too
        os.killpg(0, signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)
