"""A search: trials drawn by Optuna, each a job like a sweep's, by as many workers as there are."""

import contextlib
import json
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from davis_exp.launch import runs, status, sweep
from davis_exp.launch.job import environ
from davis_exp.launch.space import drawn, space
from davis_exp.runs import trials
from davis_exp.utils.errors import BadInput

if TYPE_CHECKING:
    import optuna

POLL_SECONDS = 0.5  # seconds
LOCKS = ".trials"  # below the search's folder: a folder a trial, locked by the worker that has it
# What the sweeper that there was took, and what says it now.
FORMER = {"hydra.sweeper.n_trials": "search.trials", "hydra.sweeper.sampler.": "search.sampler."}
ADDED = ("hydra.mode=", "hydra.sweep.dir=", "++data.test_split=holdout")  # to the overrides of a sweep
OF_FORMER = re.compile(
    r"hydra/sweeper$|hydra\.sweeper\.(n_|sampler|direction|storage|study|custom|search|max_f)"
)

Launch = Callable[[Sequence[str], int], Path]  # overrides of a job, its number → its folder


def rewritten(overrides: Sequence[str]) -> list[str]:
    """Overrides of the sweeper that there was as `davis-exp search` takes them; those of no use any more are left out."""
    kept = []
    for override in overrides:
        key = runs.key(override)
        former = next((name for name in FORMER if key.startswith(name)), None)
        if former is not None:
            kept.append(FORMER[former] + override.lstrip("+").removeprefix(former))
        elif not (OF_FORMER.match(key) or override.startswith(ADDED)):
            kept.append(override)
    return kept


def instead(overrides: Sequence[str]) -> str:
    """The command to type where a search was asked of another."""
    return f"a search is a command of its own: davis-exp search {shlex.join(rewritten(overrides))}"


def asked_of_another(overrides: Sequence[str]) -> bool:
    """Whether overrides are meant for the sweeper that there was."""
    return any(OF_FORMER.match(runs.key(o)) and runs.value(o) != "basic" for o in overrides)


class Search:
    """A worker at the search in `folder`; there may be others, here or on machines that see the folder.

    Whatever ends a worker, its trial is taken up by another, or by the next command, and goes on from its checkpoint.

    Args:
        folder: of the search.
        settings: the config's `search`.
        overrides: of the command and of the sweep's option, spaces too.
        launch: composes and runs the job of some overrides, under a number.
    """

    def __init__(
        self, folder: Path, settings: Mapping[str, Any], overrides: Sequence[str], launch: Launch
    ) -> None:
        trials.needed()
        self.folder, self.settings, self.launch = folder, settings, launch
        self.fixed, self.dimensions = space(overrides)
        if not isinstance(settings["trials"], int) or settings["trials"] < 1:
            raise BadInput(f"search.trials: give a number of at least 1, got {settings['trials']}")
        trials.sampler(settings["sampler"], 0)  # refused before anything is written
        trials.pruner(settings["pruner"])
        with self._alone():
            self.study = trials.study(folder)
            self._hold_space()

    def again(self) -> None:
        """Have what failed in an earlier command tried once more."""
        from optuna.trial import TrialState

        with self._alone():
            found = self.study.get_trials(deepcopy=False)
            for trial in self._counted(found):
                if trial.state == TrialState.FAIL and trial.params:
                    self.study.enqueue_trial(trial.params, user_attrs={"again": trial.number})

    def work(self) -> None:
        """Run trials until as many as are wanted have ended, other workers' too."""
        while True:
            with self._alone():
                trial, busy = self._next()
            if trial is None:
                if not busy:
                    return
                time.sleep(POLL_SECONDS)
                continue
            try:
                self._run(trial)
            finally:
                status.unlock(self._place(trial.number))

    def _next(self) -> "tuple[optuna.Trial | None, bool]":
        """A trial for this worker: one whose worker is gone, or a new one; and whether others are still at theirs."""
        import optuna
        from optuna.trial import TrialState

        found = self.study.get_trials(deepcopy=False)
        running = [trial for trial in found if trial.state == TrialState.RUNNING]
        for orphan in running:
            if not status.held(self._place(orphan.number)):
                status.lock(self._place(orphan.number))
                return optuna.trial.Trial(self.study, orphan._trial_id), True
        waiting = any(trial.state == TrialState.WAITING for trial in found)
        if not waiting and len(self._counted(found)) >= self.settings["trials"]:
            return None, bool(running)
        self.study.sampler = trials.sampler(self.settings["sampler"], len(found))
        trial = self.study.ask()
        status.lock(self._place(trial.number))
        return trial, True

    @staticmethod
    def _counted(found: "list[optuna.trial.FrozenTrial]") -> "list[optuna.trial.FrozenTrial]":
        """Trials without those that another has been tried in the place of."""
        replaced = {trial.user_attrs.get("again") for trial in found}
        return [trial for trial in found if trial.number not in replaced]

    def _run(self, trial: "optuna.Trial") -> None:
        from optuna.trial import TrialState

        own = drawn(trial, self.dimensions)
        try:
            with environ(trials.ENVIRONMENT, trials.told(self.folder, trial._trial_id)):
                job = self.launch([*self.fixed, *own], trial.number)
        except Exception:
            self.study.tell(trial, state=TrialState.FAIL)
            raise
        record = status.read(job)
        state = record.get("state")
        for name in ("state", "nparams", "seconds"):
            trial.set_user_attr(name, record.get(name))
        trial.set_user_attr("job", job.name)
        if state in ("finished", "over_budget"):
            self.study.tell(trial, sweep.objective(job))
        else:
            self.study.tell(trial, state=TrialState.PRUNED if state == "pruned" else TrialState.FAIL)

    def _hold_space(self) -> None:
        """Refuse to go on with a search over something else."""
        from optuna.distributions import distribution_to_json

        now = {key: json.loads(distribution_to_json(own)) for key, own in self.dimensions.items()}
        before = self.study.user_attrs.get("space")
        if before is None:
            self.study.set_user_attr("space", now)
        elif before != json.loads(json.dumps(now)):
            raise BadInput(
                f"{self.folder} holds a search over other values: give this one a name of its own, name=…"
            )

    def _place(self, number: int) -> Path:
        place = self.folder / LOCKS / str(number)
        place.mkdir(parents=True, exist_ok=True)
        return place

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        with status.turn(self.folder / ".search"):
            yield


@contextlib.contextmanager
def helpers(count: int, arguments: Sequence[str], starter: int) -> Iterator[None]:
    """`count` more processes that work at the same search, ended with this block if they have not ended by themselves.

    Args:
        arguments: of the command that this process was given.
        starter: this process, which they follow.
    """
    command = [sys.executable, "-m", "davis_exp", "search", *arguments, f"--helper={starter}"]
    # Groups of their own: Ctrl-C reaches this process alone, which hands it on exactly once.
    begun = [subprocess.Popen(command, stdin=subprocess.DEVNULL, process_group=0) for _ in range(count)]
    try:
        yield
    except BaseException:
        for process in begun:
            process.terminate()
        raise
    finally:
        for process in begun:
            with contextlib.suppress(KeyboardInterrupt, subprocess.TimeoutExpired):
                process.wait(2 * sweep.JOB_GRACE)
            process.kill()  # where it has not ended; what it ran goes with it, and is gone on with later
