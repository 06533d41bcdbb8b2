"""Several processes (ranks) that train one model together: how they are started and ended, and what they share.

Who starts them is none of them: it imports no torch, forks, waits, and says what went wrong first. So a rank that
raises or dies ends the run, with one message and nothing left behind, whatever the others are waiting for.
"""

import contextlib
import logging
import multiprocessing
import os
import pickle
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from davis_exp.utils import interrupts
from davis_exp.utils.following import follow

if TYPE_CHECKING:
    import torch

Value = TypeVar("Value")

GRACE = (
    10.0  # seconds that the first rank has for hearing that it shall end, and for putting its things in order
)
ECHO = 1.0  # seconds within which the starter tells the first rank of a failure that this one may feel sooner
PATIENCE = timedelta(days=1)  # with ranks that are alive: one may have much longer sequences than another

_fork = multiprocessing.get_context("fork")  # what has been composed, and logging, are there in every rank


@dataclass(frozen=True)
class Place:
    """Which rank this process is; the only one, unless `run` has started it.

    Attributes:
        rank, world: its number, from 0, of how many.
        meeting: the file over which they find each other; unlike a port, no other run can take it.
        turns: lets one rank after the other.
    """

    rank: int = 0
    world: int = 1
    meeting: str = ""
    turns: Any = None

    @property
    def first(self) -> bool:
        """Whether this is the one that speaks and writes for all."""
        return self.rank == 0


_here = Place()
_ending = False  # an interrupt would tell this rank nothing new


def here() -> Place:
    return _here


# ---- in a rank --------------------------------------------------------------------------------------


def join(device: "torch.device") -> None:
    """Meet the other ranks, each on its own device: NCCL between GPUs, gloo elsewhere. They must all call it."""
    import torch.distributed as dist

    cuda = device.type == "cuda"
    dist.init_process_group(
        "nccl" if cuda else "gloo",
        init_method=f"file://{_here.meeting}",
        rank=_here.rank,
        world_size=_here.world,
        timeout=PATIENCE,
        device_id=device if cuda else None,
    )


def gathered(value: Value) -> list[Value]:
    """`value` of every rank, in order. All that have joined must call it, and none goes on before all have."""
    if _here.world == 1:
        return [value]
    import torch.distributed as dist

    values: list[Any] = [None] * _here.world
    dist.all_gather_object(values, value)
    return values


def any_of(*flags: bool) -> list[bool]:
    """Each flag: whether it is set in any rank. As `gathered`, but cheap enough for every batch."""
    if _here.world == 1:
        return list(flags)
    import torch
    import torch.distributed as dist

    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    found = torch.tensor(flags, dtype=torch.int32, device=device)
    dist.all_reduce(found, dist.ReduceOp.MAX)
    return [bool(flag) for flag in found.tolist()]


@contextlib.contextmanager
def in_turn() -> Iterator[None]:
    """One rank after the other: what the first downloads, the next finds."""
    with _here.turns or contextlib.nullcontext():
        yield


def cause(error: BaseException) -> BaseException:
    """In the first rank: what has ended it, `error` or the failure of another rank that it feels as `error`.

    From then on the starter's interrupt stops nothing: this rank is ending already.
    """
    global _ending
    if _here.world == 1:
        return error
    _ending = True
    failure, heard = _beside(_here, "failure"), _beside(_here, "heard")
    latest = time.monotonic() + ECHO
    while not (failure.exists() or heard.exists()) and time.monotonic() < latest:
        time.sleep(0.02)
    return pickle.loads(failure.read_bytes()) if failure.exists() else error


# ---- around them ------------------------------------------------------------------------------------


def number(devices: Any) -> int:
    """How many ranks the config's `trainer.devices` asks for: 2, [0,1] or "0,1"; what asks for "all" is no number."""
    if isinstance(devices, str):
        devices = int(devices) if devices.isdecimal() else devices.strip(",").split(",")
    if isinstance(devices, list):
        return max(len(devices), 1)
    return max(devices, 1) if isinstance(devices, int) else 1


def run(work: Callable[[], int], world: int, folder: Path, grace: float = GRACE) -> int:
    """Call `work` in `world` processes at once; returns what the first rank returns.

    What the first rank prints goes where our own prints do, that of another to `folder`/rank<n>.log, which stays
    only if something goes wrong. Ctrl-C reaches the first rank as KeyboardInterrupt, and comes out of here as well.
    So does the failure of another rank, which `cause` then tells. Interrupted, the first rank has `grace` seconds
    (at least GRACE) for ending; only GRACE where it does not hear, in a collective that will never end.

    Raises what the first rank to fail raised, with its traceback as a note; RuntimeError for one that was killed.
    """
    with tempfile.TemporaryDirectory(prefix="davis_exp_ranks_") as meeting:
        turns = _fork.Lock()
        places = [Place(rank, world, f"{meeting}/file", turns) for rank in range(world)]
        pipes = [_fork.Pipe(duplex=False) for _ in places]
        started: list[ForkProcess] = []
        try:
            for place, (_, answer) in zip(places, pipes, strict=True):
                process = _fork.Process(target=_be, args=(place, work, answer, folder, os.getpid()))
                process.start()
                started.append(process)
            outcome = _outcome(started, [answers for answers, _ in pipes], folder)
            if isinstance(outcome, BaseException):
                part = _beside(places[0], "part")
                part.write_bytes(pickle.dumps(outcome))
                part.replace(_beside(places[0], "failure"))
        finally:
            _end(started, _beside(places[0], "heard"), grace)
    if isinstance(outcome, BaseException):
        raise outcome
    for place in places[1:]:
        _log(folder, place).unlink(missing_ok=True)
    return outcome


