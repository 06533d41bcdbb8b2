"""A sweep's jobs: each a process of its own, so that a crash, a kill or a leak touches that job only."""

import contextlib
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from davis_exp.config import COSTS
from davis_exp.launch import expand, job_folders, runs, status
from davis_exp.launch.quoting import quoted_value
from davis_exp.runs import config as stored
from davis_exp.runs import score as scores
from davis_exp.runs import trials
from davis_exp.utils import interrupts
from davis_exp.utils.errors import BadInput
from davis_exp.utils.given import number

if TYPE_CHECKING:
    from davis_exp.results.summary import Row

WORST = (
    0.0  # objective of a job without one: a sweeper must not meet NaN, and every objective is at least this
)
WEIGHT = 0.07  # of a cost beside the score: MnasNet's (Tan et al., CVPR 2019)
POLL_SECONDS = 0.5
JOB_GRACE = 60.0  # seconds that an interrupted job has for writing its state; more than its ranks have (ranks.RANK_GRACE)


def prepared(overrides: Sequence[str], *, holdout: bool) -> tuple[list[str], Path]:
    """The overrides of a sweep with what every sweep adds to them, and the folder that it is kept in.

    Arguments:
        holdout: test on the held-out training clips, unless the overrides say on what. Choosing among the jobs
            by their scores on the test sequences would be training on them.
    """
    given = {runs.key(override): runs.value(override) for override in overrides}
    added = []
    if holdout and "data.test_split" not in given:
        added.append("++data.test_split=holdout")
    if "hydra.sweep.dir" in given:
        folder = Path(given["hydra.sweep.dir"])
    else:
        folder = runs.sweep_dir(overrides).absolute()  # the same for workers with another working directory
        added.append(f"hydra.sweep.dir={quoted_value(str(folder))}")
    return [*overrides, *added], folder


class Queue(Callback):
    """What Hydra calls before a sweep: every job that can be known gets its folder, and says that it is queued."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """With the basic sweeper all jobs are known; a search finds its points as it goes."""
        if not config.hydra.sweeper._target_.endswith(".BasicSweeper"):
            return
        params = [f"{key}={value}" for key, value in (config.hydra.sweeper.get("params") or {}).items()]
        try:
            fixed, swept = expand.split([*params, *runs.task_overrides(config.hydra)])
        except (
            BadInput
        ):  # an interval, which the sweeper refuses itself: what is raised here is a mere warning
            return
        combinations = [[*fixed, *expand.as_overrides(choice)] for choice in expand.combinations(swept)]
        job_folders.queue(Path(config.hydra.sweep.dir), combinations)
        refresh(Path(config.hydra.sweep.dir))


def run_job(
    command: str,
    folder: Path,
    *,
    cwd: str,
    limit: int | None,
    others: Mapping[str, float | None] | None = None,
    grace: float = JOB_GRACE,
    beside: int = 1,
    data: Callable[[], str | None] = lambda: None,
    **fields: Any,
) -> float:
    """Run the job that is composed in `folder`/.hydra, unless it has its answer, and return its objective.

    The child's output goes to the screen and to train.log. How it ended is read from its exit code, so a job
    that was killed is recorded too. An interrupt of this process (KeyboardInterrupt) first ends the job.

    Arguments:
        cwd: the working directory that the job is to have.
        limit: of parameters, which the answer depends on as well.
        others: what else of a model's cost is limited (`config.LIMITED`).
        grace: seconds that the job has for ending once it is interrupted.
        beside: how many jobs run at once on this machine, -1 for as many as it has cores.
        data: tells what the frames and masks are now (`data.digest`). What a job has made of others is put aside.
        fields: what status.json says besides (job, overrides, identity).
    """
    with status.turn(folder / ".turn"):  # whoever runs the very same job now has our answer later
        while status.held(folder):  # by a job that was left behind when its sweep was killed
            time.sleep(POLL_SECONDS)
        if (place := job_folders.put_aside(folder, data)) is not None:
            print(
                f"job {fields.get('job')}: the frames or masks have changed since: trained again; "
                f"what it had is in {place}",
                flush=True,
            )
        record, trial = status.read(folder), os.environ.get(trials.ENVIRONMENT)
        given_up = record.get("state") == "pruned" and record.get("trial") == trial  # by this very trial
        if job_folders.settled(record, limit, others) or given_up:
            print(f"job {fields.get('job')}: {record['state']} before, in {folder}", flush=True)
        else:
            fields |= {"trial": trial} if trial else {}
            status.update(folder, **fields, limit=limit, state="queued")
            _run(command, folder, cwd, grace, _sharing(beside) | os.environ)
    refresh(folder.parent)
    return objective(folder)


def refresh(sweep: Path) -> "list[Row]":
    """Write the sweep's summary.csv and summary.html as things stand."""
    import davis_exp.results.pages.sweep as sweep_page  # late: showing a config needs no arithmetic
    from davis_exp.results import summary

    with status.turn(sweep / ".summary"):  # of several writers the last has seen everything
        rows = summary.rows([(folder, status.current(folder)) for folder in job_folders.folders(sweep)])
        summary.write_table(sweep, rows)
        sweep_page.write(sweep, rows)
        return rows


