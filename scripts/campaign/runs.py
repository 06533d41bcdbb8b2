"""Folders of runs and results that strangers hand in: status, score, metrics, config, paths, and whole sweeps."""

import itertools
import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from _harness import COUNT, Case, call, finished
from _mutations import mutate, mutations

from davis_exp.launch import job_folders

ODD: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1.5, 1e400, float("nan"), "", "0", "-0", " 1", "1_0", "0x1", "1e3", "9" * 30),
    *(
        "\0",
        "\ud800",
        "a/../b",
        "../x",
        "/etc/passwd",
        "C:\\x",
        "a\\b",
        ".",
        "..",
        [],
        {},
        [1],
        {"a": 1},
        10**400,
    ),
    *("\u202e", "x" * 5000, "<script>alert(1)</script>", "=1+1", "${oc.env:HOME}", [[[[]]]], 2**63),
)
TRAIN = [
    *("data=generated", "data.train=4", "data.test=2", "data.length=6", "encoder=pixel", "decoder=pixel"),
    *("data.size=[64,96]", "data.batch_size=4", "data.workers=0", "trainer.max_steps=2"),
]


def tree(rng: random.Random, depth: int = 0) -> Any:
    """Any JSON."""
    kind = rng.random()
    if depth > 3 or kind < 0.5:
        return rng.choice(ODD)
    if kind < 0.75:
        return [tree(rng, depth + 1) for _ in range(rng.randrange(4))]
    return {str(rng.choice(ODD)): tree(rng, depth + 1) for _ in range(rng.randrange(5))}


def altered(text: str, rng: random.Random) -> bytes:
    """JSON with its bytes mutated, one of its values replaced, or quite another."""
    kind = rng.random()
    if kind < 0.4:
        return mutate(text.encode(), rng)
    content = json.loads(text)
    if kind < 0.9:
        node = content
        while True:
            key = rng.choice(list(node) if isinstance(node, dict) else range(len(node)))
            if not (isinstance(node[key], dict | list) and node[key]) or rng.random() < 0.3:
                break
            node = node[key]
        node[key] = rng.choice(ODD)
    else:
        content = tree(rng)
    return json.dumps(content).encode("utf-8", "surrogatepass")


def cases(scratch: Path) -> Iterator[Case]:
    if (wrong := finished(["train", *TRAIN, "name=x"], scratch).fine()) is not None:
        raise RuntimeError(wrong)
    (run,) = (scratch / "runs/x").iterdir()
    yield from forged(scratch, run)
    yield from special(scratch, run)
    yield from mutated(scratch, run)


def copied(scratch: Path, run: Path, name: str) -> Path:
    folder = scratch / name
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(run, folder)
    return folder


READERS: dict[str, Callable[[Path], list[object]]] = {
    "report": lambda run: ["report", run, "-o", "page.html", "--overwrite"],
    "leaderboard": lambda run: ["leaderboard", run],
}


def forged(scratch: Path, run: Path) -> Iterator[Case]:
    """Scores that claim more than their own frames have."""
    good = json.loads((run / "score.json").read_text())
    for number, (path, value) in enumerate(
        [
            (("contest", "segmentation_metric"), 1.0),
            (("contest", "segmentation_metric"), True),
            (("contest", "mean_iou"), 0.99),
            (("davis2016", "J&F"), 1.0),
            (("davis2016", "J", "mean"), 1.0),
            (("all_frames", "F", "mean"), 1.0),
            (("sequences", "test-000", "raw", "J"), [1.0]),
            (("sequences", "test-000", "frames"), [f"x{i}" for i in range(10**5)]),
        ]
    ):
        folder = copied(scratch, run, f"forged{number}")
        content = json.loads(json.dumps(good))
        *above, last = path
        node = content
        for name in above:
            node = node[name]
        node[last] = value
        (folder / "score.json").write_text(json.dumps(content))
        for command in ("leaderboard", "compare"):
            argv = [command, folder, *([run] if command == "compare" else [])]
            yield Case("forged score", command, lambda argv=argv: call(argv, scratch).refused())


