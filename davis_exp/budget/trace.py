"""What a model does, operator by operator: who calls it, its FLOPs, the bytes it moves, the memory that lives meanwhile.

Works on the meta device, where tensors are shapes and nothing is computed, as on any other.
"""

import contextlib
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._C import DispatchKey
from torch._prims_common import suggest_memory_format
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

COMPOSITE = DispatchKey.CompositeImplicitAutograd
RETURNED_TO_SYSTEM = (
    32 * 2**20
)  # bytes from which on the C library gives freed memory back to the system (glibc, on 64 bits)
KINDS = {  # words in the names of ATen's operators → the sort of work that they are; the first that fits
    "upsample": "resize",
    "grid_sampler": "resize",
    "norm": "norm",
    "mm": "matmul",
    "attention": "matmul",
    "pool": "pool",
    "hard": "elementwise",  # hardswish, hardsigmoid: no exponential in them
    **dict.fromkeys(("gelu", "softmax", "sigmoid", "silu", "tanh", "exp", "div"), "function"),
    **dict.fromkeys(("cat", "stack", "clone", "copy", "roll", "pad", "index"), "copy"),
}


@dataclass(frozen=True)
class Op:
    """One call of an operator that computes: views and what only makes room are left out.

    `layer` is the dotted name of the innermost module that called it, "" the model itself. `bytes` are those of the
    tensors that it reads and writes, `fresh` those among them of results so large that the system has to give the memory
    for them each time; `live` those of all activations that there are just after it.
    """

    layer: str
    name: str
    kind: str
    flops: int
    bytes: int
    live: int
    fresh: int = 0


KERAS = torch.device(
    "meta", 0
)  # where Keras makes each tensor anew that it is given; on a device with memory it does not


class Operators(TorchDispatchMode):
    """Context in which operators are handed to `call`, which runs them; what is made of others is those."""

    def __init__(self, call: Callable[[Any, tuple[Any, ...], dict[str, Any]], Any]) -> None:
        super().__init__()
        self._call = call

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is torch.ops.aten.empty_like.default and (kwargs or {}).get("device") == KERAS:
            return torch.ops.aten.alias.default(args[0])
        # By PyTorch's own kernels: its decompositions in Python, for compilers, are not what runs.
        if torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), COMPOSITE):
            with self:
                return func._op_dk(COMPOSITE, *args, **(kwargs or {}))
        return self._call(func, args, kwargs or {})


class Trace:
    """Context in which what `model` calls is written down, as `ops`.

    Args:
        model: whose modules are named.
        existing: tensors that are there before and are no activations (weights, the input).
        state: tensors that are there before and are (what a stream carries from frame to frame).
    """

    def __init__(
        self, model: nn.Module, existing: Iterable[Tensor] = (), state: Iterable[Tensor] = ()
    ) -> None:
        self.ops: list[Op] = []
        self.peak = 0  # the most bytes of activations that lived at once
        self._names = {module: name for name, module in reversed(list(model.named_modules()))}
        self._callers = [""]
        self._existing = {StorageWeakRef(tensor.untyped_storage()) for tensor in existing}
        self._alive: dict[StorageWeakRef, int] = {}
        self._note(state)
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> "Trace":
        with contextlib.ExitStack() as stack:
            for hook in (
                register_module_forward_pre_hook(self._begin),
                register_module_forward_hook(self._end, always_call=True),
            ):
                stack.callback(hook.remove)
            stack.enter_context(Operators(self._call))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)

    def _call(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        made = func(*args, **kwargs)
        given, outs = tensors((args, kwargs)), tensors(made)
        live = self._note(outs) + scratch(func, args, made)
        self.peak = max(self.peak, live)
        if computes(func, given, outs):
            count = flop_registry.get(func._overloadpacket)
            flops = count(*args, **kwargs, out_val=made) if count else 0
            moved = sum(tensor.nbytes for tensor in {id(t): t for t in (*given, *outs)}.values())
            fresh = sum(tensor.nbytes for tensor in outs if tensor.nbytes >= RETURNED_TO_SYSTEM)
            self.ops.append(Op(self._callers[-1], func._opname, kind(func, args), flops, moved, live, fresh))
        return made

    def _note(self, made: Iterable[Tensor]) -> int:
        """Note what was made; returns the bytes of all that lives."""
        for tensor in made:
            storage = StorageWeakRef(tensor.untyped_storage())
            if storage not in self._existing:
                self._alive[storage] = tensor.untyped_storage().nbytes()
        self._alive = {storage: size for storage, size in self._alive.items() if not storage.expired()}
        live = sum(self._alive.values())
        self.peak = max(self.peak, live)
        return live

    def _begin(self, module: nn.Module, args: Any) -> None:
        self._callers.append(self._names.get(module, self._callers[-1]))

    def _end(self, module: nn.Module, args: Any, made: Any) -> None:
        self._callers.pop()


def computes(func: Any, given: list[Tensor], made: list[Tensor]) -> bool:
    """Whether an operator does anything with values, rather than looking at a tensor in another way or making room."""
    if func.is_view or not made or "empty" in func._opname:
        return False
    there = {StorageWeakRef(tensor.untyped_storage()) for tensor in given}
    return func._schema.is_mutable or any(StorageWeakRef(t.untyped_storage()) not in there for t in made)


def scratch(func: Any, args: tuple[Any, ...], made: Any) -> int:
    """Bytes that a convolution holds beside its result while PyTorch computes it on a CPU, as measured there.

    Other operators hold next to nothing, as long as weights lie as inference has them (`models.memory_format`).
    """
    if func is not torch.ops.aten.convolution.default:
        return 0
    frames, weight, groups = args[0], args[1], args[8]
    wide = math.prod(weight.shape[2:]) > 1
    if weight.ndim < 5:
        return weight.nbytes if wide else 0  # a copy in the kernel's own layout
    if groups > 1:
        return max(frames.nbytes, 2 * made.nbytes)  # likewise, of what comes in and what goes out
    return made.nbytes if wide else 0


def kind(func: Any, args: tuple[Any, ...]) -> str:
    """What sort of work an operator is, for the model of its time."""
    name = func._opname
    if "convolution" in name:
        weight, groups = args[1], args[8]
        over = " over time" if weight.ndim == 5 else ""
        if groups > 1:
            if not over and args[0].stride(1) == 1 and suggest_memory_format(args[0]) != torch.channels_last:
                return "depthwise of tokens"  # a view that PyTorch does not take for NHWC, which it is: ten times as slow
            return ("depthwise" if weight.shape[1] == 1 else "grouped") + over
        return ("convolution" if math.prod(weight.shape[2:]) > 1 else "pointwise") + over
    return next((kind for word, kind in KINDS.items() if word in name), "elementwise")


def tensors(value: Any) -> list[Tensor]:
    """All tensors in nested containers."""
    return [leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor)]