def finish(sweep: Path) -> tuple[str, int]:
    """A table of all jobs, and how many of them failed. Over budget is an answer, not a failure."""
    from davis_exp.results.summary import as_text

    job_folders.unqueue(sweep)
    rows = refresh(sweep)
    return as_text(rows), sum(row.failed for row in rows)


def objective(folder: Path) -> float:
    """What a sweeper maximises: J on the held-out clips (`objective` of status.json), `WORST` if unfinished.

    A job that names none, but was tested on the held-out clips, is judged by the contest's score there.
    """
    from davis_exp.metrics.measures import JUDGED

    record = status.read(folder)
    if record.get("state") != "finished":
        return WORST
    values = [record.get("objective")]
    if record.get("test_split") == "holdout":
        with contextlib.suppress(BadInput):
            values.append(JUDGED.figure(scores.read(folder)))
    numbers = [float(value) for value in values if isinstance(value, int | float)]
    return next(filter(math.isfinite, numbers), WORST) * _worth(folder, record)


def _worth(folder: Path, record: Mapping[str, Any]) -> float:
    """What the job's score is multiplied by for what its model costs, beside what is aimed at (`budget.aims`)."""
    composed = None
    with contextlib.suppress(BadInput):
        composed = stored.read(folder)
    budget = composed.config.get("budget") if composed else None
    aims = budget.get("aims") if isinstance(budget, dict) else None
    worth = 1.0
    for name, aim in aims.items() if isinstance(aims, dict) else ():
        cost = record.get(COSTS.get(name, ""))
        if number(aim, 0) and number(cost, 0) and aim and cost:
            worth *= (aim / cost) ** WEIGHT
    return worth


def _run(command: str, folder: Path, cwd: str, grace: float, env: dict[str, str]) -> None:
    arguments = [sys.executable, "-m", "davis_exp", "_job", command, str(folder), str(os.getpid())]
    started = time.monotonic()
    before = status.read(folder).get("seconds") or 0.0
    # A group of its own: Ctrl-C reaches this process alone, which hands it on exactly once.
    with (
        interrupts.heard(),
        _undisturbed(),  # until there is a job that could be told to end
        (folder / "train.log").open("ab") as log,
        subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            env=env | {"PYTHONFAULTHANDLER": "1"},  # a crash in native code leaves its traceback in the log
            process_group=0,
        ) as process,
    ):
        echo = threading.Thread(target=_echo, args=(process.stdout, log))
        echo.start()
        try:
            interrupts.wait(False)
            process.wait()
        except BaseException:
            process.terminate()  # not SIGINT, which is ignored until Python has begun, where we ignore it ourselves
            with contextlib.suppress(subprocess.TimeoutExpired, KeyboardInterrupt):
                process.wait(grace)
            raise
        finally:
            with contextlib.suppress(ProcessLookupError):  # what it left behind: other ranks, loader workers
                os.killpg(process.pid, signal.SIGKILL)
            code = process.wait()
            echo.join()
            _settle(folder, code, before + time.monotonic() - started)
            refresh(folder.parent)


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """From here on signals are only noted; whoever is inside says when they are followed again."""
    interrupts.wait(True)
    yield


def _sharing(jobs: int) -> dict[str, str]:
    """What lets `jobs` jobs share the cores with each other, and with whatever else keeps the machine busy.

    A thread that waits for another by spinning takes the core that it waits for: on two cores, two trainings at once
    took 2.3 times as long so. One alone is 1.2 times as fast with it, and keeps it.
    """
    cores = os.cpu_count() or 1
    beside = jobs not in (0, 1)
    env = {}
    if beside or os.getloadavg()[0] > cores / 2:
        env["OMP_WAIT_POLICY"] = "PASSIVE"
    if beside:
        env["OMP_NUM_THREADS"] = str(max(1, cores // (jobs if jobs > 0 else cores)))
    return env


def _settle(folder: Path, code: int, seconds: float) -> None:
    """Record how the job ended where it could not say so itself."""
    if code in (-signal.SIGINT, -signal.SIGTERM):  # before an exception could be made of it
        code = 130
    state = status.STATES.get(code, "failed")
    if status.read(folder).get("state") != state:
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        error = f"{how}, see {folder / 'train.log'}"
        status.update(folder, state=state, exit_code=code, error=error, seconds=round(seconds, 3))


def _echo(output: IO[bytes], log: IO[bytes]) -> None:
    """Copy what the job prints to its log and to the screen, as it comes."""
    while chunk := output.read1(1 << 16):  # type: ignore[attr-defined]
        log.write(chunk)
        log.flush()
        with contextlib.suppress(OSError):  # nobody is looking any more; the log goes on
            sys.stdout.buffer.write(chunk)
            sys.stdout.buffer.flush()
