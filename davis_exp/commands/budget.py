"""davis-exp budget: what a composition costs, or with -m every combination, without training it."""

import logging
from collections.abc import Callable
from pathlib import Path

from omegaconf import DictConfig

from davis_exp import budget, config
from davis_exp.experiment import atlas, atlas_views, build
from davis_exp.launch import expand
from davis_exp.results.charts import standalone
from davis_exp.results.output import write_csv, write_json, write_text
from davis_exp.utils.errors import BadInput
from davis_exp.utils.progress import progress_bar

log = logging.getLogger(__name__)


def run(
    cfg: DictConfig, output: Path, json: str | None = None, csv: str | None = None, plot: str | None = None
) -> int:
    """Prints the cost of the composition by part, and writes it as JSON; raises OverBudget where it is over."""
    for option, file in (("csv", csv), ("plot", plot)):
        if file is not None:
            raise BadInput(f"--{option} {file}: needs several compositions; add -m")
    config.check_whole(cfg, "budget")
    cost = build.cost(cfg)
    if json is not None:
        limit = cfg.budget.limit
        over = limit is not None and cost.parameters > limit
        write_json(Path(json), {**cost.to_dict(), "limit": limit, "over": over})
    budget.guard(cost, cfg.budget.limit)
    log.info("%s", cost.table())
    return 0


def run_all(
    overrides: list[str],
    compose: Callable[[list[str]], DictConfig],
    json: str | None = None,
    csv: str | None = None,
    plot: str | None = None,
) -> int:
    """Prints what every combination costs. Over budget is an answer here, and so is a combination that is refused.

    Raises BadInput if none of them can be had.
    """
    if plot is not None and not plot.endswith(".svg"):
        raise BadInput(f"--plot {plot}: the picture is an SVG; give a name that ends in .svg")

    def composed(overrides: list[str]) -> DictConfig:
        cfg = compose(overrides)
        config.check_whole(cfg, "budget")
        return cfg

    fixed, swept = expand.split(overrides)
    total = expand.number(swept)
    entries = []
    with progress_bar("counting") as progress:
        for entry in atlas.count(fixed, swept, composed):
            entries.append(entry)
            if progress:
                progress(len(entries), total)
    entries = atlas.ranked(entries)
    print(atlas_views.as_text(entries))
    if json is not None:
        write_json(Path(json), atlas_views.as_dict(entries))
    if csv is not None:
        write_csv(Path(csv), atlas_views.as_csv(entries))
    if plot is not None:
        write_text(Path(plot), standalone(atlas_views.as_svg(entries)))
    if all(entry.cost is None for entry in entries):
        raise BadInput(f"none of these {total} combinations can be built: {entries[0].refused}")
    return 0
