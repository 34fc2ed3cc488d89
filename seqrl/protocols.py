"""The roles that a policy, a task, a trainer and a metric play; each is met by having the methods, not by inheriting."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from seqrl.trajectory import Evaluation, Step, Trajectory, Tree


@runtime_checkable
class Policy(Protocol):
    """An `nn.Module` that acts step by step and re-evaluates whole trajectories differentiably.

    A policy may also have

    - `fill(trajectory) -> Trajectory`: sets `logp` and `value` of a rollout whose steps left them None, in one pass over all
      steps. For policies without memory, so that sampling runs no more of the network than it takes to choose an action.
    - `aux_count(trajectory) -> Tensor`: over how many things (rows, words, objects) each `Evaluation.aux_loss` of these rows is a
      mean, in its shape; 0 where there is nothing to learn. It adds up: the count of some rows is the sum of the counts of its parts, which
      is how parts of a batch, and processes, learn what the whole would. A policy that gives an `aux_loss` should have it; without,
      rows count, and trainers that do not learn from every row refuse the policy.
    - `tells_distribution`: False where `Evaluation.distribution` stays None, so that who needs it can refuse at once.
    - `how_it_runs`: a line about which of several ways its numbers are computed in; a run prints it, and keeps it in `env.json`. Modules
      of a policy without the line, and trainers, may have one, too.
    - `max_entropy`: the largest entropy a step that it can have, nats, or None; a run that stays there is told so.
    - `observe(obs, mask)`: looks at what a rollout has seen, leaves [B, T+1, ...] and mask [B, T], for running statistics.
      A task calls it after each rollout that it returns. What it has seen must not show before the next rollout: the update
      has to see its observations as they were seen when the actions were chosen.
    """

    def initial_state(self, context: Tree) -> Tree:
        """Give the state before the first action, every leaf [B, ...], from a context with leaves [B, ...].

        None where there is no memory, or where it starts with zeros, whose shape `act` knows.
        """

    def act(self, obs: Tree, state: Tree, *, greedy: bool = False, generator: torch.Generator | None = None) -> Step:
        """Choose one action a row: sampled with `generator`, or the most probable one when `greedy`."""

    def forward(self, trajectory: Trajectory) -> Evaluation:
        """Evaluate the trajectory's actions; this is what a trainer differentiates."""


@runtime_checkable
class Task(Protocol):
    """Data, source, reward and evaluation of one problem.

    All else is optional; whoever asks for what a task lacks is told so. A task may also have

    - `demonstrations(group=None) -> Trajectory`: the next rows to imitate, `imitate` True and `mask` False, or those of the contexts
      [N] (a rollout's `group`); for supervised training and mixes.
    - `sample(policy, directory, count=8) -> list[Path]`: writes something to look at; for `seqrl sample`. Where it takes `before`, it gets
      the policy that the run started from, to be shown beside it.
    - `keep_samples(policy, path, split=)`: writes what an evaluation scored; for `seqrl evaluate`. It may take `before`, too.
    - `record(policy, path, episodes=, seed=)`: writes an animation and gives a line about each episode; for `seqrl record`.
    - `chat(policy, seed=, mishear=, voice=) -> Conversation`: lets somebody talk to the policy; `voice` is None, or task and policy of a
      run that puts acts into words; for `seqrl chat`.
    - `state_dict()` and `load_state_dict(state)`: all that the next rollout depends on (data position, environment state,
      generators); without them a resumed run draws its data anew.
    - `load_shared_state(state)`: takes from another process's state what is one for all, such as the unit of rewards, and no data; for
      a process that joins a run which goes on with more of them.
    - `fingerprint()`: name -> what its weights depend on beside the configuration; compared before weights are loaded.
    - `watch(figure)`: asks evaluations to give this figure, too, where the task can; for early stopping.
    - `less_is_better(figure)`: whether the smallest value is the best, so that early stopping refuses to keep the largest.
    - `warnings_for(evaluations)`: kind -> what is wrong in the figures of all evaluations so far.
    - `evaluation_share(policy, split=, part=, parts=)` and `evaluation_figures(shares, split=) -> dict`: what process `part` of `parts`
      finds out for an evaluation, as plain data, and the figures of what all have found; without them the first process evaluates alone.
    - `share_batches(share)`: divides each batch with other processes from now on, see `seqrl.batch_share`.
    - `pop_figures()`: what happened in rollouts since the last call: `episode/count`, `episode/return_mean`, `episode/return_max`,
      `episode/length` of the episodes that ended, and `progress/num_env_steps` since the run began.
    - `seconds_in_reward`: time spent scoring so far.
    - `whole_rows`: False where rows are stretches of steps that begin and end anywhere, so that their scores say nothing about each
      other; without it a row is a whole text, classification or episode.
    - `reward_signature(trainer, version) -> str`, `evaluation_signatures(split, version) -> dict`: how its figures are computed, to be
      printed with them; the first one gets a trainer's `reward_settings()`.
    - `reward_ahead`: by how many updates its rows are older than the policy that learns from them; 0 where it does not say.
    - `raw_rewards()`: for trainers that learn again from what they kept, where the unit of the rewards moves (divided by a running
      deviation). It gives a function from raw rewards to rewards in the unit of the moment, and has all rollouts from now on hold raw
      rewards; None where the unit never moves. `reward_unit_moves` says which it is.
    """

    def rollout(
        self,
        policy: nn.Module,
        *,
        num_samples: int = 1,
        greedy: bool = False,
        greedy_baseline: bool = False,
        num_forced_steps: int = 0,
        generator: torch.Generator | None = None,
    ) -> Trajectory:
        """Let the policy act on the next contexts, rewards filled in.

        Args:
            policy: acts without gradients.
            num_samples: rows drawn for each context; they share a `group`.
            greedy: act greedily instead of sampling.
            greedy_baseline: also set `baseline` to the score of the greedy row of the same context.
            num_forced_steps: take that many first actions from a demonstration; these have `mask` False and
                `imitate` True.
            generator: draws the actions.
        """

    def evaluate(self, policy: nn.Module, *, split: str = "dev") -> dict[str, float]:
        """Score the policy on a fixed set of items; keys are plain names such as `cider_d`."""

    def build_policy(self) -> nn.Module:
        """Make a policy of the kind and size that the task's configuration names."""


