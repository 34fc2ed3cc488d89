"""The roles that a policy, a task, a trainer and a metric play; each is met by having the methods, not by inheriting."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import nn

from seqrl.trajectory import Evaluation, Step, Trajectory, Tree


@runtime_checkable
class Policy(Protocol):
    """An `nn.Module` that acts step by step and re-evaluates whole trajectories differentiably.

    A policy may also have

    - `annotate(trajectory) -> Trajectory`: sets `logp` and `value` of a rollout whose steps left them None, in one pass over all
      steps. For policies without memory, so that sampling runs no more of the network than it takes to choose an action.
    - `aux_count(trajectory) -> Tensor`: over how many things (rows, words, objects) each `Evaluation.aux_loss` of these rows is a
      mean, in its shape; 0 where there is nothing to learn. It adds up: the count of some rows is the sum of the counts of its parts, which
      is how parts of a batch, and processes, learn what the whole would. A policy that gives an `aux_loss` should have it; without,
      rows count, and trainers that do not learn from every row refuse the policy.
    - `has_distribution`: False where `Evaluation.distribution` stays None, so that who needs it can refuse at once.
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
      [N] (a rollout's `group`); for supervised training and mixes. None, or missing, where there are none.
    - `sample(policy, directory, count=8) -> list[Path]`: writes something to look at; for `seqrl sample`. Where it takes `before`, it gets
      the policy that the run started from, to be shown beside it.
    - `keep_samples(policy, path, split=)`: writes what an evaluation scored; for `seqrl evaluate`. It may take `before`, too.
    - `record(policy, path, episodes=, seed=)`: writes an animation and gives a line about each episode; for `seqrl record`.
    - `expert`: a policy whose actions trainer `dagger` imitates; None, or missing, where there is none.
    - `duel(policy, opponent, num_games=, generator=) -> Trajectory`: rows of `policy`, a game each, against another policy; a sum of
      rewards above 0 is a win, 0 a draw; for trainer `league`.
    - `record_data(policy, folder, episodes=, seed=)`: writes what is seen, done and earned in episodes, to be imitated, and gives a line
      about each; for `seqrl record --data`.
    - `chat(policy, seed=, mishear=, voice=) -> Conversation`: lets somebody talk to the policy; `voice` is None, or task and policy of a
      run that puts acts into words; for `seqrl chat`.
    - `play(policy, first=, simulations=) -> Match`: lets somebody play against the policy; for `seqrl play`.
    - `state_dict()` and `load_state_dict(state)`: all that the next rollout depends on (data position, environment state,
      generators); without them a resumed run draws its data anew.
    - `load_shared_state(state)`: takes from another process's state what is one for all, such as the unit of rewards, and no data; for
      a process that joins a run which goes on with more of them.
    - `fingerprint()`: name -> what its weights depend on beside the configuration; compared before weights are loaded.
    - `watch(metric)`: asks evaluations to give this metric, too, where the task can; for early stopping.
    - `less_is_better(metric)`: whether the smallest value is the best, so that early stopping refuses to keep the largest.
    - `warnings_for(evaluations)`: kind -> what is wrong in the metrics of all evaluations so far.
    - `evaluation_share(policy, split=, part=, parts=)` and `evaluation_metrics(shares, split=) -> dict`: what process `part` of `parts`
      finds out for an evaluation, as plain data, and the metrics of what all have found; without them the first process evaluates alone.
    - `share_batches(share)`: divides each batch with other processes from now on, see `seqrl.batch_share`.
    - `pop_metrics()`: what happened in rollouts since the last call: `episode/count`, `episode/return_mean`, `episode/return_max`,
      `episode/length` of the episodes that ended, and `progress/num_env_steps` since the run began.
    - `seconds_in_reward`: time spent scoring so far.
    - `whole_rows`: False where rows are stretches of steps that begin and end anywhere, so that their scores say nothing about each
      other; without it a row is a whole text, classification or episode.
    - `reward_signature(trainer, version) -> str`, `evaluation_signatures(split, version) -> dict`: how its metrics are computed, to be
      printed with them; the first one gets a trainer's `reward_settings()`.
    - `searches_rows`: True where `rollout` takes `beam`, which asks for the `num_samples` best rows of a beam search in place of samples.
    - `hints`: what may be missing (`whole_rows`, `rows_of_the_present`, `constant_rewards`, `items`, `demonstrations`, `expert`; of its
      policies `probabilities`, `distribution`, `critic`, `action_values`, `action_value_table`, `probability_table`, `planner`,
      `tree_search`) -> which of its settings help, such as "set task.mode=episodes"; for the errors of trainers, which know no task.
      `build_policy` hands them on as `policy.hints`.
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


class Match(Protocol):
    """A game of somebody against a policy.

    Attributes:
        result: how it ended, in words; "" while it goes on.
    """

    result: str

    def board(self) -> str:
        """Draw the game, in lines."""

    def moves(self) -> list[str]:
        """Name the moves that can be made now."""

    def begin(self) -> str:
        """Begin anew; give what the policy did where it moves first, else ""."""

    def move(self, text: str) -> str:
        """Make the move of this name; give what the policy did then, or "" where the game is over.

        Raises:
            ValueError: when that is no move, or not one that can be made now; nothing has changed.
        """


@runtime_checkable
class Trainer(Protocol):
    """One algorithm: how it collects and what it does with what it collected.

    A trainer may also have

    - `check_task(task)`: refuses a task that it cannot serve; a run asks it before anything else.
    - `optimiser`: a `seqrl.optimiser.Optimiser`, whose `generator` draws what the trainer draws, so that batches can be split.
    - `saved`: names of what else the next update depends on, where its state is that of `seqrl.trainers.state`.
    - `own_state`: what of its state each process has for itself, where this is more than the generator.
    - `weights_by_name`: keys of its state under which stand tables of weights, name -> weights by name; a checkpoint holds each as a file
      of safetensors.
    - `weighs_older_rows`: True where it weighs rows by how likely the present policy finds them, so that a task may give rows of an
      earlier update (`reward_ahead`); others are refused.
    - `can_be_sharded`: True where it reads and changes weights through its optimiser alone, see `seqrl.sharding`.
    - `can_split_batches`: True where it draws one number a row and shuffles by `Minibatches`, see `seqrl.batch_share`.
    - `reward_settings() -> dict`: `base` and `samples`, what rewards are compared with; of trainers that follow rewards, for signatures.
    """

    policy: nn.Module

    def collect(self, task: Task) -> Trajectory:
        """Gather the rows of the next update; of the trainer this changes nothing but its generator."""

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
        """Give the published score, which is not always the mean of the scores."""


def ask(whom: object, name: str, *arguments: Any, otherwise: Any = None, **settings: Any) -> Any:
    """Call a method that an object may have; give `otherwise` where it has none."""
    method = getattr(whom, name, None)
    return method(*arguments, **settings) if callable(method) else otherwise
