"""The layers of small MLPs, as fast as a processor allows: few operations, and one node of autograd's graph for all of them.

Weights come as a row: weight, bias, weight, bias, ...
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

FEW_ROWS = 64
MINUS_ONE = torch.tensor(-1.0)


def run_layers(x: Tensor, weights: Sequence[Tensor], activation: Callable[[Tensor], Tensor]) -> Tensor:
    """Run an MLP whose weights and biases come in turns."""
    for weight, bias in zip(weights[:-2:2], weights[1:-2:2], strict=True):
        x = activation(F.linear(x, weight, bias))
    return F.linear(x, weights[-2], weights[-1])


def tanh_layers(x: Tensor, weights: Sequence[Tensor]) -> tuple[list[Tensor], Tensor]:
    """Run an MLP with tanh on [N, num_inputs]; give the input of each layer, and the output.

    On some processors PyTorch's tanh is four times as slow as 2 sigmoid(2x) - 1, which is the same to 1e-7; a few rows are
    faster with the one call all the same.
    """
    inputs = [x]
    for weight, bias in zip(weights[:-2:2], weights[1:-2:2], strict=True):
        if x.shape[0] <= FEW_ROWS:
            inputs.append(F.linear(inputs[-1], weight, bias).tanh_())
        else:
            doubled = torch.addmm(bias, inputs[-1], weight.t(), beta=2, alpha=2)
            sigmoid = doubled.sigmoid_()
            inputs.append(torch.add(MINUS_ONE, sigmoid, alpha=2, out=sigmoid))
    return inputs, F.linear(inputs[-1], weights[-2], weights[-1])


def layer_gradients(
    gradient: Tensor, inputs: Sequence[Tensor], weights: Sequence[Tensor], *, for_input: bool = False
) -> tuple[list[Tensor], Tensor | None]:
    """Take the derivative of `tanh_layers`, from that of its output [N, num_outputs] and the inputs of each layer.

    Returns:
        The gradient of each weight, in the weights' order; that of the input where it is asked for.
    """
    found: list[Tensor] = []
    for index in reversed(range(len(inputs))):
        before = inputs[index]
        # x'g and its transpose instead of g'x: several times as fast where there are few inputs.
        found += [gradient.sum(dim=0), gradient.t() @ before if index else (before.t() @ gradient).t().contiguous()]
        if index or for_input:
            gradient = gradient @ weights[2 * index]
        if index:
            gradient = torch.ops.aten.tanh_backward(gradient, before)
    return found[::-1], gradient if for_input else None


def is_plain(x: Tensor, weight: Tensor) -> bool:
    """Whether a pass is one that `TanhMLPs` serves: on the processor, one number format, not compiled."""
    same = x.device.type == "cpu" and x.dtype == weight.dtype
    return same and not torch.is_autocast_enabled("cpu") and not torch.compiler.is_compiling()


class TanhMLPs(torch.autograd.Function):
    """Some MLPs over one input as one node of the graph, with the backward pass written out.

    For the small networks of control, autograd's work around each operation costs as much as the operation.
    """

    @staticmethod
    def forward(ctx: Any, lengths: Sequence[int], x: Tensor, *weights: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]
        """Give the output [N, num_outputs] of each MLP; `lengths` says how many of the weights are whose."""
        ctx.lengths = lengths
        ctx.set_materialize_grads(False)  # a critic that the loss leaves out costs nothing and gets no gradient
        inputs, outputs = [], []
        for part in _cut(weights, lengths):
            layer_inputs, output = tanh_layers(x, part)
            inputs += layer_inputs
            outputs.append(output)
        ctx.save_for_backward(x, *weights, *inputs)
        return tuple(outputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        """Give the gradients of the input and of each weight."""
        saved, lengths, num_weights = ctx.saved_tensors, ctx.lengths, sum(ctx.lengths)
        x, weights = saved[0], saved[1 : num_weights + 1]
        if torch.is_grad_enabled():  # a second derivative is wanted: leave it to autograd
            return None, *_differentiable_gradients(x, weights, lengths, gradients, ctx.needs_input_grad[1:])
        inputs = _cut(saved[num_weights + 1 :], [length // 2 for length in lengths])
        for_x: Tensor | None = None
        found: list[Tensor | None] = []
        for part, layer_inputs, gradient in zip(_cut(weights, lengths), inputs, gradients, strict=True):
            if gradient is None:
                found += [None] * len(part)
                continue
            ours, before = layer_gradients(gradient, layer_inputs, part, for_input=ctx.needs_input_grad[1])
            found += ours
            if before is not None:
                for_x = before if for_x is None else for_x + before
        return None, for_x, *found


def _differentiable_gradients(
    x: Tensor, weights: Sequence[Tensor], lengths: Sequence[int], gradients: Sequence[Tensor | None], needed: Sequence[bool]
) -> list[Tensor | None]:
    """Give what `TanhMLPs.backward` gives, as something that can be differentiated in its turn."""
    pairs = zip(_cut(weights, lengths), gradients, strict=True)
    outputs = [(run_layers(x, part, torch.tanh), gradient) for part, gradient in pairs if gradient is not None]
    inputs = [tensor for tensor, asked in zip((x, *weights), needed, strict=True) if asked]
    wanted, known = zip(*outputs, strict=True)
    given = iter(torch.autograd.grad(wanted, inputs, known, create_graph=True, allow_unused=True))
    return [next(given) if asked else None for asked in needed]


def _cut(tensors: Sequence[Tensor], lengths: Sequence[int]) -> list[Sequence[Tensor]]:
    """Cut a row of tensors into parts of the given lengths."""
    stops = list(itertools.accumulate(lengths))
    return [tensors[stop - length : stop] for stop, length in zip(stops, lengths, strict=True)]
