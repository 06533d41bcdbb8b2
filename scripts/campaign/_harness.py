"""What the parts of the fault campaign share: cases, hostile commands in forked children, mutated inputs, the table.

A part is a module beside this one with `cases(scratch) -> Iterator[Case]`. It prepares its inputs below `scratch`, which
is its own and empty, and yields cases:

    yield Case("interpolated target", "predict", lambda: call(["predict", file, frames, "-o", out], scratch).refused())

`Case.run` returns None where the program held, else what went wrong, in a line (or raises, which is a finding too).
`call` runs a command of ours in a child of this process, which has everything imported, so that hundreds take minutes;
an audit hook in the child reports what is executed, imported, opened or sent that no input may ask for. `spawn` starts
the installed program as its own process, for kills, signals, pipes and full disks. `mutations` (in _mutations.py)
puts thousands of mutated inputs through one reader.
"""

import contextlib
import itertools
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from _watch import REPO, watch

SECONDS = 20.0  # that a hostile case may take
MEMORY_MB = 2000  # that it may take beyond nothing: peak resident size of the process
COUNT = int(os.environ.get("CAMPAIGN_COUNT", 20_000))  # mutated inputs for each reader
WARM = (
    *(
        "torch",
        "pytorch_lightning",
        "timm",
        "segmentation_models_pytorch",
        "cv2",
        "av",
        "yaml",
        "safetensors.torch",
    ),
    *(
        "davis_exp.cli",
        "davis_exp.experiment.build",
        "davis_exp.experiment.checkpoints",
        "davis_exp.experiment.prediction",
        "davis_exp.launch.hydra",
    ),
    *(
        f"davis_exp.commands.{name}"
        for name in ("test", "predict", "export", "report", "compare", "leaderboard")
    ),
    *(f"davis_exp.commands.{name}" for name in ("score", "check", "data")),
)


@dataclass(frozen=True)
class Case:
    """One thing that is done to the program.

    Attributes:
        fault: of what kind, as the table groups them ("interpolated target", "disk of 20 kB").
        command: what it is done to ("predict", "score", "reader of PNG").
        run: does it; None where the program held, else what went wrong.
        count: how many inputs it stands for.
        skip: why it cannot be tried on this machine; None where it can.
    """

    fault: str
    command: str
    run: Callable[[], str | None]
    count: int = 1
    skip: str | None = None


@dataclass
class Outcome:
    """How a command ended: its exit code (-signal, or "hang"), what it printed, and what it was seen to do."""

    code: int | str
    out: str
    err: str
    seconds: float
    memory_mb: int
    seen: list[str] = field(default_factory=list)

    def refused(self, codes: Iterable[int] = (2,)) -> str | None:
        """None if it was refused in one line with one of `codes`, in bounds, and did nothing it may not."""
        if (wrong := self.harmless()) is not None:
            return wrong
        if self.code not in codes:
            return f"exit {self.code}: {self.last}"
        lines = self.err.strip().splitlines()
        return None if len(lines) == 1 else f"{len(lines)} lines of error: {self.last}"

    def fine(self, codes: Iterable[int] = (0,)) -> str | None:
        """None if it ended with one of `codes`, in bounds, and did nothing it may not."""
        if (wrong := self.harmless()) is not None:
            return wrong
        return None if self.code in codes else f"exit {self.code}: {self.last}"

    def held(self) -> str | None:
        """None if it either worked or was refused in one line."""
        return self.harmless() or (None if self.code == 0 else self.refused())

    def harmless(self) -> str | None:
        """None if it ended by itself, without a traceback, in bounds of time and memory, and did nothing it may not."""
        if self.seen:
            return f"did {self.seen[0]} (and {len(self.seen) - 1} more)"
        if self.code == "hang" or self.seconds > SECONDS:
            return f"took {self.seconds:.0f} s"
        if self.memory_mb > MEMORY_MB:
            return f"took {self.memory_mb} MB"
        if "Traceback" in self.out + self.err:
            return f"traceback: {self.last}"
        return f"killed by signal {-self.code}" if isinstance(self.code, int) and self.code < 0 else None

    @property
    def last(self) -> str:
        lines = (self.err.strip() or self.out.strip()).splitlines()
        return lines[-1][:200] if lines else "nothing printed"


