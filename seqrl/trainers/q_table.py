"""Action values in a table, learned step by step: Q-learning (Watkins 1989), SARSA, expected SARSA, their n-step forms, and Dyna-Q."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import starmap
from typing import Any, Literal

import torch
from torch import Tensor, nn

from seqrl.distributed import num_launched
from seqrl.policies.tables import ActionValueTable
from seqrl.protocols import Task
from seqrl.replay.step_model import StepModel
from seqrl.requirements import hint, require_constant_rewards
from seqrl.settings import Count, Fraction, NotNegative, PositiveFraction, check_settings
from seqrl.trainers.bonus import BonusConfig
from seqrl.trajectory import Trajectory

Rule = Literal["q_learning", "sarsa", "expected_sarsa", "tree_backup"]


@dataclass
class QTableConfig:
    """Settings of learning a table of action values. Steps are those of all environments together.

    With task.num_envs=1 and task.num_steps=1 every step is learned from before the next is taken, as in the textbook. Longer
    stretches learn from the same steps in the same order, but act on the table as it was when the stretch began.

    Attributes:
        rule: what the value of the step that comes last is estimated by. "q_learning": the best action; "sarsa": the action
            that the policy takes; "expected_sarsa": the mean over the policy's actions; "tree_backup": the best action, and
            longer windows are cut where another one was taken.
        n_step: rewards summed before that estimate. With "q_learning" and n_step above 1 the rewards between are those of the
            ε-greedy actions, uncorrected; "tree_backup" corrects them.
        gamma: discount γ, per step.
        learning_rate: alpha at first.
        learning_rate_final: the same in the end.
        learning_rate_steps: steps over which it changes, linearly; 0 keeps the first.
        visit_exponent: alpha is divided by (visits of the state and action)^this; above 0.5 and up to 1 values converge
            whatever the noise. 0 switches it off.
        epsilon_start: probability of a chance action at first.
        epsilon_final: the same in the end.
        epsilon_steps: steps over which it changes, linearly; 0 keeps the first.
        planning_steps: steps learned from after each real one, drawn from a model of the world (Dyna-Q); 0 learns no model.
        bonus: added to rewards for what is new, see `BonusConfig`; planning pays "counts" anew as they are by then, and knows no other.
    """

    rule: Rule = "q_learning"
    n_step: Count = 1
    gamma: Fraction = 0.99
    learning_rate: PositiveFraction = 0.1
    learning_rate_final: PositiveFraction = 0.01
    learning_rate_steps: NotNegative[int] = 0
    visit_exponent: Fraction = 0.0
    epsilon_start: Fraction = 0.1
    epsilon_final: Fraction = 0.01
    epsilon_steps: NotNegative[int] = 0
    planning_steps: NotNegative[int] = 0
    bonus: BonusConfig = field(default_factory=BonusConfig)

    def __post_init__(self) -> None:
        check_settings(self)
        if self.planning_steps and self.bonus.type not in ("none", "counts"):
            raise ValueError(
                f"planning_steps: expected 0 beside bonus.type {self.bonus.type}, which pays what comes and not what a model draws, got "
                f"{self.planning_steps}; set bonus.type=counts"
            )

    def build(self, policy: nn.Module, *, seed: int, num_updates: int) -> QTable:
        """Make the trainer."""
        return QTable(policy, self, seed=seed, num_updates=num_updates)


class QTable:
    """Moves Q(S_t, A_t) towards G = R_{t+1} + γ R_{t+2} + ... + γ^n V(S_{t+n}) by α (G - Q(S_t, A_t)).

    V(s) is max_a Q(s, a) in Q-learning, Q(s, A) in SARSA with A the action taken next, and Σ_a π(a|s) Q(s, a) in expected
    SARSA. Tree backup with the greedy policy has G_t = R_{t+1} + γ G_{t+1} where A_{t+1} is a best action, and
    G_t = R_{t+1} + γ max_a Q(S_{t+1}, a) elsewhere.

    A window ends with its episode: V is 0 after a termination, and that of the last observation at a truncation, read from the table
    anew for each step that is learned, where SARSA takes the mean over the policy's actions, since it takes none there.

    With `planning_steps` each real step is followed by steps of a model, which is the list of what came of each action in each state:
    a state and an action that were met, and one of what came of them, are drawn evenly, and learned with n = 1.

    Args:
        policy: trained in place.
        config: see `QTableConfig`.
        seed: of the sampling.
        num_updates: unused; schedules count steps.

    Raises:
        ValueError: when the policy is no table of action values, or several processes share the run.

    Source: Watkins & Dayan 1992 (Q-learning); SARSA: Rummery & Niranjan 1994 (On-line Q-learning using connectionist systems);
    expected SARSA: van Seijen et al. 2009 (A theoretical and empirical analysis of expected Sarsa); n-step forms: Sutton & Barto
    2018 (Reinforcement learning), sections 7.2 and 7.5; tree backup: Precup et al. 2000 (Eligibility traces for off-policy policy
    evaluation); Dyna-Q: Sutton 1990 (Integrated architectures for learning, planning, and reacting).
    Differs from: Sutton's Dyna-Q, whose model holds what came last, in a model of chances.
    """

    def __init__(self, policy: nn.Module, config: QTableConfig | None = None, *, seed: int = 0, num_updates: int = 1) -> None:
        if not isinstance(policy, ActionValueTable):
            raise ValueError(
                f"q_table learns a table of action values, got a {type(policy).__name__}; "
                f"{hint(policy, 'action_value_table')}choose dqn, ppo, a2c or reinforce"
            )
        if num_launched() > 1:
            raise ValueError("q_table changes one table step by step and cannot share it; run it in one process")
        self.policy: ActionValueTable = policy
        self.config = config or QTableConfig()
        self.generator = torch.Generator().manual_seed(seed)
        self.num_steps = 0
        self.visits = torch.zeros_like(policy.values)
        # For each row the steps that still wait for their target, (state, action, reward), and the state they lead to.
        self._pending: list[list[tuple[int, int, float]]] = []
        self._expected: list[int] = []
        self._errors: list[float] = []
        self._model = StepModel()
        self.bonus = self.config.bonus.build(policy, seed=seed, num_updates=num_updates)
        # The same memory, whose entries numpy reads several times faster.
        self._table, self._counts = policy.values.numpy(), self.visits.numpy()

    @property
    def epsilon(self) -> float:
        """The present probability of a chance action."""
        return _between(self.config.epsilon_start, self.config.epsilon_final, self.num_steps, self.config.epsilon_steps)

    @property
    def learning_rate(self) -> float:
        """The present alpha, before it is divided for visits."""
        config = self.config
        return _between(config.learning_rate, config.learning_rate_final, self.num_steps, config.learning_rate_steps)

    def check_task(self, task: Task) -> None:
        """Refuse rewards whose unit moves."""
        require_constant_rewards(task, "q_table", "values that only a visit changes")

    def collect(self, task: Task) -> Trajectory:
        """Act ε-greedily for a stretch."""
        self.check_task(task)
        self.policy.epsilon = self.epsilon
        return task.rollout(self.policy, generator=self.generator)

    def update(self, trajectory: Trajectory) -> dict[str, float]:
        """Learn from the stretch's steps in the order in which they were taken."""
        B, T = trajectory.action.shape
        if len(self._pending) != B:
            self._pending, self._expected = [[] for _ in range(B)], [-1] * B
        earned, raw = float(trajectory.score.mean()), trajectory.reward.tolist()
        trajectory, paid = self.bonus.pay(trajectory) if self.bonus else (trajectory, {})
        assert isinstance(trajectory.obs, Tensor)
        obs, action, reward, mask = (x.tolist() for x in (trajectory.obs, trajectory.action, trajectory.reward, trajectory.mask))
        terminated, truncated = trajectory.terminated.tolist(), trajectory.truncated.tolist()
        self._errors, self._table = [], self.policy.values.numpy()
        # Numpy does not say that it changes them; whoever wants to know whether they are whole goes by that.
        torch.autograd.graph.increment_version(self.policy.values)
        for t in range(T):
            for b in range(B):
                if mask[b][t]:
                    step = (obs[b][t], action[b][t], reward[b][t])
                    self._take(b, step, obs[b][t + 1], terminated[b][t], truncated[b][t])
                    if self.config.planning_steps:
                        self._model.add(*step[:2], raw[b][t], -1 if terminated[b][t] else obs[b][t + 1])
                        self._plan()
        return {
            **paid,
            "reward/mean": earned,
            "action_value/error": sum(self._errors) / max(1, len(self._errors)),
            "explore/epsilon": self.epsilon,
            "optimiser/learning_rate": self.learning_rate,
        }

    def _take(self, row: int, step: tuple[int, int, float], following: int, terminated: bool, truncated: bool) -> None:
        """Add a step to its row's window, and learn whatever has its target now."""
        pending, n, on_policy = self._pending[row], self.config.n_step, self.config.rule == "sarsa"
        self.num_steps += 1
        if pending and self._expected[row] != step[0]:
            pending.clear()  # the environment was reset from outside, as after a resume that it cannot follow exactly
        if on_policy and len(pending) == n:
            self._learn(pending, float(self._table[step[0], step[1]]))
        pending.append(step)
        self._expected[row] = following
        if terminated or truncated:
            while pending:  # each step that is learned may change what follows
                self._learn(pending, 0.0 if terminated else self._value(following))
        elif not on_policy and len(pending) == n:
            self._learn(pending, self._value(following))

    def _value(self, state: int) -> float:
        """Estimate what follows from a state in which no action has been taken yet."""
        values = self._table[state].tolist()
        best: float = max(values)
        if self.config.rule in ("q_learning", "tree_backup"):
            return best
        epsilon = self.policy.epsilon
        return (1 - epsilon) * best + epsilon * sum(values) / len(values)

    def _learn(self, pending: list[tuple[int, int, float]], value: float) -> None:
        """Move the oldest waiting step's entry towards its target, and let it go."""
        gamma, target = self.config.gamma, value
        for index in range(len(pending) - 1, -1, -1):
            state, action, reward = pending[index]
            target = reward + gamma * target
            if index and self.config.rule == "tree_backup":
                values = self._table[state].tolist()
                best = max(values)
                target = target if values[action] == best else best
        state, action, _ = pending.pop(0)
        self._move(state, action, target)

    def _plan(self) -> None:
        """Learn from steps that the model draws."""
        draws = torch.rand(self.config.planning_steps, 2, generator=self.generator, dtype=torch.float64)
        for state, action, reward, following in starmap(self._model.draw, draws.tolist()):
            if following < 0:
                self._move(state, action, reward)
                continue
            bonus = self.bonus.of_state(following) if self.bonus else 0.0
            self._move(state, action, reward + bonus + self.config.gamma * self._value(following))

    def _move(self, state: int, action: int, target: float) -> None:
        """Move an entry towards a target."""
        rate = self.learning_rate
        if self.config.visit_exponent:
            self._counts[state, action] += 1
            rate *= float(self._counts[state, action]) ** -self.config.visit_exponent
        error = target - float(self._table[state, action])
        self._table[state, action] += rate * error
        self._errors.append(abs(error))

    def state_dict(self) -> dict[str, Any]:
        """Give the generator's state, the counts and the steps that still wait for their targets."""
        return {
            "generator": self.generator.get_state(),
            "num_steps": self.num_steps,
            "visits": self.visits,
            "pending": [[list(step) for step in row] for row in self._pending],
            "expected": list(self._expected),
            "model": self._model.rows(),
            "bonus": None if self.bonus is None else self.bonus.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a saved state."""
        self.generator.set_state(state["generator"].cpu())
        self.num_steps = state["num_steps"]
        self.visits.copy_(state["visits"])
        self._pending = [[(step[0], step[1], step[2]) for step in row] for row in state["pending"]]
        self._expected = list(state["expected"])
        self._model = StepModel()
        for step in state.get("model", ()):  # which checkpoints of earlier versions do not hold
            self._model.add(*step)
        if self.bonus is not None:
            self.bonus.load_state_dict(state["bonus"])


def _between(first: float, last: float, step: int, num_steps: int) -> float:
    """Go from `first` to `last` over a number of steps; stay at `first` where that is 0."""
    return first + (last - first) * min(1.0, step / num_steps) if num_steps else first
