"""From a loss to changed weights: AdamW, schedule, clipping, accumulation, precision and processes, the same for all trainers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from functools import partial, reduce
from operator import add
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from seqrl import distributed
from seqrl.auxiliary import aux_count, aux_terms
from seqrl.diagnostics import PolicyStats, describe_update, read
from seqrl.functional.reductions import AverageOver, masked_mean
from seqrl.optimiser_config import OptimiserConfig as OptimiserConfig
from seqrl.optimiser_config import schedule_factor as schedule_factor
from seqrl.sharding import whole
from seqrl.skipped import SkippedSteps
from seqrl.trajectory import Evaluation, Trajectory, imitated
from seqrl.weights import Weights


class Term(NamedTuple):
    """A loss and how it counts: weight * mean(loss over the steps that count).

    Attributes:
        loss: [B, T] of each step of a part; it may leave out last steps, which do not count then. A number [] counts as it is.
        weight: multiplies the mean; with 0 the loss is left out.
        imitated: take the mean over the steps that `Trajectory.imitate` names instead of those of `mask`.
    """

    loss: Tensor
    weight: float = 1.0
    imitated: bool = False


Loss: TypeAlias = Callable[..., Mapping[str, Tensor | Term]]
Stats: TypeAlias = dict[str, Tensor | float]
# 1 where a step was skipped, 0 where it was taken; averaged over an update's steps it is a share.
SKIPPED = "optimiser/skipped_share"


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
        seed: of `generator` in process 0.

    Attributes:
        device: where the policy's weights live.
        generator: draws what the trainer draws, on that device; each process has a seed of its own, so that no two sample the same rows.
        weights: see `seqrl.weights.Weights`.

    Raises:
        ValueError: when the policy has no parameter to train.
    """

    def __init__(self, policy: nn.Module, config: OptimiserConfig, *, num_updates: int, seed: int = 0) -> None:
        self.config, self.num_updates, self.num_finished = config, num_updates, 0
        accelerator = distributed.make_accelerator(config.precision)
        self.device = torch.device("cpu") if accelerator is None else accelerator.device
        self._scaler: Any = None if accelerator is None else accelerator.scaler
        self.generator = torch.Generator(self.device).manual_seed(distributed.data_seed(seed))
        # Whether `step_on` may replace `step`: one process, one part, full precision, nothing compiled.
        self.takes_gradients = accelerator is None and config.precision != "bf16" and config.accumulation == 1 and not config.compile
        policy.to(self.device)
        self.weights = Weights(policy, config)
        self._policy = policy
        for module in policy.modules():
            if hasattr(module, "may_be_fused"):
                setattr(module, "may_be_fused", config.fused == "auto")  # noqa: B010  a module's attributes are tensors to type checkers
        self._skipped = SkippedSteps(config.max_skipped_updates)
        self._broken_loss: float | None = None
        # A module that accelerate has prepared keeps its first precision for good, and a policy may meet several trainers; so it
        # is not prepared, and the precision is chosen around each forward pass.
        self._module: Callable[[Trajectory], Evaluation] = torch.compile(policy, dynamic=True) if config.compile else policy

    def shard(self) -> None:
        """Share weights, gradients and averages out over the processes from now on, where `sharding` says so and there are several.

        From then on the policy has all of its weights inside of `seqrl.sharding.whole` only, which sampling enters by itself.
        """
        if self.config.sharding != "none" and distributed.num_processes() > 1:
            self.weights.shard(self._policy)
            # Without the hooks around it, which would put the weights together and apart once more.
            self._module = self._policy.forward

    @property
    def learning_rate(self) -> float:
        """The learning rate of the present update."""
        return self.config.learning_rate * schedule_factor(self.num_finished, self.config, self.num_updates)

    def minimise(self, trajectory: Trajectory, loss: Loss, *, lags: bool = False, **settings: Any) -> dict[str, float]:
        """Take one optimiser step on the sum of the loss terms.

        Args:
            trajectory: the rows to learn from.
            loss: takes (part, evaluation, **columns) of some of the rows; gives named losses of each step, see `Term`.
            lags: also describe the weights of rows that an older policy has sampled, see `describe_update`.
            settings: see `accumulate`; columns of the trajectory among them.

        Returns:
            The loss terms, entropy and KL to the sampling policy (of this process's rows), gradient norm, learning rate, and
            whether the step was skipped, since a loss or gradient was not finite: then it changes neither weights nor averages, and
            only the last two are given.

        Raises:
            ValueError: when no step may be skipped, see `OptimiserConfig.max_skipped_updates`.
        """
        stats, policy_stats = self.step(trajectory, loss, **settings)
        return read(stats) | describe_update(policy_stats, lags=lags)

    def step(self, trajectory: Trajectory, loss: Loss, **settings: Any) -> tuple[Stats, list[PolicyStats]]:
        """Do what `minimise` does, without waiting for the device to give the numbers; also give what was seen of the policy.

        For trainers that take many steps an update, which average the numbers in the end and read them once.
        """
        with whole(self._policy):
            return self.step_on(partial(self.accumulate, trajectory, loss, **settings))

    def step_on(self, gradients: Callable[[], tuple[Mapping[str, Tensor], list[PolicyStats]]]) -> tuple[Stats, list[PolicyStats]]:
        """Take a step along gradients that are computed otherwise than by `accumulate`, where `takes_gradients`.

        Args:
            gradients: sets the weights' gradients; gives the loss terms, and what it saw of the policy.

        Raises:
            ValueError: see `minimise`; a gradient is not finite where a loss is not.
        """
        self._broken_loss = None  # an error may have left it, and gradients
        self.weights.clear_gradients()
        terms, policy_stats = gradients()
        stats = self._apply(terms)
        return stats, [] if stats[SKIPPED] else policy_stats

    def accumulate(
        self,
        trajectory: Trajectory,
        loss: Loss,
        *,
        over: AverageOver = "steps",
        all_chosen: bool = False,
        aux_on: Trajectory | None = None,
        aux_total: Tensor | None = None,
        **columns: Tensor | Trajectory,
    ) -> tuple[dict[str, Tensor], list[PolicyStats]]:
        """Add the gradients of the loss terms to the weights', part by part; give the terms, and what was seen of the policy.

        Args:
            trajectory: see `minimise`.
            loss: see `minimise`.
            over: what losses are averaged over, see `seqrl.functional.reductions.masked_mean`.
            all_chosen: whether it is known, in every process, that every step counts.
            aux_on: rows on which the policy's auxiliary loss is learned, in a pass of their own, where it is not to be learned on
                those of `trajectory`.
            aux_total: what the policy's auxiliary losses are divided by, in their shape, see `Minibatches.aux_total`; the `aux_count` of
                these rows when None.
            columns: [B, ...] each, or trajectories of B rows, handed to the loss under their names, cut as the rows are.
        """
        several = distributed.num_processes() > 1
        if aux_total is None and (several or self.config.accumulation > 1):  # else one part is the whole
            aux_total = aux_count(self._policy, trajectory if aux_on is None else aux_on)
        aux_total = None if aux_total is None else distributed.mean(aux_total)
        count = distributed.count(trajectory.mask, all_true=all_chosen, over=over)
        # The condition is the same in all processes, though one may have no demonstrations.
        imitated_count = distributed.count(imitated(trajectory), over=over) if several or trajectory.imitate is not None else 1.0

        def mean(part: Trajectory, term: Term) -> Tensor:
            loss = term.loss
            if loss.ndim:
                mask = imitated(part) if term.imitated else None if all_chosen else part.mask[:, : loss.shape[1]]
                loss = masked_mean(loss, mask, imitated_count if term.imitated else count, over=over)
            return loss if term.weight == 1.0 else term.weight * loss

        sums: dict[str, Tensor] = {}
        policy_stats: list[PolicyStats] = []
        for rows, part in self._parts(trajectory):
            evaluation = self._evaluate(part)
            policy_stats.append(PolicyStats.of(part, evaluation))
            cut = {name: column[rows] if isinstance(column, Tensor) else column.select_rows(rows) for name, column in columns.items()}
            found = {name: term if isinstance(term, Term) else Term(term) for name, term in loss(part, evaluation, **cut).items()}
            terms = {name: mean(part, term) for name, term in found.items() if term.weight}
            if aux_on is None:
                terms |= aux_terms(self._policy, part, evaluation, aux_total)
            self._add(terms, sums)
        if aux_on is not None:
            for _, part in self._parts(aux_on):
                terms = aux_terms(self._policy, part, self._evaluate(part), aux_total)
                if any(term.requires_grad for term in terms.values()):  # not where this part has nothing to learn
                    self._add(terms, sums)
        return sums, policy_stats

    def _evaluate(self, part: Trajectory) -> Evaluation:
        kind = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(self.config.precision)
        with nullcontext() if kind is None else torch.autocast(self.device.type, kind):
            return self._module(part)

    def _add(self, terms: dict[str, Tensor], sums: dict[str, Tensor]) -> None:
        """Add a part's loss terms and their gradients to those of the parts before it; a loss that is not finite spoils the whole step."""
        if not terms:
            return
        loss = reduce(add, terms.values())
        number = loss.item()
        if not math.isfinite(number):
            self._broken_loss = number
        else:
            (loss if self._scaler is None else self._scaler.scale(loss)).backward()  # type: ignore[no-untyped-call]
        for key, term in terms.items():
            sums[key] = term.detach() + sums[key] if key in sums else term.detach()

    def _parts(self, trajectory: Trajectory) -> Iterator[tuple[slice, Trajectory]]:
        """Cut a batch into `accumulation` parts; one without rows into none."""
        if self.config.accumulation == 1 and trajectory.batch_size:
            yield slice(0, trajectory.batch_size), trajectory
            return
        size = max(1, math.ceil(trajectory.batch_size / self.config.accumulation))
        for start in range(0, trajectory.batch_size, size):
            rows = slice(start, start + size)
            yield rows, trajectory.select_rows(rows)

    def _apply(self, terms: Mapping[str, Tensor]) -> Stats:
        """Average over the processes, clip, apply and clear the gradients; give what to log, with the loss terms."""
        if self.weights.average_gradients(broken=self._broken_loss is not None):
            lost = self._broken_loss
            return self._skip("the loss of another process is not finite" if lost is None else f"the loss is {lost}")
        scaler = self._scaler
        if scaler is not None:
            scaler.unscale_(self.weights.adamw)
        total = self.weights.gradient_norm()
        norm, rate, limit = total.item(), self.learning_rate, self.config.max_grad_norm
        finite = math.isfinite(norm)
        if finite:
            self.weights.step(rate, (total / limit).float() if limit and norm > limit else None, scaler)
        if scaler is not None:
            scaler.update()  # after an overflow the next scale is smaller
        if not finite:  # with fp16 it counts where a smaller loss scale can no longer be of help
            return self._skip(f"the gradient norm is {norm}", counts=scaler is None or scaler.get_scale() <= 1)
        self._skipped.taken = True
        return {**terms, "optimiser/grad_norm": norm, "optimiser/learning_rate": rate, SKIPPED: 0.0}

    def _skip(self, trouble: str, *, counts: bool = True) -> Stats:
        """Leave a step out, and note it; give what to log."""
        self.weights.clear_gradients()
        self._skipped.skip(f"{trouble} at update {self.num_finished}", counts=counts)
        return {"optimiser/learning_rate": self.learning_rate, SKIPPED: 1.0}

    def finish_update(self) -> None:
        """Move the learning-rate schedule on by one trainer's update.

        Raises:
            ValueError: when too many updates in a row had to skip all of their steps.
        """
        self._skipped.finish_update()
        self.num_finished += 1

    def state_dict(self) -> dict[str, Any]:
        """Give AdamW's averages, the number of finished updates, of those skipped in a row, the loss scale, and the weights' average."""
        state = self.weights.state_dict() | {"num_finished": self.num_finished, "num_skipped": self._skipped.in_a_row}
        return state if self._scaler is None else state | {"scaler": self._scaler.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a saved state."""
        self.weights.load_state_dict(state)
        self.num_finished = state["num_finished"]
        self._skipped.in_a_row = state.get("num_skipped", 0)  # which checkpoints of earlier versions do not hold
        if self._scaler is not None and "scaler" in state:
            self._scaler.load_state_dict(state["scaler"])
