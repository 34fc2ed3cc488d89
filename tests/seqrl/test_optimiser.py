from __future__ import annotations

import copy
import dataclasses
import math
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from seqrl.distributed import make_accelerator
from seqrl.optimiser import Optimiser, OptimiserConfig, Term, schedule_factor
from seqrl.trajectory import Evaluation, Trajectory


class Matrix(nn.Module):
    """A matrix, a bias and a frozen scale; the loss of a row is the row's reward times the sum of the matrix."""

    def __init__(self, aux: bool = False) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.full((2, 2), 2.0)), nn.Parameter(torch.full((2,), 2.0))
        self.frozen = nn.Parameter(torch.ones(3), requires_grad=False)
        self.unused = nn.Parameter(torch.ones(2, 2))
        self.aux, self.calls = aux, 0

    def forward(self, trajectory: Trajectory) -> Evaluation:
        self.calls += 1
        logp = (self.weight.sum() + self.bias.sum()) * trajectory.reward
        return Evaluation(logp, torch.zeros_like(logp), torch.zeros_like(logp), aux_loss=trajectory.reward.mean() if self.aux else None)


def rows(rewards: list[float]) -> Trajectory:
    reward = torch.tensor(rewards).unsqueeze(1)
    flags = torch.ones_like(reward, dtype=torch.bool)
    return Trajectory(torch.zeros_like(reward).long(), torch.zeros_like(reward), torch.zeros(len(rewards), 2), reward, flags, ~flags, flags)


def total(part: Trajectory, evaluation: Evaluation) -> dict[str, Tensor]:
    return {"loss/total": evaluation.logp.sum()}


def optimiser_of(policy: nn.Module, num_updates: int = 10, **settings: Any) -> Optimiser:
    return Optimiser(policy, OptimiserConfig(**settings), num_updates=num_updates)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, [1, 1, 1, 1, 1, 1, 1]),
        ({"warmup_updates": 2}, [0.5, 1, 1, 1, 1, 1, 1]),
        ({"warmup_updates": 4, "schedule": "linear"}, [0.25, 0.5, 0.75, 1, 1, 0.5, 0]),
        ({"schedule": "linear"}, [1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6, 0]),
        ({"schedule": "linear", "final_fraction": 0.4}, [1, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4]),
        ({"schedule": "cosine"}, [1, 0.9330127, 0.75, 0.5, 0.25, 0.0669873, 0]),
        ({"schedule": "cosine", "warmup_updates": 2, "final_fraction": 0.2}, [0.5, 1, 1, 0.8828427, 0.6, 0.3171573, 0.2]),
    ],
)
def test_schedule_by_hand(settings: dict[str, Any], expected: list[float]) -> None:
    config = OptimiserConfig(**settings)
    assert [schedule_factor(update, config, 6) for update in range(7)] == pytest.approx(expected)
    assert schedule_factor(1000, config, 6) == pytest.approx(expected[-1])


def test_learning_rate_moves_with_the_update_not_with_each_step() -> None:
    optimiser = optimiser_of(Matrix(), num_updates=4, learning_rate=0.8, schedule="linear")
    rates = []
    for _ in range(2):
        rates += [optimiser.minimise(rows([1.0]), total)["optimiser/learning_rate"] for _ in range(2)]
        optimiser.finish_update()
    assert rates == pytest.approx([0.8, 0.8, 0.6, 0.6])


def test_schedule_scales_the_steps_that_are_taken() -> None:
    # With a constant gradient each of AdamW's steps is the learning rate: here 0.2, 0.4, 0.4.
    policy = Matrix()
    optimiser, seen = optimiser_of(policy, learning_rate=0.4, warmup_updates=2), []
    for _ in range(3):
        optimiser.minimise(rows([1.0]), total)
        optimiser.finish_update()
        seen.append(float(policy.bias[0].detach()))
    assert seen == pytest.approx([1.8, 1.4, 1.0], abs=1e-5)


