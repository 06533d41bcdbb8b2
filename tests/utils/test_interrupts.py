import signal
import time

import pytest

from davis_exp.utils import interrupts


def test_a_signal_interrupts_at_once_where_nobody_looks():
    for number in interrupts.SIGNALS:
        with interrupts.heard(), pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)


def test_the_first_is_noted_where_somebody_looks_and_the_second_interrupts():
    with interrupts.heard():
        interrupts.wait(True)
        signal.raise_signal(signal.SIGTERM)
        assert interrupts.asked()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        assert not interrupts.asked()


def test_what_was_noted_is_followed_when_nobody_looks_any_more():
    with interrupts.heard():
        interrupts.wait(True)
        signal.raise_signal(signal.SIGHUP)
        with pytest.raises(KeyboardInterrupt):
            interrupts.wait(False)


def test_patience_ends(monkeypatch):
    monkeypatch.setattr(interrupts, "ANSWER_WITHIN", 0.05)
    with interrupts.heard():
        interrupts.wait(True)
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            time.sleep(5)


def test_a_hang_up_that_is_ignored_stays_so():
    """As under nohup; and handlers are put back."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interrupts.heard():
            signal.raise_signal(signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
