"""davis_exp: experiments in primary video object segmentation, inside a parameter budget.

    for frame, confidence in davis_exp.load("zoo/zoo_mobile")("holiday.mp4"): ...
    davis_exp.score("runs/…/results", "path/to/DAVIS")
    model = davis_exp.build(davis_exp.compose(["decoder=fpn", "temporal=conv_gru"]))

What is bad input raises `BadInput`, whose text is one line that says what to do; over the budget, `OverBudget`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from davis_exp.utils.version import __version__

if TYPE_CHECKING:
    from davis_exp.experiment.prediction import Predictor, load
    from davis_exp.experiment.starting import build
    from davis_exp.launch.hydra import compose
    from davis_exp.models.segmenter import VideoSegmenter
    from davis_exp.results.scored import score
    from davis_exp.utils.errors import BadInput, OverBudget

__all__ = [
    "BadInput",
    "OverBudget",
    "Predictor",
    "VideoSegmenter",
    "__version__",
    "build",
    "compose",
    "load",
    "score",
]

# Imported when first asked for: `import davis_exp` and `--help` load no torch.
_FROM = {
    "BadInput": "utils.errors",
    "OverBudget": "utils.errors",
    "Predictor": "experiment.prediction",
    "VideoSegmenter": "models.segmenter",
    "build": "experiment.starting",
    "compose": "launch.hydra",
    "load": "experiment.prediction",
    "score": "results.scored",
}


def __getattr__(name: str) -> Any:
    if name not in _FROM:
        raise AttributeError(f"module 'davis_exp' has no attribute {name!r}")
    return getattr(import_module(f"davis_exp.{_FROM[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
