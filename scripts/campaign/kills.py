"""Kills and signals at random moments of every command that writes: what is left is whole, and running it again ends well.

A training that was killed or interrupted ends exactly as the undisturbed one: weights, score and metrics.csv.
"""

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from _harness import COUNT, Case, finished, spawn

ROUNDS = max(1, round(COUNT / 2000))  # of each command: some 130 in all
MARK = "DAVIS_EXP_CAMPAIGN"
TRAIN = [
    *(
        "train",
        "data=generated",
        "data.train=6",
        "data.test=1",
        "encoder=mobilenetv3",
        "encoder.weights=null",
    ),
    *("decoder=fpn_light", "data.size=[64,96]", "data.batch_size=4", "callbacks=ema", "trainer.max_epochs=3"),
    *("trainer.max_steps=-1", "data.workers=2", "name=k", "resume=auto"),
]
SWEEP = [
    *(
        "train",
        "-m",
        "data=generated",
        "data.train=4",
        "data.test=1",
        "encoder=pixel",
        "decoder=pixel",
        "name=s",
    ),
    *(
        "data.size=[64,96]",
        "data.batch_size=4",
        "data.workers=0",
        "trainer.max_epochs=2",
        "trainer.max_steps=-1",
        "seed=0,1",
    ),
]


def cases(scratch: Path) -> Iterator[Case]:
    reference = scratch / "reference"
    reference.mkdir()
    began = time.monotonic()
    if (wrong := finished(TRAIN, reference).code) != 0:
        raise RuntimeError(f"the undisturbed training ended with {wrong}")
    seconds = time.monotonic() - began
    (run,) = (reference / "runs/k").iterdir()
    finished(["data", "generate", "truth", "--train", "6", "--test", "1"], reference)
    frames = next((reference / "truth/JPEGImages").glob("*/test-000"))
    best = run / "checkpoints/best.ckpt"
    commands: dict[str, tuple[list[Any], float]] = {
        "train": (TRAIN, seconds),
        "test": (["test", f"checkpoint={best}", "data=generated", "data.train=6", "data.test=4"], 6),
        "predict a folder": (["predict", best, frames, "-o", "out"], 5),
        "predict a film": (["predict", best, frames, "-o", "out.mp4"], 5),
        "data generate": (["data", "generate", "gen", "--train", "20", "--test", "5"], 3),
        "export": (["export", best, "-o", "e.safetensors"], 4),
        "report": (["report", run, "-o", "r.html"], 3),
        "leaderboard": (["leaderboard", run, "--html", "b.html"], 1.5),
        "sweep": (SWEEP, 15),
    }
    rng = random.Random(1)
    numbers = {
        "kill": signal.SIGKILL,
        "kill while writing": signal.SIGKILL,
        "interrupt": signal.SIGINT,
        "terminate": signal.SIGTERM,
        "hang up": signal.SIGHUP,
    }
    number = 0
    for name, (argv, longest) in commands.items():
        hows = ["kill", "kill main", "kill while writing"]
        if name in ("train", "sweep"):
            hows += ["interrupt", "terminate", "hang up"]
        for how in [how for how in hows for _ in range(max(1, ROUNDS // 2))]:
            number += 1
            folder, delay = scratch / f"round{number}", rng.uniform(0.3, longest)

            def run_one(
                argv: list[Any] = argv,
                name: str = name,
                how: str = how,
                folder: Path = folder,
                delay: float = delay,
            ) -> str | None:
                folder.mkdir()
                wrong = disturbed(argv, folder, numbers[how.removesuffix(" main")], how, delay)
                wrong = wrong or again(argv, folder, run if name == "train" else None)
                if wrong is None:
                    shutil.rmtree(folder)
                return f"at {delay:.1f} s: {wrong}" if wrong else None

            yield Case(how, name, run_one)


def disturbed(argv: list[Any], folder: Path, number: int, how: str, delay: float) -> str | None:
    """Start, send the signal after `delay` seconds, and look at what is left; None if it is whole and nothing runs on."""
    group = how != "kill main"
    other = Path("/dev/shm") / f"davis_exp_{os.getpid()}"  # TMPDIR on another file system than the run
    other.mkdir(exist_ok=True)
    env = {
        MARK: folder.name,
        "TMPDIR": str(other),
        "DAVIS_EXP_CACHE": str(folder.parent / "cache"),
        "OMP_NUM_THREADS": "1",
    }
    with open(folder / "out", "wb") as out:
        process = spawn(argv, folder, stdout=out, stderr=subprocess.STDOUT, env=env)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(delay)
        if how == "kill while writing":
            while process.poll() is None and not any(path.name != "out" for path in folder.rglob("*.part*")):
                time.sleep(0.001)
            time.sleep(delay % 0.05)
        with contextlib.suppress(ProcessLookupError):
            if group and number == signal.SIGKILL:
                os.killpg(process.pid, number)
            else:
                os.kill(process.pid, number)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return "did not end within 30 s"
    latest = time.monotonic() + 1.5
    while (left := running(folder.name)) and time.monotonic() < latest:
        time.sleep(0.05)
    for child in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
    return f"{len(left)} processes were left running" if left else torn(folder)


def running(mark: str) -> list[int]:
    """Processes that were started with our mark, other than zombies."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError):
            ours = f"{MARK}={mark}\0".encode() in (process / "environ").read_bytes()
            if ours and (process / "stat").read_text().rpartition(")")[2].split()[0] != "Z":
                found.append(int(process.name))
    return found


def torn(folder: Path) -> str | None:
    """The first file below `folder`, under its own name, that is not whole; None if all are."""
    import av
    import torch
    from PIL import Image

    for path in folder.rglob("*"):
        if not path.is_file() or ".part" in str(path) or path.name == "out":
            continue
        try:
            if path.suffix == ".ckpt":
                torch.load(path, map_location="cpu", weights_only=True)
            elif path.suffix == ".json":
                json.loads(path.read_text())
            elif path.suffix == ".png":
                Image.open(path).load()
            elif path.suffix == ".mp4":
                with av.open(str(path)) as film:
                    next(film.decode(video=0))
            elif path.suffix == ".html" and "</html>" not in path.read_text()[-200:]:
                return f"half of {path.name}"
        except Exception as error:
            return f"{path.relative_to(folder)}: {error!r:.100}"
    return None


def again(argv: list[Any], folder: Path, reference: Path | None) -> str | None:
    """Run the same command again: it ends well, sweeps up, and a training is the undisturbed one."""
    extra = ["--overwrite"] if argv[0] in ("predict", "export") else []
    if argv[:2] == ["data", "generate"] and (folder / "gen").exists():
        return None  # it had ended
    done = finished([*argv, *extra], folder, timeout=200, env={"OMP_NUM_THREADS": "1"})
    if done.code != 0:
        return f"again: exit {done.code}: {done.last}"
    litter = [path.name for path in folder.rglob(".*.part*")]
    if litter:
        return f"left {litter[:2]}"
    if reference is None:
        return torn(folder)
    runs = sorted((folder / "runs/k").iterdir())
    return different(reference, runs[-1])


def different(one: Path, other: Path) -> str | None:
    """What is not the same of two trainings; None if nothing."""
    import torch

    for name in ("checkpoints/last.ckpt", "checkpoints/best.ckpt"):
        a, b = (
            torch.load(run / name, map_location="cpu", weights_only=True)["state_dict"]
            for run in (one, other)
        )
        if a.keys() != b.keys() or not all(torch.equal(a[key], b[key]) for key in a):
            return f"{name} differs"
    if (one / "metrics.csv").read_bytes() != (other / "metrics.csv").read_bytes():
        return "metrics.csv differs"
    scores = [json.loads((run / "score.json").read_text())["contest"] for run in (one, other)]
    return None if scores[0] == scores[1] else "score.json differs"
