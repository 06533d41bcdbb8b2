"""Where runs are kept."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from davis_exp.launch import runs
from davis_exp.utils.errors import BadInput


def test_claims_of_one_second_never_share_a_folder(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(lambda _: runs.claim(tmp_path / "runs"), range(40)))
    assert len(set(folders)) == 40
    assert set(folders) == set((tmp_path / "runs").iterdir())
    first = min(folders)
    assert first.with_name(f"{first.name}-1") in folders


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder, as a process that has claimed nothing finds it."""
    monkeypatch.chdir(tmp_path)
    runs.run_dir.cache_clear()
    yield tmp_path  # type: ignore[misc]
    runs.run_dir.cache_clear()


def test_a_process_has_one_run(fresh: Path) -> None:
    folder = runs.run_dir("demo")
    assert runs.run_dir("demo") == folder
    assert Path(folder).parent == Path("runs/demo")
    assert len(list((fresh / "runs" / "demo").iterdir())) == 1


@pytest.mark.parametrize("name", [None, "", "a/b", "..", "/", 3])
def test_a_name_is_a_folders_name(fresh: Path, name: object) -> None:
    with pytest.raises(BadInput, match=r"^name: "):
        runs.run_dir(name)
    assert list(fresh.iterdir()) == []


def test_what_a_killed_run_was_writing_is_swept_away_by_the_next(fresh: Path) -> None:
    killed = fresh / "runs/demo/2026-01-01_00-00-00"
    (killed / ".results.01234567.part/outputs").mkdir(parents=True)
    (killed / "results").mkdir()
    (killed / ".status.json.01234567.part.json").touch()
    (killed / "checkpoints").mkdir()
    (
        killed / "checkpoints/.last.ckpt.01234567.part.ckpt"
    ).touch()  # its first save: there is nothing to go on with
    (killed / "checkpoints/.mine.part").touch()
    runs.claim(killed.parent)
    left = {str(path.relative_to(killed)) for path in killed.rglob("*")}
    assert left == {"results", "checkpoints", "checkpoints/.mine.part"}


def test_a_run_to_resume_must_be_there(fresh: Path) -> None:
    with pytest.raises(BadInput, match=r"^resume: no run's folder at runs/x$"):
        runs.run_dir("demo", "runs/x")
    (fresh / "runs/x/.hydra").mkdir(parents=True)
    (fresh / "runs/x/.hydra/overrides.yaml").write_text("[a=1]")
    (fresh / "runs/x/.hydra/hydra.yaml").write_text("{not: ours}")
    with pytest.raises(BadInput, match="no run's folder"):
        runs.stored_overrides(fresh / "runs/x")


@pytest.mark.parametrize(
    ("trainer", "here", "expected"),
    [
        ({"devices": 2}, True, (2, 2)),
        ({"devices": 2, "accelerator": "auto"}, False, (2, 0)),
        ({"devices": "0,1,3", "accelerator": "gpu"}, False, (3, 3)),
        ({"devices": 4, "accelerator": "cpu"}, True, (4, 0)),
        ({"devices": "auto", "accelerator": "cuda"}, False, (1, 1)),
    ],
)
def test_what_a_launcher_asks_for(
    trainer: dict[str, object], here: bool, expected: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: here)
    runs.register_resolvers(claiming=False)
    cfg = OmegaConf.create(
        {"trainer": trainer, "cpus": "${davis_exp.devices:}", "gpus": "${davis_exp.gpus:}"}
    )
    assert (cfg.cpus, cfg.gpus) == expected
