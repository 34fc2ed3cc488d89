"""Which return credits which step, what it is compared with, and what the losses are averaged over: by enumeration and by loops."""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Any

import pytest
import torch
from toy_tokens import END, TokenPolicy, TokenTask, by_hand, gradient_of

from seqrl import A2CConfig, OffPolicyConfig, PPOConfig, Reinforce, ReinforceConfig, SelfCriticalConfig, VTraceConfig
from seqrl.optimiser import OptimiserConfig
from seqrl.trajectory import Trajectory

FAST = OptimiserConfig(learning_rate=0.05)
# All rows of up to two tokens: END ends them, and so does their length.
SENTENCES = [[END], *([first, second] for first in (0, 2) for second in (0, END, 2))]


def earned(sentence: list[int]) -> list[float]:
    """A reward for each token, which depends on those before it."""
    return [0.9 * token - 0.4 * token * token + 1.5 * t * sentence[0] + (2.0 if t == 0 else -1.2) for t, token in enumerate(sentence)]


def padded(rows: list[list[float]]) -> list[list[float]]:
    return [[*row, *[0.0] * (2 - len(row))] for row in rows]


def trajectory_of(sentences: tuple[list[int], ...]) -> Trajectory:
    actions = [[*row, *[0] * (2 - len(row))] for row in sentences]
    return by_hand(actions, padded([earned(row) for row in sentences]), lengths=[len(row) for row in sentences])


def logp_of(policy: TokenPolicy, sentence: list[int]) -> torch.Tensor:
    """[L] log-probabilities of a row's tokens."""
    logp = policy.logp_and_value(torch.tensor([0, *sentence[:-1]]))[0]
    return logp[torch.arange(len(sentence)), torch.tensor(sentence)]


def flat_gradient(policy: TokenPolicy, objective: torch.Tensor) -> torch.Tensor:
    parts = torch.autograd.grad(objective, list(policy.parameters()), allow_unused=True, materialize_grads=True)
    return torch.cat([part.flatten() for part in parts])


def true_gradient(policy: TokenPolicy) -> torch.Tensor:
    """Gradient of the expected reward, from all rows and their probabilities."""
    return flat_gradient(policy, sum(logp_of(policy, row).sum().exp() * sum(earned(row)) for row in SENTENCES))  # type: ignore[arg-type]


def expected_gradient(trainer: Reinforce, num_rows: int) -> torch.Tensor:
    """Mean over all batches, weighted with their probabilities, of the gradient that the trainer follows."""
    policy: Any = trainer.policy
    chance = {tuple(row): math.exp(float(logp_of(policy, row).sum().detach())) for row in SENTENCES}
    assert sum(chance.values()) == pytest.approx(1.0)
    mean = torch.zeros(sum(p.numel() for p in policy.parameters()), dtype=torch.float64)
    for batch in itertools.product(SENTENCES, repeat=num_rows):
        mean -= math.prod(chance[tuple(row)] for row in batch) * gradient_of(trainer, trajectory_of(batch))
    return mean


def reinforce(policy: TokenPolicy | None = None, **settings: Any) -> Reinforce:
    policy = TokenPolicy(num_tokens=3, width=2, seed=1).double() if policy is None else policy
    return ReinforceConfig(optimiser=FAST, **settings).build(policy, seed=0, num_updates=100)


@pytest.mark.parametrize(
    ("settings", "num_rows"),
    [
        ({"baseline": "none", "reward_to_go": False}, 1),
        ({"baseline": "leave_one_out"}, 2),
        ({"baseline": "leave_one_out", "reward_to_go": False}, 2),
    ],
)
def test_the_average_over_rows_has_the_true_gradient_in_expectation(settings: dict[str, Any], num_rows: int) -> None:
    trainer = reinforce(average_over="rows", **settings)
    exact = true_gradient(trainer.policy)  # type: ignore[arg-type]
    assert exact.norm() > 0.1
    torch.testing.assert_close(expected_gradient(trainer, num_rows), exact, rtol=0, atol=1e-12)


