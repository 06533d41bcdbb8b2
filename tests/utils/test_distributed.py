"""What ranks share, and how they end; several of them are forked by a process of its own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from davis_exp.utils import distributed

STARTER = """
import json, os, signal, sys, time
from pathlib import Path
from davis_exp.utils import distributed

folder, first, other, slow = Path(sys.argv[1]), sys.argv[2], sys.argv[3], float(sys.argv[4])
distributed.GRACE = 0.5


def work():
    if not distributed.here().first:
        while not (folder / "ready").exists():
            time.sleep(0.01)
        exec(other)
        return 0
    try:
        exec(first)
    except BaseException as error:
        cause = distributed.cause(error)
        time.sleep(slow)
        (folder / "told.json").write_text(json.dumps([type(error).__name__, repr(cause)]))
        raise
    return 0


try:
    distributed.run(work, 2, folder, grace=60)
except BaseException as error:
    print(repr(error))
"""
READY = "(folder / 'ready').touch();"
WAIT = f"{READY} time.sleep(60)"
CRASH = "raise OverflowError('boom')"


def two(folder: Path, first: str, other: str, slow: float = 0.0) -> tuple[str, list[str] | None]:
    """What comes out of two ranks, and what the first has heard of its end, if it came to that."""
    command = [sys.executable, "-c", STARTER, str(folder), first, other, str(slow)]
    repo = Path(__file__).resolve().parents[2]
    done = subprocess.run(command, cwd=repo, capture_output=True, text=True, timeout=100)
    assert done.stderr == ""
    told = folder / "told.json"
    return done.stdout.strip(), json.loads(told.read_text()) if told.exists() else None


@pytest.mark.parametrize(
    ("devices", "number"),
    [(1, 1), (3, 3), ([0, 2], 2), ("0,2", 2), ("0,", 1), ("2", 2), ("auto", 1), (-1, 1), ([], 1), (None, 1)],
)
def test_how_many_ranks_a_config_asks_for(devices, number: int) -> None:
    assert distributed.number(devices) == number


def test_a_process_alone_is_the_first_and_only_rank() -> None:
    assert distributed.here().first
    assert distributed.gathered("x") == ["x"]
    with distributed.in_turn():
        pass
    error = KeyboardInterrupt()
    assert distributed.cause(error) is error


def test_the_first_rank_hears_what_went_wrong_in_another(tmp_path: Path) -> None:
    boom = "OverflowError('boom')"
    assert two(tmp_path, WAIT, CRASH) == (boom, ["KeyboardInterrupt", boom])


def test_the_first_rank_hears_that_another_was_killed(tmp_path: Path) -> None:
    out, told = two(tmp_path, WAIT, "os.kill(os.getpid(), signal.SIGKILL)")
    assert "process 2 of 2 was killed by SIGKILL" in out
    assert told == ["KeyboardInterrupt", out]


def test_what_the_first_rank_feels_of_another_is_not_taken_for_the_cause(tmp_path: Path) -> None:
    """A collective ends with an error of its own, perhaps before the starter knows of the other's."""
    feels = f"{READY} raise RuntimeError('connection closed by peer')"
    boom = "OverflowError('boom')"
    assert two(tmp_path, feels, f"time.sleep(0.2); {CRASH}") == (boom, ["RuntimeError", boom])


def test_what_the_first_rank_raises_itself_is_the_cause(tmp_path: Path) -> None:
    boom = "OverflowError('boom')"
    assert two(tmp_path, f"{READY} {CRASH}", "time.sleep(60)") == (boom, ["OverflowError", boom])


def test_an_interrupt_is_no_failure(tmp_path: Path) -> None:
    stop = "os.kill(os.getppid(), signal.SIGINT); time.sleep(60)"
    assert two(tmp_path, WAIT, stop) == ("KeyboardInterrupt()", ["KeyboardInterrupt", "KeyboardInterrupt()"])


@pytest.mark.parametrize("first", [WAIT, f"{READY} raise RuntimeError('connection closed by peer')"])
def test_a_rank_that_hears_has_the_grace_it_was_given(tmp_path: Path, first: str) -> None:
    _, told = two(tmp_path, first, CRASH, slow=1.5)  # three times what it has for hearing
    assert told is not None


def test_a_rank_that_does_not_hear_is_not_waited_for(tmp_path: Path) -> None:
    """As in a collective on a GPU, which no signal gets through to."""
    deaf = f"signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT]); {READY} time.sleep(10)"
    late = "(folder / 'told.json').write_text('[]')"
    assert two(tmp_path, f"{deaf}; {late}", CRASH) == ("OverflowError('boom')", None)
