from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from toy_worlds import ToyTask, exact_values

from seqrl.optimiser import OptimiserConfig
from seqrl.policies.action_values import ActionValues, ActionValuesConfig
from seqrl.policies.encoders import ObservationSize
from seqrl.trainers.dqn import DQN, DQNConfig
from seqrl.trajectory import Trajectory

FAST = OptimiserConfig(learning_rate=0.1, schedule="linear", max_grad_norm=0.0)
BASE = DQNConfig(
    gamma=0.6,
    learning_starts=0,
    gradient_steps=10,
    batch_size=64,
    target_every=10,
    tau=0.15,
    epsilon_final=1.0,
    buffer_size=2000,
    window_steps=8,
    optimiser=FAST,
)


def target_of(trainer: DQN) -> Any:
    assert trainer.target is not None
    return trainer.target


def table(seed: int = 0, **settings: Any) -> ActionValues:
    """A linear network of one-hot states."""
    config = ActionValuesConfig(num_atoms=15, value_min=-1.0, value_max=2.5, memory_size=16, **settings)
    hidden = (32,) if config.dropout or config.memory != "none" else ()
    return ActionValues(ObservationSize((), 4), 2, hidden, config, generator=torch.Generator().manual_seed(seed))


VARIANTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "plain": ({}, {}),
    "moving_average_mse": ({"target_network": "moving_average", "loss": "mse"}, {}),
    "no_target_network": ({"target_network": "none"}, {}),
    "no_replay": ({"replay": "none"}, {}),
    "double_dueling": ({"double": True}, {"dueling": True}),
    "prioritised": ({"replay": "prioritised"}, {}),
    "three_steps": ({"n_step": 3}, {}),
    "categorical": ({}, {"estimate": "categorical"}),
    "quantile": ({}, {"estimate": "quantile"}),
    "noisy": ({"epsilon_final": 0.5}, {"noisy": True, "noise": 0.1}),
    "dropout": ({"loss": "mse"}, {"dropout": 0.05}),
    "lstm": ({"n_step": 1}, {"memory": "lstm"}),
    "gru_stored_burn_in": ({"first_state": "stored", "burn_in_steps": 2, "replay": "prioritised"}, {"memory": "gru"}),
}
QUICK = ("plain", "no_replay", "double_dueling", "prioritised", "three_steps", "categorical", "quantile")


@pytest.mark.parametrize("name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in VARIANTS])
def test_finds_the_exact_values(name: str) -> None:
    settings, network = VARIANTS[name]
    config = dataclasses.replace(BASE, **settings)
    updates = 30
    if network.get("memory"):
        config = dataclasses.replace(config, batch_size=32, optimiser=dataclasses.replace(FAST, learning_rate=0.02))
    if network.get("dropout"):
        config = dataclasses.replace(config, optimiser=dataclasses.replace(FAST, learning_rate=0.03))
    policy, task = table(**network), ToyTask()
    if config.n_step > 1:
        task.world.limit = 10**6  # the clock would cut transitions short, which the exact values know nothing of
    trainer = config.build(policy, seed=1, num_updates=updates)
    for _ in range(updates):
        numbers = trainer.update(trainer.collect(task))  # type: ignore[arg-type]
    policy.eval()
    policy.draw_noise(None, silent=True)
    states = torch.arange(3)
    with torch.no_grad():
        values = policy.values(states.unsqueeze(1))[:, 0] if policy.torso is not None else policy.values(states)
    expected = exact_values(0.6, config.n_step)
    tolerance = 0.05 if config.n_step > 1 else 0.03
    tolerance = 0.15 if network.get("dropout") or network.get("memory") or network.get("estimate") else tolerance
    torch.testing.assert_close(values, expected, rtol=0, atol=tolerance)
    assert values.argmax(dim=1).tolist() == exact_values(0.6).argmax(dim=1).tolist()
    assert numbers["policy/optimiser_steps"] == 10 and numbers["action_value/error"] >= 0


def set_values(policy: ActionValues, values: list[list[float]]) -> None:
    """Make a one-hot network's values those of a table [states, actions]."""
    layer = policy.advantage.layers[0]
    assert isinstance(layer, nn.Linear)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(values).T)


def stretch(terminated: bool = False, truncated: bool = False) -> Trajectory:
    """States 0, 1, 2; actions 1, 0; rewards 1, 2; the flags are those of the first step."""
    first = torch.tensor([[True, False]])
    zero = torch.zeros(1, 3)
    return Trajectory(
        torch.tensor([[1, 0]]),
        zero[:, 1:],
        zero,
        torch.tensor([[1.0, 2.0]]),
        terminated=first & terminated,
        truncated=first & truncated,
        mask=torch.tensor([[True, not (terminated or truncated)]]),
        obs=torch.tensor([[0, 1, 2]]),
    )