def test_the_average_over_steps_is_a_ratio_estimator_that_points_elsewhere() -> None:
    cosine = {}
    for num_rows in (1, 2):
        trainer = reinforce(baseline="none", average_over="steps")
        cosine[num_rows] = float(
            torch.cosine_similarity(expected_gradient(trainer, num_rows), true_gradient(trainer.policy), dim=0)  # type: ignore[arg-type]
        )
    # With more rows their number of steps varies less.
    assert cosine[1] < 0.97 and cosine[1] < cosine[2] < 0.995


AVERAGED: list[Any] = [
    ReinforceConfig(baseline="none", ent_coef=0.1),
    ReinforceConfig(baseline="critic"),
    PPOConfig(epochs=1, minibatches=1, normalise_advantage=False, ent_coef=0.1, kl_coef=0.1, kl_in="loss", kl_estimator="k2"),
    A2CConfig(),
    VTraceConfig(actor_lag=0),
    OffPolicyConfig(),
]


@pytest.mark.parametrize("config", AVERAGED, ids=lambda config: type(config).__name__)
@pytest.mark.parametrize("over", ["rows", "row_means"])
def test_an_average_over_rows_is_the_mean_of_the_rows_alone(config: Any, over: str) -> None:
    """What comes of a row alone, averaged over its steps, is scaled to its sum by its length, and averaged over the rows."""
    policy = TokenPolicy().double()
    rows = by_hand(
        [[2, 4, 3, 1], [5, 1, 0, 0], [1, 0, 0, 0], [2, 3, 1, 0]],
        [[1.0, 2.0, 0.0, 4.0], [3.0, 5.0, 0.0, 0.0], [-2.0, 0.0, 0.0, 0.0], [0.0, 1.0, 6.0, 0.0]],
        lengths=[4, 2, 1, 3],
    )
    rows = rows.replace(logp=policy(rows).logp.detach() + 0.05, value=torch.nn.functional.pad(policy(rows).value.detach(), (0, 1)))

    def gradient(over: Any, part: Trajectory, accumulation: int = 1) -> torch.Tensor:
        optimiser = dataclasses.replace(config.optimiser, accumulation=accumulation)
        changed = dataclasses.replace(config, average_over=over, optimiser=optimiser)
        return gradient_of(changed.build(policy, seed=0, num_updates=1), part)

    alone = [gradient("steps", rows.select_rows(torch.tensor([i]))) for i in range(4)]
    expected = sum(g * (length if over == "rows" else 1) for g, length in zip(alone, (4, 2, 1, 3), strict=True)) / 4
    assert expected.norm() > 1e-2  # type: ignore[union-attr]
    torch.testing.assert_close(gradient(over, rows), expected, rtol=0, atol=1e-9)
    torch.testing.assert_close(gradient(over, rows, accumulation=3), expected, rtol=0, atol=1e-9)


# Two episodes in a row with the dummy step of a reset between them, as control's task.mode=steps gives.
GOES_ON = by_hand(
    [[2, 1, 0, 3, 4, 5], [3, 2, 1, 0, 2, 2]],
    [[0.0, 0.0, 0.0, 1.0, 1.0, 1.0], [1.0, 0.0, 2.0, 0.0, 4.0, 0.5]],
    terminated=torch.tensor([[False, True, False, False, False, False], [False, False, True, False, False, False]]),
    mask=torch.tensor([[True, True, False, True, True, True], [True, True, True, False, True, True]]),
)


