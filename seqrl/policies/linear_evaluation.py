"""log p(a), entropy and mean log-probability of a linear head, some words at a time, with their derivatives written out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

# A piece of the logits fits a core's cache: exponentials then cost half, and the matrix products lose nothing. Other devices want
# larger calls.
PIECE_BYTES = {"cpu": 2 << 20}
OTHER_PIECE_BYTES = 64 << 20
FEWEST_WORDS = 128
# Probabilities of up to this size are kept for the backward pass; beyond, it computes them again.
KEPT_BYTES = 32 << 20


def evaluate_linear(
    features: Tensor, weight: Tensor, bias: Tensor | None, temperature: float, action: Tensor, shares: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Give log p(a), H and sum_k u_k log p_k, [M] each, in float32, or in float64 where the features are.

    With z = (W x + b) / temperature and p = softmax(z): log p_a = z_a - log sum_k exp z_k, H = -sum_k p_k log p_k. The words are taken
    piece by piece, each with a maximum of its own, so that W is read once a pass and its gradient is written once:

        dz = g_a (1[a] - p) - g_H p (log p + H) + g_u (u - p)

    with the gradients g of the three numbers. Nothing of the size [M, V] exists beyond `KEPT_BYTES`.

    Args:
        features: x [M, D] float.
        weight: W [V, D].
        bias: b [V] finite, or None.
        temperature: positive.
        action: a [M] long.
        shares: u [V], adds up to 1.

    Source: Milakov & Gimelshein 2018 (Online normalizer calculation for softmax); the maxima are joined in the end.
    """
    device = features.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else features.dtype
    # Inside of `forward` torch no longer says whether anybody will ask for a gradient.
    learns = torch.is_grad_enabled()
    with torch.autocast(device, enabled=False):
        x = features if temperature == 1 else features / temperature
        offset = bias if bias is None or temperature == 1 else bias / temperature
        return _Linear.apply(x, weight, offset, action, shares, dtype, learns)  # type: ignore[no-untyped-call, no-any-return]


