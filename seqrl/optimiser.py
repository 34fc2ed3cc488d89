"""From a loss to changed weights: AdamW, schedule, clipping, accumulation, precision and processes, the same for all trainers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial, reduce
from operator import add
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from seqrl import distributed
from seqrl.adamw import AdamW, global_norm
from seqrl.auxiliary import aux_count, aux_terms
from seqrl.diagnostics import Seen, describe_update, read
from seqrl.functional.reductions import AverageOver, masked_mean
from seqrl.optimiser_config import OptimiserConfig as OptimiserConfig
from seqrl.optimiser_config import schedule_factor as schedule_factor
from seqrl.sharding import Shards, whole
from seqrl.skipped import SkippedSteps
from seqrl.trajectory import Evaluation, Trajectory, imitated
from seqrl.weight_average import WeightAverage


class Term(NamedTuple):
    """A loss and how it counts: weight * mean(loss over the steps that count).

    Attributes:
        loss: [B, T] of each step of a part; it may leave out last steps, which do not count then. A number [] counts as it is.
        weight: multiplies the mean.
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

    Raises:
        ValueError: when the policy has no parameter to train.
    """

    def __init__(self, policy: nn.Module, config: OptimiserConfig, *, num_updates: int) -> None:
        trainable = [parameter for parameter in policy.parameters() if parameter.requires_grad]
        if not trainable:
            raise ValueError("the policy has no trainable parameter; was everything frozen?")
        self.config = config
        self.num_updates = num_updates
        self.num_finished = 0
        self._accelerator = distributed.make_accelerator(config.precision)
        policy.to(self.device)
        if self.num_processes > 1:
            distributed.broadcast_weights(policy)
        self._policy = policy
        for module in policy.modules():
            if hasattr(module, "may_be_fused"):
                setattr(module, "may_be_fused", config.fused == "auto")  # noqa: B010  a module's attributes are tensors to type checkers
        self._shards: Shards | None = None
        self._take_up(trainable)
        self._skipped = SkippedSteps(config.max_skipped_updates)
        self._broken_loss: float | None = None
        # A module that accelerate has prepared keeps its first precision for good, and a policy may meet several trainers; so it
        # is not prepared, and the precision is chosen around each forward pass.
        self._module: Callable[[Trajectory], Evaluation] = torch.compile(policy, dynamic=True) if config.compile else policy

    def _take_up(self, parameters: Sequence[nn.Parameter]) -> None:
        """Optimise these tensors from now on."""
        config = self.config
        self._adamw = AdamW(parameters, weight_decay=config.weight_decay, beta1=config.beta1, beta2=config.beta2, epsilon=config.epsilon)
        self.average = WeightAverage(parameters, config.ema_decay) if config.ema_decay else None

    def shard(self) -> None:
        """Share weights, gradients and averages out over the processes from now on, where `sharding` says so and there are several.

        From then on the policy has all of its weights inside of `seqrl.sharding.whole` only, which sampling enters by itself.
        """
        if self.config.sharding == "none" or self.num_processes == 1 or self._shards is not None:
            return
        state = self.state_dict()
        self._shards = Shards(self._policy)
        self._take_up(self._shards.own)
        # Without the hooks around it, which would put the weights together and apart once more.
        self._module = self._policy.forward
        self.load_state_dict(state)

    @property
    def device(self) -> torch.device:
        """Where the policy's weights live."""
        return torch.device("cpu") if self._accelerator is None else self._accelerator.device

    @property
    def num_processes(self) -> int:
        """How many processes train this policy together."""
        return distributed.num_processes()

    @property
    def learning_rate(self) -> float:
        """The learning rate of the present update."""
        return self.config.learning_rate * schedule_factor(self.num_finished, self.config, self.num_updates)

    # Averages over the processes, which trainers ask their optimiser for.
    count = staticmethod(distributed.count)
    mean = staticmethod(distributed.mean)
    mean_where = staticmethod(distributed.mean_where)
    whiten = staticmethod(distributed.whiten)

    def least(self, number: int) -> int:
        """Give the smallest number of any process, see `seqrl.distributed.least`."""
        return distributed.least(number, self.device)

    def make_generator(self, seed: int) -> torch.Generator:
        """Give a generator on the policy's device, seeded differently in each process, so that no two sample the same rows.

        Args:
            seed: of process 0.
        """
        return torch.Generator(self.device).manual_seed(distributed.data_seed(seed))

    def minimise(self, trajectory: Trajectory, loss: Loss, **settings: Any) -> dict[str, float]:
        """Take one optimiser step on the sum of the loss terms.

        Args:
            trajectory: the rows to learn from.
            loss: takes (part, evaluation, **columns) of some of the rows; gives named losses of each step, see `Term`.
            settings: see `accumulate`; columns of the trajectory among them.

        Returns:
            The loss terms, entropy and KL to the sampling policy (of this process's rows), gradient norm, learning rate, and
            whether the step was skipped, since a loss or gradient was not finite: then it changes neither weights nor averages, and
            only the last two are given.

        Raises:
            ValueError: when no step may be skipped, see `OptimiserConfig.max_skipped_updates`.
        """
        stats, seen = self.step(trajectory, loss, **settings)
        return read(stats) | describe_update(seen)

    def step(self, trajectory: Trajectory, loss: Loss, **settings: Any) -> tuple[Stats, list[Seen]]:
        """Do what `minimise` does, without waiting for the device to give the numbers; also give what was seen of the policy.

        For trainers that take many steps an update, which average the numbers in the end and read them once.
        """
        with whole(self._policy):
            return self.step_on(partial(self.accumulate, trajectory, loss, **settings))

    def step_on(self, gradients: Callable[[], tuple[Mapping[str, Tensor], list[Seen]]]) -> tuple[Stats, list[Seen]]:
        """Take a step along gradients that are computed otherwise than by `accumulate`, where `takes_gradients`.

        Args:
            gradients: sets the weights' gradients; gives the loss terms, and what it saw of the policy.

        Raises:
            ValueError: see `minimise`; a gradient is not finite where a loss is not.
        """
        self._broken_loss = None  # an error may have left it, and gradients
        self._clear_gradients()
        terms, seen = gradients()
        stats = self._apply(terms)
        return stats, [] if stats[SKIPPED] else seen

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
    ) -> tuple[dict[str, Tensor], list[Seen]]:
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
        total = self._total_of_aux(trajectory if aux_on is None else aux_on, aux_total)
        count = self.count(trajectory.mask, all_true=all_chosen, over=over)
        # The condition is the same in all processes, though one may have no demonstrations.
        counts_imitated = trajectory.imitate is not None or self.num_processes > 1
        imitated_count = self.count(imitated(trajectory), over=over) if counts_imitated else 1.0

        def mean(part: Trajectory, term: Tensor | Term) -> Tensor:
            term = term if isinstance(term, Term) else Term(term)
            if term.loss.ndim:
                mask = imitated(part) if term.imitated else None if all_chosen else part.mask[:, : term.loss.shape[1]]
                term = term._replace(loss=masked_mean(term.loss, mask, imitated_count if term.imitated else count, over=over))
            return term.loss if term.weight == 1.0 else term.weight * term.loss

        sums: dict[str, Tensor] = {}
        seen: list[Seen] = []
        for rows, part in self._parts(trajectory):
            evaluation = self._evaluate(part)
            seen.append(Seen.of(part, evaluation))
            cut = {name: column[rows] if isinstance(column, Tensor) else column.select_rows(rows) for name, column in columns.items()}
            terms = {name: mean(part, term) for name, term in loss(part, evaluation, **cut).items()}
            if aux_on is None:
                terms |= aux_terms(self._policy, part, evaluation, total)
            self._add(terms, sums)
        if aux_on is not None:
            for _, part in self._parts(aux_on):
                terms = aux_terms(self._policy, part, self._evaluate(part), total)
                if any(term.requires_grad for term in terms.values()):  # not where this part has nothing to learn
                    self._add(terms, sums)
        return sums, seen

    def _clear_gradients(self) -> None:
        self._adamw.clear_gradients()
        if self._shards is not None:
            for parameter in self._learned():
                parameter.grad = None

    def _learned(self) -> list[nn.Parameter]:
        """Give the whole parameters in the order of AdamW's, of which it has parts where they are shared out."""
        return self._adamw.parameters if self._shards is None else self._shards.whole_of(self._adamw.parameters)

    def _gradient_norm(self) -> Tensor:
        norm = global_norm(self._adamw.gradients())
        return norm if self._shards is None else (self.mean(norm.square()) * self.num_processes).sqrt()

    def _evaluate(self, part: Trajectory) -> Evaluation:
        with self._autocast():
            return self._module(part)

    def _add(self, terms: dict[str, Tensor], sums: dict[str, Tensor]) -> None:
        """Add a part's loss terms and their gradients to those of the parts before it."""
        self._backward(reduce(add, terms.values()))
        for key, term in terms.items():
            sums[key] = term.detach() + sums[key] if key in sums else term.detach()

    def _total_of_aux(self, trajectory: Trajectory, given: Tensor | None) -> Tensor | None:
        """Give what the auxiliary losses are divided by, averaged over the processes; None where one part is the whole."""
        if given is None and self.num_processes == 1 and self.config.accumulation == 1:
            return None
        return self.mean(aux_count(self._policy, trajectory) if given is None else given)

    @property
    def takes_gradients(self) -> bool:
        """Whether `step_on` may replace `step`: one process, one part, full precision, nothing compiled."""
        plain = self._accelerator is None and self.config.precision != "bf16"
        return plain and self.config.accumulation == 1 and not self.config.compile

    def _parts(self, trajectory: Trajectory) -> Iterator[tuple[slice, Trajectory]]:
        """Cut a batch into `accumulation` parts; one without rows into none."""
        number = trajectory.batch_size
        if not number:
            return
        if self.config.accumulation == 1:
            yield slice(0, number), trajectory
            return
        size = max(1, math.ceil(number / self.config.accumulation))
        for rows in (slice(start, start + size) for start in range(0, number, size)):
            yield rows, trajectory.select_rows(rows)

    def _autocast(self) -> AbstractContextManager[Any]:
        if self._accelerator is not None:
            return self._accelerator.autocast()
        return torch.autocast("cpu", torch.bfloat16) if self.config.precision == "bf16" else nullcontext()

    def _backward(self, loss: Tensor) -> None:
        """Add the gradients of a part's loss; one that is not finite spoils the whole step."""
        number = loss.item()
        if not math.isfinite(number):
            self._broken_loss = number
        elif self._accelerator is None:
            loss.backward()  # type: ignore[no-untyped-call]
        else:
            self._accelerator.backward(loss)

    def _apply(self, terms: Mapping[str, Tensor]) -> Stats:
        """Average over the processes, clip, apply and clear the gradients; give what to log, with the loss terms."""
        if self._average_gradients():
            lost = self._broken_loss
            return self._skip("the loss of another process is not finite" if lost is None else f"the loss is {lost}")
        scaler = None if self._accelerator is None else self._accelerator.scaler
        if scaler is not None:
            scaler.unscale_(self._adamw)
        total = self._gradient_norm()
        norm, rate, limit = total.item(), self.learning_rate, self.config.max_grad_norm
        divisor = (total / limit).float() if limit and norm > limit else None
        finite = math.isfinite(norm)
        if scaler is None:
            if finite:
                self._adamw.step(rate, divisor)
        else:
            if finite:
                scaler.step(self._adamw, rate, divisor)
            scaler.update()  # after an overflow the next scale is smaller
        if not finite:  # with fp16 it counts where a smaller loss scale can no longer be of help
            return self._skip(f"the gradient norm is {norm}", counts=scaler is None or scaler.get_scale() <= 1)
        self._clear_gradients()
        self._skipped.taken = True
        if self._shards is not None:
            self._shards.changed()
        if self.average is not None:
            self.average.step()
        return {**terms, "optimiser/grad_norm": norm, "optimiser/learning_rate": rate, SKIPPED: 0.0}

    def _skip(self, trouble: str, *, counts: bool = True) -> Stats:
        """Leave a step out, and note it; give what to log."""
        self._clear_gradients()
        self._skipped.skip(f"{trouble} at update {self.num_finished}", counts=counts)
        return {"optimiser/learning_rate": self.learning_rate, SKIPPED: 1.0}

    def _average_gradients(self) -> bool:
        """Average over the processes what each has accumulated, unless a loss of any is not finite, and say whether one is.

        A parameter that none has a gradient for keeps none.
        """
        broken = self._broken_loss is not None
        if self.num_processes == 1:
            return broken
        parameters = self._learned()
        flags = [*(float(p.grad is not None) for p in parameters), float(broken)]
        *has_gradient, share_broken = self.mean(torch.tensor(flags, device=self.device)).tolist()
        if share_broken:
            return True
        used = [place for place, share in enumerate(has_gradient) if share]
        if self._shards is not None:
            self._shards.average([self._adamw.parameters[place] for place in used], [parameters[place] for place in used])
            return False
        for parameter in (parameters[place] for place in used):
            parameter.grad = self.mean(torch.zeros_like(parameter) if parameter.grad is None else parameter.grad)
        return False

    def finish_update(self) -> None:
        """Move the learning-rate schedule on by one trainer's update.

        Raises:
            ValueError: when too many updates in a row had to skip all of their steps.
        """
        self._skipped.finish_update()
        self.num_finished += 1

    def state_dict(self) -> dict[str, Any]:
        """Give AdamW's averages, the number of finished updates, of those skipped in a row, the loss scale, and the weights' average."""
        skipped = self._skipped.in_a_row
        state: dict[str, Any] = {"adamw": self._adamw.state_dict(), "num_finished": self.num_finished, "num_skipped": skipped}
        if self._accelerator is not None and self._accelerator.scaler is not None:
            state["scaler"] = self._accelerator.scaler.state_dict()
        if self.average is not None:
            state["average"] = self.average.state_dict()
        return state if self._shards is None else self._shards.changed_state(state, self._shards.gather, self._adamw)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a saved state."""
        if self._shards is not None:
            state = self._shards.changed_state(state, self._shards.part, self._adamw)
        self._adamw.load_state_dict(state["adamw"])
        self.num_finished = state["num_finished"]
        self._skipped.in_a_row = state.get("num_skipped", 0)  # which checkpoints of earlier versions do not hold
        if self._accelerator is not None and self._accelerator.scaler is not None and "scaler" in state:
            self._accelerator.scaler.load_state_dict(state["scaler"])
        if self.average is not None:
            self.average.load_state_dict(state.get("average"))
