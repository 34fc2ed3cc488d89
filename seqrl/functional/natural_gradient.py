"""What a natural gradient is made of: products with the Fisher matrix, and a solver that needs no more than these."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def fisher_product(divergence: Tensor, parameters: Sequence[Tensor]) -> Callable[[Tensor], Tensor]:
    """Give the product of the Fisher matrix with a vector, by differentiating the KL twice.

    F v = grad (grad KL . v), taken where both policies are the same, where the KL's second derivatives are the Fisher matrix.

    Args:
        divergence: [] mean KL(old policy || policy), with its graph.
        parameters: what to differentiate by, N numbers in all.

    Returns:
        v [N] to F v [N].

    Source: Schulman et al. 2015 (Trust region policy optimization), appendix C.1.
    """
    grad = torch.autograd.grad(divergence, parameters, create_graph=True, allow_unused=True, materialize_grads=True)

    def product(vector: Tensor) -> Tensor:
        with torch.enable_grad():
            along = torch.stack([(part * v).sum() for part, v in zip(grad, split_like(vector, parameters), strict=True)]).sum()
        return flat_gradient(along, parameters, retain_graph=True)

    return product


def flat_gradient(number: Tensor, parameters: Sequence[Tensor], *, retain_graph: bool = False) -> Tensor:
    """Differentiate a number by parameters and give one vector [N]; 0 for those that do not matter."""
    parts = torch.autograd.grad(number, parameters, retain_graph=retain_graph, allow_unused=True, materialize_grads=True)
    return torch.cat([part.flatten() for part in parts])


def split_like(vector: Tensor, parameters: Sequence[Tensor]) -> list[Tensor]:
    """Cut a vector [N] into the shapes of parameters."""
    parts = vector.split([parameter.numel() for parameter in parameters])
    return [part.view_as(parameter) for part, parameter in zip(parts, parameters, strict=True)]


@torch.no_grad()
def conjugate_gradient(
    product: Callable[[Tensor], Tensor], right: Tensor, iterations: int, *, tolerance: float = 1e-10
) -> tuple[Tensor, float]:
    """Solve A x = b for a symmetric positive definite A that is known by its products only.

    Args:
        product: x to A x, [N] to [N].
        right: b, [N].
        iterations: most of them; N are enough in exact arithmetic.
        tolerance: stop once |b - A x|^2 is below.

    Returns:
        (x [N], |b - A x| as far as rounding tells it).

    Source: Hestenes & Stiefel 1952 (Methods of conjugate gradients for solving linear systems).
    """
    x, residual = torch.zeros_like(right), right.clone()
    direction, square = right.clone(), right @ right
    for _ in range(iterations):
        if float(square) < tolerance:
            break
        image = product(direction)
        length = square / (direction @ image)
        x = x + length * direction
        residual = residual - length * image
        next_square = residual @ residual
        direction = residual + (next_square / square) * direction
        square = next_square
    return x, float(square.sqrt())
