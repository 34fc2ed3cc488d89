"""The moving average of a policy's weights, which is evaluated in place of the weights that learn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn


class WeightAverage:
    """a_t = d_t a_{t-1} + (1 - d_t) w_t with d_t = min(d, (1 + t) / (10 + t)), after each optimiser step t = 1, 2, ...

    A policy that is learned from few data swings from step to step around what it has learned; the average of its weights does not, and
    scores better. The weights that learn, and with which rows are sampled, stay as they are.

    Args:
        parameters: what learns; averaged from their present values on.
        decay: d, between 0 and 1; the average reaches back over some 1 / (1 - d) steps.

    Source: Polyak & Juditsky 1992 (Acceleration of stochastic approximation by averaging); exponential: Tarvainen & Valpola 2017 (Mean
    teachers are better role models). The first steps' smaller decay is that of TensorFlow's `ExponentialMovingAverage`.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], decay: float) -> None:
        self.parameters: list[Tensor] = list(parameters)
        self.decay = decay
        self.num_steps = 0
        self._average = _copies(self.parameters)
        self._learning: list[Tensor] | None = None

    @torch.no_grad()
    def step(self) -> None:
        """Take the present weights into the average."""
        self.num_steps += 1
        decay = min(self.decay, (1 + self.num_steps) / (10 + self.num_steps))
        torch._foreach_lerp_(self._average, self.parameters, 1 - decay)

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Let the policy have the average for a while; it gets back what it learns with, also after an exception."""
        if self._learning is not None:
            yield
            return
        self._learning = _copies(self.parameters)
        _write(self.parameters, self._average)
        try:
            yield
        finally:
            _write(self.parameters, self._learning)
            self._learning = None

    def state_dict(self) -> dict[str, Any]:
        """Give the average, the weights that learn, which a checkpoint of a policy in use does not hold, and the number of steps."""
        learning = self.parameters if self._learning is None else self._learning
        return {"num_steps": self.num_steps, "average": _copies(self._average), "learning": _copies(learning)}

    def load_state_dict(self, state: dict[str, Any] | None) -> None:
        """Go back to a saved state; without one begin with the present weights.

        Raises:
            ValueError: when it is of other weights.
        """
        if state is None:
            state = {"num_steps": 0, "average": _copies(self.parameters), "learning": self.parameters}
        shapes = [[tuple(tensor.shape) for tensor in tensors] for tensors in (self.parameters, state["average"], state["learning"])]
        if shapes != shapes[:1] * 3:
            said = f"expected {len(shapes[0])} weights of the policy's shapes, got {len(shapes[1])}; is it the same policy?"
            raise ValueError(f"ema_decay: {said}")
        self.num_steps = int(state["num_steps"])
        _write(self._average, state["average"])
        _write(self.parameters, state["learning"])


def averaged_weights(trainer: Any) -> AbstractContextManager[None]:
    """Let a trainer's policy have the average of its weights for a while, where `optimiser.ema_decay` asks for one.

    Args:
        trainer: see `seqrl.protocols.Trainer`.
    """
    average = average_of(trainer)
    return nullcontext() if average is None else average.in_use()


def average_of(trainer: Any) -> WeightAverage | None:
    """Give the average that a trainer's optimiser keeps; None where it keeps none."""
    found: WeightAverage | None = getattr(getattr(getattr(trainer, "optimiser", None), "weights", None), "average", None)
    return found


def _copies(tensors: Sequence[Tensor]) -> list[Tensor]:
    return [tensor.detach().clone() for tensor in tensors]


@torch.no_grad()
def _write(into: Sequence[Tensor], tensors: Sequence[Tensor]) -> None:
    # Copied and not exchanged: whoever keeps what was computed with a weight goes by its place and version.
    torch._foreach_copy_(list(into), list(tensors))