@pytest.mark.parametrize(
    ("settings", "flags", "expected"),
    [
        ({}, {}, [1 + 0.5 * 7, 2 + 0.5 * 9]),
        ({"double": True}, {}, [1 + 0.5 * 4, 2 + 0.5 * 8]),
        ({"n_step": 2}, {}, [1 + 0.5 * 2 + 0.25 * 9, 2 + 0.5 * 9]),
        ({"n_step": 2, "double": True}, {}, [1 + 0.5 * 2 + 0.25 * 8, 2 + 0.5 * 9 - 0.5]),
        ({"n_step": 2}, {"terminated": True}, [1.0]),
        ({"n_step": 2}, {"truncated": True}, [1 + 0.5 * 7]),
        ({"target_network": "none"}, {}, [1 + 0.5 * 6, 2 + 0.5 * 5]),
    ],
)
def test_targets_by_hand(settings: dict[str, Any], flags: dict[str, bool], expected: list[float]) -> None:
    policy = table()
    trainer = DQN(policy, DQNConfig(gamma=0.5, learning_starts=0, **settings))
    set_values(policy, [[0.0, 0.0], [6.0, 1.0], [3.0, 5.0], [0.0, 0.0]])
    if trainer.target is not None:
        set_values(trainer.target, [[0.0, 0.0], [4.0, 7.0], [9.0, 8.0], [0.0, 0.0]])
    trainer.replay.add(stretch(**flags))
    drawn, target = trainer._targets(trainer.replay.draw(50))
    seen = {int(obs): float(y) for obs, y in zip(drawn.trajectory.obs[:, 0], target[:, 0], strict=True)}  # type: ignore[index, call-overload, arg-type]
    assert [seen[state] for state in sorted(seen)] == pytest.approx(expected)


