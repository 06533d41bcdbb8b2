"""The real wandb client against the server of tests/wandb_server."""

import gc
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[1]))

from wandb_server.server import Server

REPO = Path(__file__).resolve().parents[2]
DATA = (
    "data=generated",
    "data.train=3",
    "data.test=1",
    "data.length=3",
    "data.height=32",
    "data.width=48",
    "data.size=[32,48]",
    "data.batch_size=2",
    "data.workers=0",
)
MODEL = (
    "encoder=pixel",
    "decoder=pixel",
    "data.clips_per_epoch=2",
    "trainer.max_steps=1",
    "trainer.log_every_n_steps=1",
)
CLI = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def tiny() -> list[str]:
    """Overrides for a job that is over at once."""
    return [*DATA, *MODEL]


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server on a free port, and the environment that sends this process and its children there."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    (tmp_path / "client").mkdir()
    with Server() as running:
        for name, value in running.environment(tmp_path / "client").items():
            monkeypatch.setenv(name, value)
        yield running
        forget()


def forget() -> None:
    """Let the client read its environment anew."""
    if "wandb" in sys.modules:
        import wandb

        wandb.teardown()
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", ResourceWarning
            )  # sockets that the client leaves to the collector
            gc.collect()


@pytest.fixture
def cli(tmp_path: Path) -> CLI:
    """Runs `davis-exp …` as a process of its own in tmp_path."""

    def run(*arguments: str, **env: str) -> "subprocess.CompletedProcess[str]":
        inherited = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
        return subprocess.run(
            [sys.executable, "-m", "davis_exp", *arguments],
            cwd=tmp_path,
            env=inherited | {"PYTHONPATH": str(REPO)} | env,
            capture_output=True,
            text=True,
            timeout=200,
        )

    return run


@pytest.fixture(scope="session")
def contest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generated data set in the contest's layout: train/ of 3 clips, test/ of 2, 4 frames each."""
    from davis_exp.data.export import write_contest
    from davis_exp.data.sources.generated import GeneratedSource

    folder = tmp_path_factory.mktemp("contest")
    source = GeneratedSource(train=3, test=2, length=4, height=32, width=48)
    for stage in ("train", "test"):
        write_contest(source.sequences(stage), folder / stage)
    return folder


@pytest.fixture
def results(contest: Path, tmp_path: Path) -> Path:
    """Results for the test clips of `contest`: the truth, shifted; the first frame's is empty."""
    import numpy as np

    from davis_exp.data.sources import open_source
    from davis_exp.results.artifact import ResultsWriter

    with ResultsWriter(tmp_path / "results") as writer:
        for sequence in open_source(contest).sequences("test"):
            for i, index in enumerate(sequence.index):
                shifted = np.roll(sequence.mask(i), 2, axis=1) * np.uint8(255 if index else 0)
                writer.add(index, shifted, sequence.frame_ids[i])
        return writer.close({"model": "net", "config_digest": "c" * 64, "nparams": 4, "nflops": 24})


@pytest.fixture
def job(server: Server, compose, tmp_path: Path):
    """job(*overrides, does=…): a job in a folder of its own, which is returned; by default one that ends well."""
    from davis_exp.launch import status
    from davis_exp.tracking.session import recording
    from davis_exp.tracking.wandb import wandb_logger

    numbers = iter(range(99))

    def run(*overrides, does=_ends, command="train"):
        cfg = compose("logger=wandb", *overrides)
        folder = tmp_path / "runs" / f"job{next(numbers)}"
        folder.mkdir(parents=True)
        status.update(folder, revision="abc", seed=cfg.seed, digest="d1", nparams=4, nflops=24)
        with recording(cfg, folder, command, status.exit_code):
            does(folder, wandb_logger(save_dir=str(folder)))
        return folder

    return run


@pytest.fixture
def ends():
    """What a job does by default, to be called by another."""
    return _ends


def _ends(folder, logger):
    """Logs, and leaves results, a score and a checkpoint."""
    import numpy as np

    from davis_exp.metrics.protocols import summary
    from davis_exp.results.artifact import ResultsWriter
    from davis_exp.runs import score as scores

    logger.log_metrics({"train/loss": 0.5}, step=0)
    logger.log_metrics({"train/loss": 0.25}, step=7)
    with ResultsWriter(folder / "results") as writer:
        writer.add(0, np.full((4, 5), 255, np.uint8), "swan/00000")
        writer.close({"model": "net", "config_digest": "c" * 64, "nparams": 4, "nflops": 24})
    (folder / "results" / "stale.png").write_bytes(b"of an earlier run")
    raw = {key: [0.875, 0.5, 0.875] for key in ("iou", "J", "F")}
    scores.write(folder, summary({"swan": (["swan/0", "swan/1", "swan/2"], raw)}))
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "best.ckpt").write_bytes(b"weights")
