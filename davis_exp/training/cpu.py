"""What makes a step on a CPU take less time: memory that is kept, and gradients that oneDNN computes slowly."""

import ctypes
import sys
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of <malloc.h>
LARGE_KERNEL = 5  # from here on the weights' gradient is faster in float32


def keep_memory() -> None:
    """Have freed memory stay with the process, for the next step to use, where the C library is glibc.

    By default each large tensor is mapped anew and cleared by the kernel: about a sixth of a step.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, -1)


def has_bfloat16() -> bool:
    """Whether this CPU computes in bfloat16, as oneDNN says; else a step in it takes many times as long."""
    return torch.backends.mkldnn.is_available() and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


class FastDepthwise(TorchFunctionMode):
    """Depthwise convolutions in bfloat16 on the CPU learn several times faster; what they answer is unchanged.

    oneDNN has no fast gradients for some: by the weights of kernels of 5 × 5 and more, which are computed in float32 here,
    and by the input where there is a stride, which is a convolution without one over the gradient spread out.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.conv2d and torch.is_grad_enabled() and not torch.compiler.is_compiling():
            return _conv2d(*args, **kwargs)
        return func(*args, **kwargs)


def _conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    # one with a bias would round twice, and those before a batch norm have none
    depthwise = bias is None and 1 < groups == input.shape[1] == weight.shape[0] if input.ndim == 4 else False
    if (
        depthwise
        and input.device.type == "cpu"
        and not isinstance(padding, str)
        and _pair(dilation) == (1, 1)
    ):
        half = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
        (down, across), (above, beside) = _pair(stride), _pair(padding)
        kernel = weight.shape[2:]
        slow = max(down, across) > 1 or max(kernel) >= LARGE_KERNEL
        if half and slow and above < kernel[0] and beside < kernel[1]:
            weight = weight.to(torch.bfloat16, memory_format=torch.channels_last)
            return _Depthwise.apply(input.to(torch.bfloat16), weight, (down, across), (above, beside))
    return torch.conv2d(input, weight, bias, stride, padding, dilation, groups)


class _Depthwise(torch.autograd.Function):
    """input (B, C, H, W), weight (C, 1, h, w) → (B, C, H', W')."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, weight: Tensor, stride: tuple, padding: tuple) -> Tensor:
        ctx.save_for_backward(input, weight)
        ctx.stride, ctx.padding = stride, padding
        return F.conv2d(input, weight, None, stride, padding, 1, len(weight))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (gradient,) = gradients
        input, weight = ctx.saved_tensors
        kernel = weight.shape[2:]
        by_input = by_weight = None
        if ctx.needs_input_grad[0]:
            if ctx.stride == (1, 1):
                by_input = _gradient(gradient, input, weight, ctx, 0)
            else:
                size = [
                    n + 2 * p - k + 1 for n, p, k in zip(input.shape[2:], ctx.padding, kernel, strict=True)
                ]
                shape = (*gradient.shape[:2], *size)
                spread = torch.zeros(shape, dtype=gradient.dtype).to(memory_format=torch.channels_last)
                spread[:, :, :: ctx.stride[0], :: ctx.stride[1]] = gradient
                around = [k - 1 - p for k, p in zip(kernel, ctx.padding, strict=True)]
                by_input = F.conv2d(spread, weight.flip(2, 3), None, 1, around, 1, len(weight))
        if ctx.needs_input_grad[1]:
            exact = torch.float32 if max(kernel) >= LARGE_KERNEL else gradient.dtype
            by_weight = _gradient(gradient.to(exact), input.to(exact), weight.to(exact), ctx, 1).to(
                weight.dtype
            )
        return by_input, by_weight, None, None


def _gradient(gradient: Tensor, input: Tensor, weight: Tensor, ctx: Any, which: int) -> Tensor:
    """PyTorch's own gradient, by the input (0) or the weights (1)."""
    wanted = [which == 0, which == 1, False]
    return torch.ops.aten.convolution_backward(
        gradient, input, weight, None, ctx.stride, ctx.padding, (1, 1), False, (0, 0), len(weight), wanted
    )[which]


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value) * (1 if len(value) == 2 else 2)
