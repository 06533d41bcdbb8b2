"""Sweeps that are killed or told to end, folders of any name, and runs gone on with under another config."""

import contextlib
import os
import random
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from _harness import Case, finished, spawn

from davis_exp.launch import status
from davis_exp.launch.quoting import quoted_value

TRAIN = (
    *("train", "data=generated", "data.train=4", "data.test=1", "encoder=pixel", "decoder=pixel"),
    *(
        "data.size=[64,96]",
        "data.batch_size=4",
        "data.workers=0",
        "trainer.max_epochs=1",
        "trainer.max_steps=-1",
    ),
)
SWEEP = (*TRAIN, "-m", "seed=0,1", "name=s")
ODD = "a b,=[]{}'()$c"
LONGEST = 30.0  # seconds into a sweep that it is killed at


def cases(scratch: Path) -> Iterator[Case]:
    draw = random.Random(0)
    for number in range(12):
        whole, delay = number % 2 == 0, draw.uniform(0.3, LONGEST)
        folder = scratch / f"kill{number}"
        fault = "kill -9 of the whole group" if whole else "kill -9 of the sweep alone"
        yield Case(fault, "train -m", lambda f=folder, w=whole, d=delay: _killed(f, w, d))
    for number in range(4):
        folder, delay = scratch / f"script{number}", draw.uniform(2, LONGEST / 2)
        yield Case("SIGTERM in a script's background", "train -m", lambda f=folder, d=delay: _told(f, d))
    yield from _odd(scratch / ODD)
    yield from _changed(scratch / "changed")


def _killed(folder: Path, whole: bool, delay: float) -> str | None:
    folder.mkdir()
    process = spawn(SWEEP, folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=_mark(folder))
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(delay)
    with contextlib.suppress(ProcessLookupError):
        (os.killpg if whole else os.kill)(process.pid, signal.SIGKILL)
    process.wait()
    time.sleep(1)
    if left := _left(folder):
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        return f"{len(left)} processes a second after a kill at {delay:.1f} s"
    return _answered(folder)


