"""Batch norms folded into the convolutions before them: the same answers from fewer operators and less memory."""

import copy
from collections import Counter
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from davis_exp.models.empty import run_empty, shapes_of

TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, *TRANSPOSED)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
FRAMES = (1, 8, 3, 128, 128)  # (B, T, 3, H, W), at which it is looked up what is computed after what


def fold_batch_norm(model: nn.Module) -> nn.Module:
    """A copy of a segmenter, for evaluation only, in which convolutions do what the batch norms after them did.

    One is folded where, in a call of the model, it is all that looks at a convolution's result; the others stay. In which
    order modules compute is seen on the meta device, so that nothing but PyTorch's own operators is taken for one.
    """
    folded = copy.deepcopy(model).eval()
    modules = dict(folded.named_modules())
    for convolution_name, norm_name in _pairs(folded).items():
        convolution, norm = modules[convolution_name], modules[norm_name]
        after = _after(norm)
        if after is None or not isinstance(convolution, CONVOLUTIONS):
            continue
        if isinstance(convolution, TRANSPOSED) and convolution.groups > 1:  # PyTorch's fusion cannot
            continue
        _fold(convolution, norm)
        folded.set_submodule(norm_name, after)
    return folded


def _fold(convolution: Any, norm: Any) -> None:
    """Have `convolution` do what `norm` does after it."""

    def exact(tensor: Tensor | None) -> Any:
        return None if tensor is None else tensor.detach().double()

    weight, bias = fuse_conv_bn_weights(
        exact(convolution.weight),
        exact(convolution.bias),
        exact(norm.running_mean),
        exact(norm.running_var),
        norm.eps,
        exact(norm.weight),
        exact(norm.bias),
        transpose=isinstance(convolution, TRANSPOSED),
    )
    kind = convolution.weight.dtype
    layout = torch.channels_last if weight.ndim == 4 else torch.contiguous_format
    convolution.weight = nn.Parameter(weight.to(kind, memory_format=layout), requires_grad=False)
    convolution.bias = nn.Parameter(bias.to(kind), requires_grad=False)


def _after(norm: nn.Module) -> nn.Module | None:
    """What is left of a batch norm that is folded: timm's have an activation; None for one of an unknown kind."""
    if type(norm) in NORMS:
        return nn.Identity()
    if isinstance(norm, NORMS) and isinstance(act := getattr(norm, "act", None), nn.Module):
        return nn.Sequential(getattr(norm, "drop", nn.Identity()), act)
    return None


def _pairs(model: nn.Module) -> dict[str, str]:
    """Names of convolutions, each with that of the batch norm that is all that ever looks at its results."""
    shapes = shapes_of(model)
    context = getattr(model, "context", (0, 0))
    kind = next((t.dtype for t in shapes.values() if t.is_floating_point()), torch.float32)
    frames = torch.empty(*FRAMES, device="meta", dtype=kind)[:, : 8 if context and any(context) else 1]
    seen = _Seen({id(tensor): name.rpartition(".")[0] for name, tensor in shapes.items()})
    with seen:
        run_empty(
            model, *((frames, frames) if getattr(model, "needs_motion", False) else (frames,)), shapes=shapes
        )
    pairs = {}
    for convolution, norms in seen.normed.items():
        if len(norms) == 1 and seen.convolved[convolution] == sum(norms.values()):
            (norm,) = norms
            if seen.norms[norm] == seen.convolved[convolution]:
                pairs[convolution] = norm
    return pairs


class _Seen(TorchDispatchMode):
    """What was made by which convolution, and read by which batch norm alone."""

    def __init__(self, owners: dict[int, str]) -> None:
        super().__init__()
        self._owners = owners
        self._made: dict[
            int, tuple[Tensor, str]
        ] = {}  # the tensor too: else its id would be given away again
        self._reads: Counter[int] = Counter()
        self._norm_of: dict[int, str] = {}
        self.convolved: Counter[str] = Counter()
        self.norms: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        for read in {id(leaf) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}:
            self._reads[read] += 1
        name = func._opname
        if name == "convolution" and (owner := self._owners.get(id(args[1]))) is not None:
            self._made[id(made)] = (made, owner)
            self._reads[id(made)] = 0  # what there is was of another tensor, which had this id before
            self._norm_of.pop(id(made), None)
            self.convolved[owner] += 1
        elif "batch_norm" in name:
            owner = next((self._owners[id(t)] for t in args[3:4] if id(t) in self._owners), None)
            if owner is not None:
                self.norms[owner] += 1
                self._norm_of[id(args[0])] = owner
        return made

    @property
    def normed(self) -> dict[str, Counter[str]]:
        """Of each convolution the batch norms of its results, those that nothing else reads."""
        found: dict[str, Counter[str]] = {}
        for key, (_, convolution) in self._made.items():
            if self._reads[key] == 1 and key in self._norm_of:
                found.setdefault(convolution, Counter())[self._norm_of[key]] += 1
        return found
