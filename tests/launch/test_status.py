"""A run's lock and status.json."""

import contextlib
import json
import multiprocessing
import os
import subprocess
from pathlib import Path

import pytest

from davis_exp.launch import status
from davis_exp.utils.errors import BadInput, OverBudget


def _lightning_interrupt() -> None:
    try:
        raise KeyboardInterrupt
    except KeyboardInterrupt:
        exit(1)


@pytest.mark.parametrize(
    ("error", "state", "code", "line"),
    [
        (BadInput("data.root: no folder /x"), "bad_input", 2, "data.root: no folder /x"),
        (OverBudget("over budget by 3"), "over_budget", 3, "over budget by 3"),
        (ValueError("two\nlines"), "failed", 1, "ValueError: two lines"),
        (MemoryError(), "failed", 1, "MemoryError"),
        (KeyboardInterrupt(), "interrupted", 130, "KeyboardInterrupt"),
        (SystemExit(1), "failed", 1, "SystemExit: 1"),
        (SystemExit(7), "failed", 7, "SystemExit: 7"),
        (SystemExit(0), "finished", 0, None),
    ],
)
def test_how_a_run_ends_is_read_from_its_exception(
    tmp_path: Path, error: BaseException, state: str, code: int, line: str | None
) -> None:
    seen = None
    with contextlib.suppress(BaseException), status.RunStatus(tmp_path, command="train"):
        seen = status.read(tmp_path)["state"]
        raise error
    assert seen == "running"
    record = status.read(tmp_path)
    assert (record["state"], record["exit_code"], record["error"]) == (state, code, line)
    assert (tmp_path / "error.txt").exists() == (state == "failed")
    if state == "failed":
        assert "test_status.py" in (tmp_path / "error.txt").read_text()  # a traceback, not only a message


def test_a_ctrl_c_that_lightning_made_an_exit_is_an_interrupt(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as caught, status.RunStatus(tmp_path):
        _lightning_interrupt()
    assert status.exit_code(caught.value) == 130
    assert status.read(tmp_path)["state"] == "interrupted"


def test_a_finished_run_keeps_what_it_was_told(tmp_path: Path) -> None:
    (tmp_path / "error.txt").write_text("of the run that is resumed")
    status.update(tmp_path, nparams=1, exit_code=1)
    with status.RunStatus(tmp_path, seed=3) as run:
        run.update(nparams=7)
        assert "exit_code" not in status.read(tmp_path)
        assert status.read(tmp_path)["pid"] == os.getpid()
    record = status.read(tmp_path)
    assert record["state"] == "finished"
    assert (record["seed"], record["nparams"], record["exit_code"], record["error"]) == (3, 7, 0, None)
    assert 0 <= record["seconds"] < 60
    assert sorted(p.name for p in tmp_path.iterdir()) == [".lock", "status.json"]  # nothing half-written


def test_a_run_that_returns_a_code_ends_with_it(tmp_path: Path) -> None:
    with status.RunStatus(tmp_path) as run:
        run.update(exit_code=1)
    assert status.read(tmp_path)["state"] == "failed"


def test_reading_what_is_not_there_or_half_there(tmp_path: Path) -> None:
    assert status.read(tmp_path) == {}
    (tmp_path / "status.json").write_text('{"state": "fini')
    assert status.read(tmp_path) == {}


def _hold(
    folder: Path, ready: "multiprocessing.synchronize.Event", done: "multiprocessing.synchronize.Event"
) -> None:
    status.lock(folder)
    ready.set()
    done.wait(30)


def test_two_processes_cannot_share_a_run(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ready, done = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(tmp_path, ready, done))
    other.start()
    try:
        assert ready.wait(30)
        with pytest.raises(BadInput, match=rf"in use by another process \(pid {other.pid}\)"):
            status.lock(tmp_path)
        with pytest.raises(BadInput, match="in use"), status.RunStatus(tmp_path):
            pytest.fail("entered a run that another process holds")
        assert not (tmp_path / "status.json").exists()  # the other's record is left alone
    finally:
        other.kill()  # as a crash would end it
        other.join()
    status.lock(tmp_path)  # a dead process holds nothing
    status.lock(tmp_path)  # and for the holder it is no obstacle
    status.unlock(tmp_path)


def test_revision_is_that_of_the_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repo = Path(__file__).resolve().parent.parent
    if not (repo / ".git").exists():
        pytest.skip("not in a git checkout")
    head = subprocess.run(
        ["git", "-C", str(repo), "rev-parse", "HEAD"], capture_output=True, text=True, check=True
    )
    assert (status.revision() or "").removesuffix("-dirty") == head.stdout.strip()

    installed = tmp_path / "site-packages" / "davis_exp"  # inside some other project's repository
    installed.mkdir(parents=True)
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    monkeypatch.setattr(status, "__file__", str(installed / "status.py"))
    assert status.revision() is None


def test_status_is_json_that_others_can_read(tmp_path: Path) -> None:
    with status.RunStatus(tmp_path, name="café"):
        pass
    assert json.loads((tmp_path / "status.json").read_text())["name"] == "café"


@pytest.mark.timeout(20)
def test_what_is_no_lock_locks_nothing(tmp_path):
    status.update(tmp_path, state="running")
    os.mkfifo(tmp_path / status.LOCK)
    assert status.current(tmp_path)["state"] == "interrupted"
    with pytest.raises(BadInput, match="is no file"):
        status.lock(tmp_path)


def test_a_gpu_that_is_too_small_says_what_to_lower() -> None:
    torch = pytest.importorskip("torch")
    told = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 7.79 GiB of which …"
    line = status.one_line(torch.OutOfMemoryError(told))
    assert line.startswith(
        "the GPU's memory is too small (CUDA out of memory. Tried to allocate 2.00 GiB.): lower data.batch"
    )
