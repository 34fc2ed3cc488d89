from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from seqrl.policies.action_values import ActionValues, ActionValuesConfig
from seqrl.policies.encoders import ObservationSize
from seqrl.policies.noisy_layers import NoisyLinear
from seqrl.rollout import unroll


class PatternSource:
    """Three rows; row i ends every 3 + i steps, by turns terminated and truncated. Its observation [B, 1] is a sine of the time."""

    def __init__(self) -> None:
        self.time = 0
        self.active = torch.ones(3, dtype=torch.bool)
        self.finished = False
        self._age = torch.zeros(3, dtype=torch.long)

    @property
    def obs(self) -> Tensor:
        return torch.sin(torch.arange(3) + 1.7 * self.time).unsqueeze(1)

    def step(self, action: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        live = self.active
        self.time += 1
        self._age = torch.where(live, self._age + 1, 0)
        ended = live & (self._age == torch.arange(3) + 3)
        self.active = ~ended
        even = torch.full((3,), self.time % 2 == 0)
        return self.obs, live.float(), ended & even, ended & ~even


def network(
    *, seed: int = 0, hidden: tuple[int, ...] = (8, 6), shape: tuple[int, ...] = (3,), actions: int = 4, **settings: Any
) -> ActionValues:
    return ActionValues(
        ObservationSize(shape), actions, hidden, ActionValuesConfig(**settings), generator=torch.Generator().manual_seed(seed)
    )


def strengthened(policy: ActionValues) -> ActionValues:
    """Make the last layers large, so that values differ."""
    with torch.no_grad():
        for parameter in policy.advantage.parameters():
            parameter.mul_(30).add_(0.1)
    return policy


def random(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_network_written_out() -> None:
    policy, x = network(), random(5, 3)
    encoder, (first, second) = policy.encoder.layers, policy.advantage.layers  # type: ignore[misc, union-attr]
    hidden = (x @ encoder[0].weight.T + encoder[0].bias).relu()  # type: ignore[index, union-attr, operator]
    hidden = (hidden @ first.weight.T + first.bias).relu()
    torch.testing.assert_close(policy.values(x), hidden @ second.weight.T + second.bias)


@pytest.mark.parametrize("estimate", ["mean", "quantile"])
def test_dueling_values_are_those_of_the_state_on_average(estimate: Any) -> None:
    policy, x = strengthened(network(dueling=True, estimate=estimate, num_atoms=5)), random(6, 3)
    values = policy.values(x)
    hidden = policy.encoder(x).relu()
    state = policy.value(hidden, 0.0, None).mean(dim=-1)  # type: ignore[misc]
    advantage = policy.advantage(hidden, 0.0, None).view(6, 4, -1).mean(dim=-1)
    torch.testing.assert_close(values.mean(dim=1), state)
    torch.testing.assert_close(values - values[:, :1], advantage - advantage[:, :1])


def test_values_are_means_of_the_distribution() -> None:
    policy = network(estimate="categorical", num_atoms=3, value_min=-1.0, value_max=1.0)
    logits = torch.tensor([0.2, 0.3, 0.5]).log()
    assert float(policy.mean_of(logits)) == pytest.approx(0.3)
    assert float(network(estimate="quantile", num_atoms=4).mean_of(torch.tensor([1.0, 2.0, 3.0, 6.0]))) == 3.0
    assert policy.outputs(random(2, 5, 3))[0].shape == (2, 5, 4, 3)


def test_chance_actions_come_as_often_as_epsilon_says() -> None:
    policy, x = strengthened(network()), random(1, 3).expand(20_000, 3)
    policy.epsilon = 0.3
    step = policy.act(x, generator=torch.Generator().manual_seed(0))
    greedy = int(policy.act(x[:1], greedy=True).action)
    share = step.action.bincount(minlength=4).double() / 20_000
    expected = torch.full((4,), 0.075, dtype=torch.float64)
    expected[greedy] += 0.7
    torch.testing.assert_close(share, expected, rtol=0, atol=0.01)
    torch.testing.assert_close(step.logp.exp(), expected.float()[step.action])  # type: ignore[union-attr]


def test_forbidden_actions_are_never_taken() -> None:
    policy = strengthened(network())
    mask = torch.tensor([[True, False, True, False], [False, False, False, True]]).repeat(3000, 1)
    obs = {"observation": random(6000, 3), "action_mask": mask}
    for epsilon in (0.0, 1.0):
        policy.epsilon = epsilon
        action = policy.act(obs, generator=torch.Generator().manual_seed(0)).action
        assert mask.gather(1, action.unsqueeze(1)).all()
    assert (action[::2] == 2).double().mean() == pytest.approx(0.5, abs=0.05)
    values = policy.values(obs).masked_fill(~mask, -math.inf)
    assert torch.equal(policy.act(obs, greedy=True).action, values.argmax(dim=1))


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite_give_actions_that_are_there(number: float) -> None:
    network = ActionValues(ObservationSize((2,)), 3, ())
    network.epsilon = 0.5
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(number)
    action = network.act(torch.ones(200, 2), generator=torch.Generator().manual_seed(0)).action
    assert int(action.min()) >= 0 and int(action.max()) <= 2


def test_noise_is_drawn_from_the_generator_and_greedy_actions_have_none() -> None:
    policy, x = network(noisy=True, noise=2.0), random(9, 3)
    policy.draw_noise(torch.Generator().manual_seed(3))
    first = policy.values(x)
    policy.draw_noise(torch.Generator().manual_seed(3))
    assert torch.equal(policy.values(x), first)
    policy.draw_noise(torch.Generator().manual_seed(4))
    assert not torch.equal(policy.values(x), first)
    step = policy.act(x, greedy=True)
    plain = network(noisy=True, noise=0.0)
    plain.draw_noise(torch.Generator().manual_seed(3))
    torch.testing.assert_close(step.value, plain.values(x).max(dim=1).values)


def test_noisy_weights_have_the_deviation_that_was_learned() -> None:
    layer = NoisyLinear(4, 3, noise=0.8, generator=torch.Generator().manual_seed(0))
    x = torch.eye(4)
    draws, draw = [], torch.Generator().manual_seed(1)
    for _ in range(20_000):
        layer.draw_noise(draw)
        draws.append(layer(x).detach())
    sample = torch.stack(draws) - (layer.mean(x)).detach()
    # f(ε) = sign(ε) √|ε| has mean 0 and variance E|ε| = √(2/π); the weight's noise is a product of two, the bias' is one.
    size = 0.8 / 2
    variance = size**2 * (2 / math.pi + math.sqrt(2 / math.pi))
    torch.testing.assert_close(sample.mean(0), torch.zeros(4, 3), rtol=0, atol=0.015)
    torch.testing.assert_close(sample.var(0), torch.full((4, 3), variance), rtol=0.08, atol=0)


def test_dropout_explores_and_is_off_otherwise() -> None:
    policy, x = strengthened(network(hidden=(64, 64), dropout=0.5)).eval(), random(1, 3).expand(400, 3)
    assert len(policy.act(x, generator=torch.Generator().manual_seed(0)).action.unique()) > 1
    assert len(policy.act(x, greedy=True).action.unique()) == 1
    assert torch.equal(policy.values(x[:2])[0], policy.values(x[:2])[1])
    one, two = (policy.act(x, generator=torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(one.action, two.action)
    assert policy.train().values(x).var(dim=0).max() > 0


def test_frames_go_through_the_nature_network() -> None:
    policy = ActionValues(ObservationSize((4, 84, 84), frames=True), 6, (64,), ActionValuesConfig(dueling=True))
    frames = torch.randint(256, (2, 3, 4, 84, 84), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert policy.values(frames).shape == (2, 3, 6)
    assert policy.act(frames[:, 0], greedy=True).action.shape == (2,)


@pytest.mark.parametrize("memory", ["lstm", "gru"])
def test_memory_is_the_same_step_by_step_and_at_once(memory: Any) -> None:
    policy = strengthened(network(shape=(1,), actions=2, memory=memory, memory_size=7, dueling=True))
    policy.epsilon = 0.3
    source, draw = PatternSource(), torch.Generator().manual_seed(0)
    first, state = unroll(policy, source, max_steps=7, generator=draw)
    second, _ = unroll(policy, source, max_steps=8, state=state, generator=draw)
    assert not first.mask.all() and not second.mask.all()
    for part in (first, second):
        outputs, _ = policy.outputs(part.obs, part.state0, torch.nn.functional.pad(~part.mask, [1, 0]))
        values = policy.mean_of(outputs).max(dim=-1).values
        torch.testing.assert_close(values, part.value, rtol=1e-5, atol=1e-6)
    evaluation = policy(second)
    torch.testing.assert_close(evaluation.value, policy.mean_of(outputs)[:, :-1].gather(2, second.action.unsqueeze(2)).squeeze(2))
    # The memory in the middle, and from there on.
    for steps in range(8):
        middle = policy.state_after(second, steps)
        rest, _ = policy.outputs(second.obs[:, steps:], middle, torch.nn.functional.pad(~second.mask[:, steps:], [1, 0]))  # type: ignore[index, call-overload]
        torch.testing.assert_close(rest, outputs[:, steps:], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"estimate": "median"}, "estimate: expected one of mean, categorical, quantile, got 'median'"),
        ({"memory": "rnn"}, "memory: expected one of none, lstm, gru"),
        ({"num_atoms": 1}, "num_atoms"),
        ({"value_min": 3.0, "value_max": 3.0}, "expected a rising pair"),
        ({"dropout": 1.0}, "dropout"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ActionValuesConfig(**settings)


def test_normalised_observations_are_those_of_the_rollouts_before() -> None:
    policy, plain = (strengthened(network(normalise_observations=normalise)) for normalise in (True, False))
    seen = random(2, 9, 3) * 5 + 7
    mask = torch.ones(2, 8, dtype=torch.bool)
    mask[1, 3] = False
    policy.observe(seen, mask)
    torch.testing.assert_close(policy.values(seen), plain.values(seen.clamp(-10, 10)))  # as the actions were chosen
    policy.initial_state(None)
    counted = seen[:, :-1][mask]
    scaled = (seen - counted.mean(dim=0)) / counted.std(dim=0, correction=0)
    torch.testing.assert_close(policy.values({"observation": seen}), plain.values(scaled), rtol=1e-4, atol=1e-5)
    again = network(seed=5, normalise_observations=True)
    again.load_state_dict(policy.state_dict())
    assert torch.equal(again.values(seen), policy.values(seen))
    with pytest.raises(ValueError, match="normalise_observations"):
        ActionValues(ObservationSize((4, 84, 84), frames=True), 4, (8,), ActionValuesConfig(normalise_observations=True))