class Conversation(Protocol):
    """A dialog of somebody with a policy.

    Attributes:
        hears: what can be heard, for somebody of whose words nothing was.
        ended: whether the dialog is over; the next reply begins another one.
    """

    hears: str
    ended: bool

    def begin(self) -> str:
        """Begin anew; give the greeting."""

    def reply(self, text: str) -> str | None:
        """Give what the policy says to a text; None where nothing in it can be heard, which changes nothing."""

    def facts(self) -> dict[str, str]:
        """Give what is behind the last turn, name -> text of one or several lines."""


@runtime_checkable
class Trainer(Protocol):
    """One algorithm: how it collects and what it does with what it collected.

    A trainer may also have

    - `check_task(task)`: refuses a task that it cannot serve; a run asks it before anything else.
    - `weighs_older_rows`: True where it weighs rows by how likely the present policy finds them, so that a task may give rows of an
      earlier update (`reward_ahead`); others are refused.
    - `can_be_sharded`: True where it reads and changes weights through its optimiser alone, see `seqrl.sharding`.
    - `can_split_batches`: True where it draws one number a row and shuffles by `Minibatches`, see `seqrl.batch_share`.
    - `reward_settings() -> dict`: `base` and `samples`, what rewards are compared with; of trainers that follow rewards, for signatures.
    """

    policy: nn.Module

    def collect(self, task: Task) -> Trajectory:
        """Gather the rows of the next update; of the trainer this changes nothing but the generators among its attributes."""

    def update(self, trajectory: Trajectory) -> dict[str, float]:
        """Improve the policy; give plain floats to be logged."""

    def state_dict(self) -> dict[str, Any]:
        """Give all of the trainer's state but the policy's weights."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a saved state."""


@runtime_checkable
class Metric(Protocol):
    """Scores hypotheses against references."""

    def score(self, hypotheses: Sequence[Any], references: Sequence[Sequence[Any]]) -> np.ndarray:
        """Score each hypothesis, [N] float64: what a reward needs."""

    def corpus(self, hypotheses: Sequence[Any], references: Sequence[Sequence[Any]]) -> float:
        """Give the published figure, which is not always the mean of the scores."""


def demonstrations_of(task: Task) -> Callable[[Tensor | None], Trajectory]:
    """Give a task's method `demonstrations`.

    Raises:
        ValueError: when it is called and the task has none.
    """

    def none(group: Tensor | None = None) -> Trajectory:
        raise ValueError(
            f"{type(task).__name__} has no demonstrations to imitate; choose a trainer that learns from rewards alone, with mix.weight 0 "
            "and mix.forced_steps 0, or give the task a method `demonstrations`"
        )

    give = getattr(task, "demonstrations", None)
    return give if callable(give) else none


def require_demonstrations(task: Task) -> None:
    """Refuse a task without demonstrations, for a trainer that imitates.

    Raises:
        ValueError: saying what can be done.
    """
    if not callable(getattr(task, "demonstrations", None)):
        demonstrations_of(task)(None)