def test_first_step_of_adamw_by_hand() -> None:
    # AdamW's first step is learning_rate * sign(gradient); decay takes learning_rate * weight_decay * weight off matrices first.
    policy = Matrix()
    optimiser_of(policy, learning_rate=0.1, weight_decay=0.5).minimise(rows([1.0]), total)
    assert policy.weight.flatten().tolist() == pytest.approx([2 - 0.1 * 0.5 * 2 - 0.1] * 4, abs=1e-6)
    assert policy.bias.tolist() == pytest.approx([1.9] * 2, abs=1e-6)
    assert policy.frozen.tolist() == [1.0] * 3
    assert policy.unused.flatten().tolist() == [1.0] * 4  # without a gradient there is no decay either


def test_gradients_are_clipped_to_the_norm() -> None:
    # Six parameters with gradient 3 each: norm sqrt(54). A small loss after a large one shows the clip in AdamW's averages.
    for limit, kept in [(1.0, 1 / math.sqrt(54)), (0.0, 1.0), (100.0, 1.0)]:
        policy = Matrix()
        optimiser = optimiser_of(policy, max_grad_norm=limit)
        stats = optimiser.minimise(rows([1.0, 2.0]), total)
        assert stats["optimiser/grad_norm"] == pytest.approx(math.sqrt(54))  # before clipping
        average = optimiser.state_dict()["adamw"]["state"][0]["exp_avg"]
        assert average.flatten().tolist() == pytest.approx([0.1 * 3 * kept] * 4, rel=1e-4)


@pytest.mark.parametrize(("accumulation", "calls"), [(1, 1), (2, 2), (3, 3), (5, 5), (50, 5)])
def test_parts_add_up(accumulation: int, calls: int) -> None:
    policy = Matrix()
    stats = optimiser_of(policy, accumulation=accumulation).minimise(rows([1.0, 2.0, 3.0, 4.0, 5.0]), total)
    assert policy.calls == calls
    assert stats["loss/total"] == pytest.approx(12 * 15) and stats["optimiser/grad_norm"] == pytest.approx(15 * math.sqrt(6))


@pytest.mark.parametrize("accumulation", [1, 2])
def test_auxiliary_loss_of_the_policy_is_added_as_it_is(accumulation: int) -> None:
    stats = optimiser_of(Matrix(aux=True), accumulation=accumulation).minimise(rows([1.0, 2.0, 6.0]), total)
    assert stats["loss/auxiliary"] == pytest.approx(3.0)


class Counting(Matrix):
    """Two auxiliary losses, each a mean over the rows whose action says so, -1 for none: of the weights' sum times the reward."""

    def aux_count(self, trajectory: Trajectory) -> Tensor:
        return torch.stack([(trajectory.action == kind).sum() for kind in (0, 1)]).float()

    def forward(self, trajectory: Trajectory) -> Evaluation:
        sums = [self.weight.sum() * trajectory.reward[trajectory.action == kind].sum() for kind in (0, 1)]
        loss = torch.stack(sums) / self.aux_count(trajectory).clamp(min=1)
        return dataclasses.replace(super().forward(trajectory), aux_loss=loss)


def gradient_after(accumulation: int, **settings: Any) -> tuple[float, Any]:
    policy = Counting()
    optimiser = optimiser_of(policy, accumulation=accumulation, max_grad_norm=0.0)
    stats, _ = optimiser.step(settings.pop("rows"), total, **settings)
    return float(optimiser.state_dict()["adamw"]["state"][0]["exp_avg"][0, 0]) * 10, stats


