"""Each rule of the table against updates done by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from seqrl.policies.tables import ActionValueTable
from seqrl.replay.step_model import StepModel
from seqrl.trainers.q_table import QTable, QTableConfig
from seqrl.trajectory import Trajectory

# Three states, two actions. All rules: alpha 0.5, gamma 0.5, epsilon 0.2.
TABLE = [[1.0, 2.0], [4.0, 8.0], [16.0, 32.0]]


def learner(rule: str, n_step: int = 1, **settings: Any) -> QTable:
    policy = ActionValueTable(3, 2)
    policy.values.copy_(torch.tensor(TABLE))
    config = QTableConfig(rule=rule, n_step=n_step, gamma=0.5, learning_rate=0.5, epsilon_start=0.2, **settings)  # type: ignore[arg-type]
    trainer = config.build(policy, seed=0, num_updates=1)
    policy.epsilon = trainer.epsilon
    return trainer


def steps(
    obs: list[int], action: list[int], reward: list[float], end: str = "", dummy: tuple[int, ...] = (), ends_at: int | None = None
) -> Trajectory:
    """One row; `end` says how the step `ends_at`, the last one unless given, ends its episode."""
    T = len(action)
    last = torch.arange(T) == (T - 1 if ends_at is None else ends_at)
    return Trajectory(
        action=torch.tensor([action]),
        logp=torch.zeros(1, T),
        value=torch.zeros(1, T + 1),
        reward=torch.tensor([reward]),
        terminated=(last & (end == "terminated")).unsqueeze(0),
        truncated=(last & (end == "truncated")).unsqueeze(0),
        mask=torch.tensor([[t not in dummy for t in range(T)]]),
        obs=torch.tensor([obs]),
    )


def changed(trainer: QTable) -> dict[tuple[int, int], float]:
    difference = trainer.policy.values - torch.tensor(TABLE, dtype=torch.float64)
    return {(s, a): float(trainer.policy.values[s, a]) for s, a in difference.nonzero().tolist()}


@pytest.mark.parametrize(
    ("rule", "value"),
    [
        ("q_learning", 8.0),
        ("tree_backup", 8.0),
        # 0.8 for the better action, and 0.1 for each by chance.
        ("expected_sarsa", 0.9 * 8.0 + 0.1 * 4.0),
    ],
)
def test_one_transition(rule: str, value: float) -> None:
    trainer = learner(rule)
    stats = trainer.update(steps([0, 1], [0], [3.0]))
    target = 3.0 + 0.5 * value
    assert changed(trainer) == pytest.approx({(0, 0): 0.5 * 1.0 + 0.5 * target})
    assert stats["action_value/error"] == pytest.approx(target - 1.0)
    assert stats["explore/epsilon"] == 0.2 and stats["optimiser/learning_rate"] == 0.5 and stats["reward/mean"] == 3.0


def test_sarsa_waits_for_its_next_action_also_across_stretches() -> None:
    trainer = learner("sarsa")
    trainer.update(steps([0, 1], [0], [3.0]))
    assert changed(trainer) == {}
    trainer.update(steps([1, 2], [0], [0.0]))  # the worse action, whose value is 4
    assert changed(trainer) == pytest.approx({(0, 0): 0.5 * 1.0 + 0.5 * (3.0 + 0.5 * 4.0)})


@pytest.mark.parametrize("rule", ["q_learning", "sarsa", "expected_sarsa", "tree_backup"])
def test_nothing_follows_a_termination(rule: str) -> None:
    trainer = learner(rule)
    trainer.update(steps([0, 1], [0], [3.0], "terminated"))
    assert changed(trainer) == pytest.approx({(0, 0): 0.5 * 1.0 + 0.5 * 3.0})


@pytest.mark.parametrize(("rule", "value"), [("q_learning", 8.0), ("tree_backup", 8.0), ("sarsa", 7.6), ("expected_sarsa", 7.6)])
def test_truncation_bootstraps_from_the_last_observation(rule: str, value: float) -> None:
    trainer = learner(rule)
    trainer.update(steps([0, 1], [0], [3.0], "truncated"))
    assert changed(trainer) == pytest.approx({(0, 0): 0.5 * 1.0 + 0.5 * (3.0 + 0.5 * value)})


def test_steps_of_a_stretch_are_learned_in_order() -> None:
    trainer = learner("q_learning")
    trainer.update(steps([0, 0, 0], [1, 1], [0.0, 0.0]))
    first = 0.5 * 2.0 + 0.5 * (0.5 * 2.0)  # 1.5, still the better action
    assert changed(trainer) == pytest.approx({(0, 1): 0.5 * first + 0.5 * (0.5 * first)})


@pytest.mark.parametrize(
    ("rule", "value"),
    [
        ("q_learning", 1.0 + 0.5 * (2.0 + 0.5 * 32.0)),
        ("expected_sarsa", 1.0 + 0.5 * (2.0 + 0.5 * (0.9 * 32.0 + 0.1 * 16.0))),
        # Action 0 in state 1 is not the greedy one, so that its value counts instead of what came after it.
        ("tree_backup", 1.0 + 0.5 * 8.0),
    ],
)
def test_two_step_window(rule: str, value: float) -> None:
    trainer = learner(rule, 2)
    trainer.update(steps([0, 1], [0], [1.0]))
    assert changed(trainer) == {}
    trainer.update(steps([1, 2], [0], [2.0]))
    assert changed(trainer) == pytest.approx({(0, 0): 0.5 * 1.0 + 0.5 * value})


def test_tree_backup_goes_on_along_the_best_action() -> None:
    trainer = learner("tree_backup", 2)
    trainer.update(steps([0, 1, 2], [0, 1], [1.0, 2.0]))
    assert changed(trainer) == pytest.approx({(0, 0): 0.5 * 1.0 + 0.5 * (1.0 + 0.5 * (2.0 + 0.5 * 32.0))})


def test_two_step_sarsa() -> None:
    trainer = learner("sarsa", 2)
    trainer.update(steps([0, 1, 2, 0], [0, 0, 0], [1.0, 2.0, 4.0]))
    assert changed(trainer) == pytest.approx({(0, 0): 0.5 * 1.0 + 0.5 * (1.0 + 0.5 * (2.0 + 0.5 * 16.0))})


def test_an_end_empties_the_window() -> None:
    trainer = learner("q_learning", 3)
    trainer.update(steps([0, 1, 2], [0, 0], [1.0, 2.0], "terminated"))
    assert changed(trainer) == pytest.approx({(0, 0): 0.5 * 1.0 + 0.5 * (1.0 + 0.5 * 2.0), (1, 0): 0.5 * 4.0 + 0.5 * 2.0})


@pytest.mark.parametrize(
    ("rule", "first", "second"),
    [
        # 4 + 0.5 (4 + 0.5 * 2) = 6.5 halfway from 2 gives 4.25, which the second step bootstraps from: 4 + 0.5 * 4.25 = 6.125.
        *((rule, 4.25, 0.5 * 4.25 + 0.5 * 6.125) for rule in ("q_learning", "tree_backup")),
        # 0.9 * 2 + 0.1 * 1 = 1.9 at first, then 0.9 * 4.2375 + 0.1 * 1 = 3.91375.
        *((rule, 4.2375, 0.5 * 4.2375 + 0.5 * (4.0 + 0.5 * 3.91375)) for rule in ("sarsa", "expected_sarsa")),
    ],
)
@pytest.mark.parametrize("stretches", [1, 2])
def test_each_step_before_a_truncation_reads_the_last_value_anew(rule: str, first: float, second: float, stretches: int) -> None:
    trainer = learner(rule, 2)
    if stretches == 1:
        trainer.update(steps([0, 0, 0], [1, 1], [4.0, 4.0], "truncated"))
    else:
        trainer.update(steps([0, 0], [1], [4.0]))
        trainer.update(steps([0, 0], [1], [4.0], "truncated"))
    assert changed(trainer) == pytest.approx({(0, 1): second})
    assert second != pytest.approx(first)


def test_dummy_step_is_no_step() -> None:
    trainer = learner("sarsa")
    # Ends in 2; the dummy step leads from there to the next start, 1.
    trainer.update(steps([0, 2, 1, 0], [0, 1, 1], [3.0, 0.0, 5.0], "terminated", dummy=(1,), ends_at=0))
    assert changed(trainer) == pytest.approx({(0, 0): 2.0})
    assert trainer.num_steps == 2


def test_a_window_is_dropped_when_the_environment_went_elsewhere() -> None:
    trainer = learner("sarsa")
    trainer.update(steps([0, 1], [0], [3.0]))
    trainer.update(steps([2, 1], [0], [0.0]))
    assert changed(trainer) == {}


def test_visits_divide_the_learning_rate() -> None:
    trainer = learner("q_learning", visit_exponent=1.0)
    trainer.update(steps([0, 1, 0, 1], [0, 0, 0], [2.0, 0.0, 8.0], "terminated"))
    first = 0.5 * 1.0 + 0.5 * (2.0 + 0.5 * 8.0)
    assert float(trainer.policy.values[0, 0]) == pytest.approx(0.75 * first + 0.25 * 8.0)


def test_schedules_are_linear_in_steps() -> None:
    trainer = learner("q_learning", epsilon_final=0.0, epsilon_steps=10, learning_rate_final=0.1, learning_rate_steps=4)
    for _ in range(5):
        trainer.update(steps([0, 1], [0], [0.0]))
    assert trainer.epsilon == pytest.approx(0.1) and trainer.learning_rate == pytest.approx(0.1)


def test_planning_solves_the_world_that_was_seen() -> None:
    # Action 0 goes on along a chain, action 1 stays: one walk shows all that planning needs, where Q-learning learns a step.
    policy = ActionValueTable(4, 2)
    trainer = QTableConfig(gamma=0.5, learning_rate=1.0, planning_steps=400).build(policy, seed=0, num_updates=1)
    walk = steps([0, 0, 1, 1, 2, 2, 3], [1, 0, 1, 0, 1, 0], [0.0, 0.0, 0.0, 0.0, 0.0, 8.0], "terminated")
    trainer.update(walk)
    assert policy.values[:3].tolist() == [[2.0, 1.0], [4.0, 2.0], [8.0, 4.0]]
    alone = ActionValueTable(4, 2)
    QTableConfig(gamma=0.5, learning_rate=1.0).build(alone, seed=0, num_updates=1).update(walk)
    assert alone.values.count_nonzero() == 1


def test_planning_goes_on_from_a_saved_model() -> None:
    walk, further = steps([0, 1, 2], [0, 1], [1.0, 2.0], "truncated"), steps([1, 0], [1], [4.0])
    trainer, resumed = learner("q_learning", planning_steps=5), learner("q_learning", planning_steps=5)
    trainer.update(walk)
    resumed.policy.load_state_dict(trainer.policy.state_dict())
    resumed.load_state_dict(trainer.state_dict())
    trainer.update(further)
    resumed.update(further)
    assert resumed.policy.values.equal(trainer.policy.values)


def test_a_model_draws_what_came_by_its_share() -> None:
    model = StepModel()
    for reward, following in ((1.0, 2), (1.0, 2), (0.0, -1), (1.0, 2)):
        model.add(0, 1, reward, following)
    model.add(5, 0, 7.0, 3)
    drawn = [model.draw(0.0, share) for share in (0.0, 0.5, 0.74, 0.76, 0.99)]
    assert drawn == [(0, 1, 1.0, 2)] * 3 + [(0, 1, 0.0, -1)] * 2
    assert model.draw(0.99, 0.5) == (5, 0, 7.0, 3)
    assert model.rows() == [(0, 1, 1.0, 2, 3), (0, 1, 0.0, -1, 1), (5, 0, 7.0, 3, 1)]


def test_bad_settings_and_policies_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for settings in (
        {"rule": "td"},
        {"n_step": 0},
        {"learning_rate": 0.0},
        {"epsilon_start": 1.5},
        {"epsilon_steps": -1},
        {"planning_steps": -1},
    ):
        with pytest.raises(ValueError, match=next(iter(settings))):
            QTableConfig(**settings)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="learns a table of action values, got a Linear; choose dqn"):
        QTableConfig().build(torch.nn.Linear(2, 2), seed=0, num_updates=1)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="one process"):
        QTableConfig().build(ActionValueTable(1, 1), seed=0, num_updates=1)