def _outcome(ranks: list[ForkProcess], pipes: list[Connection], folder: Path) -> int | BaseException:
    """What the first rank returned, once all have ended well, or else what went wrong first."""
    answers: dict[int, int | BaseException] = {}
    ended: list[int] = []
    while len(ended) < len(ranks):
        waiting = [pipe for rank, pipe in enumerate(pipes) if rank not in answers]
        wait([*waiting, *(process.sentinel for rank, process in enumerate(ranks) if rank not in ended)])
        ended = [rank for rank, process in enumerate(ranks) if not process.is_alive()]
        for rank, pipe in enumerate(pipes):
            if rank not in answers and pipe.poll():
                answers[rank] = pipe.recv()
        for rank in ended:
            if rank not in answers:  # before the others' complaints that it is gone
                return _death(rank, ranks, folder)
        for answer in answers.values():
            if answer != 0:
                return answer
    return 0


def _death(rank: int, ranks: list[ForkProcess], folder: Path) -> RuntimeError:
    code = ranks[rank].exitcode or 0
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    where = f"; what it printed: {_log(folder, Place(rank))}" if rank else ""
    return RuntimeError(f"process {rank + 1} of {len(ranks)} {how}{where}")


def _end(ranks: list[ForkProcess], heard: Path, grace: float) -> None:
    """Interrupt the first rank, which then closes what it has open, and kill what is left of all of them."""
    try:
        first = next(iter(ranks), None)
        if first is not None and first.pid is not None and first.is_alive():
            os.kill(first.pid, signal.SIGINT)
            first.join(GRACE)
            if heard.exists():
                first.join(grace - GRACE)
    finally:
        for process in ranks:
            if process.pid is not None:
                with contextlib.suppress(ProcessLookupError):  # it has no group yet, or left nothing in it
                    os.killpg(process.pid, signal.SIGKILL)  # its loader workers too, which may outlive it
                process.kill()
            process.join()


def _be(place: Place, work: Callable[[], int], answers: Connection, folder: Path, starter: int) -> NoReturn:
    """Be a rank: work, and answer with what came of it."""
    global _here
    answer: int | BaseException
    try:
        os.setpgid(0, 0)  # Ctrl-C reaches the starter alone, which hands it on exactly once
        follow(starter)
        _here = place
        os.environ |= {"LOCAL_RANK": str(place.rank), "RANK": str(place.rank), "NODE_RANK": "0"}
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # what goes wrong is raised as well
        if place.first:
            signal.signal(signal.SIGINT, _hear)
            signal.signal(signal.SIGALRM, interrupts.interrupt)
        else:
            _hush(_log(folder, place))
        answer = work()
        if "torch" in sys.modules and sys.modules["torch"].distributed.is_initialized():
            sys.modules["torch"].distributed.destroy_process_group()
    except BaseException as error:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is ending already
        answer = _portable(error)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers.send(answer)
    sys.exit(0 if isinstance(answer, int) else 1)


def _hear(number: int, frame: FrameType | None) -> None:
    """The starter's interrupt, in the first rank."""
    _beside(_here, "heard").touch()
    if not _ending:
        interrupts.interrupt()


def _portable(error: BaseException) -> BaseException:
    """`error` as another process can have it, with its traceback as a note."""
    if isinstance(error, SystemExit) and isinstance(error.__context__, KeyboardInterrupt):
        return KeyboardInterrupt()  # Lightning turns Ctrl-C into exit(1)
    try:
        pickle.loads(pickle.dumps(error))
        sent = error
    except Exception:  # an exception whose constructor wants more than its message
        sent = RuntimeError(f"{type(error).__name__}: {error}")
    sent.add_note("".join(traceback.format_exception(error)))
    return sent


def _hush(log: Path) -> None:
    """Send what this process prints to the file `log`, warnings and native code included."""
    sys.stdout.flush()
    sys.stderr.flush()
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout, force=True)


def _log(folder: Path, place: Place) -> Path:
    return folder / f"rank{place.rank}.log"


def _beside(place: Place, name: str) -> Path:
    """A file beside the meeting: "failure" is from the starter to the first rank, "heard" from that one to it."""
    return Path(place.meeting).with_name(name)
