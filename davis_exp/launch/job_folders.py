"""The jobs of a sweep: each has a folder, which what it computes finds again."""

import contextlib
import itertools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from davis_exp.config import LIMITED
from davis_exp.launch import status
from davis_exp.runs.metrics import METRICS
from davis_exp.runs.score import SCORE

Record = dict[str, Any]
MADE = ("checkpoints", "results", METRICS, SCORE, "report.html", "train.log")  # of a job, from its data


def folders(sweep: Path) -> list[Path]:
    """The folders of the jobs in `sweep`, by number."""
    found = [file.parent for file in sweep.glob(f"*/{status.STATUS}")]
    return sorted(found, key=lambda folder: (not folder.name.isdecimal(), folder.name.zfill(9)))


def claim(sweep: Path, identity: str, overrides: Sequence[str], number: int) -> Path:
    """The folder in `sweep` of the job of this identity: where it has been before, or else a new one.

    A new one is called by the job's `number`, or the next that is free.
    """
    with _alone(sweep):
        waiting = []
        for folder in folders(sweep):
            record = status.read(folder)
            if record.get("identity") == identity:
                return folder
            if record.get("state") == "queued" and "identity" not in record:
                waiting.append((folder, record))
        same = [
            folder for folder, record in waiting if sorted(record.get("overrides") or []) == sorted(overrides)
        ]
        same += [folder for folder, _ in waiting if folder.name == str(number)]
        folder = same[0] if same else _new(sweep, number)
        _record(folder, overrides, identity=identity)
        return folder


def queue(sweep: Path, jobs: Sequence[Sequence[str]]) -> None:
    """Give each of the jobs to come, known by its overrides, a folder in `sweep` that says so."""
    with _alone(sweep):
        there = [sorted(status.read(folder).get("overrides") or []) for folder in folders(sweep)]
        for number, overrides in enumerate(jobs):
            if sorted(overrides) not in there:
                _record(_new(sweep, number), overrides)


def unqueue(sweep: Path) -> None:
    """Remove the folders of jobs that were to come and did not: an equal job has taken their place."""
    with _alone(sweep):
        for folder in folders(sweep):
            record = status.read(folder)
            if record.get("state") == "queued" and "identity" not in record:
                (folder / status.STATUS).unlink()
                with contextlib.suppress(OSError):  # somebody has put something there
                    folder.rmdir()


def settled(record: Record, limit: int | None, others: Mapping[str, float | None] | None = None) -> bool:
    """Whether the job has its answer under this budget: a result within it, or being over it.

    `limit` is of parameters; of the `others` (`config.LIMITED`) a model whose memory or time is limited, and was not told
    when it was trained, has none.
    """
    over = False
    for key, most in {"limit": limit, **(others or {})}.items():
        value = record.get(LIMITED[key])
        if most is not None and value is None and key in ("max_activation_mb", "max_ms"):
            return False
        over |= most is not None and value is not None and value > most
    return record.get("state") == ("over_budget" if over else "finished")


def put_aside(folder: Path, data: Callable[[], str | None]) -> Path | None:
    """Move what a job has made of other frames and masks to a folder in its own, which is returned; None if it has not.

    The job then begins anew. Where either data are not known, nothing is moved.
    """
    before = status.read(folder).get("data")
    now = data() if before else None
    if not before or not now or now == before:
        return None
    places = (folder / f"other-data-{before[:8]}-{n}" for n in itertools.count())
    place = next(place for place in places if not place.exists())
    place.mkdir()
    for name in MADE:
        if (folder / name).exists():
            # What looks for scores below folders shall not take an old one for this job's.
            os.replace(folder / name, place / (f"former-{name}" if name == SCORE else name))
    status.update(folder, state="queued", data=None, seconds=0.0, attempts=0, objective=None)
    return place


@contextlib.contextmanager
def _alone(sweep: Path) -> Iterator[None]:
    sweep.mkdir(parents=True, exist_ok=True)
    with status.turn(sweep / ".jobs"):
        yield


def _new(sweep: Path, number: int) -> Path:
    for free in itertools.count(number):
        with contextlib.suppress(FileExistsError):
            (sweep / str(free)).mkdir()
            break
    return sweep / str(free)


def _record(folder: Path, overrides: Sequence[str], **fields: Any) -> None:
    status.update(folder, state="queued", job=int(folder.name), overrides=list(overrides), **fields)
