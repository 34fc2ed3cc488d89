"""The Nature network's forward and backward pass as fast as a processor allows: half precision, and a thread for each part of a batch."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Literal, TypeVar, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EncoderPrecision = Literal["auto", "fp32", "bf16"]
STRIDES = (4, 2, 1)
KINDS = (nn.Conv2d, nn.ReLU, nn.Conv2d, nn.ReLU, nn.Conv2d, nn.ReLU, nn.Flatten, nn.Linear, nn.ReLU)
SMALLEST_PART = 32  # below so many frames a second thread costs more than it saves

Argument = TypeVar("Argument")
Result = TypeVar("Result")


def dtype_of(precision: EncoderPrecision) -> torch.dtype:
    """Give the dtype that a precision names; "auto", which a run replaces by what it measures to be fastest, is float32.

    Raises:
        ValueError: when there is no such precision.
    """
    if precision not in get_args(EncoderPrecision):
        raise ValueError(f"precision: expected auto, fp32 or bf16, got {precision!r}")
    return torch.bfloat16 if precision == "bf16" else torch.float32


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep PyTorch's own threads out for a while: they wait in a loop for work and so take the cores of ours."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@functools.cache
def _helpers(number: int) -> ThreadPoolExecutor:
    # A new thread starts with PyTorch's own number of threads, so that each has to be told.
    return ThreadPoolExecutor(number, thread_name_prefix="frames", initializer=lambda: torch.set_num_threads(1))


def in_threads(function: Callable[[Argument], Result], arguments: Sequence[Argument]) -> list[Result]:
    """Apply a function to each argument, all at once in threads of one core each; PyTorch's operations let go of Python's lock."""
    with one_thread():
        if len(arguments) == 1:
            return [function(arguments[0])]
        waiting = [_helpers(len(arguments) - 1).submit(function, argument) for argument in arguments[1:]]
        return [function(arguments[0]), *(future.result() for future in waiting)]


def prepare_weights(weights: Sequence[Tensor], dtype: torch.dtype) -> list[Tensor]:
    """Copy weights into the dtype and memory layout that the convolutions run in; the frames' 1/255 goes into the first kernel."""
    prepared = [weights[0].detach() / 255.0, *(weight.detach() for weight in weights[1:])]
    return [w.to(dtype, memory_format=torch.channels_last) if w.ndim == 4 else w.to(dtype) for w in prepared]


def serves(layers: nn.Sequential) -> bool:
    """Whether `encode_frames` computes what some layers do: those of the Nature network, with nothing in their way.

    Args:
        layers: those that take the frames.
    """
    if tuple(map(type, layers)) != KINDS or any(layer._forward_hooks or layer._forward_pre_hooks for layer in layers):
        return False
    forms = [(one.stride, one.padding, one.dilation, one.groups) for one in layers if isinstance(one, nn.Conv2d)]
    learned = all(layer.bias is not None for layer in layers if isinstance(layer, (nn.Conv2d, nn.Linear)))
    return learned and forms == [((stride, stride), (0, 0), (1, 1), 1) for stride in STRIDES]


def encode_frames(frames: Tensor, weights: list[Tensor], dtype: torch.dtype, prepared: list[Tensor] | None = None) -> Tensor:
    """Encode uint8 frames [B, 84, 84, C] to [B, D] by the way that suits the weights' device.

    Args:
        frames: moved to the weights' device.
        weights: kernel and bias of each layer.
        dtype: dtype of the inner layers; autocast's own inside `torch.autocast`.
        prepared: what `prepare_weights` gives, or None; without effect but on a CPU.
    """
    device, own = weights[0].device, weights[0].dtype
    frames = frames.to(device)
    if torch.is_autocast_enabled(device.type):
        dtype, prepared = torch.get_autocast_dtype(device.type), None
    if device.type != "cpu" or torch.compiler.is_compiling():
        with torch.autocast(device.type, dtype, enabled=dtype != own):
            return encode_plainly(frames, weights).to(own)
    with torch.autocast("cpu", enabled=False):
        return EncodeFrames.apply(frames, dtype if own == torch.float32 else own, torch.get_num_threads(), prepared, *weights)  # type: ignore[no-any-return]


