"""Several processes (ranks) that train one model together: which of them this is, and what they share.

torchrun, srun or launch/ranks.py starts them. No torch is imported before they meet.
"""

import atexit
import contextlib
import json
import os
import pickle
import re
import signal
import socket
import time
import traceback
import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, TypeVar

from davis_exp.utils import interrupts
from davis_exp.utils.errors import BadInput, CannotMeet, brief, quoted

Value = TypeVar("Value")

RENDEZVOUS_SECONDS = (
    "DAVIS_EXP_RENDEZVOUS_SECONDS"  # in the environment: how long ranks wait for each other, 600 if not set
)
RANK_TIMEOUT = timedelta(days=1)  # with ranks that are alive: one may have much longer sequences than another
FAILURE_NEWS_WITHIN = 1.0  # seconds within which a rank that feels the failure of another hears of it
OTHERS_FAILURE = re.compile(r"gloo|nccl|by peer", re.IGNORECASE)
CONNECTION_LOST = re.compile(r"by peer|remote process")  # gloo's words, and NCCL's

_rank, _world = 0, 1
_store: Any = None  # where the first rank to fail leaves word
_pids: list[tuple[str, int]] = []  # of all ranks: machine, process
_cause: BaseException | None = None


class LostRank(RuntimeError):
    """Of a rank that has left no word of what ended it."""


def rank() -> int:
    return _rank


def world_size() -> int:
    return _world


def is_main() -> bool:
    """Whether this process, rank 0 or the only one, speaks and writes for all."""
    return _rank == 0


def joined() -> bool:
    """Whether this process is one of a group, if only of one."""
    return _store is not None


def started() -> bool:
    """Whether torchrun, srun or the like has started this process as one of a group. Raises BadInput if only half."""
    env = os.environ
    if "RANK" not in env:
        return "SLURM_PROCID" in env and env.get("SLURM_STEP_NUM_TASKS", env.get("SLURM_NTASKS", "1")) != "1"
    wrong = [name for name in ("RANK", "WORLD_SIZE", "MASTER_PORT") if not env.get(name, "").isdecimal()]
    if wrong or not env.get("MASTER_ADDR"):
        told = ", ".join(f"{name}={quoted(env.get(name, ''))}" for name in (wrong or ["MASTER_ADDR"]))
        raise BadInput(
            f"RANK is set, but {told} is no rendezvous: start processes by torchrun or srun, or unset RANK"
        )
    return int(env["WORLD_SIZE"]) > 1 or "TORCHELASTIC_RUN_ID" in env


def join() -> None:
    """Meet the other ranks; all must call it. Gloo carries what is on CPUs, NCCL what is on GPUs.

    Raises CannotMeet where some do not come in time, BadInput where it is not said which rank this is, or how long to wait.
    """
    global _rank, _world, _store, _pids
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "FATAL")  # what goes wrong is raised as well
    import torch
    import torch.distributed as dist
    from torch.distributed.rendezvous import rendezvous

    try:
        seconds = timedelta(seconds=float(os.environ.get(RENDEZVOUS_SECONDS, "600"))).total_seconds()
        if "RANK" not in os.environ:
            _translate_slurm()
    except (LookupError, ArithmeticError, ValueError, RuntimeError) as error:
        raise BadInput(
            f"{RENDEZVOUS_SECONDS}, or srun's own variables (SLURM_…), make no sense: {brief(error)}"
        ) from error
    os.environ.setdefault("LOCAL_RANK", os.environ["RANK"])
    os.environ.setdefault("LOCAL_WORLD_SIZE", os.environ["WORLD_SIZE"])
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    try:
        store, _rank, _world = next(iter(rendezvous("env://", timeout=timedelta(seconds=seconds))))
        _store = dist.PrefixStore(_name(store, time.monotonic() + seconds), store)
        dist.init_process_group(backend, store=_store, rank=_rank, world_size=_world, timeout=RANK_TIMEOUT)
        atexit.register(dist.destroy_process_group)  # its threads would abort this process
    except (RuntimeError, ValueError) as error:
        place = ":".join(os.environ[name] for name in ("MASTER_ADDR", "MASTER_PORT"))
        raise CannotMeet(
            f"{os.environ['WORLD_SIZE']} processes have not met at {place} ({brief(error)}): start all of them, or have "
            f"them wait for more than {seconds:g} s ({RENDEZVOUS_SECONDS}=…)"
        ) from error
    _pids = gathered((socket.gethostname(), os.getpid()))


def _name(store: Any, latest: float) -> str:
    """What the ranks of this very start call themselves.

    An agent keeps one store over the restarts of its ranks, with all that earlier ones have left in it, and agents do
    not count restarts alike. So each rank shows itself under a new name, and rank 0 answers to that.
    """
    name, others = uuid.uuid4().hex, set(range(1, _world))
    if _rank:
        store.set(f"here/{_rank}", name)
        answer: str = store.get(f"answer/{name}").decode()
        store.set(f"{answer}/{_rank}", "heard")
        return answer
    while others:
        for other in sorted(others):
            if store.check([f"{name}/{other}"]):
                others.remove(other)
            elif store.check([f"here/{other}"]):
                store.set(f"answer/{store.get(f'here/{other}').decode()}", name)
        if time.monotonic() > latest:
            raise RuntimeError(f"no word of process {min(others) + 1}")
        time.sleep(0.02)
    return name