def _told(folder: Path, delay: float) -> str | None:
    folder.mkdir()
    command = shlex.join(spawn_command())
    script = f"{command} & sleep {delay}; kill -TERM $!; wait $!; exit 0"
    began = time.monotonic()
    subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env=os.environ | _mark(folder) | {"WANDB_MODE": "offline"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    took = time.monotonic() - began - delay
    states = [status.read(file.parent) for file in folder.glob("multirun/*/*/status.json")]
    if took > 20:
        return f"SIGTERM at {delay:.1f} s took {took:.0f} s"
    if failed := [record for record in states if record.get("state") == "failed"]:
        return f"a job counts as failed: {failed[0].get('error')}"
    return _answered(folder)


def spawn_command() -> list[str]:
    """The sweep as a command line."""
    from _harness import program

    return [*program(), *SWEEP]


def _answered(folder: Path) -> str | None:
    """None if the same command finds, or makes, every answer."""
    done = finished(SWEEP, folder)
    if (wrong := done.harmless()) and not wrong.startswith("took"):
        return f"its rerun {wrong}"
    states = [
        status.read(file.parent).get("state") for file in sorted(folder.glob("multirun/*/*/status.json"))
    ]
    if done.code != 0 or states != ["finished", "finished"]:
        return f"its rerun ended with {done.code}, {states}: {done.last}"
    litter = [path.name for path in folder.rglob("*") if re.search(r"\.part$|^\.status\.json\.", path.name)]
    return f"litter: {litter[0]}" if litter else None


def _odd(folder: Path) -> Iterator[Case]:
    folder.mkdir()
    data = quoted_value(str(folder / "my data"))
    own = [word for word in TRAIN[1:] if word not in ("data=generated", "data.train=4", "data.test=1")]

    def works(*argv: str) -> Callable[[], str | None]:
        def run() -> str | None:
            (found,) = [*sorted(folder.glob("runs/k/*"))[:1]] or [folder]
            words = [word.format(run=quoted_value(str(found)), path=found) for word in argv]
            done = finished(words, folder)
            return None if done.code == 0 else f"exit {done.code}: {done.last}"

        return run

    def braces(words: tuple[str, ...] | list[str]) -> list[str]:
        return [word.replace("{", "{{").replace("}", "}}") for word in words]

    for command, argv in (
        ("train", braces([*TRAIN, "name=k"])),
        ("train -m", braces(SWEEP)),
        ("train resume", ["train", "resume={run}"]),
        ("test", ["test", "checkpoint={run}", *braces(TRAIN[1:4])]),
        ("budget -m", ["budget", "-m", "encoder=pixel", "decoder=pixel,unet"]),
        ("data generate", ["data", "generate", "my data", "--train", "4", "--test", "1"]),
        ("train data.root", braces(["train", "data=davis", f"data.root={data}", *own, "name=d"])),
        ("predict", ["predict", "{path}/checkpoints/best.ckpt", "{path}/results/outputs", "-o", "out"]),
        ("report", ["report", "{path}", "-o", "r.html"]),
    ):
        yield Case("folder of an odd name", command, works(*argv))


def _changed(folder: Path) -> Iterator[Case]:
    folder.mkdir()
    finished([*TRAIN, "name=k"], folder)
    run = next(iter(folder.glob("runs/k/*")), folder)

    def refused(*words: str) -> str | None:
        before = (run / "checkpoints/last.ckpt").read_bytes(), (run / "status.json").read_bytes()
        done = finished(["train", f"resume={run}", *words], folder)
        if (done.code, len(done.err.strip().splitlines())) != (2, 1):
            return f"exit {done.code}: {done.last}"
        after = (run / "checkpoints/last.ckpt").read_bytes(), (run / "status.json").read_bytes()
        return None if before == after else "the run has changed"

    for words in (
        *(["optimizer.lr=0.5"], ["seed=7"], ["loss=bce"], ["data.batch_size=2"], ["scheduler=constant"]),
        *(
            ["callbacks=ema"],
            ["data.clip_length=3"],
            ["optimizer=sgd"],
            ["decoder=fpn"],
            ["augmentation=none"],
        ),
        *(["optimizer=sgd", "resume.allow=[optimizer]"], ["decoder=fpn", "resume.allow=[decoder]"]),
    ):
        yield Case("changed config", "train resume", lambda w=words: refused(*w))

    def applied() -> str | None:
        words = [
            "optimizer.lr=0.5",
            "trainer.max_epochs=2",
            "scheduler=constant",
            "resume.allow=[optimizer.lr,scheduler]",
        ]
        done = finished(["train", f"resume={run}", *words], folder)
        if done.code != 0:
            return f"exit {done.code}: {done.last}"
        import torch

        state = torch.load(run / "checkpoints/last.ckpt", weights_only=True)["optimizer_states"][0]
        rates = [group["lr"] for group in state["param_groups"]]
        return None if rates[0] == 0.5 else f"trained at {rates}"

    yield Case("changed config that is allowed", "train resume", applied)

    def without(names: tuple[str, ...], code: int, said: str) -> str | None:
        for name in names:
            (run / "checkpoints" / name).unlink(missing_ok=True)
        done = finished(["train", f"resume={run}"], folder)
        as_meant = done.code == code and said in done.out + done.err
        return None if as_meant else f"exit {done.code}: {done.last}"

    best = ("last.ckpt",), 0, "there is no whole last.ckpt: going on from step"
    yield Case("run without last.ckpt", "train resume", lambda: without(*best))
    none = ("best.ckpt", "last.ckpt"), 2, "has no checkpoint to go on from"
    yield Case("run without checkpoints", "train resume", lambda: without(*none))


def _mark(folder: Path) -> dict[str, str]:
    return {"FAULT_MARK": str(folder), "PYTHONPATH": str(Path(__file__).resolve().parents[2])}


def _left(folder: Path) -> list[int]:
    """Processes that were started with the mark of `folder` and live."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError):
            marked = f"FAULT_MARK={folder}\0".encode() in (process / "environ").read_bytes()
            state = (process / "stat").read_text().rsplit(")", 1)[1].split()[0]
            if marked and state != "Z":
                found.append(int(process.name))
    return found
