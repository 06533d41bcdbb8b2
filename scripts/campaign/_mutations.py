"""Thousands of mutated inputs through one reader, some hundred in a child process."""

import json
import os
import random
import signal
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from _harness import COUNT, MEMORY_MB, SECONDS, Case, _content, _wait
from _watch import watch

BATCH = 250  # inputs in one child


def mutations(
    fault: str,
    command: str,
    make: Callable[[random.Random], object],
    read: Callable[[], object],
    scratch: Path,
    *,
    count: int = COUNT,
    seed: int = 0,
) -> Case:
    """A case of `count` inputs: `make(rng)` puts one in place (and returns what describes it), `read()` reads it.

    `read` may return or raise BadInput in one line that can be printed; anything else is a finding, as are more than
    SECONDS for one, MEMORY_MB for a batch, and what `watch` reports. Inputs are found again by `seed` and number.
    """

    def run() -> str | None:
        found: dict[str, int] = {}
        for first in range(0, count, BATCH):
            for what in _batch(make, read, range(first, min(first + BATCH, count)), seed, scratch):
                found[what] = found.get(what, 0) + 1
        if not found:
            return None
        worst = sorted(found.items(), key=lambda item: -item[1])
        return f"{sum(found.values())} of {count}: " + "; ".join(f"{what} (x{n})" for what, n in worst[:4])

    return Case(fault, command, run, count)


def _batch(
    make: Callable[[random.Random], object],
    read: Callable[[], object],
    numbers: range,
    seed: int,
    scratch: Path,
) -> list[str]:
    report, seen = (tempfile.TemporaryFile() for _ in range(2))  # noqa: SIM115 (`_content` closes them)
    child = os.fork()
    if child == 0:
        try:
            _read_all(make, read, numbers, seed, scratch, report.fileno(), seen.fileno())
        finally:
            os._exit(1)
    code, memory = _wait(child, time.monotonic() + SECONDS + len(numbers) * 2)
    lines = [json.loads(line) for line in _content(report).splitlines()]
    found = [f"did {line}" for line in _content(seen).splitlines()]
    found += [line["what"] for line in lines if line.get("what")]
    if code != 0:
        at = lines[-1]["began"] if lines and "began" in lines[-1] else numbers[0]
        found.append(f"input {at}: process ended with {code}")
    if memory > MEMORY_MB:
        found.append(f"inputs {numbers[0]} to {numbers[-1]}: {memory} MB")
    return found


def _read_all(
    make: Callable[[random.Random], object],
    read: Callable[[], object],
    numbers: range,
    seed: int,
    scratch: Path,
    report: int,
    seen: int,
) -> None:
    from davis_exp.utils.errors import BadInput

    reading = False

    def late(number: int, frame: object) -> None:
        raise TimeoutError

    def say(**content: Any) -> None:
        os.write(report, (json.dumps(content) + "\n").encode())

    try:
        os.setsid()
        os.environ["TMPDIR"] = tempfile.tempdir = str(scratch)
        os.chdir(scratch)
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, 1)
        os.dup2(devnull, 2)
        watch(seen, scratch, lambda: reading)
        signal.signal(signal.SIGALRM, late)
        for number in numbers:
            case = make(random.Random(f"{seed} {number}"))
            say(began=number)
            signal.setitimer(signal.ITIMER_REAL, SECONDS)
            reading = True
            what = None
            try:
                read()
            except BadInput as error:
                text = str(error)
                try:
                    text.encode()
                except UnicodeEncodeError:
                    what = "a message that cannot be printed"
            except TimeoutError:
                what = f"more than {SECONDS:.0f} s"
            except BaseException as error:
                last = traceback.extract_tb(error.__traceback__)[-1]
                what = (
                    f"{type(error).__name__} at {Path(last.filename).name}:{last.lineno} {str(error)[:80]!r}"
                )
            finally:
                reading = False
                signal.setitimer(signal.ITIMER_REAL, 0)
            if what is not None:
                say(what=what, example=f"{number}: {case!r:.100}")
    except BaseException:
        say(what=f"the harness: {traceback.format_exc()[-300:]}")
    finally:
        os._exit(0)


def mutate(data: bytes, rng: random.Random, most: int = 4) -> bytes:
    """`data` with some bytes changed, removed, doubled, moved or cut off."""
    content = bytearray(data)
    for _ in range(rng.randint(1, most)):
        if not content:
            break
        at, length = rng.randrange(len(content)), rng.choice((1, 1, 2, 4, 16, 64))
        kind = rng.randrange(6)
        if kind == 0:
            content[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            content[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
        elif kind == 2:
            del content[at : at + length]
        elif kind == 3:
            content[at:at] = content[at : at + length]
        elif kind == 4:
            content[at:at] = bytes(rng.randrange(256) for _ in range(length))
        else:
            del content[at:]
    return bytes(content)
