"""Data sets whose lists, frames and masks are pipes, devices, deserts, or written by somebody with bad intentions."""

import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from _harness import Case, call
from _mutations import mutate, mutations
from runs import altered

MAKERS: dict[str, Callable[[Path], object]] = {
    "pipe": os.mkfifo,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "folder": lambda path: path.mkdir(),
    "desert": lambda path: (path.touch(), os.truncate(path, 8 * 2**30)),
    "noise": lambda path: path.write_bytes(random.Random(0).randbytes(5000)),
    "nothing": lambda path: path.touch(),
    "ten million lines": lambda path: path.write_bytes(b"a\n" * 10_000_000),
    "long lines": lambda path: path.write_text("\n".join("x" * 300 for _ in range(100))),
    "null": lambda path: path.write_bytes(b"a\0b\n/JPEGImages/96p/\0/0.jpg\n"),
    "a line that leaves": lambda path: path.write_text("/JPEGImages/96p/../../etc\n"),
}
PLACES = {
    "list": "ImageSets/96p/val.txt",
    "frame": "JPEGImages/96p/{clip}/00001.jpg",
    "mask": "Annotations/96p/{clip}/00001.png",
}


def cases(scratch: Path) -> Iterator[Case]:
    done = call(["data", "generate", "good", "--train", "2", "--test", "1"], scratch)
    if (wrong := done.fine()) is not None:
        raise RuntimeError(wrong)
    good = scratch / "good"
    clip = next(path.name for path in (good / "JPEGImages/96p").iterdir() if "test" in path.name)
    results = scratch / "results"
    (results / clip).mkdir(parents=True)
    for mask in (good / "Annotations/96p" / clip).iterdir():
        shutil.copy(mask, results / clip)
    tiny = [
        "encoder=pixel",
        "decoder=pixel",
        "data.size=[64,96]",
        "data.workers=0",
        "data.holdout=1",
        "data.cache=ram",
    ]
    for number, (place, (kind, make)) in enumerate((p, m) for p in PLACES for m in MAKERS.items()):
        if place != "list" and kind in ("ten million lines", "long lines", "null", "a line that leaves"):
            continue
        root = scratch / f"set{number}"
        shutil.copytree(good, root)
        path = root / PLACES[place].format(clip=clip)
        path.unlink()
        make(path)
        commands = {
            "data check": (["data", "check", root], False),
            "score": (["score", results, root], place == "frame"),
            "data export": (["data", "export", root, scratch / f"out{number}"], True),
            "predict": (["predict", root, "-o", scratch / f"masks{number}"], True),
            "train": (
                ["train", "data=davis", f"data.root={root}", *tiny, "trainer.max_steps=1", f"name=s{number}"],
                True,
            ),
        }
        for command, (argv, may) in commands.items():

            def run(argv: list[object] = argv, may: bool = may, command: str = command) -> str | None:
                outcome = call(argv, scratch, watched=command != "train")
                if command == "data check":  # which lists every defect, a line each
                    return outcome.fine((2,))
                return outcome.held() if may else outcome.refused()

            yield Case(f"{kind} for a {place}", command, run)
    yield from mutated(scratch, good)


def mutated(scratch: Path, good: Path) -> Iterator[Case]:
    from davis_exp.data.sources import open_source

    root = scratch / "mutated"
    shutil.copytree(good, root)
    listed = root / "ImageSets/96p/val.txt"
    content = listed.read_bytes()
    words = [
        b"a",
        b"..",
        b"\0",
        b"\xff",
        b"/",
        b"//",
        b"x" * 300,
        b" ",
        "☃".encode(),
        b"/JPEGImages/96p/../x",
    ]

    def lists(rng: random.Random) -> None:
        some = [rng.choice(words) for _ in range(rng.randrange(1, 5))]
        listed.write_bytes(
            mutate(content, rng) if rng.random() < 0.6 else rng.choice((b"\n", b" ")).join(some)
        )

    def read(folder: Path) -> None:
        for sequence in open_source(folder).sequences("test"):
            for path in sequence.frames:  # type: ignore[attr-defined]
                if not path.resolve().is_relative_to(folder):
                    raise RuntimeError(f"left the data set: {path}")
            _ = sequence.size
            sequence.frame(0)

    yield mutations("mutated", "reader of lists", lists, lambda: read(root), scratch)
    contest = scratch / "contest"
    clip = next((good / "JPEGImages/96p").iterdir())
    (contest / "clip").mkdir(parents=True)
    frames = sorted(clip.iterdir())[:3]
    for frame in frames:
        shutil.copy(frame, contest / "clip")
    table = json.dumps({"raw": {str(i): f"clip/{frame.name}" for i, frame in enumerate(frames)}})
    (contest / "paths.json").write_text(table)
    yield mutations(
        *("mutated", "reader of tables"),
        lambda rng: (contest / "paths.json").write_bytes(altered(table, rng)),
        lambda: read(contest),
        scratch,
    )