class EncodeFrames(torch.autograd.Function):
    """Three convolutions and a linear layer, each with a rectifier, with a backward pass written out.

    `EncodeFrames.apply(frames, dtype, num_parts, prepared, *weights)` takes uint8 frames [B, 84, 84, C], the dtype of
    the inner layers, the largest number of threads, `prepare_weights(weights, dtype)` or None, and the kernel and bias of each
    layer; it gives [B, D] in the weights' own format.

    The batch is cut into one part a thread, which goes through all layers by itself. That is faster than threads within each
    layer, whose gradients of kernels scale badly over them, and does not stall where another process holds a core. Sums over
    a part run in float32; the parts' gradients are added in float32.

    Source: the network: Mnih et al. 2015 (Human-level control through deep reinforcement learning), methods (model architecture).
    """

    @staticmethod
    def forward(ctx: Any, frames: Tensor, dtype: torch.dtype, num_parts: int, prepared: list[Tensor] | None, *weights: Tensor) -> Tensor:
        """Encode each part of the batch."""
        inner = prepare_weights(weights, dtype) if prepared is None else prepared
        parts = frames.chunk(max(1, min(num_parts, frames.shape[0] // SMALLEST_PART)))
        layers = in_threads(functools.partial(_forward, weights=inner), parts)
        if any(weight.requires_grad for weight in weights):
            ctx.save_for_backward(frames, *weights)
            ctx.layers, ctx.inner = layers, inner
        return torch.cat([outputs[-1] for outputs in layers]).to(weights[0].dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        """Give the gradient of each weight."""
        frames, *weights = ctx.saved_tensors
        if torch.is_grad_enabled():  # somebody wants to differentiate the gradient, as TRPO does
            output = encode_plainly(frames, weights)
            return (None, None, None, None, *torch.autograd.grad(output, weights, gradient, create_graph=True))
        sizes = [outputs[-1].shape[0] for outputs in ctx.layers]
        work = list(zip(ctx.layers, gradient.split(sizes), strict=True))
        parts = in_threads(functools.partial(_backward, weights=ctx.inner), work)
        sums = [functools.reduce(torch.add, (part.to(gradient.dtype) for part in column)) for column in zip(*parts, strict=True)]
        return (None, None, None, None, sums[0] / 255.0, *sums[1:])


def encode_plainly(frames: Tensor, weights: Sequence[Tensor]) -> Tensor:
    """Encode uint8 frames [B, 84, 84, C] with PyTorch's own operations, in the weights' dtype: the meaning of `EncodeFrames`."""
    x = frames.permute(0, 3, 1, 2).to(weights[0].dtype) / 255.0
    for stride, kernel, bias in zip(STRIDES, weights[0:6:2], weights[1:6:2], strict=True):
        x = F.conv2d(x, kernel, bias, stride).relu()
    return F.linear(x.flatten(1), weights[6], weights[7]).relu()


@torch.no_grad()
def _forward(frames: Tensor, weights: list[Tensor]) -> list[Tensor]:
    """Give the input and what each layer puts out, for one part."""
    # Channels last in memory: the convolutions' own order for small channel counts, so that nothing is rearranged on the way.
    outputs = [frames.to(weights[0].dtype).permute(0, 3, 1, 2)]
    for stride, kernel, bias in zip(STRIDES, weights[0:6:2], weights[1:6:2], strict=True):
        outputs.append(F.conv2d(outputs[-1], kernel, bias, stride).relu_())
    outputs.append(outputs[-1].flatten(1))
    outputs.append(F.linear(outputs[-1], weights[6], weights[7]).relu_())
    return outputs


@torch.no_grad()
def _backward(work: tuple[list[Tensor], Tensor], weights: list[Tensor]) -> list[Tensor]:
    """Give the gradients of the weights for one part, from its layers' outputs and the gradient of the last."""
    outputs, gradient = work
    gradient = _through_rectifier(gradient.to(outputs[-1].dtype), outputs[-1])
    gradients = [gradient.t() @ outputs[-2], gradient.sum(0)]
    gradient = (gradient @ weights[6]).view_as(outputs[3]).contiguous(memory_format=torch.channels_last)
    for layer in (2, 1, 0):
        gradient = _through_rectifier(gradient, outputs[layer + 1])
        stride, kernel = STRIDES[layer], weights[2 * layer]
        wanted = [layer > 0, True, True]  # nobody asks how the frames should change
        gradient, of_kernel, of_bias = torch.ops.aten.convolution_backward(
            gradient, outputs[layer], kernel, [kernel.shape[0]], [stride] * 2, [0, 0], [1, 1], False, [0, 0], 1, wanted
        )
        gradients = [of_kernel, of_bias, *gradients]
    return gradients


def _through_rectifier(gradient: Tensor, output: Tensor) -> Tensor:
    """Let a gradient through where the rectifier's output is positive."""
    return torch.ops.aten.threshold_backward(gradient, output, 0)
