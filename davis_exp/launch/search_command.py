"""`davis-exp search`: one worker of a search, or the first of several, with Hydra's own launcher for its trials."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from hydra._internal.callbacks import Callbacks
from hydra.core.plugins import Plugins
from hydra.types import HydraContext, RunMode

from davis_exp.config.instantiate import plain
from davis_exp.launch import runs
from davis_exp.launch.hydra_main import main
from davis_exp.launch.job import FULL_ERROR, Job, environ
from davis_exp.launch.search import Search, helpers
from davis_exp.launch.space import is_space
from davis_exp.runs import trials
from davis_exp.utils import interrupts
from davis_exp.utils.errors import BadInput
from davis_exp.utils.following import be_started_by


def run_search(job: Job, args: argparse.Namespace, folder: Path) -> None:
    """Work at the search in `folder` until it has its trials; each is a job of `train`, run by Hydra's own launcher."""
    if args.workers < 1:
        raise BadInput(f"--workers: give a number of at least 1, got {args.workers}")
    if args.helper:
        be_started_by(args.helper)
    job.name = "train"
    with environ(FULL_ERROR, "1"), interrupts.heard(), main("search", args) as (hydra, _):
        # What is searched is nothing that one config could hold.
        spaces = [o for o in args.overrides if is_space(o)]
        cfg = hydra.compose_config(
            args.config_name or "search",
            [*(o for o in args.overrides if o not in spaces), "hydra.mode=MULTIRUN"],
            with_log_configuration=True,
            run_mode=RunMode.MULTIRUN,
        )
        launcher = Plugins.instance().instantiate_launcher(
            hydra_context=HydraContext(config_loader=hydra.config_loader, callbacks=Callbacks(cfg)),
            task_function=job,
            config=cfg,
        )

        def launch(overrides: Sequence[str], number: int) -> Path:
            (done,) = launcher.launch([overrides], initial_job_idx=number)
            _ = done.return_value  # raises what the job did
            assert done.hydra_cfg is not None
            return Path(done.hydra_cfg.hydra.runtime.output_dir)

        if not str(cfg.hydra.launcher._target_).endswith(".BasicLauncher"):
            raise BadInput(
                "hydra/launcher: a search has workers instead; leave it out and give --workers N, or start the same "
                "command again, on another machine that sees the folder too"
            )
        params = [f"{key}={value}" for key, value in (cfg.hydra.sweeper.get("params") or {}).items()]
        own = Search(folder, plain(cfg.search), [*params, *runs.task_overrides(cfg.hydra), *spaces], launch)
        if not args.helper:
            own.again()
            print(f"look at it: optuna-dashboard {trials.address(folder)}", flush=True)
        count = args.workers - 1 if not args.helper else 0
        with helpers(count, args.arguments, os.getpid()):
            own.work()
