"""Full disks, folders without rights, readers that leave, and little shared memory."""

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from _harness import Case, Outcome, finished, program, spawn
from checkpoints import trained

TINY = [
    *("data=generated", "data.train=4", "data.test=1", "data.length=4", "encoder=pixel", "decoder=pixel"),
    *(
        "data.size=[64,96]",
        "data.batch_size=4",
        "trainer.max_epochs=2",
        "trainer.max_steps=-1",
        "callbacks=ema",
    ),
]
MOUNTS = os.geteuid() == 0 and shutil.which("mount") is not None
NO_MOUNT = None if MOUNTS else "needs to mount a small file system, as root"


@contextlib.contextmanager
def disk(folder: Path, options: str) -> Iterator[Path]:
    """A file system of its own at `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def cases(scratch: Path) -> Iterator[Case]:
    run = trained(scratch)
    checkpoint = run / "checkpoints/best.ckpt"
    finished(["data", "generate", "truth", "--train", "4", "--test", "1"], scratch)
    frames = next((scratch / "truth/JPEGImages").glob("*/test-000"))
    results = scratch / "results"
    shutil.copytree(next((scratch / "truth/Annotations").glob("*/test-000")), results / "test-000")
    commands: dict[str, list[object]] = {
        "predict a folder": ["predict", checkpoint, frames, "-o", "out"],
        "predict a film": ["predict", checkpoint, frames, "-o", "out.mp4"],
        "predict, cut out": ["predict", checkpoint, frames, "-o", "out", "--cutout"],
        "export": ["export", checkpoint, "-o", "e.safetensors"],
        "report": ["report", run, "-o", "r.html"],
        "leaderboard": ["leaderboard", run, "--html", "b.html"],
        "score": ["score", results, scratch / "truth", "--json", "s.json"],
        "data generate": ["data", "generate", "g", "--train", "4", "--test", "2"],
        "test": ["test", f"checkpoint={checkpoint}", "data=generated", "data.train=4", "data.test=1"],
        "train": ["train", *TINY, "data.workers=0"],
    }
    yield from full(scratch, commands)
    yield from checkpoints_on_a_full_disk(scratch)
    yield from readers(scratch, commands)
    yield from shared_memory(scratch)


def one_line(outcome: Outcome, codes: tuple[int, ...]) -> str | None:
    return outcome.refused(codes) if outcome.code != 0 else outcome.fine()


def full(scratch: Path, commands: dict[str, list[object]]) -> Iterator[Case]:
    for (name, argv), size in (
        (c, s) for c in commands.items() for s in ("4k", "20k", "60k", "100k", "300k")
    ):

        def run(argv: list[object] = argv, size: str = size) -> str | None:
            with disk(scratch / f"full_{size}", f"size={size}") as folder:
                (folder / "kept").write_text("x")
                outcome = finished(
                    argv, folder, env={"DAVIS_EXP_CACHE": str(scratch / "cache"), "TMPDIR": "/tmp"}
                )
                parts = [path.name for path in folder.rglob("*.part*")]
                if parts:
                    return f"left {parts[:2]}"
                for status in folder.rglob("status.json"):
                    with contextlib.suppress(ValueError):
                        if json.loads(status.read_text())["state"] == "running":
                            return "status.json says running"
                said = outcome.code == 0 or "free there" in outcome.err
                return one_line(outcome, (1,)) or (None if said else outcome.last)

        yield Case(f"disk of {size}", name, run, skip=NO_MOUNT)
    for name, argv in commands.items():

        def locked(argv: list[object] = argv) -> str | None:
            with disk(scratch / "locked", "size=1m,ro") as folder:
                return finished(argv, folder).refused((1,))

        yield Case("read-only folder", name, locked, skip=NO_MOUNT)


def checkpoints_on_a_full_disk(scratch: Path) -> Iterator[Case]:
    """A disk that fills up while training: the last whole checkpoint stays whole, and is gone on from."""
    big = [
        "train",
        "data=generated",
        "data.train=6",
        "data.test=1",
        "encoder=mobilenetv3",
        "encoder.weights=null",
    ]
    big += [
        "decoder=fpn_light",
        "data.size=[64,96]",
        "data.batch_size=4",
        "callbacks=ema",
        "trainer.max_epochs=3",
    ]
    big += ["trainer.max_steps=-1", "name=b", "data.workers=0"]
    for size in (62, 100, 130, 180):

        def run(size: int = size) -> str | None:
            import torch

            with disk(scratch / f"disk_{size}", f"size={size}m") as folder:
                outcome = finished(big, folder)
                for path in folder.rglob("*.ckpt"):
                    torch.load(path, map_location="cpu", weights_only=True)
                if parts := list(folder.rglob("*.part*")):
                    return f"left {parts[0].name}"
                outcome.seconds = 0.0  # a whole training may take its time
                return one_line(outcome, (1,))

        yield Case(f"disk of {size} MB", "train", run, skip=NO_MOUNT)


def readers(scratch: Path, commands: dict[str, list[object]]) -> Iterator[Case]:
    """Standard output that is closed, full, or read by somebody who leaves."""
    wanted = {"train": "runs/*/*/score.json", "test": "runs/*/*/score.json", "score": "s.json"}
    wanted["predict a folder"] = "out/masks"
    for name, argv in commands.items():
        if name in ("predict a film", "predict, cut out"):
            continue
        for how in ("closed", "/dev/full", "head"):

            def run(argv: list[object] = argv, name: str = name, how: str = how) -> str | None:
                folder = scratch / "pipes" / f"{name.replace(' ', '_')}_{how.strip('/').replace('/', '_')}"
                folder.mkdir(parents=True)
                code, err = _with_reader(argv, folder, how)
                if code != 0 or "Traceback" in err or "Exception" in err:
                    return f"exit {code}: {err[-200:]}"
                missing = name in wanted and not list(folder.glob(wanted[name]))
                return f"{wanted[name]} is not there" if missing else None

            yield Case(f"stdout: {how}", name, run)


def _with_reader(argv: list[object], folder: Path, how: str) -> tuple[int, str]:
    with open(folder / "err", "w+b") as err:
        if how == "head":
            process = spawn(argv, folder, stdout=subprocess.PIPE, stderr=err)
            assert process.stdout is not None
            process.stdout.read(1)
            process.stdout.close()
        elif how == "closed":
            quoted = [*program(), *map(str, argv)]
            process = subprocess.Popen(
                ["bash", "-c", '"$@" >&-', "bash", *quoted],
                cwd=folder,
                stderr=err,
                env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
            )
        else:
            with open(how, "w") as out:
                process = spawn(argv, folder, stdout=out, stderr=err)
        code = process.wait(150)
        err.seek(0)
        return code, err.read().decode("utf-8", "replace")


def shared_memory(scratch: Path) -> Iterator[Case]:
    small = 'mount -t tmpfs -o size=64k tmpfs /dev/shm; exec "$@"'
    argv = ["train", *TINY, "data.workers=2", "data.size=[256,256]", "data.height=300", "data.width=300"]

    def run() -> str | None:
        folder = scratch / "shm"
        folder.mkdir()
        done = subprocess.run(
            ["unshare", "-m", "bash", "-c", small, "bash", *program(), *argv],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=150,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
        )
        said = done.stderr.strip().splitlines()
        named = len(said) == 1 and "data.workers=0" in said[0]
        return None if done.returncode == 1 and named else f"exit {done.returncode}: {done.stderr[-300:]}"

    lacking = NO_MOUNT or (None if shutil.which("unshare") else "needs unshare")
    yield Case("/dev/shm of 64 kB", "train", run, skip=lacking)