def special(scratch: Path, run: Path) -> Iterator[Case]:
    """Pipes, devices, deserts and bombs in the place of files."""
    letters = "abcdefghij"
    bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n"
    bomb += "".join(f"{n}: &{n} [{','.join([f'*{one}'] * 9)}]\n" for one, n in itertools.pairwise(letters))
    places = [
        "status.json",
        "score.json",
        "metrics.csv",
        ".hydra/config.yaml",
        ".hydra/overrides.yaml",
        "results/paths.json",
    ]
    makers: dict[str, Callable[[Path], object]] = {
        "pipe": os.mkfifo,
        "device": lambda path: path.symlink_to("/dev/zero"),
        "folder": lambda path: path.mkdir(),
        "desert": lambda path: (path.touch(), os.truncate(path, 2**40)),
        "deep": lambda path: path.write_text("[" * 100_000),
        "digits": lambda path: path.write_text('{"a": ' + "9" * 6000 + "}"),
        "alias bomb": lambda path: path.write_text(bomb),
        "surrogate": lambda path: path.write_text('{"state": "\\ud800"}'),
        "noise": lambda path: path.write_bytes(random.Random(0).randbytes(100_000)),
        "a billion frames": lambda path: (
            path.write_text(
                (run / path.name if path.parent.name != ".hydra" else run / ".hydra" / path.name)
                .read_text()
                .replace("length: 6", "length: 1000000000")
            )
            if (run / ".hydra" / path.name).exists()
            else path.write_text("{}")
        ),
    }
    for number, (place, (kind, make)) in enumerate((p, m) for p in places for m in makers.items()):
        folder = copied(scratch, run, f"special{number}")
        (folder / place).unlink()
        make(folder / place)
        for command in ("report", "leaderboard"):
            argv = READERS[command](folder)
            yield Case(f"{kind} for a file", command, lambda argv=argv: call(argv, scratch).held())


def mutated(scratch: Path, run: Path) -> Iterator[Case]:
    from davis_exp.launch import status
    from davis_exp.results import summary
    from davis_exp.results.artifact import Results
    from davis_exp.results.check import form_defects
    from davis_exp.results.pages import sweep as page
    from davis_exp.runs import config, metrics
    from davis_exp.runs import score as scores

    sweep = scratch / "sweep"
    job = sweep / "0"
    job.mkdir(parents=True)
    shutil.copy(run / "score.json", job)
    state = (run / "status.json").read_text()

    def summed() -> None:
        rows = summary.rows([(folder, status.current(folder)) for folder in job_folders.folders(sweep)])
        summary.as_text(rows)
        summary.write_table(sweep, rows)
        page.write(sweep, rows)

    def put(path: Path, text: str) -> Callable[[random.Random], object]:
        return lambda rng: path.write_bytes(altered(text, rng))

    yield mutations(
        "mutated", "status.json in a sweep", put(job / "status.json", state), summed, scratch, count=COUNT
    )
    (job / "status.json").write_text(state)
    score = (run / "score.json").read_text()
    yield mutations(
        "mutated",
        "score.json",
        put(job / "score.json", score),
        lambda: scores.read(job),
        scratch,
        count=COUNT,
    )

    copy = copied(scratch, run, "mutated")
    curves = (run / "metrics.csv").read_bytes()
    yield mutations(
        *("mutated", "metrics.csv"),
        lambda rng: (copy / "metrics.csv").write_bytes(mutate(curves, rng)),
        lambda: metrics.read(copy),
        scratch,
        count=COUNT,
    )
    for name in ("config", "overrides", "hydra"):
        path = copy / f".hydra/{name}.yaml"
        content = path.read_bytes()
        yield mutations(
            *("mutated", f"{name}.yaml"),
            lambda rng, path=path, content=content: path.write_bytes(mutate(content, rng)),
            lambda: config.read(copy),
            scratch,
            count=COUNT,
        )
        path.write_bytes(content)

    def results() -> None:
        found = Results.open(copy / "results", strict=False)
        list(form_defects(found, None, 50_000_000))
        for index in list(found.paths)[:3]:
            found.confidence(index)

    for name in ("paths.json", "metadata.json"):
        path = copy / "results" / name
        text = path.read_text()
        yield mutations("mutated", name, put(path, text), results, scratch, count=COUNT)
        path.write_text(text)