@pytest.mark.parametrize(
    ("settings", "advantages"),
    [
        ({"baseline": "none"}, [[0, 0, 0, 3, 3, 3], [3, 3, 3, 0, 4.5, 4.5]]),
        ({"baseline": "none", "gamma": 0.5}, [[0, 0, 0, 1.75, 1.75, 1.75], [1.5, 1.5, 1.5, 0, 4.25, 4.25]]),
        ({"baseline": "moving_average"}, [[-2.7, -2.7, 0, 0.3, 0.3, 0.3], [0.3, 0.3, 0.3, 0, 1.8, 1.8]]),  # their mean is 2.7
    ],
)
def test_each_step_is_credited_with_its_own_episode(settings: dict[str, Any], advantages: list[list[float]]) -> None:
    policy = TokenPolicy().double()
    expected = flat_gradient(policy, -(policy(GOES_ON).logp * torch.tensor(advantages, dtype=torch.float64)).sum() / 10)
    trainer = ReinforceConfig(optimiser=FAST, reward_to_go=False, **settings).build(policy, seed=0, num_updates=1)
    torch.testing.assert_close(gradient_of(trainer, GOES_ON), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    "config",
    [
        *(ReinforceConfig(baseline=name) for name in ("leave_one_out", "group_norm", "greedy")),  # type: ignore[arg-type]
        ReinforceConfig(baseline="leave_one_out", reward_to_go=False),
        *(SelfCriticalConfig(baseline=name) for name in ("leave_one_out", "greedy")),  # type: ignore[arg-type]
        *(PPOConfig(advantage=name) for name in ("leave_one_out", "group_norm", "group_mean", "greedy")),  # type: ignore[arg-type]
        OffPolicyConfig(self_normalise=True),
    ],
    ids=lambda config: f"{type(config).__name__}-{getattr(config, 'baseline', '')}{getattr(config, 'advantage', '')}",
)
def test_comparing_whole_rows_refuses_rows_of_several_episodes(config: Any) -> None:
    trainer = config.build(TokenPolicy().double(), seed=0, num_updates=1)
    with pytest.raises(ValueError, match="expected one episode a row, .*collect whole episodes, or .*trainer"):
        trainer.update(GOES_ON.replace(baseline=torch.zeros(2, dtype=torch.float64)))


@pytest.mark.parametrize("reward_to_go", [True, False])
def test_rows_compared_with_themselves_by_greedy_have_no_advantage(reward_to_go: bool) -> None:
    rows = by_hand([[2, 4, 1], [5, 1, 0]], [[1.0, 2.0, 4.0], [3.0, 5.0, 0.0]], lengths=[3, 2])
    trainer = ReinforceConfig(optimiser=FAST, baseline="greedy", reward_to_go=reward_to_go).build(
        TokenPolicy().double(), seed=0, num_updates=1
    )
    stats = trainer.update(rows.replace(baseline=rows.score))
    assert stats["advantage/mean"] == stats["advantage/std"] == 0
    with pytest.raises(ValueError, match="gamma: expected 1 with baseline greedy"):
        ReinforceConfig(baseline="greedy", gamma=0.9)


def relative(rows: list[float], *, scaled: bool) -> list[float]:
    mean = sum(rows) / len(rows)
    deviation = math.sqrt(sum((score - mean) ** 2 for score in rows) / len(rows)) + 1e-4
    return [(score - mean) / (deviation if scaled else 1.0) for score in rows]


@pytest.mark.parametrize("accumulation", [1, 3])
@pytest.mark.parametrize("method", ["grpo", "dr_grpo"])
def test_grpo_by_a_loop_over_rows(method: str, accumulation: int) -> None:
    """The whole loss and its gradient, with ratios on both sides of the clip and a policy that has left its reference."""
    policy = TokenPolicy().double()
    settings: dict[str, Any] = {
        "grpo": {"advantage": "group_norm", "average_over": "row_means", "kl_coef": 0.3, "kl_in": "loss", "kl_estimator": "k3"},
        "dr_grpo": {"advantage": "group_mean", "average_over": "rows"},
    }[method]
    optimiser = dataclasses.replace(FAST, accumulation=accumulation)
    trainer = PPOConfig(optimiser=optimiser, num_samples=3, epochs=1, minibatches=1, **settings).build(policy, seed=0, num_updates=1)
    reference = {name: tensor.clone() for name, tensor in policy.state_dict().items()}
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    sentences = [[2, 4, 3, 1], [5, 1], [1], [2, 1], [3, 3, 1], [4, 5, 2, 1]]
    scores, group = [1.0, -1.0, 0.5, 3.0, 2.0, 2.5], [0, 0, 0, 1, 1, 1]
    drift = torch.linspace(-0.6, 0.6, 24, dtype=torch.float64).view(6, 4)
    lengths = [len(row) for row in sentences]
    rows = by_hand(
        [[*row, *[0] * (4 - len(row))] for row in sentences],
        [[score if t == length - 1 else 0.0 for t in range(4)] for score, length in zip(scores, lengths, strict=True)],
        lengths=lengths,
        group=torch.tensor(group),
    )
    rows = rows.replace(logp=policy(rows).logp.detach() + drift)

    learner = TokenPolicy().double()
    learner.load_state_dict(reference)
    first = [logp_of(learner, row).detach() for row in sentences]
    learner.load_state_dict(policy.state_dict())
    advantage = relative(scores[:3], scaled=method == "grpo") + relative(scores[3:], scaled=method == "grpo")
    loss = torch.zeros((), dtype=torch.float64)
    clipped = 0
    for i, row in enumerate(sentences):
        now, total = logp_of(learner, row), torch.zeros((), dtype=torch.float64)
        for t in range(len(row)):
            ratio = torch.exp(now[t] - (now[t].detach() + drift[i, t]))
            limited = min(max(float(ratio.detach()), 0.8), 1.2) * advantage[i]
            gain = ratio * advantage[i]
            if limited < float(gain.detach()):
                gain, clipped = torch.tensor(limited, dtype=torch.float64), clipped + 1
            if method == "grpo":
                quotient = torch.exp(first[i][t] - now[t])
                gain = gain - 0.3 * (quotient - torch.log(quotient) - 1)
            total = total + gain
        loss = loss - total / (len(row) if method == "grpo" else 1) / len(sentences)
    assert 2 <= clipped <= 12
    gradient = gradient_of(trainer, rows)
    torch.testing.assert_close(gradient, flat_gradient(learner, loss), rtol=0, atol=1e-9)
    stats = trainer.update(rows)
    assert stats["loss/policy"] + stats.get("loss/kl", 0.0) == pytest.approx(float(loss.detach()), abs=1e-6)  # read in float32
    assert ("loss/kl" in stats) == (method == "grpo")