class _Linear(Function):
    @staticmethod
    def forward(
        context: Any, x: Tensor, weight: Tensor, bias: Tensor | None, action: Tensor, shares: Tensor, dtype: torch.dtype, learns: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        pieces = _Pieces(x, weight, bias, action, dtype)
        keeps = learns and any(context.needs_input_grad) and pieces.bytes_of_all <= KEPT_BYTES
        columns, kept, chosen = [], [], pieces.new(x.shape[0])
        for piece in pieces:
            z = pieces.logits(piece)
            top = z.amax(dim=1, keepdim=True)
            z.sub_(top)
            rows, words = pieces.actions(piece)
            chosen[rows] = z[rows, words] + top[rows, 0]
            likely = torch.exp(z, out=pieces.new(*z.shape) if keeps else pieces.room(1, piece))
            columns.append(torch.stack([top[:, 0], likely.sum(dim=1), z.mul_(likely).sum(dim=1)]))
            if keeps:
                kept.append(likely)
        tops, sums, dots = torch.stack(columns, dim=2)
        top = tops.amax(dim=1, keepdim=True)
        scale = (tops - top).exp_()
        total = (scale * sums).sum(dim=1)
        log_total = total.log()
        entropy = log_total - (scale * (dots + (tops - top) * sums)).sum(dim=1) / total
        normaliser = top[:, 0] + log_total
        mean = torch.mv(x.to(shares.dtype), shares @ weight.to(shares.dtype)) - normaliser
        if bias is not None:
            mean += shares @ bias.to(shares.dtype)
        context.save_for_backward(x, weight, bias, action, shares, normaliser, entropy, tops, *kept)
        context.dtype = dtype
        context.set_materialize_grads(False)
        return chosen - normaliser, entropy, mean

    @staticmethod
    def backward(context: Any, *gradients: Any) -> Any:
        x, weight, bias, action, shares, normaliser, entropy, tops, *kept = context.saved_tensors
        if torch.is_grad_enabled():  # somebody differentiates twice
            return *_twice(context, (x, weight, bias), action, shares, gradients), *[None] * 4
        for_chosen, for_entropy, for_mean = gradients
        pieces = _Pieces(x, weight, bias, action, context.dtype)
        wants_x, wants_weight, wants_bias = context.needs_input_grad[:3]
        to_x = pieces.new(*x.shape).zero_() if wants_x else None
        to_weight = torch.empty_like(weight) if wants_weight else None
        to_bias = torch.empty_like(bias) if wants_bias else None
        for number, piece in enumerate(pieces):
            if kept:
                shift = (tops[:, number] - normaliser).exp()
                likely = torch.mul(kept[number], shift.unsqueeze(1), out=pieces.room(0, piece))
            else:
                likely = pieces.logits(piece).sub_(normaliser.unsqueeze(1)).exp_()
            grad = _logit_gradient(likely, entropy, gradients, pieces.room(1, piece))
            if for_mean is not None:
                grad.addcmul_(for_mean.unsqueeze(1), shares[piece])
            if for_chosen is not None:
                rows, words = pieces.actions(piece)
                grad[rows, words] += for_chosen[rows]
            pieces.add_gradients(piece, grad, to_x, to_weight, to_bias)
        return None if to_x is None else to_x.to(x.dtype), to_weight, to_bias, *[None] * 4


def _logit_gradient(likely: Tensor, entropy: Tensor, gradients: Any, spare: Tensor) -> Tensor:
    """Turn p [M, v] in place into -p (g_a + g_u + g_H (log p + H)); `spare` is of its shape."""
    for_chosen, for_entropy, for_mean = gradients
    scale = torch.zeros_like(entropy)
    for gradient in (for_chosen, for_mean, None if for_entropy is None else for_entropy * entropy):
        if gradient is not None:
            scale -= gradient
    if for_entropy is None:
        return likely.mul_(scale.unsqueeze(1))
    # Where p is 0, so is p log p.
    logp = torch.clamp(likely, min=torch.finfo(likely.dtype).tiny, out=spare).log_()
    return likely.mul_(logp.mul_(for_entropy.unsqueeze(1)).neg_().add_(scale.unsqueeze(1)))


def _twice(context: Any, inputs: tuple[Tensor, Tensor, Tensor | None], action: Tensor, shares: Tensor, gradients: Any) -> list[Any]:
    """Give the gradients with a graph of their own, from all logits at once."""
    x, weight, bias = inputs
    z = torch.nn.functional.linear(x.to(context.dtype), weight.to(context.dtype), None if bias is None else bias.to(context.dtype))
    logp = z.to(shares.dtype).log_softmax(dim=1)
    numbers = logp.gather(1, action.unsqueeze(1)).squeeze(1), -(logp.exp() * logp).sum(dim=1), logp @ shares
    pairs = [(number, gradient) for number, gradient in zip(numbers, gradients, strict=True) if gradient is not None]
    wanted = [tensor for tensor, needed in zip(inputs, context.needs_input_grad, strict=False) if needed and tensor is not None]
    found = iter(torch.autograd.grad([n for n, _ in pairs], wanted, [g for _, g in pairs], create_graph=True))
    return [next(found) if needed else None for needed in context.needs_input_grad[:3]]


class _Pieces:
    """Slices of the words, with room for one piece of logits and for one more of its size, used again and again."""

    def __init__(self, x: Tensor, weight: Tensor, bias: Tensor | None, action: Tensor, dtype: torch.dtype) -> None:
        self.number_type = torch.promote_types(dtype, torch.float32)
        self.x, self.weight, self.bias, self.dtype = x.to(dtype), weight, bias, dtype
        rows, words = max(1, x.shape[0]), weight.shape[0]
        bytes_of_word = rows * self.number_type.itemsize
        self.bytes_of_all = words * bytes_of_word
        largest = max(FEWEST_WORDS, PIECE_BYTES.get(x.device.type, OTHER_PIECE_BYTES) // bytes_of_word)
        self.size = -(-words // -(-words // largest))
        self.starts = range(0, words, self.size)
        self.rooms = tuple(self.new(x.shape[0] * self.size) for _ in range(2))
        self.order = action.argsort()
        self.action = action[self.order]
        bounds = torch.arange(0, words + self.size, self.size, device=action.device)
        self.bounds = torch.searchsorted(self.action, bounds).tolist()

    def __iter__(self) -> Iterator[slice]:
        return (slice(start, min(start + self.size, self.weight.shape[0])) for start in self.starts)

    def new(self, *shape: int) -> Tensor:
        """Give numbers that are not set."""
        return torch.empty(shape, dtype=self.number_type, device=self.x.device)

    def room(self, which: int, piece: slice) -> Tensor:
        """Give the first or the second room, [M, v], for the words of a piece."""
        shape = (self.x.shape[0], piece.stop - piece.start)
        return self.rooms[which][: shape[0] * shape[1]].view(shape)

    def logits(self, piece: slice) -> Tensor:
        """Write W x + b of a piece's words to the first room."""
        z, words = self.room(0, piece), self.weight[piece].t().to(self.dtype)
        if self.dtype == self.number_type:
            torch.mm(self.x, words, out=z)
        else:
            z.copy_(self.x @ words)
        return z if self.bias is None else z.add_(self.bias[piece])

    def actions(self, piece: slice) -> tuple[Tensor, Tensor]:
        """Find the rows whose action is one of a piece's words, and which of these."""
        number = piece.start // self.size
        inside = slice(self.bounds[number], self.bounds[number + 1])
        return self.order[inside], self.action[inside] - piece.start

    def add_gradients(self, piece: slice, grad: Tensor, to_x: Tensor | None, to_weight: Tensor | None, to_bias: Tensor | None) -> None:
        """Add a piece's share to the gradient of x, and write those of its weights and biases."""
        if to_bias is not None:
            to_bias[piece] = grad.sum(dim=0)
        grad = grad.to(self.dtype)
        if to_weight is not None:
            if to_weight.dtype == self.dtype:
                torch.mm(grad.t(), self.x, out=to_weight[piece])
            else:
                to_weight[piece] = grad.t() @ self.x
        if to_x is not None:
            words = self.weight[piece].to(self.dtype)
            if to_x.dtype == self.dtype:
                to_x.addmm_(grad, words)
            else:
                to_x += grad @ words
