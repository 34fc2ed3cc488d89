from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from seqrl.functional.reductions import masked_mean
from seqrl.optimiser import Term
from seqrl.trainers.imitation import ImitationConfig, collect_rows, imitation_loss
from seqrl.trajectory import Evaluation, Trajectory, imitated


def rows(num_rows: int, *, imitate: bool = False, group: list[int] | None = None) -> Trajectory:
    flags = torch.full((num_rows, 2), imitate)
    zeros = torch.zeros(num_rows, 2)
    numbers = None if group is None else torch.tensor(group)
    return Trajectory(
        zeros.long(), zeros, torch.zeros(num_rows, 3), zeros, ~flags, ~flags, ~flags, group=numbers, imitate=flags if imitate else None
    )


def test_weight_falls_linearly_and_then_stays() -> None:
    config = ImitationConfig(weight=1.0, final_weight=0.2, anneal_updates=4)
    assert [config.weight_at(update) for update in (0, 1, 2, 3, 4, 5, 99)] == pytest.approx([1.0, 0.8, 0.6, 0.4, 0.2, 0.2, 0.2])
    assert ImitationConfig(weight=0.3).weight_at(10**6) == 0.3


def test_forced_steps_shrink_by_stages_down_to_none() -> None:
    config = ImitationConfig(weight=1.0, forced_steps=5, forced_decrease=2, forced_updates=3)
    assert [config.forced_steps_at(update) for update in range(13)] == [5, 5, 5, 3, 3, 3, 1, 1, 1, 0, 0, 0, 0]


def mixed(
    config: ImitationConfig, update: int, sampled: Trajectory, demonstrations: Callable[..., Trajectory], asked: list[Any]
) -> Trajectory:
    optimiser = SimpleNamespace(num_finished=update, generator=None, device="cpu")
    settings = SimpleNamespace(num_samples=1, imitation=config)
    trainer = SimpleNamespace(policy=nn.Identity(), config=settings, optimiser=optimiser, check_task=lambda task: None)

    def rollout(policy: nn.Module, *, num_forced_steps: int, **settings: Any) -> Trajectory:
        asked.append(num_forced_steps)
        return sampled

    return collect_rows(trainer, SimpleNamespace(rollout=rollout, demonstrations=demonstrations))  # type: ignore[arg-type]


def collected(config: ImitationConfig, update: int, group: list[int] | None) -> tuple[Trajectory, list[Any]]:
    asked: list[Any] = []

    def demonstrations(contexts: torch.Tensor | None) -> Trajectory:
        asked.append(None if contexts is None else contexts.tolist())
        return rows(2, imitate=True)

    return mixed(config, update, rows(4, group=group), demonstrations, asked), asked


def test_demonstrations_are_asked_for_once_for_each_sampled_context() -> None:
    trajectory, asked = collected(ImitationConfig(weight=0.5), 0, [7, 7, 3, 3])
    assert asked == [0, [3, 7]]
    assert trajectory.mask.any(1).tolist() == [True] * 4 + [False] * 2
    assert trajectory.imitate is not None and trajectory.imitate.any(1).tolist() == [False] * 4 + [True] * 2
    assert collected(ImitationConfig(weight=0.5), 0, None)[1] == [0, None]


def test_demonstrations_share_the_context_of_the_rollout() -> None:
    sampled = rows(3, group=[7, 7, 3]).replace(context={"memory": torch.tensor([[70.0], [70.0], [30.0]])})
    for numbers in ([3, 7, 7], [3, 8, 7], None):
        shown = rows(3, imitate=True, group=numbers).replace(context={"image": torch.zeros(3, 9)})

        def mix(shown: Trajectory = shown) -> Trajectory:
            return mixed(ImitationConfig(weight=1.0), 0, sampled, lambda _: shown, [])

        if numbers == [3, 7, 7]:
            context = mix().context
            assert isinstance(context, dict) and context["memory"].flatten().tolist() == [70, 70, 30, 30, 70, 70]
        else:
            with pytest.raises(ValueError, match="group"):
                mix()


def test_no_demonstrations_without_weight_or_with_forced_steps() -> None:
    assert collected(ImitationConfig(), 0, None)[1] == [0]
    annealed = ImitationConfig(weight=1.0, anneal_updates=2)
    assert [len(collected(annealed, update, None)[1]) for update in (0, 1, 2, 3)] == [2, 2, 1, 1]
    forced = ImitationConfig(weight=1.0, forced_steps=2, forced_decrease=1, forced_updates=1)
    assert [collected(forced, update, None)[1] for update in (0, 1, 2, 3)] == [[2], [1], [0], [0]]


def mean(term: Term, part: Trajectory, count: float) -> Tensor:
    """Average it as the optimiser does."""
    assert term.imitated and term.weight == 1.0
    return masked_mean(term.loss, imitated(part), count)


def test_imitation_loss_by_hand() -> None:
    logp = torch.tensor([[-1.0, -2.0], [-4.0, float("nan")]])
    evaluation = Evaluation(logp, torch.zeros(2, 2), torch.zeros(2, 2), mean_logp=torch.tensor([[-3.0, -3.0], [-5.0, 0.0]]))
    imitate = torch.tensor([[True, False], [True, False]])
    part = rows(2, imitate=True).replace(imitate=imitate)
    assert float(mean(imitation_loss(evaluation), part, 4.0)) == 1.25
    # 0.9 * 1 + 0.1 * 3 = 1.2 and 0.9 * 4 + 0.1 * 5 = 4.1
    assert float(mean(imitation_loss(evaluation, label_smoothing=0.1), part, 1.0)) == pytest.approx(5.3)


def test_imitation_loss_is_nothing_without_demonstrations() -> None:
    logp = torch.full((4, 2), -1.0, requires_grad=True)
    loss = mean(imitation_loss(Evaluation(logp, torch.zeros(4, 2), torch.zeros(4, 2))), rows(4), 8.0)
    loss.backward()
    assert float(loss.detach()) == 0 and logp.grad is not None and not logp.grad.any()


def test_imitation_loss_without_demonstrations_does_not_look_at_impossible_actions() -> None:
    """Such as padding that a policy of one's own forbids."""
    logp = torch.tensor([[-1.0, -math.inf]], requires_grad=True)
    loss = mean(imitation_loss(Evaluation(logp, torch.zeros(1, 2), torch.zeros(1, 2))), rows(1), 8.0)
    loss.backward()
    assert float(loss.detach()) == 0 and logp.grad is not None and not logp.grad.any()


@pytest.mark.parametrize(
    ("settings", "name"),
    [({"weight": -1.0}, "weight"), ({"forced_steps": 2}, "forced_steps"), ({"weight": 1.0, "forced_updates": 0}, "forced_updates")],
)
def test_unusable_settings_are_refused(settings: dict[str, Any], name: str) -> None:
    with pytest.raises(ValueError, match=name):
        ImitationConfig(**settings)