def require_whole_rows(task: Task, trainer: str) -> None:
    """Refuse a task whose rows are stretches, for a trainer that compares the scores of rows.

    Raises:
        ValueError: saying what can be done.
    """
    if not getattr(task, "whole_rows", True):
        raise ValueError(
            f"trainer {trainer}: expected whole episodes, whose scores it compares, got stretches of steps that begin and end anywhere; "
            "set task.mode=episodes, or choose ppo, a2c, trpo or vtrace with a critic, or dqn, which learn from stretches"
        )


def lags(task: Task, trainer: str, *, dropout: bool) -> bool:
    """Say whether a task gives rows that an older policy has sampled, and refuse to weigh them by a policy with dropout.

    Raises:
        ValueError: saying what can be done.
    """
    older = bool(getattr(task, "reward_ahead", 0))
    if older and dropout:
        raise ValueError(
            f"trainer {trainer}: expected dropout=false where rewards are computed ahead, since the ratio of probabilities with dropout "
            "and without says nothing about the policy's change; set trainer.dropout=false or task.reward.ahead=0"
        )
    return older


def require_weights_of_older_rows(task: Task, trainer: Trainer) -> None:
    """Refuse a task whose rows an older policy has sampled, for a trainer that takes them for the present one's, or has no use for rows.

    Raises:
        ValueError: saying what can be done.
    """
    if getattr(task, "reward_ahead", 0) and not getattr(trainer, "weighs_older_rows", False):
        raise ValueError(
            f"trainer {type(trainer).__name__}: expected task.reward.ahead=0, since it does not weigh rows that the policy of an earlier "
            "update has sampled; set it to 0, or choose self_critical, reinforce, ppo, vtrace or off_policy"
        )


def require_constant_rewards(task: Task, trainer: str, what: str) -> None:
    """Refuse a task whose rewards change their unit, for a trainer that keeps what it cannot bring into the new one.

    Args:
        task: `reward_unit_moves` where it says so itself.
        trainer: name of the trainer.
        what: it keeps.

    Raises:
        ValueError: saying what can be done.
    """
    if getattr(task, "reward_unit_moves", False):
        raise ValueError(
            f"trainer {trainer}: expected rewards of one unit, since it keeps {what}, got task.reward_scale=true, which divides by a "
            "running deviation; set task.reward_scale=false and, where large rewards are the trouble, task.reward_clip=1"
        )


def require_probabilities(policy: nn.Module, trainer: str) -> None:
    """Refuse a policy that acts on values, or whose probabilities have no weights to be learned by gradient.

    Args:
        policy: `acts_by_value` where it says so itself.
        trainer: name of the one that needs probabilities.

    Raises:
        ValueError: saying which trainers can serve the policy.
    """
    by_value = bool(getattr(policy, "acts_by_value", False))
    if by_value or not any(parameter.requires_grad for parameter in policy.parameters()):
        what = "acts on values and has no probabilities" if by_value else "has no weights for a gradient"
        raise ValueError(
            f"trainer {trainer}: expected a policy whose probabilities have gradients, got a {type(policy).__name__}, which {what}; set "
            "task.policy.kind=actor_critic, or choose dqn (action_values), q_table (action_value_table) or cem with fit: counts "
            "(probability_table)"
        )


def require_distribution(policy: nn.Module, needed_by: str, instead: str) -> None:
    """Refuse a policy that does not tell the distribution that its actions are drawn from, as texts do not.

    Args:
        policy: `tells_distribution` is False where it says so itself.
        needed_by: name of the trainer or the setting.
        instead: what can be done.

    Raises:
        ValueError: saying so.
    """
    if not getattr(policy, "tells_distribution", True):
        raise ValueError(
            f"{needed_by}: expected a policy that gives `Evaluation.distribution`, as task.policy.kind=actor_critic does, got a "
            f"{type(policy).__name__}, which gives none; {instead}"
        )


def require_critic(policy: nn.Module, trainer: str) -> nn.Module:
    """Give the policy's module `critic`, which estimates values.

    Args:
        policy: asked for it.
        trainer: name of the one that needs it.

    Raises:
        ValueError: when the policy has none, saying who can do without.
    """
    critic = getattr(policy, "critic", None)
    if not isinstance(critic, nn.Module):
        raise ValueError(
            f"trainer {trainer}: expected a policy with a critic (a module `critic`), got a {type(policy).__name__} without one; set "
            "task.policy.kind=actor_critic or, for captions, task.policy.critic=true, or do without: reinforce or ppo with "
            "leave_one_out, self_critical; dqn, q_table and cem serve action values and tables"
        )
    return critic