def _translate_slurm() -> None:
    """Say in torchrun's variables what srun says in its own."""
    from pytorch_lightning.plugins.environments import SLURMEnvironment

    env = os.environ
    tasks = str(int(env["SLURM_NTASKS"]) // int(env.get("SLURM_NNODES", "1")))
    env.setdefault("SLURM_NTASKS_PER_NODE", tasks)
    slurm = SLURMEnvironment(auto_requeue=False)
    _ = slurm.main_address, slurm.main_port  # sets MASTER_ADDR and MASTER_PORT
    env |= {
        "RANK": str(slurm.global_rank()),
        "WORLD_SIZE": str(slurm.world_size()),
        "LOCAL_WORLD_SIZE": tasks,
    }
    env |= {"LOCAL_RANK": str(slurm.local_rank()), "GROUP_RANK": str(slurm.node_rank())}


def gathered(value: Value) -> list[Value]:
    """`value` of every rank, in order. All must call it, and none goes on before all have."""
    if _world == 1:
        return [value]
    import torch.distributed as dist

    values: list[Any] = [None] * _world
    dist.all_gather_object(values, value)
    return values


def any_of(*flags: bool) -> list[bool]:
    """Each flag: whether it is set in any rank. As `gathered`, but cheap enough for every batch."""
    if _world == 1:
        return list(flags)
    import torch

    found = torch.tensor(flags, dtype=torch.int32)
    torch.distributed.all_reduce(found, torch.distributed.ReduceOp.MAX)
    return [bool(flag) for flag in found.tolist()]


@contextlib.contextmanager
def one_first() -> Iterator[None]:
    """On each machine one rank goes before the others: what it downloads, they find."""
    first = os.environ.get("LOCAL_RANK", "0") == "0"
    if not first:
        gathered(None)
    yield
    if first:
        gathered(None)


@contextlib.contextmanager
def together() -> Iterator[None]:
    """The work of a rank: all end well, or else all with what the first to fail has raised."""
    try:
        yield
        gathered(None)
    except BaseException as error:
        first = cause(error)
        if path := os.environ.get("TORCHELASTIC_ERROR_FILE"):  # read by whoever started the ranks
            told = {"message": repr(first), "timestamp": int(time.time()), "raised": _sent(first)}
            with open(path, "w") as file:
                json.dump(told, file)
        if first is error:
            raise
        raise first from error


def cause(error: BaseException) -> BaseException:
    """What has ended all ranks: `error`, or the failure of another that this one feels as `error`.

    From then on no signal keeps this rank from putting its things in order.
    """
    global _cause
    if _world == 1 or _cause is not None:
        return _cause or error
    for number in interrupts.SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    _cause, lost = error, None
    felt = isinstance(error, RuntimeError) and OTHERS_FAILURE.search(str(error))
    with contextlib.suppress(RuntimeError):  # the store may have gone with the rank that keeps it
        if felt or isinstance(error, KeyboardInterrupt | SystemExit):
            latest = time.monotonic() + FAILURE_NEWS_WITHIN
            while not (_store.check(["failure"]) or (lost := _lost())) and time.monotonic() < latest:
                time.sleep(0.02)
        if felt and lost is None and CONNECTION_LOST.search(str(error)):
            lost = LostRank(f"one of the {_world} processes is gone, without a word")
        if lost is not None:
            lost.__cause__ = error
        mine = _sent(lost or error)
        first = _store.compare_set("failure", "", mine).decode()
        if first != mine or lost is not None:
            _cause = received(first)
    return _cause


def _lost() -> LostRank | None:
    for other, (machine, pid) in enumerate(_pids):
        try:
            os.kill(pid if machine == socket.gethostname() else os.getpid(), 0)
        except ProcessLookupError:
            return LostRank(f"process {other + 1} of {_world} is gone")
    return None


def _sent(error: BaseException) -> str:
    """`error` as another process can have it, with its traceback as a note."""
    if isinstance(error, SystemExit) and isinstance(error.__context__, KeyboardInterrupt):
        error = KeyboardInterrupt()  # Lightning turns Ctrl-C into exit(1)
    try:
        sent = received(pickle.dumps(error).hex())
    except Exception:  # an exception whose constructor wants more than its message
        sent = RuntimeError(f"{type(error).__name__}: {error}")
    if not getattr(sent, "__notes__", None):
        sent.add_note("".join(traceback.format_exception(error)))
    return pickle.dumps(sent).hex()


def received(text: str) -> BaseException:
    """What `together` or `cause` of a rank has sent."""
    error: BaseException = pickle.loads(bytes.fromhex(text))
    return error
