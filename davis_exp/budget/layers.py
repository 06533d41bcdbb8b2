"""The layers of a model: each module that computes something itself, with what it alone costs."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from davis_exp.budget.trace import Op


@dataclass(frozen=True)
class Layer:
    """A module and what it costs without the modules inside it: all layers together are the whole model.

    FLOPs (2 × multiply-adds) and bytes moved are per output frame. `activations` are the bytes that live at once while
    it computes, its own and others'. `ops` are the operators of one call of the model.
    """

    name: str
    part: str
    module: str
    parameters: int
    flops: int
    bytes: int
    activations: int
    ops: tuple[Op, ...] = field(default=(), repr=False)

    @property
    def intensity(self) -> float:
        """FLOPs for each byte that is moved: a layer with few waits for memory."""
        return self.flops / self.bytes if self.bytes else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain containers, ready for JSON."""
        return {
            "name": self.name,
            "part": self.part,
            "module": self.module,
            "parameters": self.parameters,
            "multiply_adds": self.flops / 2,
            "flops": self.flops,
            "bytes": self.bytes,
            "intensity": self.intensity,
            "activations": self.activations,
        }


def layers(
    model: nn.Module, parts: Iterable[str], ops: Iterable[Op], frames: float = 1.0
) -> tuple[Layer, ...]:
    """The layers of `model` in the order in which they first compute; those that never do, but have parameters, last.

    Args:
        parts: names of the parts; the last is for what is in none of those before it.
        ops: what one call does.
        frames: output frames of that call. What is counted per frame is rounded so that the sum over the layers of a part
            is the part's own count, rounded.
    """
    *named, rest = parts
    modules = dict(model.named_modules())
    seen: set[Tensor] = set()
    own: dict[str, int] = {}
    for name, module in modules.items():
        new = [p for p in module._parameters.values() if p is not None and p not in seen]
        seen.update(new)
        if new:
            own[name] = sum(p.numel() for p in new)
    called: dict[str, list[Op]] = {}
    for op in ops:
        called.setdefault(op.layer, []).append(op)
    counted = dict.fromkeys((*named, rest), 0)  # FLOPs of the part's layers so far, of one call
    found = []
    for name in (*called, *(name for name in own if name not in called)):
        part = name.partition(".")[0] if name.partition(".")[0] in named else rest
        mine = tuple(called.get(name, ()))
        before = counted[part]
        counted[part] += sum(op.flops for op in mine)
        found.append(
            Layer(
                name,
                part,
                type(modules[name]).__name__,
                own.get(name, 0),
                round(counted[part] / frames) - round(before / frames),
                round(sum(op.bytes for op in mine) / frames),
                max((op.live for op in mine), default=0),
                mine,
            )
        )
    return tuple(found)
