"""The budget atlas: what every combination of options costs. An option is composed once, a part built once."""

import functools
import itertools
import json
import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from omegaconf import DictConfig
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from davis_exp import budget
from davis_exp.experiment import build
from davis_exp.launch.expand import as_overrides, combinations
from davis_exp.models.empty import run_empty
from davis_exp.models.levels import Levels
from davis_exp.models.segmenter import VideoSegmenter
from davis_exp.utils.errors import BadInput

log = logging.getLogger(__name__)

ROOTS = ("model", "encoder", "flow", "temporal", "decoder", "inference", "data", "budget")
"""What a cost depends on. An override below one of them changes nothing else."""

NO_OTHERS = budget.Limits()
Compose = Callable[[list[str]], DictConfig]


@dataclass(frozen=True)
class Entry:
    """One combination: what was chosen for each key that varies, and its cost, or why it cannot be had."""

    choices: dict[str, str]
    limit: int | None = None
    cost: budget.Cost | None = None
    refused: str | None = None
    front: bool = False  # no other has fewer parameters and fewer FLOPs
    notes: tuple[str, ...] = ()  # options in it that stand for many models
    others: budget.Limits = NO_OTHERS  # beside that of parameters

    @property
    def over(self) -> bool:
        """Whether it is over a limit."""
        return self.cost is not None and bool(replace(self.others, limit=self.limit).over(self.cost))


def count(fixed: Sequence[str], swept: Mapping[str, Sequence[str]], compose: Compose) -> Iterator[Entry]:
    """The cost of every combination of the values in `swept`, beside the overrides `fixed`.

    Arguments:
        compose: overrides → the config; called once for each option, not for each combination.
    """
    counter = _Counter()
    for choices, cfg in compositions(fixed, swept, compose):
        limits = budget.Limits.of(cfg["budget"])
        entry = Entry(choices, limits.limit, notes=tuple(_families(choices, cfg)), others=limits)
        try:
            model = counter.model(cfg)
            cost = counter.cost(model, cfg, traced=limits.traced)
            limits.over(cost)  # refuses a limit of what cannot be counted
            yield replace(entry, cost=cost, notes=(*entry.notes, *build.notes(model)))
        except BadInput as error:
            yield replace(entry, refused=str(error))


def compositions(
    fixed: Sequence[str], swept: Mapping[str, Sequence[str]], compose: Compose
) -> Iterator[tuple[dict[str, str], dict[str, Any]]]:
    """Every combination's choices, and the nodes of `ROOTS` that they compose to, as plain containers.

    Keys below different roots do not touch. Keys outside of `ROOTS` (experiment=a,b) may touch all of them, so
    for each of their values everything is composed anew.
    """
    outside = {key: values for key, values in swept.items() if _root(key) not in ROOTS}
    inside = [{key: values for key, values in swept.items() if _root(key) == root} for root in ROOTS]
    firsts = [as_overrides(next(combinations(keys))) for keys in inside]
    for outer in combinations(outside):
        given = [*fixed, *as_overrides(outer)]
        base = compose([*given, *itertools.chain(*firsts)])
        nodes: list[list[tuple[dict[str, str], Any]]] = []
        for i, (root, keys) in enumerate(zip(ROOTS, inside, strict=True)):
            others = [*given, *itertools.chain(*firsts[:i], *firsts[i + 1 :])]
            first, *rest = combinations(keys)
            composed = [(first, base), *((choice, compose(others + as_overrides(choice))) for choice in rest)]
            nodes.append([(choice, build.plain(cfg.get(root))) for choice, cfg in composed])
        for picked in itertools.product(*nodes):
            chosen = {key: value for choice, _ in picked for key, value in choice.items()}
            yield (
                {key: (outer | chosen)[key] for key in swept},
                {root: node for root, (_, node) in zip(ROOTS, picked, strict=True)},
            )


def ranked(entries: Iterable[Entry]) -> list[Entry]:
    """The entries by parameters, then FLOPs, those refused last; the Pareto front of the two is marked."""
    least = math.inf
    marked = []
    for entry in sorted(entries, key=_rank):
        flops = entry.cost.flops if entry.cost else None
        front = flops is not None and flops < least
        least = flops if flops is not None and front else least
        marked.append(replace(entry, front=front))
    return marked


