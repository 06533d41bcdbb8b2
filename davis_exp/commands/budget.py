"""davis-exp budget: what a composition costs, without training it."""

import logging
from pathlib import Path

from omegaconf import DictConfig

from davis_exp import budget, build

log = logging.getLogger(__name__)


def run(cfg: DictConfig, output: Path) -> int:
    """Prints the cost of the composition by part; raises OverBudget (exit 3) where it is over."""
    cost = build.cost(cfg)
    budget.guard(cost, cfg.budget.limit)
    log.info("%s", cost.table())
    return 0