@pytest.mark.parametrize(("loss", "expected"), [("huber", 1.0 * (3.5 - 0.5)), ("mse", 0.5 * 3.5**2)])
def test_loss_by_hand(loss: Any, expected: float) -> None:
    policy = table()
    trainer = DQN(policy, DQNConfig(gamma=0.5, learning_starts=0, gradient_steps=1, loss=loss))
    set_values(policy, [[0.0, 1.0], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    set_values(target_of(trainer), [[0.0, 0.0], [7.0, 4.0], [0.0, 0.0], [0.0, 0.0]])
    numbers = trainer.update(stretch(truncated=True))
    assert numbers["loss/td"] == pytest.approx(expected)  # the target is 1 + 0.5 * 7, the estimate 1
    assert numbers["action_value/error"] == pytest.approx(3.5) and numbers["action_value/mean"] == pytest.approx(1.0)


def test_target_network_follows() -> None:
    trainer = DQN(table(), dataclasses.replace(BASE, target_every=4, gradient_steps=1))
    moving = DQN(table(), dataclasses.replace(BASE, target_network="moving_average", tau=0.25, gradient_steps=1))
    task = ToyTask()

    def weight(network: nn.Module) -> torch.Tensor:
        return next(network.parameters()).detach().clone()

    average = weight(moving.policy)
    for step in range(1, 10):
        rows = trainer.collect(task)  # type: ignore[arg-type]
        before = weight(target_of(trainer))
        trainer.update(rows)
        expected = weight(trainer.policy) if step % 4 == 0 else before
        assert torch.equal(weight(target_of(trainer)), expected)
        moving.update(rows)
        average = 0.75 * average + 0.25 * weight(moving.policy)
        torch.testing.assert_close(weight(target_of(moving)), average)


def test_chance_actions_grow_rare_and_learning_waits() -> None:
    config = dataclasses.replace(BASE, epsilon_start=0.9, epsilon_final=0.1, epsilon_steps=300, learning_starts=250)
    trainer, task = DQN(table(), config), ToyTask()
    seen, steps = [], []
    for _ in range(5):
        rows = trainer.collect(task)  # type: ignore[arg-type]
        seen.append((trainer.num_env_steps, trainer.policy.epsilon))
        steps.append(trainer.update(rows)["policy/optimiser_steps"])
    for count, epsilon in seen:
        assert epsilon == pytest.approx(max(0.1, 0.9 - 0.8 * count / 300))
    assert seen[-1][1] == pytest.approx(0.1) and steps == [10 if count >= 250 else 0 for count, _ in [*seen[1:], (999, 0)]]


@pytest.mark.parametrize(
    "name", ["plain", "no_replay", "prioritised", "noisy", "dropout", "moving_average_mse", "gru_stored_burn_in", "lstm"]
)
def test_resumes_to_the_bit(name: str, tmp_path: Path) -> None:
    settings, network = VARIANTS[name]
    config = dataclasses.replace(BASE, gradient_steps=3, buffer_size=300, **settings)

    def build(seed: int) -> DQN:
        return config.build(table(seed, **network), seed=seed, num_updates=6)

    def train(trainer: DQN, task: ToyTask) -> None:
        for _ in range(3):
            trainer.update(trainer.collect(task))  # type: ignore[arg-type]

    whole, task = build(0), ToyTask()
    train(whole, task)
    torch.save({"trainer": whole.state_dict(), "policy": whole.policy.state_dict()}, tmp_path / "state.pt")
    world = (task.world.obs, task.world.active, task.world._age, task.world.generator.get_state(), task.state)
    globally = torch.get_rng_state()
    train(whole, task)
    halves, again = build(7), ToyTask(9)
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    halves.policy.load_state_dict(state["policy"])
    halves.load_state_dict(state["trainer"])
    again.world.obs, again.world.active, again.world._age, generator, again.state = world
    again.world.generator.set_state(generator)
    torch.set_rng_state(globally)
    train(halves, again)
    for network_of in ("policy", "target"):
        pairs = zip(getattr(whole, network_of).parameters(), getattr(halves, network_of).parameters(), strict=True)
        assert all(torch.equal(one, two) for one, two in pairs)


def test_accumulation_in_parts_changes_nothing() -> None:
    results = []
    for accumulation in (1, 3):
        optimiser = dataclasses.replace(FAST, accumulation=accumulation)
        trainer, task = DQN(table(), dataclasses.replace(BASE, replay="prioritised", optimiser=optimiser)), ToyTask()
        for _ in range(3):
            numbers = trainer.update(trainer.collect(task))  # type: ignore[arg-type]
        results.append((next(trainer.policy.parameters()).detach(), numbers["loss/td"]))
    torch.testing.assert_close(results[0], results[1], rtol=1e-4, atol=1e-6)


def test_other_policies_are_refused() -> None:
    with pytest.raises(ValueError, match="expected a network of action values.*got a Linear; choose ppo"):
        DQNConfig().build(nn.Linear(2, 2), seed=0, num_updates=1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"replay": "all"}, "replay: expected one of uniform, prioritised, none, got 'all'"),
        ({"target_network": "soft"}, "target_network: expected one of hard"),
        ({"n_step": 0}, "n_step: expected at least 1, got 0"),
        ({"learning_starts": -1}, "learning_starts: expected 0 or more, got -1"),
        ({"epsilon_final": 1.5}, "epsilon_final: expected a number from 0 to 1, got 1.5"),
        ({"huber_delta": 0.0}, "huber_delta: expected a positive number, got 0.0"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DQNConfig(**settings)


def test_steps_of_all_processes_count(monkeypatch: pytest.MonkeyPatch) -> None:
    # Rows of two processes differ in their dummy steps; both must begin to learn in the same update, or wait for each other for ever.
    trainer = DQN(table(), dataclasses.replace(BASE, learning_starts=1000))
    rows = trainer.collect(ToyTask())  # type: ignore[arg-type]
    other = float(rows.mask.sum()) + 3
    monkeypatch.setattr("seqrl.distributed.summed", lambda mine: mine + other)
    trainer.update(rows)
    assert trainer.num_env_steps == 2 * int(other) - 3


def test_windows_that_never_fit_are_refused() -> None:
    long = dataclasses.replace(BASE, window_steps=20)
    for config, message in (
        (dataclasses.replace(long, replay="none"), "window_steps.*at most 16.*got 20"),  # rollouts have 16 steps
        (dataclasses.replace(long, buffer_size=150), "windows of at most 18 steps, got 20"),  # of eight rows
    ):
        trainer = DQN(table(memory="gru"), config)
        with pytest.raises(ValueError, match=message):
            trainer.update(trainer.collect(ToyTask()))  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["hard", "moving_average"])
def test_target_network_sees_observations_as_the_network_does(kind: Any) -> None:
    network = ActionValues(ObservationSize((1,)), 2, (8,), ActionValuesConfig(normalise_observations=True))
    trainer = DQN(network, dataclasses.replace(BASE, target_network=kind, target_every=10**6, tau=0.0))
    first = {name: weight.clone() for name, weight in network.named_parameters()}
    task = ToyTask()
    for _ in range(3):
        rows = task.rollout(table(), generator=trainer.optimiser.generator)
        rows = rows.replace(obs=rows.obs.unsqueeze(-1) * 20.0 + 50.0)  # type: ignore[union-attr, operator]
        network.observe(rows.obs, rows.mask)
        network.initial_state(None)
        trainer.update(rows)
    assert float(network.inputs.norm.mean) > 40  # type: ignore[union-attr, arg-type]
    target = target_of(trainer)
    assert torch.equal(target.inputs(rows.obs), network.inputs(rows.obs))  # type: ignore[operator]
    assert all(torch.equal(weight, first[name]) for name, weight in target.named_parameters())


def test_recurrent_targets_step_by_step() -> None:
    policy = table(memory="gru")
    stored = {"first_state": "stored", "burn_in_steps": 3, "window_steps": 4}
    trainer = DQN(policy, dataclasses.replace(BASE, **stored, gamma=0.5, n_step=2, double=True))  # type: ignore[arg-type]
    task, draw = ToyTask(num_steps=5), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in [*policy.parameters(), *target_of(trainer).parameters()]:
            parameter.add_(0.4 * torch.randn(parameter.shape, generator=draw))
    for _ in range(8):
        trainer.replay.add(trainer.collect(task))  # type: ignore[arg-type]
    drawn = trainer.replay.draw(24)
    window: Any = drawn.trajectory
    later, targets = trainer._targets(drawn)
    estimates = policy(later.trajectory).value.detach()
    for i in range(24):
        values = []
        for network in (policy, target_of(trainer)):
            state, seen = {"hidden": window.state0["hidden"][i : i + 1]}, []
            for t in range(8):
                if t and not window.mask[i, t - 1]:
                    state = {"hidden": torch.zeros(1, 16)}
                outputs, state = network.outputs(window.obs[i : i + 1, t : t + 1], state)  # type: ignore[assignment]
                seen.append(outputs[0, 0, :, 0].detach())
            values.append(torch.stack(seen))
        for t in filter(lambda t: window.mask[i, t], range(3, 7)):
            total, factor, end = 0.0, 1.0, t
            while True:
                total, factor, last = total + factor * float(window.reward[i, end]), 0.5 * factor, end
                end += 1
                if window.terminated[i, last] or window.truncated[i, last] or end in (t + 2, 7):
                    break
            follows = 0.0 if window.terminated[i, last] else float(values[1][end, values[0][end].argmax()])
            assert float(targets[i, t - 3]) == pytest.approx(total + factor * follows, abs=1e-5)
            assert float(estimates[i, t - 3]) == pytest.approx(float(values[0][t, window.action[i, t]]), abs=1e-5)
    assert not window.mask[:, :3].all() and not window.mask[:, 3:].all() and float(window.state0["hidden"].abs().max()) > 0.1


def test_each_optimiser_step_has_noise_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer, task = DQN(table(noisy=True), dataclasses.replace(BASE, gradient_steps=3)), ToyTask()
    find, seen = trainer._targets, []

    def noted(drawn: Any) -> Any:
        seen.extend(network.advantage.layers[0].noise_out.clone() for network in (trainer.policy, target_of(trainer)))
        return find(drawn)

    monkeypatch.setattr(trainer, "_targets", noted)
    trainer.update(trainer.collect(task))  # type: ignore[arg-type]
    assert len(seen) == 6 and len(torch.stack([*seen, torch.zeros_like(seen[0])]).unique(dim=0)) == 7


def test_weights_of_importance_scale_the_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for weight in (1.0, 0.25):
        trainer = DQN(table(), dataclasses.replace(BASE, replay="prioritised"))
        trainer.replay.add(trainer.collect(ToyTask()))  # type: ignore[arg-type]
        drawn = trainer.replay.draw(8)
        weighted = dataclasses.replace(drawn, weight=torch.full_like(drawn.weight, weight))
        monkeypatch.setattr(trainer.replay, "draw", lambda *_, weighted=weighted, **__: weighted)
        found.append(float(trainer._improve(described=False)["loss/td"]))
    assert found[0] > 0.01 and found[1] == pytest.approx(found[0] / 4, rel=1e-5)


@pytest.mark.parametrize("memory", ["none", "gru"])
def test_a_skipped_step_leaves_finite_priorities(memory: Any) -> None:
    policy, task = table(memory=memory), ToyTask()
    config = dataclasses.replace(BASE, replay="prioritised", gradient_steps=1, batch_size=8)
    trainer = config.build(policy, seed=1, num_updates=10)
    trainer.update(trainer.collect(task))  # type: ignore[arg-type]
    rows = trainer.collect(task)  # type: ignore[arg-type]
    before = [parameter.clone() for parameter in policy.parameters()]
    broken = rows.replace(reward=torch.full_like(rows.reward, 3e38))  # which is finite; its square is not
    trainer.config = dataclasses.replace(config, loss="mse")
    assert trainer.update(broken)["optimiser/skipped_share"] == 1.0
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(policy.parameters(), before, strict=True))
    state = trainer.replay.state_dict()
    assert bool(state["priorities"].isfinite().all()) and math.isfinite(state["largest"])
