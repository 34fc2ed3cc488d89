"""The weights that learn, and what changes with them: AdamW's moments, gradients of all processes, a moving average, parts of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from seqrl import distributed
from seqrl.adamw import AdamW, global_norm
from seqrl.optimiser_config import OptimiserConfig
from seqrl.sharding import Shards
from seqrl.weight_average import WeightAverage


class Weights:
    """A policy's weights as an optimiser changes them, whole in each process or shared out over all.

    Args:
        policy: on its device; frozen parameters stay as they are.
        config: of AdamW and of the average.

    Attributes:
        adamw: moves what this process keeps of the weights.
        average: the moving average of the same; None without `ema_decay`.

    Raises:
        ValueError: when the policy has no parameter to train.
    """

    def __init__(self, policy: nn.Module, config: OptimiserConfig) -> None:
        trainable = [parameter for parameter in policy.parameters() if parameter.requires_grad]
        if not trainable:
            raise ValueError("the policy has no trainable parameter; was everything frozen?")
        distributed.broadcast_weights(policy)
        self._config = config
        self._shards: Shards | None = None
        self._take_up(trainable)

    def _take_up(self, parameters: Sequence[nn.Parameter]) -> None:
        config = self._config
        self.adamw = AdamW(parameters, weight_decay=config.weight_decay, beta1=config.beta1, beta2=config.beta2, epsilon=config.epsilon)
        self.average = WeightAverage(parameters, config.ema_decay) if config.ema_decay else None

    def shard(self, policy: nn.Module) -> None:
        """Keep this process's part alone from now on, see `seqrl.sharding`; every process must call it."""
        if self._shards is None:
            state = self.state_dict()
            self._shards = Shards(policy)
            self._take_up(self._shards.own)
            self.load_state_dict(state)

    def _whole(self) -> list[nn.Parameter]:
        """Give the whole parameters in the order of AdamW's, of which it has parts where they are shared out."""
        return self.adamw.parameters if self._shards is None else self._shards.whole_of(self.adamw.parameters)

    def clear_gradients(self) -> None:
        """Forget the gradients, of the whole and of the parts."""
        self.adamw.clear_gradients()
        if self._shards is not None:
            for parameter in self._whole():
                parameter.grad = None

    def average_gradients(self, *, broken: bool) -> bool:
        """Average over the processes what each has accumulated, unless a loss of any is not finite, and say whether one is.

        A parameter that none has a gradient for keeps none.

        Args:
            broken: whether a loss of this process is not finite.
        """
        if distributed.num_processes() == 1:
            return broken
        parameters = self._whole()
        flags = torch.tensor([*(float(p.grad is not None) for p in parameters), float(broken)], device=parameters[0].device)
        *has_gradient, share_broken = distributed.mean(flags).tolist()
        if share_broken:
            return True
        used = [place for place, share in enumerate(has_gradient) if share]
        if self._shards is not None:
            self._shards.average([self.adamw.parameters[place] for place in used], [parameters[place] for place in used])
            return False
        for parameter in (parameters[place] for place in used):
            parameter.grad = distributed.mean(torch.zeros_like(parameter) if parameter.grad is None else parameter.grad)
        return False

    def gradient_norm(self) -> Tensor:
        """Give the L2 norm [] of all gradients."""
        norm = global_norm(self.adamw.gradients())
        return norm if self._shards is None else distributed.summed(norm.square()).sqrt()

    def step(self, learning_rate: float, divisor: Tensor | None, scaler: Any = None) -> None:
        """Move the weights along the gradients and clear these.

        Args:
            learning_rate: of this step.
            divisor: [] divides the gradients; None for 1.
            scaler: torch's, with fp16.
        """
        if scaler is None:
            self.adamw.step(learning_rate, divisor)
        else:
            scaler.step(self.adamw, learning_rate, divisor)
        self.clear_gradients()
        if self._shards is not None:
            self._shards.changed()
        if self.average is not None:
            self.average.step()

    def state_dict(self) -> dict[str, Any]:
        """Give AdamW's moments and the average, of the whole."""
        state = {"adamw": self.adamw.state_dict()} | ({} if self.average is None else {"average": self.average.state_dict()})
        return state if self._shards is None else self._shards.changed_state(state, self._shards.gather, self.adamw)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a saved state."""
        if self._shards is not None:
            state = self._shards.changed_state(state, self._shards.part, self.adamw)
        self.adamw.load_state_dict(state["adamw"])
        if self.average is not None:
            self.average.load_state_dict(state.get("average"))
