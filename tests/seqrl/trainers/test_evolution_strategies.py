"""Evolution strategies: the step by hand, a hill whose top is known, and weights that come back to the bit."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from seqrl.optimiser import OptimiserConfig
from seqrl.trainers.evolution_strategies import EvolutionStrategies, EvolutionStrategiesConfig
from seqrl.trajectory import Trajectory

TOP = torch.tensor([1.0, -2.0, 0.5])


class Place(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3))


class Hill:
    """A task that scores where the weights are, in two rows of unlike lengths."""

    whole_rows = True

    def __init__(self, flat: bool = False, fails_at: int = -1) -> None:
        self.flat, self.fails_at, self.seen = flat, fails_at, list[Tensor]()

    def rollout(self, policy: Any, **_: Any) -> Trajectory:
        self.seen.append(policy.weight.detach().clone())
        if len(self.seen) == self.fails_at:
            raise RuntimeError("the world has ended")
        height = torch.zeros(()) if self.flat else -(policy.weight.detach() - TOP).square().sum()
        T = len(self.seen) % 2 + 1
        zeros, none = torch.zeros(2, T), torch.zeros(2, T, dtype=torch.bool)
        reward = zeros.clone()
        reward[:, -1] = torch.stack([height - 1, height + 1])
        return Trajectory(torch.zeros(2, T, dtype=torch.long), zeros, torch.zeros(2, T + 1), reward, none, none, ~none)


def climber(**settings: Any) -> EvolutionStrategies:
    optimiser = OptimiserConfig(learning_rate=0.05, weight_decay=0.0, max_grad_norm=0.0)
    config = EvolutionStrategiesConfig(optimiser=optimiser, **settings)
    return config.build(Place(), seed=0, num_updates=300)


def test_the_gradient_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer, task = climber(population_size=4, sigma=0.5), Hill()
    rows = trainer.collect(task)  # type: ignore[arg-type]
    assert len(task.seen) == 4 and rows.batch_size == 8
    noise = [seen / 0.5 for seen in task.seen]
    assert torch.equal(noise[0], -noise[1]) and torch.equal(noise[2], -noise[3])
    heights = [-float((seen - TOP).square().sum()) for seen in task.seen]
    rank = {place: number / 3 - 0.5 for number, place in enumerate(sorted(range(4), key=heights.__getitem__))}
    by_hand = sum(rank[place] * noise[place] for place in range(4)) / (4 * 0.5)  # type: ignore[operator]
    found = []

    def keep(gradients: Any) -> Any:
        gradients()
        found.append(trainer.policy.weight.grad)
        return {}, []

    monkeypatch.setattr(trainer.optimiser, "step_on", keep)
    stats = trainer.update(rows)
    assert torch.allclose(found[0], -by_hand, atol=1e-6)
    assert stats["population/score_best"] == pytest.approx(max(heights), rel=1e-5)


def test_it_climbs_to_the_top() -> None:
    trainer, task = climber(population_size=16), Hill()
    for _ in range(150):
        trainer.update(trainer.collect(task))  # type: ignore[arg-type]
    assert torch.allclose(trainer.policy.weight.detach(), TOP, atol=0.1)


def test_a_population_that_scores_alike_stays() -> None:
    trainer = climber()
    stats = trainer.update(trainer.collect(Hill(flat=True)))  # type: ignore[arg-type]
    assert trainer.policy.weight.count_nonzero() == 0
    assert stats["population/score_std"] == 0.0


def test_weights_come_back_to_the_bit_also_after_an_error() -> None:
    trainer = climber()
    with torch.no_grad():
        trainer.policy.weight.copy_(torch.tensor([0.1, 0.7, 1 / 3]))
    before = trainer.policy.weight.detach().clone()
    trainer.collect(Hill())  # type: ignore[arg-type]
    assert torch.equal(trainer.policy.weight, before)
    with pytest.raises(RuntimeError, match="ended"):
        trainer.collect(Hill(fails_at=3))  # type: ignore[arg-type]
    assert torch.equal(trainer.policy.weight, before)


def test_a_resumed_run_goes_on_to_the_bit() -> None:
    trainer, resumed = climber(), climber()
    trainer.update(trainer.collect(Hill()))  # type: ignore[arg-type]
    resumed.policy.load_state_dict(trainer.policy.state_dict())
    resumed.load_state_dict(trainer.state_dict())
    for each in (trainer, resumed):
        each.update(each.collect(Hill()))  # type: ignore[arg-type]
    assert torch.equal(trainer.policy.weight, resumed.policy.weight)


@pytest.mark.parametrize(("settings", "text"), [({"population_size": 7}, "even number.*got 7"), ({"sigma": 0.0}, "sigma.*positive")])
def test_bad_settings_are_refused(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        EvolutionStrategiesConfig(**settings)


def test_a_score_that_is_no_number_is_refused() -> None:
    trainer = climber()
    rows = trainer.collect(Hill())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="expected finite scores"):
        trainer.update(rows.replace(reward=torch.full_like(rows.reward, torch.nan)))
