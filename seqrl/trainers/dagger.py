"""DAgger (Ross et al. 2011): the expert says what it would have done wherever the learner went."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn

from seqrl.diagnostics import average_of
from seqrl.optimiser import Optimiser, OptimiserConfig, Term
from seqrl.protocols import Policy, Task, ask
from seqrl.requirements import expert_of, require_distribution, require_probabilities
from seqrl.settings import Count, NotNegative, check_settings
from seqrl.trainers.imitation import imitation_loss
from seqrl.trainers.minibatches import Minibatches, MinibatchUnit
from seqrl.trainers.state import load_state, state_of
from seqrl.trajectory import Evaluation, Step, Trajectory, Tree, concatenate, tree_leaves


@dataclass
class DAggerConfig:
    """Settings of DAgger.

    Attributes:
        beta_updates: the expert's share beta of the actions falls linearly from 1, in the first update, to 0 after so many updates; 1 lets
            the expert act in the first update alone, 0 never.
        epochs: passes over all labels so far in each update.
        batch_size: labels of an optimiser step.
        optimiser: see `OptimiserConfig`.
    """

    beta_updates: NotNegative[int] = 1
    epochs: Count = 4
    batch_size: Count = 256
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)

    def __post_init__(self) -> None:
        check_settings(self)

    def build(self, policy: nn.Module, *, seed: int, num_updates: int) -> DAgger:
        """Make the trainer."""
        return DAgger(policy, self, seed=seed, num_updates=num_updates)


class DAgger:
    """Minimises -(1/N) sum_n log pi(a*_n | s_n) over all steps that were ever visited, a*_n the expert's most probable action there.

    The steps of update i (from 0) are those of the mixture beta_i pi* + (1 - beta_i) pi, which draws anew at each step who acts.
    Cloning learns from the expert's own steps alone: a mistake leads where it has seen nothing, and its cost grows with the square of
    the episode's length; here it grows with the length.

    All labels are kept, on the device of the policy, and saved with the run.

    Args:
        policy: trained in place.
        config: see `DAggerConfig`.
        seed: of the sampling.
        num_updates: length of the run, for the learning-rate schedule.

    Source: Ross, Gordon & Bagnell 2011 (A reduction of imitation learning and structured prediction to no-regret online learning),
    algorithm 3.1.
    Differs from: there a new policy is trained on the labels in each iteration; here the one policy goes on from where it is.
    """

    own_state = ("generator", "labels")

    def __init__(self, policy: nn.Module, config: DAggerConfig | None = None, *, seed: int = 0, num_updates: int = 1) -> None:
        self.policy = policy
        self.config = config or DAggerConfig()
        self.optimiser = Optimiser(policy, self.config.optimiser, num_updates=num_updates, seed=seed)
        self.labels: Trajectory | None = None

    @property
    def beta(self) -> float:
        """The expert's share of the actions in the present update."""
        ramp = self.config.beta_updates
        return max(0.0, 1 - self.optimiser.num_finished / ramp) if ramp else 0.0

    def check_task(self, task: Task) -> None:
        """Refuse a task without an expert, or whose expert cannot be asked, and a policy that acts on values."""
        require_distribution(expert_of(task), "dagger", "let the expert be a run of ppo, a2c, trpo, vtrace or reinforce")
        require_probabilities(self.policy, "dagger")

    def collect(self, task: Task) -> Trajectory:
        """Let the mixture act, and ask the expert what it would have done."""
        self.check_task(task)
        expert = expert_of(task).to(self.optimiser.device)
        mixture = Mixture(self.policy, expert, self.beta)
        return labelled(task.rollout(mixture.eval(), generator=self.optimiser.generator).to(self.optimiser.device), expert)

    def update(self, trajectory: Trajectory) -> dict[str, float]:
        """Add labels to those so far, and imitate all of them."""
        config = self.config
        self.labels = labels = trajectory if self.labels is None else concatenate([self.labels, trajectory])
        self.policy.train()
        number = math.ceil(int(labels.counted.sum()) / config.batch_size)
        unit: MinibatchUnit = "rows" if tree_leaves(labels.state0) else "steps"
        minibatches = Minibatches(labels, number, unit, self.optimiser.generator)
        history = [self.optimiser.step(part, self.loss)[0] for _ in range(config.epochs) for part, _ in minibatches.epoch()]
        beta = self.beta
        self.optimiser.finish_update()
        return average_of(history) | {"dagger/beta": beta, "dagger/num_labels": float(labels.counted.sum())}

    def loss(self, part: Trajectory, evaluation: Evaluation) -> dict[str, Term]:
        """Give the cross-entropy of each step with the expert's action, [B, T]."""
        return {"loss/cross_entropy": imitation_loss(evaluation)}

    def state_dict(self) -> dict[str, Any]:
        """Give the state of the optimiser and the generator, and all labels."""
        return {**state_of(self), "labels": None if self.labels is None else self.labels.fields()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a saved state."""
        load_state(self, state)
        self.labels = None if state["labels"] is None else Trajectory(**state["labels"]).to(self.optimiser.device)


class Mixture(nn.Module):
    """Lets an expert act with probability beta, and a learner else, drawn anew for each row and step.

    Args:
        learner: looks at what is seen, too, where it counts it.
        expert: of the same observations and actions.
        beta: in 0..1.
    """

    def __init__(self, learner: nn.Module, expert: nn.Module, beta: float) -> None:
        super().__init__()
        self.learner, self.expert, self.beta = learner, expert, beta

    def initial_state(self, context: Tree) -> Tree:
        """Give the initial states of both."""
        states = {name: cast(Policy, module).initial_state(context) for name, module in self.named_children()}
        return states if tree_leaves(states) else None

    def observe(self, obs: Tree, mask: Tensor) -> None:
        """Let the learner look at a rollout's observations, where it counts them."""
        ask(self.learner, "observe", obs, mask)

    def act(self, obs: Tree, state: Tree = None, *, greedy: bool = False, generator: torch.Generator | None = None) -> Step:
        """Choose an action for each row; log-probabilities and values are left at zero, since nothing learns from them."""
        states = state if isinstance(state, dict) else {"learner": None, "expert": None}
        learner = cast(Policy, self.learner).act(obs, states["learner"], greedy=greedy, generator=generator)
        expert = cast(Policy, self.expert).act(obs, states["expert"], greedy=True)
        action, none = learner.action, torch.zeros(len(learner.action), device=learner.action.device)
        if self.beta:
            chosen = torch.rand(none.shape, generator=generator, device=none.device) < self.beta
            action = torch.where(chosen.view(-1, *[1] * (action.ndim - 1)), expert.action, action)
        after = {"learner": learner.state, "expert": expert.state}
        return Step(action, none, none, after if tree_leaves(after) else None)


@torch.no_grad()
def labelled(rows: Trajectory, expert: nn.Module) -> Trajectory:
    """Put the expert's most probable action in the place of each action that was taken, to be imitated.

    Args:
        rows: of a `Mixture`.
        expert: asked.
    """
    states: Any = rows.state0 if rows.state0 is not None else {"learner": None, "expert": None}
    distribution = expert(rows.replace(state0=states["expert"])).distribution
    memory = states["learner"] if tree_leaves(states["learner"]) else None
    return rows.replace(action=distribution.mode(), state0=memory, imitate=rows.mask, mask=torch.zeros_like(rows.mask))
