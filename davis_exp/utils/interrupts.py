"""Ctrl-C, SIGTERM and a hang-up: each a KeyboardInterrupt, at once or where the program can be left without loss.

A training says that it will look for itself (`waiting`): then the first signal is only noted, and `asked` tells of it.
A second one, or `ANSWER_WITHIN` seconds in which nothing has looked, ends it as it stands.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
ANSWER_WITHIN = 20.0  # seconds

_waiting = False
_asked = False


def interrupt(number: int = 0, frame: FrameType | None = None) -> None:
    """What a signal does; a handler."""
    global _asked
    if not _waiting or _asked:
        _leave()
    _asked = True
    signal.setitimer(signal.ITIMER_REAL, ANSWER_WITHIN)


def asked() -> bool:
    """Whether a signal has come that is still to be followed."""
    return _asked


def wait(for_us: bool) -> None:
    """From now on, note signals until somebody looks (`asked`), or else follow them at once, and one noted before."""
    global _waiting
    _waiting = for_us
    if not for_us and _asked:
        _leave()


def forget() -> None:
    """Nothing is waited for any more, and nothing was asked."""
    global _waiting, _asked
    _waiting = _asked = False
    if threading.current_thread() is threading.main_thread():
        signal.setitimer(signal.ITIMER_REAL, 0)


def leave_to_starter() -> None:
    """In a process that works for the one that started it: signals to their whole group are the other's affair."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):  # not on macOS
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_when_told, args=(os.getppid(),), daemon=True).start()


def _end_when_told(starter: int) -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != starter:
        pass
    os._exit(0)


@contextlib.contextmanager
def heard() -> Iterator[None]:
    """Signals interrupt inside; what they did before they do afterwards.

    One that is ignored stays so (nohup; a shell ignores Ctrl-C for what it runs in the background).
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    wanted = [n for n in SIGNALS if signal.getsignal(n) is not signal.SIG_IGN]
    before = {number: signal.signal(number, interrupt) for number in wanted}
    before[signal.SIGALRM] = signal.signal(signal.SIGALRM, _leave)
    try:
        yield
    finally:
        forget()
        for number, handler in before.items():
            if (
                signal.getsignal(number) is not signal.SIG_IGN
            ):  # by one who is ending, and is not to be disturbed
                signal.signal(number, handler)


def _leave(number: int = 0, frame: FrameType | None = None) -> None:
    forget()
    raise KeyboardInterrupt
