"""davis-exp budget: what a composition costs, or with -m every combination, without training it."""

import logging
from collections.abc import Callable
from pathlib import Path

from omegaconf import DictConfig

from davis_exp import budget, config
from davis_exp.budget import layer_views, speed
from davis_exp.experiment import atlas, atlas_views, build, calibration
from davis_exp.launch import expand
from davis_exp.launch.hydra import compose
from davis_exp.results.charts import standalone
from davis_exp.results.output import write_csv, write_json, write_text
from davis_exp.utils.errors import BadInput
from davis_exp.utils.progress import progress_bar

log = logging.getLogger(__name__)


def run(
    cfg: DictConfig,
    output: Path,
    json: str | None = None,
    csv: str | None = None,
    plot: str | None = None,
    layers: bool = False,
    measure: bool = False,
) -> int:
    """Prints the cost of the composition by part, or layer by layer, and writes it; raises OverBudget where it is over."""
    layers |= measure
    for option, file in (("csv", csv), ("plot", plot)):
        if file is not None and not layers:
            raise BadInput(f"--{option} {file}: needs layers, or several compositions; add --layers, or -m")
    _check_picture(plot)
    config.check_whole(cfg, "budget")
    limits = budget.Limits.of(cfg.budget)
    if measure:
        _measure_machine()
    cost = build.cost(cfg)
    detailed = None
    if layers:
        took = calibration.measure_model(build.build_model(cfg).eval(), cfg) if measure else None
        detailed = layer_views.Detailed.of(cost, took)
    if json is not None:
        told = cost.to_dict() if detailed is None else detailed.to_dict()
        write_json(Path(json), {**told, **limits.to_dict(), "over": bool(limits.over(cost))})
    if detailed is not None:
        if csv is not None:
            write_csv(Path(csv), detailed.rows())
        if plot is not None:
            write_text(Path(plot), standalone(layer_views.as_svg(detailed)))
        log.info("%s\n", layer_views.as_text(detailed))
    budget.guard(cost, limits)
    log.info("%s", cost.table())
    return 0


def _measure_machine() -> None:
    with progress_bar("measuring this machine") as progress:
        found = calibration.measure_machine(lambda overrides: compose(overrides, "budget"), progress)
    speed.save(found)
    log.info("measured and kept: %s", speed.path())


def _check_picture(plot: str | None) -> None:
    if plot is not None and not plot.endswith(".svg"):
        raise BadInput(f"--plot {plot}: the picture is an SVG; give a name that ends in .svg")


def run_all(
    overrides: list[str],
    composing: Callable[[list[str]], DictConfig],
    json: str | None = None,
    csv: str | None = None,
    plot: str | None = None,
    layers: bool = False,
    measure: bool = False,
) -> int:
    """Prints what every combination costs. Over budget is an answer here, and so is a combination that is refused.

    Raises BadInput if none of them can be had.
    """
    _check_picture(plot)
    if layers or measure:
        raise BadInput(f"--{'measure' if measure else 'layers'}: of one composition; leave out -m")

    def composed(overrides: list[str]) -> DictConfig:
        cfg = composing(overrides)
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