class _Counter:
    """Counts compositions, remembering each part it has built and each call it has counted."""

    def __init__(self) -> None:
        self._known: dict[Any, Any] = {}

    def model(self, cfg: Mapping[str, Any]) -> nn.Module:
        """As `build.build_model`, without memory for weights."""
        with budget.empty_weights():
            return build.build_model(cfg, self._make)

    def cost(self, model: nn.Module, cfg: Mapping[str, Any], *, traced: bool = False) -> budget.Cost:
        """As `build.cost`; without layers and activations, unless `traced`. Raises BadInput for what cannot run."""
        identity = _identity("inference", [cfg["inference"], build.clip_size(cfg)])
        how = self._once(identity, lambda: build.inference(cfg))
        with build.naming_parts(type(model)):
            if traced or type(model) is not VideoSegmenter:
                return budget.measure(model, **build.measured(how, cfg))
            length, step = budget.clip(model.context, how.window, how.stride)
            for size in build.measured(how, cfg)["seen"]:
                try:
                    self._flops(model, length, size)
                except Exception:
                    parts = tuple(id(part) for part in model.children())
                    self._once(
                        (parts, length, size), functools.partial(budget.check_runs, model, length, size)
                    )
            try:
                counted = self._flops(model, length, budget.FRAME)
            except Exception as error:
                budget.say_uncounted(error)
                return budget.Cost(budget.count(model))
        return budget.Cost(
            budget.count(model, {name: round(n * how.passes / step) for name, n in counted.items()})
        )

    def _make(self, node: Any, key: str) -> Any:
        """As `build.make`; a part, or what a factory makes for given levels, is made once."""
        if key == "model":  # holds the parts of one combination
            return build.make(node, key)
        identity = _identity(key, node)
        for missing in _missing(node, key):
            raise BadInput(f"{missing}: missing; give {missing}=…")
        made = self._once(identity, lambda: build.make(node, key))
        if not node.get("_partial_"):
            return made

        @functools.wraps(made.func)
        def factory(inputs: Levels) -> Any:
            return self._once((identity, inputs), lambda: made(inputs=inputs))

        factory.__wrapped__ = made  # the signature that is left
        return factory

    def _flops(self, model: VideoSegmenter, length: int, size: tuple[int, int]) -> dict[str, int]:
        """FLOPs of one call on `length` frames of `size`, part by part; raises whatever a part does."""
        padded = model.padded((length, *size))
        plain, frames = (torch.empty(1, t, 3, h, w, device="meta") for t, h, w in ((length, *size), padded))
        motion = frames if model.encoder.needs_motion else None
        flops = dict.fromkeys((*dict(model.named_children()), "rest"), 0)
        if model.flow is not None:
            _, flops["flow"] = self._run(model.flow, plain)
        features, flops["encoder"] = self._run(model.encoder, frames, motion)
        state = model.temporal.initial_state(features)
        (features, _), flops["temporal"] = self._run(model.temporal, features, state)
        _, flops["decoder"] = self._run(model.decoder, features, padded)
        return flops

    def _run(self, part: Any, *inputs: Any) -> tuple[Any, int]:
        """What `part` returns, on the meta device, and its FLOPs."""

        def run() -> tuple[Any, int]:
            with FlopCounterMode(display=False) as counter:
                return run_empty(part, *inputs), counter.get_total_flops()

        return self._once((id(part), repr(_shapes(inputs))), run)

    def _once(self, key: Any, make: Callable[[], Any]) -> Any:
        """What `make` returned, or refused, when it was first called for `key`."""
        if key not in self._known:
            try:
                self._known[key] = make()
            except Exception as error:
                self._known[key] = error
        known = self._known[key]
        if isinstance(known, Exception):
            raise known.with_traceback(None)
        return known


def _rank(entry: Entry) -> tuple[bool, int, float]:
    cost = entry.cost
    flops = math.inf if cost is None or cost.flops is None else cost.flops
    return cost is None, cost.parameters if cost else 0, flops


def _root(key: str) -> str:
    """The root node that an override's key changes: fusion@encoder.fusion and encoder.name → encoder."""
    group, _, package = key.lstrip("+~").partition("@")
    return (package or group).partition("/")[0].partition(".")[0]


def _identity(key: str, node: Any) -> tuple[str, str]:
    return key, json.dumps(node, sort_keys=True, default=str)


def _missing(node: Any, key: str) -> Iterator[str]:
    """The dotted keys at or below `node` that have yet to be given."""
    if node == "???":
        yield key
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for name, child in items:
        yield from _missing(child, f"{key}.{name}")


def _families(choices: Mapping[str, str], cfg: Mapping[str, Any]) -> Iterator[str]:
    """Options named after their own module that take a `name`: any model of a library, one of which is counted."""
    for root in ROOTS:
        node = cfg[root]
        if isinstance(node, dict) and "name" in node and "_target_" in node:
            module = node["_target_"].rpartition(".")[0].rpartition(".")[2]
            if module == choices.get(root):
                yield f"{root}={module} takes any name; counted: {root}.name={node['name']}"


def _shapes(inputs: Any) -> Any:
    """What a call's FLOPs depend on."""
    if isinstance(inputs, list | tuple):
        return [_shapes(value) for value in inputs]
    return tuple(inputs.shape) if isinstance(inputs, torch.Tensor) else inputs
