"""What loggers other than W&B's are given of a run beside its metrics: its config, its score, and what it has made."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from davis_exp.runs import confidence
from davis_exp.runs import config as stored
from davis_exp.runs import score as scores
from davis_exp.utils import given, written
from davis_exp.utils.errors import BadInput, brief

log = logging.getLogger(__name__)

MADE = (scores.SCORE, confidence.CONFIDENCE, stored.CONFIG, "results")  # in a run's folder


class Recorder(ABC):
    """A logger of Lightning's that keeps a run somewhere else as well. Whatever is wrong there, the training goes on.

    A run that is gone on with goes on there too: what it is called there lies in its folder.

    Attributes:
        config: the resolved config, told before the first metrics; plain containers.
        checkpoints: whether the best checkpoint is handed in.
    """

    service: str
    config: Mapping[str, Any] | None = None
    checkpoints: bool = False
    folder: Path
    _lost = False

    @property
    def name(self) -> str:
        """As Lightning asks for it, also where nobody answers there."""
        return self.service

    @property
    def experiment(self) -> Any:
        """What Lightning's logger works with, and asks for when a training begins; None where nobody answers."""
        try:
            return None if self._lost else super().experiment  # type: ignore[misc]
        except Exception as error:
            self._lose(error)
            return None

    @property
    def version(self) -> str:
        """The run's own name."""
        return self.folder.name

    @abstractmethod
    def keep_config(self, config: Mapping[str, Any]) -> None:
        """Hand in the config."""

    @abstractmethod
    def keep_score(self, score: Mapping[str, float]) -> None:
        """Hand in figures of the whole run."""

    @abstractmethod
    def finalize(self, status: str) -> None:
        """End the run there."""

    @abstractmethod
    def keep_file(self, path: Path) -> None:
        """Hand in a file or a folder."""

    def hand_in(self, score: Mapping[str, float]) -> None:
        """Hand in what the finished run has left in its folder, and the figures of its score."""
        made = [self.folder / name for name in MADE]
        if self.checkpoints:
            made.append(self.folder / "checkpoints/best.ckpt")

        def all_of_it() -> None:
            if score:
                self.keep_score(score)
            for path in filter(Path.exists, made):
                self.keep_file(path)
            self.finalize(
                "success"
            )  # of Lightning's loggers: what comes after its own last word has to be closed too

        self.tried(all_of_it)

    def tried(self, work: Callable[[], None]) -> None:
        """Do `work`, and before it tell the config. Once something goes wrong, that is said, and no more is done."""
        if self._lost:
            return
        try:
            if self.config is not None:
                config, self.config = self.config, None
                self.keep_config(config)
            work()
        except Exception as error:
            self._lose(error)

    def _lose(self, error: Exception) -> None:
        if not self._lost:
            log.warning("%s: nothing more is recorded there (%s)", self.service, brief(error))
        self._lost = True

    def remembered(self) -> str | None:
        """What this run is called there, if it has begun before."""
        try:
            name = given.read_text(self._note, 1000).strip()
        except BadInput:
            return None
        return name if name.isalnum() else None

    def remember(self, name: str) -> None:
        """Keep what this run is called there."""
        written.write_text(self._note, name + "\n")

    @property
    def _note(self) -> Path:
        return self.folder / f".{self.service.lower()}"


def needed(package: str) -> None:
    """Raises BadInput where the package of a logger is not installed."""
    from importlib.util import find_spec

    if find_spec(package) is None:
        raise BadInput(f"logger={package}: not installed; pip install 'davis_exp[{package}]'")