def warm() -> None:
    """Import, here, what children would import again and again."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # a fork of a process with busy threads may hang
    for name in WARM:
        with contextlib.suppress(ImportError):
            import_module(name)


def call(
    argv: Sequence[object],
    scratch: Path,
    *,
    cwd: Path | None = None,
    timeout: float = 2 * SECONDS,
    env: Mapping[str, str] | None = None,
    secrets: Iterable[str] = (),
    watched: bool = True,
) -> Outcome:
    """Run `davis-exp argv` in a child with everything imported, in `cwd` (else `scratch`).

    It may read its installation and what lies in `scratch`, and write there. None of `secrets` may be printed.
    `watched=False` is for commands that rightly start processes.
    """
    out, err, seen = (tempfile.TemporaryFile() for _ in range(3))  # noqa: SIM115 (`_content` closes them)
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        _be(
            list(map(str, argv)),
            cwd or scratch,
            out.fileno(),
            err.fileno(),
            env,
            seen.fileno() if watched else None,
            scratch,
        )
    code, memory = _wait(child, began + timeout)
    texts = [_content(file) for file in (out, err)]
    events = _content(seen).splitlines()
    events += [f"printing {secret!r}" for secret in secrets if secret in texts[0] + texts[1]]
    return Outcome(code, texts[0], texts[1], time.monotonic() - began, memory, events)


def _be(
    argv: list[str],
    cwd: Path,
    out: int,
    err: int,
    env: Mapping[str, str] | None,
    seen: int | None,
    scratch: Path,
) -> None:
    from davis_exp import cli

    code: Any = 1
    try:
        os.setsid()
        os.dup2(out, 1)
        os.dup2(err, 2)
        os.environ.update(env or {})
        os.environ["TMPDIR"] = tempfile.tempdir = str(scratch / "tmp")
        (scratch / "tmp").mkdir(exist_ok=True)
        os.chdir(cwd)
        sys.argv = ["davis-exp", *argv]
        if seen is not None:
            watch(seen, scratch)
        code = cli.main(argv)
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(BaseException):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 1)


def _wait(child: int, latest: float) -> tuple[int | str, int]:
    """The exit code of `child`, or "hang", and its peak memory in MB; nothing of its session is left running."""
    code: int | str = "hang"
    memory = 0
    while time.monotonic() < latest:
        done, status, usage = os.wait4(child, os.WNOHANG)
        if done:
            code, memory = os.waitstatus_to_exitcode(status), usage.ru_maxrss // 1024
            break
        time.sleep(0.01)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    if code == "hang":
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        _, _, usage = os.wait4(child, 0)
        memory = usage.ru_maxrss // 1024
    return code, memory


def _content(file: Any) -> str:
    file.seek(0)
    with file:
        return file.read(400_000).decode("utf-8", "replace")


# ---- the program itself -----------------------------------------------------------------------------


def program() -> list[str]:
    """The installed program, as a command."""
    return [sys.executable, "-m", "davis_exp"]


def spawn(argv: Sequence[object], cwd: Path, **options: Any) -> "subprocess.Popen[bytes]":
    """Start `davis-exp argv` as a process (group) of its own; `options` are Popen's."""
    env = {**os.environ, "PYTHONPATH": str(REPO), "WANDB_MODE": "offline", **options.pop("env", {})}
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    return subprocess.Popen(
        [*program(), *map(str, argv)], cwd=cwd, env=env, start_new_session=True, **options
    )


def finished(argv: Sequence[object], cwd: Path, timeout: float = 150, **options: Any) -> Outcome:
    """`spawn`, waited for; its whole group is gone afterwards."""
    began = time.monotonic()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = spawn(argv, cwd, **{"stdout": out, "stderr": err, "stdin": subprocess.DEVNULL} | options)
        code: int | str
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            code = "hang"
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
        return Outcome(code, _peek(out), _peek(err), time.monotonic() - began, min(memory, MEMORY_MB))


def _peek(file: Any) -> str:
    file.seek(0)
    return file.read(400_000).decode("utf-8", "replace")


def campaign(parts: Mapping[str, Callable[[Path], Iterator[Case]]], scratch: Path, every: int = 1) -> int:
    """Run the cases of all parts, or one in `every`, printing findings and the table; 1 if there were any findings."""
    tally: dict[tuple[str, str, str], list[int]] = {}
    findings = 0
    for part, cases in parts.items():
        folder = scratch / part
        folder.mkdir(parents=True)
        began = time.monotonic()
        for case in itertools.islice(cases(folder), 0, None, every):
            row = tally.setdefault((part, case.fault, case.command), [0, 0, 0])
            if case.skip is not None:
                row[2] += case.count
                print(f"skipped  {part}: {case.fault} x {case.command}: {case.skip}", flush=True)
                continue
            try:
                wrong = case.run()
            except Exception as error:
                wrong = f"the case itself failed: {error!r:.300}"
            row[1] += case.count
            row[0] += case.count if wrong is None else 0
            if wrong is not None:
                findings += 1
                print(f"FINDING  {part}: {case.fault} x {case.command}: {wrong}", flush=True)
        print(f"{part}: {time.monotonic() - began:.0f} s", flush=True)
    width = max((len(f"{part}: {fault}") for part, fault, _ in tally), default=10)
    print(f"\n{'fault':{width}}  {'command':24}  held")
    for (part, fault, command), (held, tried, skipped) in tally.items():
        note = f"  ({skipped} skipped)" if skipped else ""
        print(f"{f'{part}: {fault}':{width}}  {command:24}  {held} of {tried}{note}")
    tried, held = (sum(row[i] for row in tally.values()) for i in (1, 0))
    print(f"\nheld {held:,} of {tried:,}; {findings} findings")
    return int(findings > 0)
