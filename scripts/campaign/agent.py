"""What a W&B sweep hands to an agent: parameters that reach too far, and any text as a value."""

import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from _harness import Case, call
from _mutations import mutate, mutations

REACHING = (
    *(
        "hydra.run.dir=/etc",
        "+hydra.run.dir=x",
        "hydra.sweep.dir=x",
        "hydra.mode=MULTIRUN",
        "hydra/launcher=ray",
    ),
    *(
        "+hydra.callbacks.x._target_=evilmod.Thing",
        "callbacks@hydra.callbacks=default",
        "hydra.searchpath=[file:///tmp]",
    ),
    *(
        "+callbacks.x._target_=evilmod.Thing",
        "+x={_target_: os.system}",
        "hydra.job.chdir=true",
        "++hydra.verbose=true",
    ),
    *("-m", "sweep=seeds", "name=\udcff", "hydra.output_subdir=/tmp/x", "~hydra.callbacks"),
)
VALUES: tuple[Any, ...] = (
    *(
        None,
        True,
        0,
        -1,
        1.5,
        1e-9,
        "",
        " ",
        "a b",
        "a,b",
        "a=b",
        "'",
        '"',
        "\\",
        "\\'",
        "a\\",
        "[1]",
        "{a:1}",
    ),
    *(
        "${x}",
        "${oc.env:HOME}",
        "null",
        "None",
        "true",
        "\n",
        "☃",
        "#",
        "1e3",
        "0x1",
        "+a",
        "~a",
        "glob(*)",
        "choice(1,2)",
    ),
    *([1, [2, "a,b"]], [], [None], {"a": 1}, "x" * 500, 10**30, "'a", "a'b\\", "\\\\'", "\t", "é"),
)
KEYS = ("optimizer.lr", "encoder", "name", "seed", "hydra.run.dir", "+x._target_", "_wandb", "cfg.a", "a.b")


def cases(scratch: Path) -> Iterator[Case]:
    (scratch / "evilmod.py").write_text(f"open({str(scratch / 'PWNED')!r}, 'w')\nclass Thing: pass\n")
    file = scratch / "parameters.yaml"
    env = {"WANDB_SWEEP_ID": "x", "WANDB_SWEEP_PARAM_PATH": str(file)}
    for argument in REACHING:

        def run(argument: str = argument) -> str | None:
            file.write_text("seed: {value: 3}")
            done = call(["train", "seed=3", argument], scratch, env=env)
            made = [path.name for path in scratch.glob("PWNED*")]
            wrong = f"made {made}" if made else done.refused()
            return f"{argument!a}: {wrong}" if wrong else None

        yield Case("parameter that reaches too far", "train, by an agent", run)
    yield Case("parameters that are no text", "train, by an agent", lambda: _binary(file, env, scratch))

    from davis_exp.tracking import agent

    given: list[str] = []

    def parameters(rng: random.Random) -> str:
        key = rng.choice(KEYS)
        letters = "ab'\"\\,=[]{}()$: #~+!@"
        text = "".join(rng.choice(letters) for _ in range(rng.randrange(8)))
        value = rng.choice(VALUES) if rng.random() < 0.6 else text
        content = yaml.safe_dump({key: {"value": value}}).encode()
        file.write_bytes(content if rng.random() < 0.8 else mutate(content, rng))
        given[:] = [f"{key}={value}"]
        os.environ.update(env)
        return given[0]

    yield mutations("mutated", "parameters of an agent", parameters, lambda: agent.overrides(given), scratch)


def _binary(file: Path, env: dict[str, str], scratch: Path) -> str | None:
    file.write_bytes(b"a: {value: \xff}")
    return call(["train", "seed=3"], scratch, env=env).refused()