def test_compared_rows_are_not_scaled_again_unless_asked() -> None:
    # One token against nine: the row's advantages are +1 and -1, and the same over all ten steps, whatever the lengths.
    rows = by_hand([[1, *[0] * 8], [2] * 8 + [1]], [[3.0, *[0.0] * 8], [0.0] * 8 + [1.0]], lengths=[1, 9], group=torch.tensor([0, 0]))
    seen: dict[bool | None, list[float]] = {}
    for normalise in (None, False, True):
        trainer = PPOConfig(
            optimiser=FAST, advantage="group_norm", num_samples=2, epochs=1, minibatches=1, normalise_advantage=normalise
        ).build(TokenPolicy().double(), seed=0, num_updates=1)
        improve = trainer._improve

        def noted(part: Any, columns: Any, *, key: Any = normalise, improve: Any = improve, **settings: Any) -> Any:
            seen[key] = [round(float(row[0]), 2) for row in columns["advantage"]]
            return improve(part, columns, **settings)

        trainer._improve = noted  # type: ignore[method-assign]
        trainer.update(rows)
    assert seen == {None: [1.0, -1.0], False: [1.0, -1.0], True: [3.0, -0.33]}


@pytest.mark.parametrize(
    ("config", "settings", "named"),
    [
        *((config, {"average_over": "tokens"}, "average_over: expected one of steps, rows, row_means") for config in
          (ReinforceConfig, SelfCriticalConfig, PPOConfig, A2CConfig, VTraceConfig, OffPolicyConfig)),
        (PPOConfig, {"average_over": "rows", "minibatch_unit": "steps"}, "average_over: expected steps with minibatch_unit steps"),
        (PPOConfig, {"kl_in": "loss"}, "kl_estimator: expected k2 or k3 with kl_in loss"),
        (PPOConfig, {"kl_in": "rewards"}, "kl_in: expected one of reward, loss"),
        (PPOConfig, {"kl_estimator": "k4"}, "kl_estimator: expected one of k1, k2, k3"),
    ],
)  # fmt: skip
def test_unusable_settings_are_refused(config: Any, settings: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        config(**settings)


def test_a_divergence_in_the_loss_keeps_the_policy_near_the_reference() -> None:
    drift = {}
    for weight in (1e-9, 1.0):
        settings: dict[str, Any] = {"advantage": "group_norm", "average_over": "row_means", "kl_in": "loss", "kl_estimator": "k3"}
        config = PPOConfig(optimiser=FAST, num_samples=5, epochs=1, minibatches=1, kl_coef=weight, **settings)
        trainer, task = config.build(TokenPolicy(), seed=0, num_updates=10), TokenTask()
        for _ in range(10):
            drift[weight] = trainer.update(trainer.collect(task))["policy/kl_reference"]
    assert drift[1e-9] > 0.3 > drift[1.0]
