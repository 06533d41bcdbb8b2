"""A small stand-in for the program, to be started as real processes: its command does what the config says."""

import contextlib
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

COMMAND = '''
    """A command of which the config says how it goes."""

    import os, signal, subprocess, sys, time
    from davis_exp.utils import distributed
    from davis_exp.launch import status
    from davis_exp.utils.errors import BadInput, OverBudget


    def run(cfg, output):
        print("HYDRA_FULL_ERROR", os.environ.get("HYDRA_FULL_ERROR"), "argv", sys.argv[1:])
        print("resume is", cfg.resume)
        rank, world = distributed.rank(), distributed.world_size()
        if distributed.is_main():
            status.update(output, nparams=cfg.encoder.depth, objective=cfg.encoder.depth / 10)
        if world > 1:
            (output / f"pid{rank}").write_text(str(os.getpid()))
            while len(list(output.glob("pid*"))) < world:
                time.sleep(0.01)
        match cfg.task.act if cfg.task.rank in (None, rank) else "wait":
            case "refuse":
                raise BadInput("data.root: no folder /x; give data.root=…")
            case "over":
                raise OverBudget("over budget by 3", "part  parameters", 9)
            case "crash":
                raise RuntimeError("boom")
            case "die":
                subprocess.Popen(["sleep", "60"])  # shares our output and outlives us
                os.kill(os.getpid(), signal.SIGKILL)
            case "once":  # goes wrong the first time
                if not os.path.exists("tried"):
                    open("tried", "w").close()
                    raise RuntimeError("boom")
            case "die_once":
                if not os.path.exists("tried"):
                    open("tried", "w").close()
                    os.kill(os.getpid(), signal.SIGKILL)
            case "wait":
                print("waiting", flush=True)
                time.sleep(float(cfg.task.note or 60))
            case "lightning":
                try:
                    raise KeyboardInterrupt
                except KeyboardInterrupt:
                    exit(1)
        return 0
'''
CONF = {
    "train": """
        defaults: [_self_, {encoder: a}, {budget: null}, {sweep: null}]
        name: demo
        seed: 3
        resume: null
        task: {act: done, note: null, rank: null}
        trainer: {devices: 1}
        hydra:
          run: {dir: "${davis_exp.run_dir:${name},${resume}}"}
          sweep: {dir: multirun, subdir: "${davis_exp.job_dir:}"}
          callbacks: {queue: {_target_: davis_exp.launch.sweep.Queue}}
    """,
    "encoder/a": "{_target_: x.A, depth: 3}",
    "encoder/a2": "{_target_: x.A, depth: 5}",
    "encoder/_part": "{}",
    "budget/tight": "{limit: 4}",
    "budget/loose": "{limit: null}",
    "sweep/seeds": """
        # @package _global_
        hydra: {sweeper: {params: {seed: "1,2"}}}
    """,
    "broken": "{defaults: [_self_], name: ",
    "missing": '{defaults: [train, _self_], checkpoint: "???"}',
}
# The stand-in takes the place of conf/ and of the commands in every process, children included.
SITE = """
    from pathlib import Path
    import davis_exp.commands, davis_exp.config
    davis_exp.commands.__path__.insert(0, {commands!r})
    davis_exp.config.conf_dir = lambda: Path({conf!r})
"""

Run = Callable[..., "subprocess.CompletedProcess[str]"]
Waiting = Callable[..., "contextlib.AbstractContextManager[subprocess.Popen[str]]"]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A stand-in app, and the environment to run it in."""
    files = {"commands/train.py": COMMAND} | {f"conf/{name}.yaml": text for name, text in CONF.items()}
    files["sitecustomize.py"] = SITE.format(commands=str(tmp_path / "commands"), conf=str(tmp_path / "conf"))
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(textwrap.dedent(text).lstrip())
    (tmp_path / "cwd").mkdir()
    drop = ("PYTHONDONTWRITEBYTECODE", "HYDRA_FULL_ERROR", "LOCAL_RANK")
    repo = Path(__file__).resolve().parents[2]
    kept = {key: value for key, value in os.environ.items() if key not in drop}
    return kept | {"PYTHONPATH": f"{tmp_path}:{repo}"}


@pytest.fixture
def waiting(tmp_path: Path, environment: dict[str, str]) -> "Waiting":
    """Starts `davis-exp train … task.act=wait` in an empty folder; inside the context it waits."""

    @contextlib.contextmanager
    def start(*arguments: str) -> "Iterator[subprocess.Popen[str]]":
        command = [sys.executable, "-m", "davis_exp", "train", *arguments, "task.act=wait"]
        pipe = subprocess.PIPE
        with subprocess.Popen(
            command, cwd=tmp_path / "cwd", env=environment, stdout=pipe, stderr=pipe, text=True
        ) as process:
            assert process.stdout is not None
            while "waiting" not in process.stdout.readline():
                assert process.poll() is None
            yield process

    return start


@pytest.fixture
def app(tmp_path: Path, environment: dict[str, str]) -> Run:
    """Runs `davis-exp train …` in an empty folder, by torchrun where `agent` holds options for it."""

    def run(*arguments: str, agent: tuple[str, ...] = (), **env: str) -> "subprocess.CompletedProcess[str]":
        torchrun = ["-m", "torch.distributed.run", f"--log-dir={tmp_path}/agent", *agent] if agent else []
        command = [sys.executable, *torchrun, "-m", "davis_exp", "train", *arguments]
        cwd = tmp_path / "cwd"
        return subprocess.run(
            command, capture_output=True, text=True, cwd=cwd, env=environment | env, timeout=100
        )

    return run
