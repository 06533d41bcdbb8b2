"""`logger=aim`."""

from typing import TYPE_CHECKING

from davis_exp.tracking.recorder import needed

if TYPE_CHECKING:
    from davis_exp.tracking.aim_run import RunAim


def aim_logger(
    save_dir: str, experiment: str = "davis_exp", repo: str | None = None, checkpoints: bool = False
) -> "RunAim":
    """A run in an Aim repository.

    Args:
        save_dir: the run's folder.
        experiment: the experiment that it belongs to.
        repo: where the repository is, a folder or a server's aim://HOST:PORT; None: .aim here.
        checkpoints: whether the best checkpoint is handed in.

    Raises BadInput where Aim is not installed.
    """
    needed("aim")
    from davis_exp.tracking.aim_run import RunAim

    return RunAim(save_dir, experiment, repo, checkpoints)