@pytest.mark.parametrize("accumulation", [1, 2, 3, 6])
def test_each_auxiliary_loss_is_a_mean_over_its_own_things(accumulation: int) -> None:
    given = rows([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).replace(action=torch.tensor([[0], [1], [0], [0], [-1], [-1]]))
    gradient, stats = gradient_after(accumulation, rows=given)
    # The first over rewards 1, 3, 4, the second over 2; the weights' sum is 8, and the other loss's gradient is the rewards' sum.
    assert float(stats["loss/auxiliary"]) == pytest.approx(8 * (8 / 3 + 2))
    assert gradient == pytest.approx(21 + 8 / 3 + 2)


@pytest.mark.parametrize("accumulation", [1, 2])
def test_an_auxiliary_loss_may_be_learned_on_other_rows(accumulation: int) -> None:
    given, others = rows([1.0, 2.0]), rows([4.0, 6.0, 7.0]).replace(action=torch.tensor([[0], [0], [-1]]))
    gradient, stats = gradient_after(accumulation, rows=given, aux_on=others)
    assert gradient == pytest.approx(3 + 5) and float(stats["loss/auxiliary"]) == pytest.approx(8 * 5)
    gradient, stats = gradient_after(accumulation, rows=given.select_rows(slice(0, 0)), aux_on=others)
    assert gradient == pytest.approx(5) and "loss/total" not in stats


def test_minibatches_share_an_auxiliary_loss_out() -> None:
    # The whole's four things are two a minibatch, so that one with three weighs three times what one with one does.
    given = rows([1.0, 2.0, 3.0, 4.0]).replace(action=torch.tensor([[0], [0], [0], [-1]]))
    gradient, _ = gradient_after(1, rows=given, aux_total=torch.tensor([2.0, 1.0]))
    assert gradient == pytest.approx(10 + 2 * 3 / 2)


@pytest.mark.parametrize(("loss", "count"), [((), (2,)), ((2,), ()), ((3,), (2,))])
def test_an_auxiliary_loss_has_the_shape_of_its_count(loss: tuple[int, ...], count: tuple[int, ...]) -> None:
    class Misfit(Matrix):
        def aux_count(self, trajectory: Trajectory) -> Tensor:
            return torch.full(count, float(trajectory.batch_size))

        def forward(self, trajectory: Trajectory) -> Evaluation:
            return dataclasses.replace(super().forward(trajectory), aux_loss=torch.ones(loss))

    message = rf"aux_loss of Misfit: expected the shape of its aux_count, \[{', '.join(map(str, count))}\], got"
    with pytest.raises(ValueError, match=message):
        optimiser_of(Misfit(), accumulation=2).minimise(rows([1.0, 2.0]), total)


def test_a_skipped_step_says_nothing_of_the_policy() -> None:
    """What is not finite would take the numbers of all steps with it with which it is averaged."""
    optimiser = optimiser_of(Matrix())
    assert set(optimiser.minimise(rows([math.nan]), total)) == {"optimiser/learning_rate", "optimiser/skipped_share"}
    assert "policy/entropy" in optimiser.minimise(rows([1.0]), total)


def test_gradients_of_ones_own_after_an_error_between_the_parts() -> None:
    policy = Matrix()
    optimiser = optimiser_of(policy)

    def fails(part: Trajectory, evaluation: Evaluation) -> dict[str, Tensor]:
        optimiser._broken_loss = math.nan  # that of a part before
        raise RuntimeError("second part")

    with pytest.raises(RuntimeError, match="second part"):
        optimiser.minimise(rows([1.0]), fails)

    def backward() -> tuple[dict[str, Tensor], list[Any]]:
        policy.weight.grad = torch.ones_like(policy.weight)
        return {}, []

    assert optimiser.step_on(backward)[0]["optimiser/skipped_share"] == 0.0


def test_a_gradient_that_is_not_finite_is_skipped_though_the_loss_is_finite() -> None:
    policy = Matrix()

    def root(part: Trajectory, evaluation: Evaluation) -> dict[str, Tensor]:
        return {"loss/root": (evaluation.logp.sum() * 0).sqrt()}

    optimiser = optimiser_of(policy)
    stats = optimiser.minimise(rows([1.0]), root)
    assert stats["optimiser/skipped_share"] == 1.0 and (policy.weight == 2).all()
    # Nothing of the broken step is left over.
    stats = optimiser.minimise(rows([1.0]), total)
    assert stats["optimiser/grad_norm"] == pytest.approx(math.sqrt(6)) and stats["optimiser/skipped_share"] == 0.0
    with pytest.raises(ValueError, match="gradient norm is (nan|inf) at update 0; expected a finite number"):
        optimiser_of(policy, max_skipped_updates=0).minimise(rows([1.0]), root)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_broken_part_skips_the_whole_step(place: int) -> None:
    policy = Matrix()
    optimiser, rewards = optimiser_of(policy, accumulation=3), [1.0, 2.0, 3.0]
    rewards[place] = math.inf
    stats = optimiser.minimise(rows(rewards), total)
    assert stats["optimiser/skipped_share"] == 1.0 and "loss/total" not in stats and (policy.weight == 2).all()
    assert all(moment["step"] == 0 and not moment["exp_avg"].any() for moment in optimiser.state_dict()["adamw"]["state"].values())
    assert optimiser.minimise(rows([1.0, 2.0, 3.0]), total)["optimiser/grad_norm"] == pytest.approx(6 * math.sqrt(6))


def test_one_good_step_of_an_update_is_enough() -> None:
    optimiser = optimiser_of(Matrix(), max_skipped_updates=2)
    for rewards in [(math.nan, math.nan), (math.nan, 1.0), (1.0, math.nan), (math.nan, math.nan)]:
        for reward in rewards:
            optimiser.minimise(rows([reward]), total)
        optimiser.finish_update()
    optimiser.minimise(rows([math.nan]), total)
    with pytest.raises(ValueError, match="the loss is nan at update 4; .* no step of the last 2 updates could be taken"):
        optimiser.finish_update()
    assert optimiser.num_finished == 4


class Fp16:
    """What accelerate does with fp16, on the CPU."""

    device = torch.device("cpu")

    def __init__(self, scale: float) -> None:
        self.scaler = torch.amp.GradScaler("cpu", init_scale=scale)

    def autocast(self) -> Any:
        return nullcontext()

    def backward(self, loss: Tensor) -> None:
        self.scaler.scale(loss).backward()


def test_an_overflow_while_the_loss_scale_adapts_counts_as_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    accelerator = Fp16(2.0**70)
    monkeypatch.setattr("seqrl.distributed.make_accelerator", lambda precision: accelerator)
    policy = Matrix()
    optimiser = optimiser_of(policy, max_skipped_updates=2)
    huge = 2.0**60  # times a scale of 2 ** 68 or more it overflows in fp32
    skipped = []
    for _ in range(4):
        skipped.append(optimiser.minimise(rows([huge]), total)["optimiser/skipped_share"])
        optimiser.finish_update()
    assert skipped == [1.0, 1.0, 1.0, 0.0] and accelerator.scaler.get_scale() == 2.0**67
    optimiser.minimise(rows([math.nan]), total)  # no scale makes this one finite, so that it stays
    assert accelerator.scaler.get_scale() == 2.0**67
    optimiser.finish_update()
    optimiser.minimise(rows([math.nan]), total)
    with pytest.raises(ValueError, match="last 2 updates"):
        optimiser.finish_update()


def test_an_error_between_the_parts_leaves_no_gradient_behind() -> None:
    optimiser = optimiser_of(Matrix(), accumulation=2)

    def fails(part: Trajectory, evaluation: Evaluation) -> dict[str, Tensor]:
        if not part.reward.any():
            raise RuntimeError("second part")
        return total(part, evaluation)

    with pytest.raises(RuntimeError, match="second part"):
        optimiser.minimise(rows([1.0, 0.0]), fails)
    assert optimiser.minimise(rows([1.0, 0.0]), total)["optimiser/grad_norm"] == pytest.approx(math.sqrt(6))


def test_whitening_by_hand() -> None:
    optimiser = optimiser_of(Matrix())
    x = torch.tensor([[1.0, 3.0, math.nan], [5.0, 7.0, 1e9]])
    mask = torch.tensor([[True, True, False], [True, True, False]])
    root = math.sqrt(5)
    assert optimiser.whiten(x, mask).flatten().tolist() == pytest.approx([-3 / root, -1 / root, 0, 1 / root, 3 / root, 0])
    assert not optimiser.whiten(torch.full((2, 2), 4.0), torch.ones(2, 2, dtype=torch.bool)).any()


def test_count_is_at_least_one() -> None:
    optimiser = optimiser_of(Matrix())
    assert float(optimiser.count(torch.tensor([True, False, True]))) == 2
    assert float(optimiser.count(torch.zeros(3, dtype=torch.bool))) == 1


def test_optimisers_of_different_precision_live_side_by_side() -> None:
    class Product(Matrix):
        def forward(self, trajectory: Trajectory) -> Evaluation:
            product = self.weight @ self.weight
            self.dtype = product.dtype
            return super().forward(trajectory)

    policy = Product()
    halved, exact, unnamed = (optimiser_of(policy, precision=name) for name in ("bf16", "fp32", "auto"))
    # Outside of a run nothing is measured.
    for optimiser, dtype in [(halved, torch.bfloat16), (exact, torch.float32), (halved, torch.bfloat16), (unnamed, torch.float32)]:
        optimiser.minimise(rows([1.0]), total)
        assert policy.dtype == dtype


def test_accelerate_is_asked_only_where_there_is_something_to_accelerate() -> None:
    assert (make_accelerator("fp32") is None) is not torch.accelerator.is_available()
    assert (make_accelerator("bf16") is None) is not torch.accelerator.is_available()
    assert make_accelerator("fp16") is not None


def test_step_leaves_the_loss_on_the_device_and_moves_the_weights_as_minimise_does() -> None:
    policies = [Matrix(), Matrix()]
    optimisers = [optimiser_of(policy, accumulation=2) for policy in policies]
    stats = [optimisers[0].minimise(rows([1.0, 2.0, 3.0]), total), optimisers[1].step(rows([1.0, 2.0, 3.0]), total)[0]]
    assert isinstance(stats[1]["loss/total"], Tensor) and float(stats[1]["loss/total"]) == stats[0]["loss/total"]
    assert torch.equal(policies[0].weight, policies[1].weight)


def test_two_optimisers_of_one_policy_do_not_disturb_each_other() -> None:
    # AdamW's first step is the learning rate, whatever the other one has done before.
    policy = Matrix()
    for optimiser in (optimiser_of(policy, learning_rate=0.1), optimiser_of(policy, learning_rate=0.01)):
        optimiser.minimise(rows([1.0]), total)
    assert policy.bias.tolist() == pytest.approx([2 - 0.1 - 0.01] * 2, abs=1e-6)
    copied = copy.deepcopy(policy)
    optimiser.minimise(rows([1.0]), total)
    assert copied.bias.tolist() == pytest.approx([1.89] * 2, abs=1e-6)


def test_a_frozen_policy_is_refused() -> None:
    with pytest.raises(ValueError, match="no trainable parameter"):
        optimiser_of(Matrix().requires_grad_(False))


@pytest.mark.parametrize(
    "settings",
    [
        {"learning_rate": 0.0},
        {"accumulation": 0},
        {"schedule": "cosin"},
        {"precision": "fp8"},
        {"max_grad_norm": -1.0},
        {"warmup_updates": -1},
    ],
)
def test_unusable_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        OptimiserConfig(**settings)


@pytest.mark.parametrize("accumulation", [1, 2])
def test_losses_of_steps_are_averaged_over_what_counts_and_columns_are_cut_with_the_rows(accumulation: int) -> None:
    policy, given = Matrix(), rows([1.0, 2.0, 3.0, 4.0])
    given = given.replace(mask=torch.tensor([[True], [True], [False], [True]]), imitate=torch.tensor([[False], [False], [True], [False]]))

    def loss(part: Trajectory, evaluation: Evaluation, column: Tensor, others: Trajectory) -> dict[str, Tensor | Term]:
        assert torch.equal(column, part.reward) and torch.equal(others.reward, part.reward)
        return {"loss/mean": column, "loss/weighed": Term(evaluation.logp, -0.5), "loss/imitated": Term(column, 2.0, imitated=True)}

    stats = optimiser_of(policy, accumulation=accumulation).minimise(given, loss, column=given.reward, others=given)
    assert stats["loss/mean"] == pytest.approx(7 / 3) and stats["loss/imitated"] == pytest.approx(6.0)
    assert stats["loss/weighed"] == pytest.approx(-0.5 * 12 * 7 / 3) and stats["optimiser/grad_norm"] == pytest.approx(7 / 6 * math.sqrt(6))
