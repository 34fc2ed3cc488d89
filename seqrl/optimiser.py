"""From a loss to changed weights: AdamW, schedule, clipping, accumulation, precision and processes, the same for all trainers."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import torch
from torch import Tensor, nn

from seqrl.diagnostics import describe_update
from seqrl.reduce import masked_mean
from seqrl.trajectory import Evaluation, Trajectory

LossTerms: TypeAlias = Callable[[slice, Trajectory, Evaluation], dict[str, Tensor]]
Schedule = Literal["constant", "linear", "cosine"]
Precision = Literal["fp32", "bf16", "fp16"]


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
        precision: number format of the update's forward pass; "bf16" and "fp16" through accelerate's autocast. Sampling
            stays in fp32, so that PPO's ratios start a little off 1 (under 1 % with bf16).
        compile: wrap the policy's forward in `torch.compile`.
    """

    learning_rate: float = 3e-4
    weight_decay: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    max_grad_norm: float = 1.0
    schedule: Schedule = "constant"
    warmup_updates: int = 0
    final_fraction: float = 0.0
    accumulation: int = 1
    precision: Precision = "fp32"
    compile: bool = False

    def __post_init__(self) -> None:
        if self.learning_rate <= 0:
            raise ValueError(f"learning_rate: expected a positive number, got {self.learning_rate}")
        if self.accumulation < 1:
            raise ValueError(f"accumulation: expected at least 1 part, got {self.accumulation}")
        if self.max_grad_norm < 0 or self.weight_decay < 0 or self.warmup_updates < 0:
            given = f"{self.max_grad_norm}, {self.weight_decay} and {self.warmup_updates}"
            raise ValueError(f"max_grad_norm, weight_decay, warmup_updates: expected no negative numbers, got {given}")
        for name, choices in (("schedule", get_args(Schedule)), ("precision", get_args(Precision))):
            if getattr(self, name) not in choices:
                raise ValueError(f"{name}: expected one of {', '.join(choices)}, got {getattr(self, name)!r}")


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

    Under `torchrun` or `accelerate launch` each process collects rows of its own and takes the same optimiser steps as the
    others. Gradients, counts and what whitening needs are averaged, so that two processes with half of the rows each end
    with the weights of one process with all of them. Each process saves and loads the trainer's state for itself.

    Differs from: DistributedDataParallel, in averaging the gradients once a step, after the last part. It thereby allows
    processes with different numbers of parts, and parameters without a gradient, such as a critic that the loss leaves out.

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
        self._accelerator = Accelerator(
            mixed_precision={"fp32": "no"}.get(config.precision, config.precision),
            cpu=not torch.accelerator.is_available(),  # without it accelerate overlooks the other processes of a CPU run
        )
        policy.to(self._accelerator.device)
        self._broadcast_weights(policy)
        # A prepared module keeps its first precision for good, and a policy may meet several trainers; so it is not prepared,
        # and the precision is chosen around each forward pass.
        self._module: Callable[[Trajectory], Evaluation] = policy
        self._adamw = self._accelerator.prepare(adamw)
        if config.compile:
            # Tells the compiler what torch was told already, see seqrl/run/seeding.py.
            torch.use_deterministic_algorithms(
                torch.are_deterministic_algorithms_enabled(), warn_only=torch.is_deterministic_algorithms_warn_only_enabled()
            )
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
        """Number of True entries, averaged over the processes, so that averaged gradients are those of the global mean.

        Args:
            mask: bool, any shape, of the whole batch.
        """
        return self.mean(mask.sum().float()).clamp(min=1)

    def mean(self, x: Tensor) -> Tensor:
        """Average a tensor over the processes; every process must call it.

        Args:
            x: float, of one shape in all processes.
        """
        return self._accelerator.reduce(x, reduction="mean")

    def whiten(self, x: Tensor, mask: Tensor, *, epsilon: float = 1e-8) -> Tensor:
        """Scale the entries that count, those of all processes together, to mean 0 and unit deviation; others become 0.

        Args:
            x: any shape, float.
            mask: same shape, bool, True where it counts.
            epsilon: added to the deviation.
        """
        count = self.count(mask)
        centred = x - self.mean(masked_mean(x, mask, count))
        deviation = self.mean(masked_mean(centred.square(), mask, count)).sqrt()
        return torch.where(mask, centred / (deviation + epsilon), 0.0)

    def make_generator(self, seed: int) -> torch.Generator:
        """Give a generator on the policy's device, seeded differently in each process, so that no two sample the same rows.

        Args:
            seed: of process 0.
        """
        return torch.Generator(self.device).manual_seed(seed + 1_000_003 * self._accelerator.process_index)

    def minimise(self, trajectory: Trajectory, loss_terms: LossTerms) -> dict[str, float]:
        """Take one optimiser step on the sum of the loss terms.

        Args:
            trajectory: the rows to learn from.
            loss_terms: takes (rows, part, evaluation), where `rows` is the slice of the trajectory that `part` is, and
                gives the named losses of the part, divided by the whole batch's counts.

        Returns:
            The loss terms, entropy and KL to the sampling policy (of this process's rows), gradient norm and learning rate.

        Raises:
            ValueError: when a loss or gradient is not finite; this step then changes no weight.
        """
        self._adamw.zero_grad(set_to_none=True)
        num_rows = float(self.mean(torch.tensor(float(trajectory.batch_size), device=self.device)))
        num_chosen = trajectory.mask.sum()
        num_imitated = num_chosen * 0 if trajectory.imitate is None else trajectory.imitate.sum()
        sums: dict[str, float] = {}
        size = max(1, math.ceil(trajectory.batch_size / self.config.accumulation))
        for start in range(0, trajectory.batch_size, size):
            rows = slice(start, start + size)
            part = trajectory.select_rows(rows)
            with self._accelerator.autocast():
                evaluation = self._module(part)
            terms = loss_terms(rows, part, evaluation)
            if evaluation.aux_loss is not None:
                terms["loss/auxiliary"] = evaluation.aux_loss * (part.batch_size / num_rows)
            self._backward(torch.stack(list(terms.values())).sum())
            numbers = {key: float(term.detach()) for key, term in terms.items()}
            numbers |= describe_update(part, evaluation, num_chosen, num_imitated)
            sums |= {key: sums.get(key, 0.0) + number for key, number in numbers.items()}
        return sums | self._step()

    def _backward(self, loss: Tensor) -> None:
        """Add the gradients of a part's loss."""
        if not bool(torch.isfinite(loss)):
            raise ValueError(
                f"the loss is {float(loss.detach())} at update {self.num_finished}; expected a finite number. "
                "Look at the logged rewards and gradient norms, lower the learning rate, or resume from the last checkpoint"
            )
        self._accelerator.backward(loss)

    def _step(self) -> dict[str, float]:
        """Average over the processes, clip, apply and clear the gradients."""
        self._average_gradients()
        rate = self.learning_rate
        norm = float(self._accelerator.clip_grad_norm_(self._parameters, self.config.max_grad_norm or math.inf))
        if not math.isfinite(norm) and self.config.precision != "fp16":  # with fp16 the loss scaler skips such steps
            raise ValueError(
                f"the gradient norm is {norm} at update {self.num_finished}; lower the learning rate, or resume from the last checkpoint"
            )
        for group in self._adamw.param_groups:
            group["lr"] = rate
        self._adamw.step()
        self._adamw.zero_grad(set_to_none=True)
        return {"optimiser/grad_norm": norm, "optimiser/learning_rate": rate}

    def _average_gradients(self) -> None:
        """Average over the processes what each has accumulated; a parameter that none has a gradient for keeps none."""
        if self._accelerator.num_processes == 1:
            return
        has_gradient = self.mean(torch.tensor([float(p.grad is not None) for p in self._parameters], device=self.device))
        used = [parameter for parameter, share in zip(self._parameters, has_gradient.tolist(), strict=True) if share]
        for parameter in used:
            parameter.grad = self.mean(torch.zeros_like(parameter) if parameter.grad is None else parameter.grad)

    def _broadcast_weights(self, policy: nn.Module) -> None:
        """Start every process with the weights of the first."""
        from accelerate.utils import broadcast

        if self._accelerator.num_processes > 1:
            for tensor in [*policy.parameters(), *policy.buffers()]:
                tensor.data.copy_(broadcast(tensor.data.clone()))

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
