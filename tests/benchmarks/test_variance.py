"""The estimators of benchmarks/variance.py: their mean over every episode beside the gradient of the exact value, and beside samples."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from seqrl.functional.reductions import masked_mean
from seqrl.policies.tables import ProbabilityTable
from seqrl.trainers.off_policy import OffPolicy, OffPolicyConfig

ROOT = Path(__file__).resolve().parents[2]
UNBIASED = (
    *("REINFORCE: return of the whole episode", "moving average", "constant of least variance", "greedy episode"),
    *("leave one out, 4 rows", "reward to go"),
    *("reward to go, leave one out, 2 rows", *(f"reward to go - V, {critic}" for critic in ("exact", "clockless", "wrong"))),
    *(f"{n} steps, V exact" for n in (1, 2, 4)),
    *(f"GAE lambda {value}, V exact" for value in ("0", "0.5", "0.9", "0.95", "1")),
    *("GAE lambda 1, V clockless", "GAE lambda 1, V wrong"),
)
UNBIASED_WHEN_OLDER = ("weight of the whole row", "per decision", "per decision, V wrong")
HORIZON = 5  # long enough to slip back and forth, and to leave on either side


@pytest.fixture(scope="module")
def parts() -> Iterator[Any]:
    """The benchmark's modules, with a world, a policy that learns and one that sampled."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        import corridor
        import enumeration
        import estimators
        import variance

        logits = torch.tensor(variance.FIRST, dtype=torch.float64)
        older = torch.tensor([[0.1, 0.4], [-0.2, 0.6], [0.7, -0.1], [0.0, 0.3]], dtype=torch.float64)
        world = corridor.corridor(HORIZON)
        modules = {"corridor": corridor, "estimators": estimators, "enumeration": enumeration, "variance": variance}
        yield SimpleNamespace(**modules, world=world, logits=logits, older=older)
        for name in (*modules, "provenance"):
            sys.modules.pop(name, None)


def bias_of(parts: Any, name: str) -> Tensor:
    """Bias of an estimator as a vector, over the gradient's length."""
    fresh = parts.estimators.on_policy(1.3, 0.7)
    estimator = (fresh | parts.estimators.off_policy())[name]
    behaviour = parts.logits if name in fresh else parts.older
    wanted = parts.corridor.exact_gradient(parts.world, parts.logits)
    return (parts.enumeration.enumerate_estimator(estimator, parts.world, parts.logits, behaviour).mean - wanted) / wanted.norm()


def test_episodes_are_all_there_are(parts: Any) -> None:
    rows, chance = parts.corridor.every_episode(parts.world)
    probability = chance * parts.corridor.log_probabilities(rows, parts.logits).sum(dim=1).exp()
    assert float(probability.sum()) == pytest.approx(1, abs=1e-12)
    seen = torch.cat([rows.action.double(), rows.obs.double(), rows.mask.double()], dim=1)
    assert len(seen.unique(dim=0)) == rows.batch_size
    # Left at once: the second cell, left twice without slipping, whatever the policy does elsewhere.
    first = torch.tensor(1.0).double()
    for cell in (1, 0):
        left, right = parts.logits.softmax(dim=1)[cell]
        first = first * (0.8 * left + 0.2 * right)
    gone = rows.mask.sum(dim=1) == 2
    at_left = gone & (rows.obs[:, 1] == 0)
    assert float(probability[at_left].sum()) == pytest.approx(float(first), rel=1e-12)
    assert rows.score[at_left].tolist() == pytest.approx([0.4 - 0.2] * 4)


def test_exact_gradient_by_differences(parts: Any) -> None:
    def value(logits: Tensor) -> float:
        return float(parts.corridor.state_values(parts.world, logits)[0, parts.world.start])

    got, step = parts.corridor.exact_gradient(parts.world, parts.logits), 1e-5
    for place in range(parts.logits.numel()):
        change = torch.zeros(parts.logits.numel(), dtype=torch.float64)
        change[place] = step
        moved = change.view_as(parts.logits)
        assert float(got[place]) == pytest.approx((value(parts.logits + moved) - value(parts.logits - moved)) / (2 * step), abs=1e-9)


def test_visits_and_score_functions_agree_with_the_episodes(parts: Any) -> None:
    rows, chance = parts.corridor.every_episode(parts.world)
    probability = chance * parts.corridor.log_probabilities(rows, parts.logits).sum(dim=1).exp()
    for t in range(HORIZON):
        there = [float(probability[rows.mask[:, t] & (rows.obs[:, t] == cell)].sum()) for cell in range(4)]
        assert parts.corridor.visits(parts.world, parts.logits)[t].tolist() == pytest.approx(there, abs=1e-12)
    some = rows.select_rows(slice(7, 9))
    for row in range(2):
        for t in range(HORIZON):
            free = parts.logits.clone().requires_grad_()
            logp = parts.corridor.log_probabilities(some, free)[row, t]
            (expected,) = torch.autograd.grad(logp, free, allow_unused=True)
            got = parts.corridor.score_functions(some, parts.logits)[row, t]
            assert torch.allclose(got, torch.zeros(8).double() if expected is None else expected.flatten(), atol=1e-12)


def test_every_estimator_is_listed_once(parts: Any) -> None:
    assert set(UNBIASED) <= parts.estimators.on_policy(0.0, 0.0).keys() and set(UNBIASED_WHEN_OLDER) <= parts.estimators.off_policy().keys()


