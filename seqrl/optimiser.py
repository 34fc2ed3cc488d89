"""From a loss to changed weights: AdamW, schedule, clipping, accumulation, precision and processes, the same for all trainers."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from seqrl.diagnostics import describe_update
from seqrl.trajectory import Evaluation, Trajectory

LossTerms: TypeAlias = Callable[[slice, Trajectory, Evaluation], dict[str, Tensor]]


@dataclass
class OptimiserConfig:
    """Settings of AdamW and of what surrounds it.

    Attributes:
        learning_rate: peak step size.
        weight_decay: decoupled weight decay; biases, norms and other vectors are spared.
        beta1: decay of the gradient average.
        beta2: decay of the squared-gradient average.
        epsilon: added to the root of the squared-gradient average.
        max_grad_norm: gradients are scaled down to this global L2 norm; 0 switches clipping off.
        schedule: shape of the learning rate after the warm-up.
        warmup_updates: updates over which the learning rate rises from 0.
        final_fraction: learning rate at the end of a linear or cosine schedule, as a share of the peak.
        accumulation: parts into which a batch is cut to save memory; the result is the same as without.
        precision: number format of the forward pass; "bf16" and "fp16" through accelerate's autocast.
        compile: wrap the policy's forward in `torch.compile`.
    """

    learning_rate: float = 3e-4
    weight_decay: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    max_grad_norm: float = 1.0
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    warmup_updates: int = 0
    final_fraction: float = 0.0
    accumulation: int = 1
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    compile: bool = False

    def __post_init__(self) -> None:
        if self.learning_rate <= 0:
            raise ValueError(f"learning_rate: expected a positive number, got {self.learning_rate}")
        if self.accumulation < 1:
            raise ValueError(f"accumulation: expected at least 1 part, got {self.accumulation}")


def schedule_factor(update: int, config: OptimiserConfig, num_updates: int) -> float:
    """Share of the peak learning rate at an update.

    Warm-up: (update + 1) / warmup_updates. Then with p the share of the remaining updates that are done, linear:
    1 - p (1 - f), cosine: f + (1 - f) (1 + cos(pi p)) / 2, where f is `final_fraction`.

    Args:
        update: number of the update, from 0.
        config: see `OptimiserConfig`.
        num_updates: where the schedule ends.
    """
    if update < config.warmup_updates:
        return (update + 1) / config.warmup_updates
    progress = min(1.0, (update - config.warmup_updates) / max(1, num_updates - config.warmup_updates))
    if config.schedule == "linear":
        return 1 - progress * (1 - config.final_fraction)
    if config.schedule == "cosine":
        return config.final_fraction + (1 - config.final_fraction) * (1 + math.cos(math.pi * progress)) / 2
    return 1.0


class Optimiser:
    """Evaluates a policy on a trajectory, part by part, and applies the gradients of the losses that a trainer names.

    A trainer calls `minimise` as often as its algorithm says (PPO: once a minibatch), and `finish_update` once at the end
    of its update, which moves the learning-rate schedule on.

    Args:
        policy: the module to optimise; frozen parameters stay as they are.
        config: see `OptimiserConfig`.
        num_updates: how many trainer's updates the run has, for the schedule.

    Raises:
        ValueError: when the policy has no parameter to train.
    """

    def __init__(self, policy: nn.Module, config: OptimiserConfig, *, num_updates: int) -> None:
        from accelerate import Accelerator  # slow to import
        from accelerate.state import AcceleratorState

        trainable = [parameter for parameter in policy.parameters() if parameter.requires_grad]
        if not trainable:
            raise ValueError("the policy has no trainable parameter; was everything frozen?")
        self.config = config
        self.num_updates = num_updates
        self.num_finished = 0
        self._parameters = trainable
        groups = [
            {"params": [p for p in trainable if p.ndim >= 2], "weight_decay": config.weight_decay},
            {"params": [p for p in trainable if p.ndim < 2], "weight_decay": 0.0},
        ]
        adamw = torch.optim.AdamW(
            [group for group in groups if group["params"]],
            lr=config.learning_rate,
            betas=(config.beta1, config.beta2),
            eps=config.epsilon,
        )
        # accelerate shares one precision among all accelerators of a process; without this a second run could not choose another.
        AcceleratorState._reset_state()
        self._accelerator = Accelerator(mixed_precision={"fp32": "no"}.get(config.precision, config.precision))
        policy.to(self._accelerator.device)
        # A prepared module keeps its first precision for good, and a policy may meet several trainers; so the module is wrapped
        # only where there are several processes, and the precision is chosen around each forward pass.
        self._module = self._accelerator.prepare(policy) if self._accelerator.num_processes > 1 else policy
        self._adamw = self._accelerator.prepare(adamw)
        if config.compile:
            self._module = torch.compile(self._module, dynamic=True)

    @property
    def device(self) -> torch.device:
        """Where the policy's weights live."""
        return self._accelerator.device

    @property
    def learning_rate(self) -> float:
        """The learning rate of the present update."""
        return self.config.learning_rate * schedule_factor(self.num_finished, self.config, self.num_updates)

    def count(self, mask: Tensor) -> Tensor:
        """Number of True entries, averaged over the processes, so that gradients averaged by DDP add up to the global mean.

        Args:
            mask: bool, any shape, of the whole batch.
        """
        return self._accelerator.reduce(mask.sum().float(), reduction="mean").clamp(min=1)

    def minimise(self, trajectory: Trajectory, loss_terms: LossTerms) -> dict[str, float]:
        """Take one optimiser step on the sum of the loss terms.

        Args:
            trajectory: the rows to learn from.
            loss_terms: takes (rows, part, evaluation), where `rows` is the slice of the trajectory that `part` is, and
                gives the named losses of the part, divided by the whole batch's counts.

        Returns:
            The loss terms, entropy and KL to the sampling policy, gradient norm and learning rate.

        Raises:
            ValueError: when a loss or gradient is not finite; the weights are untouched.
        """
        mask = trajectory.mask if trajectory.imitate is None else trajectory.mask | trajectory.imitate
        count = self.count(mask)
        sums: dict[str, float] = {}
        size = math.ceil(trajectory.batch_size / self.config.accumulation)
        for start in range(0, trajectory.batch_size, size):
            rows = slice(start, start + size)
            part = trajectory.select_rows(rows)
            with self._accelerator.autocast():
                evaluation: Evaluation = self._module(part)
            terms = loss_terms(rows, part, evaluation)
            if evaluation.aux_loss is not None:
                terms["loss/auxiliary"] = evaluation.aux_loss * (part.batch_size / trajectory.batch_size)
            self._backward(torch.stack(list(terms.values())).sum())
            numbers = {key: float(term.detach()) for key, term in terms.items()} | describe_update(part, evaluation, count)
            sums = {key: sums.get(key, 0.0) + number for key, number in numbers.items()}
        return sums | self._step()

    def _backward(self, loss: Tensor) -> None:
        """Add the gradients of a part's loss."""
        if not bool(torch.isfinite(loss)):
            self._adamw.zero_grad(set_to_none=True)
            raise ValueError(
                f"the loss is {float(loss.detach())} at update {self.num_finished}; expected a finite number. "
                "Look at the logged rewards and gradient norms, lower the learning rate, or resume from the last checkpoint"
            )
        self._accelerator.backward(loss)

    def _step(self) -> dict[str, float]:
        """Clip, apply and clear the gradients."""
        rate = self.learning_rate
        norm = float(self._accelerator.clip_grad_norm_(self._parameters, self.config.max_grad_norm or math.inf))
        if not math.isfinite(norm) and self.config.precision != "fp16":  # with fp16 the loss scaler skips such steps
            self._adamw.zero_grad(set_to_none=True)
            raise ValueError(
                f"the gradient norm is {norm} at update {self.num_finished}; lower the learning rate, or resume from the last checkpoint"
            )
        for group in self._adamw.param_groups:
            group["lr"] = rate
        self._adamw.step()
        self._adamw.zero_grad(set_to_none=True)
        return {"optimiser/grad_norm": norm, "optimiser/learning_rate": rate}

    def finish_update(self) -> None:
        """Move the learning-rate schedule on by one trainer's update."""
        self.num_finished += 1

    def state_dict(self) -> dict[str, Any]:
        """Give AdamW's averages, the number of finished updates and the loss scale."""
        state: dict[str, Any] = {"adamw": self._adamw.state_dict(), "num_finished": self.num_finished}
        if self._accelerator.scaler is not None:
            state["scaler"] = self._accelerator.scaler.state_dict()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a saved state."""
        self._adamw.load_state_dict(state["adamw"])
        self.num_finished = state["num_finished"]
        if self._accelerator.scaler is not None and "scaler" in state:
            self._accelerator.scaler.load_state_dict(state["scaler"])
