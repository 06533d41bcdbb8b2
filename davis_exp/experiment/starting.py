"""What a training begins with: a trained model's weights, or pretrained ones of its parts, and what these have seen."""

import contextlib
import logging
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from davis_exp import budget
from davis_exp.config.instantiate import plain, refusing
from davis_exp.experiment import checkpoints
from davis_exp.experiment.build import build_model, cost, load_weights
from davis_exp.models import zoo
from davis_exp.models.encoders.weights import is_trained_here
from davis_exp.utils.errors import BadInput

log = logging.getLogger(__name__)

if TYPE_CHECKING:
    from torch import nn


def build(cfg: DictConfig) -> "nn.Module":
    """The composed model with the weights that a training begins with.

    Called with frames (B, T, 3, H, W) in [0, 1] (and motion pictures alike, where it needs them), it returns
    (Prediction, state). Raises OverBudget, and BadInput for what cannot be built.
    """
    budget.guard(cost(cfg), budget.Limits.of(cfg.budget))
    model = build_model(cfg)
    begin(model, cfg)
    return model


def begin(model: "nn.Module", cfg: DictConfig) -> None:
    """Gives `model` the weights of the checkpoint at `weights`, or else its parts' pretrained ones. Raises BadInput."""
    if cfg.get("weights"):
        refusal = f"weights: {cfg.weights} is of other parts than this model (those of encoders alone: encoder.weights)"
        checkpoints.fill(model, trained(cfg, "weights", cfg.weights), refusal=refusal)
        log.info("begins with the weights of %s", cfg.weights)
    else:
        load_weights(model)


def trained(cfg: DictConfig, key: str, path: str) -> dict[str, Any]:
    """The checkpoint that the config's `key` names, to take over its weights or answers. Raises BadInput."""
    with refusing(key):
        found = checkpoints.read(path, cfg.allow)
        if "exported" in found:
            raise ValueError("runs in another engine; give the checkpoint that it came from")
        return found


def learnt_from(cfg: DictConfig) -> dict[str, frozenset[str]]:
    """Identities of the clips that whatever training begins with or learns from was trained on, by the config's key.

    Raises BadInput for a checkpoint that cannot be used; what an encoder cannot load it says itself, when it does.
    """
    named = {"weights": cfg.get("weights"), "teacher": (cfg.get("teacher") or {}).get("checkpoint")}
    about = {key: trained(cfg, key, path) for key, path in named.items() if path}
    if "weights" not in about:
        for key, path in _trained_here(plain(cfg.get("encoder")), "encoder"):
            with contextlib.suppress(BadInput):
                about[key] = zoo.read(zoo.find(path))[1]
    return {key: frozenset(known.get("clips", {}).get("trained", ())) for key, known in about.items()}


def _trained_here(node: Any, key: str) -> Iterator[tuple[str, str]]:
    """Where, in the config of an encoder, weights of a model trained here are named, and which."""
    for name, value in node.items() if isinstance(node, Mapping) else ():
        if name == "weights" and isinstance(value, str) and is_trained_here(value):
            yield f"{key}.weights", value
        yield from _trained_here(value, f"{key}.{name}")
