"""The processes of a job that works on several devices: started here, or found to be started by torchrun or srun."""

import contextlib
import json
import logging
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from davis_exp.utils import distributed, interrupts
from davis_exp.utils.errors import BadInput
from davis_exp.utils.following import follow

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

RANK_GRACE = 10.0  # seconds that interrupted ranks have for putting their things in order

_waiting = False  # the other ranks wait to hear from this one


def number(devices: Any) -> int:
    """How many ranks the config's `trainer.devices` asks for: 2, [0,1] or "0,1"; what asks for "all" is no number."""
    if isinstance(devices, str):
        devices = int(devices) if devices.isdecimal() else devices.strip(",").split(",")
    if isinstance(devices, list):
        return max(len(devices), 1)
    return max(devices, 1) if isinstance(devices, int) else 1


def wanted(name: str, trainer: Mapping[str, Any]) -> int:
    """How many ranks are to be started here. Raises BadInput where the config's `trainer` asks for other machines too."""
    devices, nodes = (number(trainer.get(key)) for key in ("devices", "num_nodes"))
    if nodes > 1:
        raise BadInput(
            f"trainer.num_nodes={nodes}: start it on each machine by torchrun --nnodes={nodes} --nproc-per-node={devices} "
            f"--rdzv-backend=c10d --rdzv-endpoint=HOST:PORT -m davis_exp {name} …, or by srun"
        )
    return devices


def run(name: str, folder: Path, world: int, grace: float = RANK_GRACE) -> None:
    """Work on the job composed in `folder` with `world` processes of this machine, by torch's elastic launcher.

    What rank 0 prints goes where our own prints do, that of another to rank<n>.log, which stays only if something goes
    wrong. Interrupted, they have `grace` seconds for ending. Raises KeyboardInterrupt then, and otherwise what the
    first rank to fail has raised, with its traceback as a note; RuntimeError for one that was killed.
    """
    from torch.distributed.elastic.multiprocessing.api import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    logging.disable(logging.CRITICAL)  # what it does is its own affair
    heard = [n.name for n in interrupts.SIGNALS if signal.getsignal(n) is not signal.SIG_IGN]
    files = [h.baseFilename for h in logging.getLogger().handlers if isinstance(h, logging.FileHandler)]
    with tempfile.TemporaryDirectory(prefix="davis_exp_ranks_") as logs:
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=world,
            run_id="ranks",
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",
            local_addr="localhost",
            max_restarts=0,
            logs_specs=DefaultLogsSpecs(logs),
            signals_to_handle=",".join(heard),
            shutdown_timeout=int(grace),
        )
        command = ["-m", "davis_exp", "_rank", name, str(folder), str(os.getpid()), *files]
        try:
            elastic_launch(config, sys.executable)(*command)
        except ChildFailedError as error:
            raise _failure(error.failures, world, folder) from None
        except SignalException as error:
            raise KeyboardInterrupt from error
        finally:
            logging.disable(logging.NOTSET)


def _failure(failures: "dict[int, ProcessFailure]", world: int, folder: Path) -> BaseException:
    for failure in failures.values():  # what the ranks have left behind
        with contextlib.suppress(ProcessLookupError):
            os.killpg(failure.pid, signal.SIGKILL)
    told = [data["raised"] for f in failures.values() if "raised" in (data := f.error_file_data)]
    first = distributed.received(told[0]) if told else None
    silent = {rank: f.exitcode for rank, f in failures.items() if "raised" not in f.error_file_data}
    if first is not None and not (silent and isinstance(first, distributed.LostRank)):
        return first
    rank, code = min(
        silent.items(), key=lambda item: item[1] == -signal.SIGTERM
    )  # which the launcher ends others by
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    where = f"; what it printed: {log_file(folder, rank)}" if rank else ""
    return RuntimeError(f"process {rank + 1} of {world} {how}{where}")


# ---- ranks that torchrun or srun has started --------------------------------------------------------


def meet() -> Path | int | None:
    """Join the other ranks and hear where the work is, or the exit code that rank 0 ends with instead of any.

    None in rank 0, where it has not been told yet: `tell`. A group that is restarted goes on where it was.
    """
    global _waiting
    if "TORCHELASTIC_RUN_ID" in os.environ:
        follow(os.getppid())  # an agent that is killed leaves nobody behind
    distributed.join()
    memory = _memory()
    before = memory.read_text() if memory and memory.is_file() else None
    told: Any = next(filter(None, distributed.gathered(before)), None)
    if told is None and distributed.is_main():
        _waiting = True
        return None
    with contextlib.suppress(RuntimeError, KeyboardInterrupt):  # rank 0 has gone, or says it for all
        told = told or distributed.gathered(None)[0]
    if not isinstance(told, str):
        return 1 if told is None else told
    cwd, folder = json.loads(told)
    if not Path(folder).is_dir():
        raise BadInput(
            f"{folder} is not on {socket.gethostname()}: all machines must see the folder of the run"
        )
    if os.path.isdir(cwd):  # what the config names is named from there
        os.chdir(cwd)
        sys.path.append(cwd)
    _remember(told)
    return Path(folder)


def tell(told: Path | int) -> None:
    """In rank 0: where all are to work, or the exit code that they are to end with. The first word counts."""
    global _waiting
    if _waiting:
        _waiting = False
        word = told if isinstance(told, int) else json.dumps([os.getcwd(), str(told.resolve())])
        distributed.gathered(word)
        _remember(word)


def _remember(told: str | int) -> None:
    if (memory := _memory()) and isinstance(told, str):
        memory.write_text(told)


def _memory() -> Path | None:
    """A file that lasts over the restarts of a group: beside the logs of the agent that starts its ranks."""
    file = os.environ.get("TORCHELASTIC_ERROR_FILE")
    return Path(file).parents[2] / "davis_exp_run.json" if file else None


def hush(folder: Path) -> None:
    """Send what this rank prints to a file in `folder`, warnings and native code included."""
    sys.stdout.flush()
    sys.stderr.flush()
    with log_file(folder, distributed.rank()).open("w") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)


def log_file(folder: Path, rank: int) -> Path:
    return folder / f"rank{rank}.log"