@pytest.mark.parametrize("name", [*UNBIASED, *UNBIASED_WHEN_OLDER])
def test_unbiased(parts: Any, name: str) -> None:
    assert float(bias_of(parts, name).norm()) < 1e-10


def test_all_others_are_biased(parts: Any) -> None:
    others = (parts.estimators.on_policy(1.3, 0.7) | parts.estimators.off_policy()).keys() - {*UNBIASED, *UNBIASED_WHEN_OLDER}
    assert others and min(float(bias_of(parts, name).norm()) for name in others) > 1e-3


def test_bias_that_is_known_by_hand(parts: Any) -> None:
    wanted = parts.corridor.exact_gradient(parts.world, parts.logits)
    bias = bias_of(parts, "group mean, 4 rows")
    assert torch.allclose(bias, -wanted / wanted.norm() / 4, atol=1e-12)  # (n - 1) / n of the gradient
    # Without limits V-trace is the own action's estimate with a baseline after it: the same mean.
    assert torch.allclose(bias_of(parts, "V-trace, no limits"), bias_of(parts, "own action"), atol=1e-12)
    # One temporal difference, whichever function writes it.
    assert torch.allclose(bias_of(parts, "1 steps, V wrong"), bias_of(parts, "GAE lambda 0, V wrong"), atol=1e-12)


@pytest.mark.parametrize(
    "name", ["group norm, 4 rows", "greedy episode", "the same, mean over the steps of 2 rows", "GAE lambda 0.9, V exact"]
)
def test_samples_agree_with_enumeration(parts: Any, name: str) -> None:
    estimator = parts.estimators.on_policy(1.3, 0.7)[name]
    exact = parts.enumeration.enumerate_estimator(estimator, parts.world, parts.logits, parts.logits)
    arguments = (estimator, parts.world, parts.logits, parts.logits, 8000, torch.Generator().manual_seed(0))
    sampled = parts.enumeration.sample_gradients(*arguments)
    error = (sampled.var(dim=0).sum() / len(sampled)).sqrt()
    assert float((sampled.mean(dim=0) - exact.mean).norm() / error) < 2.5
    if exact.variance is not None:
        assert float(sampled.var(dim=0).sum()) == pytest.approx(exact.variance, rel=0.05)


def test_gradient_is_that_of_the_policy_of_the_package(parts: Any) -> None:
    """Autograd through a probability table and the mean over rows, instead of weights times score functions."""
    policy = ProbabilityTable(4, 2).double()
    policy.load_state_dict(policy.state_dict() | {"logits": parts.logits})
    rows = parts.corridor.play(parts.world, parts.older, 64, torch.Generator().manual_seed(1))
    values = parts.enumeration.critics_of(parts.world, parts.logits, parts.older)
    for name in ("weight of the whole row", "V-trace, rho and c at most 1", "PPO, clip 0.2"):
        estimator = parts.estimators.off_policy()[name]
        given = parts.enumeration.prepare(rows, parts.older, values[estimator.critic])
        logp = policy(given).logp
        (expected,) = torch.autograd.grad(-masked_mean(estimator.loss(given, logp), given.mask, over="rows"), policy.logits)
        arguments = (estimator, parts.world, parts.logits, parts.older, 64, torch.Generator().manual_seed(1))
        assert torch.allclose(parts.enumeration.sample_gradients(*arguments).mean(dim=0), expected.flatten(), atol=1e-12)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("per decision", {}),
        ("per decision, at most 2", {"max_weight": 2.0}),
        ("own action", {"weighting": "own_action"}),
    ],
)
def test_weights_are_those_of_the_trainer(parts: Any, name: str, settings: dict[str, Any]) -> None:
    estimators, enumeration = parts.estimators, parts.enumeration
    values = enumeration.critics_of(parts.world, parts.logits, parts.older)["exact"]
    rows = enumeration.prepare(parts.corridor.play(parts.world, parts.older, 64, torch.Generator().manual_seed(2)), parts.older, values)
    logp = parts.corridor.log_probabilities(rows, parts.logits)
    trainer = OffPolicy(ProbabilityTable(4, 2), OffPolicyConfig(gamma=1.0, **settings))
    _, advantage = trainer._advantage(rows, estimators.ratio(rows, logp), rows.value)
    got = enumeration.step_weights(estimators.off_policy()[name], rows, logp)
    assert torch.allclose(got[rows.mask], advantage[rows.mask], atol=1e-12)


@pytest.mark.slow
def test_benchmark_writes_its_file_and_its_figure(parts: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output, figure = tmp_path / "out.json", tmp_path / "out.png"
    monkeypatch.setattr(
        sys, "argv", ["variance.py", "--episodes=400", "--seeds=0", "--allow-dirty", f"--output={output}", f"--figure={figure}"]
    )
    parts.variance.main()
    results = json.loads(output.read_text())
    assert set(results["fresh"]) == {"new", "learned"} and set(results["older"]) == {str(lag) for lag in parts.variance.LAGS}
    shares = [results["older"][str(lag)]["effective_share"] for lag in parts.variance.LAGS]
    assert 1 > shares[0] > shares[-1] > 0
    assert figure.read_bytes().startswith(b"\x89PNG")
