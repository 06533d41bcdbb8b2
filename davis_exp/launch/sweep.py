"""A sweep's jobs: each a process of its own, so that a crash, a kill or a leak touches that job only."""

import contextlib
import json
import math
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import IO, NoReturn

from davis_exp.launch import status

WORST = (
    0.0  # objective of a job without one: a sweeper must not meet NaN, and every objective is at least this
)
GRACE = 60.0  # seconds that an interrupted job has for writing its state


def run_job(command: str, folder: Path, number: int, overrides: Sequence[str]) -> float:
    """Run the job that is composed in `folder`/.hydra and return its objective.

    The child's output goes to the screen and to train.log. How it ended is read from its exit code, so a job
    that was killed is recorded too. An interrupt of this process (KeyboardInterrupt) first ends the job.
    """
    arguments = [sys.executable, "-m", "davis_exp", "_job", command, str(folder)]
    # A group of its own: Ctrl-C reaches this process alone, which hands it on exactly once.
    with (
        _terminable(),
        (folder / "train.log").open("ab") as log,
        subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            process_group=0,
        ) as process,
    ):
        echo = threading.Thread(target=_echo, args=(process.stdout, log))
        echo.start()
        try:
            process.wait()
        except BaseException:
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired, KeyboardInterrupt):
                process.wait(GRACE)
            raise
        finally:
            with contextlib.suppress(ProcessLookupError):  # what it left behind: other ranks, loader workers
                os.killpg(process.pid, signal.SIGKILL)
            code = process.wait()
            echo.join()
            _settle(folder, code, number, overrides)
    return objective(folder)


def objective(folder: Path) -> float:
    """What a sweeper maximises: `objective` of status.json, or the contest's score; `WORST` if unfinished."""
    state = status.read(folder)
    if state.get("state") != "finished":
        return WORST
    values = [state.get("objective")]
    with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
        values.append(json.loads((folder / "score.json").read_text())["contest"]["segmentation_metric"])
    numbers = [float(value) for value in values if isinstance(value, int | float)]
    return next(filter(math.isfinite, numbers), WORST)


def summary(folders: Sequence[Path]) -> tuple[str, int]:
    """A table of the jobs in `folders` and how many of them failed.

    Its columns: number, the overrides that not all jobs share, state, objective. Over budget is an answer,
    not a failure.
    """
    jobs = [status.read(folder) | {"folder": folder} for folder in folders]
    jobs.sort(key=lambda job: job.get("job", 0))
    failed = [job for job in jobs if job.get("state") not in ("finished", "over_budget")]
    varied = [override for job in jobs for override in job.get("overrides", [])]
    common = {override for override in varied if varied.count(override) == len(jobs) > 1}
    rows = [("job", "overrides", "state", "objective")]
    for job in jobs:
        own = " ".join(override for override in job.get("overrides", []) if override not in common)
        value = f"{objective(job['folder']):.4f}" if job.get("state") == "finished" else "-"
        rows.append((str(job.get("job", "?")), own, str(job.get("state")), value))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    lines += [f"job {job.get('job', '?')}: {job.get('error') or job.get('state')}" for job in failed]
    return "\n".join(lines), len(failed)


def _settle(folder: Path, code: int, number: int, overrides: Sequence[str]) -> None:
    """Record which job this was, and how it ended where it could not say so itself."""
    status.update(folder, job=number, overrides=list(overrides))
    if code == -signal.SIGINT:  # interrupted before Python could make an exception of it
        code = 130
    state = status.STATES.get(code, "failed")
    if status.read(folder).get("state") != state:
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        status.update(folder, state=state, exit_code=code, error=f"{how}, see {folder / 'train.log'}")


def _echo(output: IO[bytes], log: IO[bytes]) -> None:
    """Copy what the job prints to its log and to the screen, as it comes."""
    while chunk := output.read1(1 << 16):  # type: ignore[attr-defined]
        log.write(chunk)
        log.flush()
        with contextlib.suppress(OSError):  # nobody is looking any more; the log goes on
            sys.stdout.buffer.write(chunk)
            sys.stdout.buffer.flush()


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM and a hang-up interrupt, as Ctrl-C does; they would leave the job behind, running."""

    def interrupt(number: int, frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
