from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn
from toy_tokens import TokenPolicy, TokenTask, by_hand, flat_weights, gradient_of

from seqrl import PPO, PPOConfig, ReinforceConfig
from seqrl.optimiser import OptimiserConfig
from seqrl.trainers.imitation import ImitationConfig
from seqrl.trainers.minibatches import Minibatches
from seqrl.trajectory import Trajectory

FAST = OptimiserConfig(learning_rate=0.05)
ONE_PASS: dict[str, Any] = {"epochs": 1, "minibatches": 1, "normalise_advantage": False}


def trainer_of(policy: TokenPolicy | None = None, **settings: Any) -> PPO:
    policy = TokenPolicy() if policy is None else policy
    return PPOConfig(**({"optimiser": FAST} | settings)).build(policy, seed=0, num_updates=100)


@pytest.mark.parametrize(
    "settings",
    [
        {"advantage": "gae", "gamma": 1.0},
        {"advantage": "gae", "gamma": 1.0, "minibatch_unit": "steps", "clip_range_vf": 0.2},
        {"advantage": "leave_one_out"},
        {"advantage": "group_norm", "average_over": "row_means", "kl_in": "loss", "kl_estimator": "k3", "kl_coef": 0.01},  # GRPO
        {"advantage": "group_mean", "average_over": "rows"},  # Dr. GRPO
        {"advantage": "greedy"},
        {"advantage": "leave_one_out", "imitation": ImitationConfig(weight=0.02), "normalise_advantage": True},
    ],
    ids=lambda settings: "-".join(str(value) for value in settings.values())[:30],
)
def test_learns_the_toy_task(settings: dict[str, Any]) -> None:
    trainer, task = trainer_of(num_samples=5, epochs=2, minibatches=2, **settings), TokenTask()
    for _ in range(15):
        stats = trainer.update(trainer.collect(task))
    assert stats["reward/mean"] > 0.6
    assert stats["policy/optimiser_steps"] == 4


@pytest.mark.parametrize(
    ("settings", "same"),
    [
        ({"advantage": "leave_one_out"}, {"baseline": "leave_one_out", "reward_to_go": False}),
        ({"advantage": "group_norm"}, {"baseline": "group_norm"}),
        ({"advantage": "greedy"}, {"baseline": "greedy", "reward_to_go": False}),
        ({"gamma": 0.9, "gae_lambda": 1.0, "vf_coef": 0.7}, {"baseline": "critic", "gamma": 0.9, "vf_coef": 0.7}),
    ],
)
def test_one_pass_has_reinforces_gradient(settings: dict[str, Any], same: dict[str, Any]) -> None:
    policy = TokenPolicy()
    rows = TokenTask().rollout(policy, num_samples=5, greedy_baseline=True, generator=torch.Generator().manual_seed(1))
    ppo = gradient_of(trainer_of(policy, **ONE_PASS, **settings), rows)
    reinforce = gradient_of(ReinforceConfig(**same).build(policy, seed=0, num_updates=1), rows)
    assert reinforce.norm() > 1e-3
    torch.testing.assert_close(ppo, reinforce, rtol=0, atol=1e-7)


def test_generalised_advantages_by_hand() -> None:
    # gamma 0.5, lambda 0.5: deltas 1 + 0.5 * 4 - 2 = 1 and 3 - 4 = -1; advantages 1 + 0.25 * -1 = 0.75 and -1.
    policy = TokenPolicy().double()
    rows = by_hand([[2, 1]], [[1.0, 3.0]], value=torch.tensor([[2.0, 4.0, 50.0]], dtype=torch.float64))
    rows = rows.replace(logp=policy(rows).logp.detach())
    trainer = trainer_of(policy, gamma=0.5, gae_lambda=0.5, vf_coef=0.0, **ONE_PASS)
    loss = -(policy(rows).logp * torch.tensor([[0.75, -1.0]])).sum() / 2
    expected = torch.autograd.grad(loss, list(policy.parameters()), allow_unused=True, materialize_grads=True)
    torch.testing.assert_close(gradient_of(trainer, rows), torch.cat([part.flatten() for part in expected]), rtol=0, atol=1e-12)
    stats = trainer.update(rows)
    # The targets are 2.75 and 3, of variance 1/64; what the values lack, 0.75 and -1, has variance 49/64.
    assert stats["critic/explained_variance"] == pytest.approx(1 - 49, rel=1e-4)
    assert stats["advantage/mean"] == pytest.approx(-0.125) and stats["advantage/positive"] == pytest.approx(0.5)


def clipped_rows(policy: TokenPolicy, ratios: list[float], scores: list[float]) -> Trajectory:
    """One-step rows whose actions have become `ratios` times as likely as they were."""
    rows = by_hand([[2]] * len(ratios), [[score] for score in scores])
    return rows.replace(logp=policy(rows).logp.detach() - torch.tensor(ratios, dtype=torch.float64).log().unsqueeze(1))


@pytest.mark.parametrize(
    ("ratio", "advantage", "weight"), [(1.1, 1, 1.1), (1.3, 1, 0), (1.3, -1, 1.3), (0.7, 1, 0.7), (0.7, -1, 0), (0.9, -1, 0.9)]
)
def test_clipping_by_hand(ratio: float, advantage: float, weight: float) -> None:
    # Two rows of one group with scores 0.5 apart from their mean have the advantages 1 and -1; the second one's ratio is 1.
    policy = TokenPolicy().double()
    rows = clipped_rows(policy, [ratio, 1.0], [advantage / 2, -advantage / 2])
    trainer = trainer_of(policy, advantage="leave_one_out", **ONE_PASS)
    logp = policy(rows).logp
    loss = -(weight * advantage * logp[0] - advantage * logp[1]).sum() / 2
    expected = torch.autograd.grad(loss, list(policy.parameters()), allow_unused=True, materialize_grads=True)
    torch.testing.assert_close(gradient_of(trainer, rows), torch.cat([part.flatten() for part in expected]), rtol=0, atol=1e-12)
    assert trainer.update(rows)["policy/clip_fraction"] == (0.5 if abs(ratio - 1) > 0.2 else 0.0)


def test_value_clipping_stops_a_critic_that_has_moved_far_enough() -> None:
    policy = TokenPolicy().double()
    rows = by_hand([[1]], [[0.0]])
    now = float(policy(rows).value.detach())
    for old, target, moves in [(now, now + 5, True), (now - 1, now + 5, False), (now - 1, now - 5, True)]:
        rows = rows.replace(value=torch.tensor([[old, 0.0]], dtype=torch.float64), reward=torch.tensor([[target]], dtype=torch.float64))
        gradient = gradient_of(trainer_of(policy, clip_range_vf=0.5, **ONE_PASS), rows)
        assert bool(gradient[-1].abs() > 1e-3) is moves  # the critic's bias is the last parameter
        assert gradient_of(trainer_of(policy, **ONE_PASS), rows)[-1].abs() > 1e-3


def test_target_kl_stops_early() -> None:
    num_steps = {}
    for target_kl in (0.0, 1e-3, 1e9):
        trainer = trainer_of(advantage="leave_one_out", num_samples=5, target_kl=target_kl, epochs=4, minibatches=2)
        num_steps[target_kl] = trainer.update(trainer.collect(TokenTask()))["policy/optimiser_steps"]
    assert num_steps[0.0] == num_steps[1e9] == 8
    assert 2 <= num_steps[1e-3] < 8  # the first minibatch is always at a KL of 0


def test_target_kl_counts_sampled_steps_only() -> None:
    policy = TokenPolicy().double()
    rows = clipped_rows(policy, [2.0, 2.0], [1.0, 2.0])
    alone = trainer_of(policy, advantage="leave_one_out", **ONE_PASS).update(rows)["policy/kl_sampling"]
    assert alone == pytest.approx(2 - 1 - 0.693147, abs=1e-5)
    imitate = torch.tensor([[False]] * 2 + [[True]] * 8)
    padded = Trajectory(**{
        name: None if (field := getattr(rows, name)) is None else torch.cat([field, field[:1].expand(8, *field.shape[1:])])
        for name in ("action", "value", "reward", "terminated", "truncated", "obs", "logp")
    }, mask=~imitate, imitate=imitate)  # fmt: skip
    policy = TokenPolicy().double()
    trainer = trainer_of(policy, advantage="leave_one_out", imitation=ImitationConfig(weight=1.0), target_kl=0.2, epochs=3, minibatches=10)
    stats = trainer_of(policy, advantage="leave_one_out", imitation=ImitationConfig(weight=1.0), **ONE_PASS).update(padded)
    assert stats["policy/kl_sampling"] == pytest.approx(alone, abs=1e-5)
    # Most minibatches have demonstrations only, the last one too in one of these orders.
    for _ in range(3):
        assert trainer.update(padded)["policy/kl_sampling"] > 0


def test_penalty_keeps_the_policy_near_the_reference() -> None:
    drift, probability = {}, {}
    for weight in (1e-9, 1.0):
        trainer, task = trainer_of(advantage="leave_one_out", num_samples=5, kl_coef=weight), TokenTask()
        start = flat_weights(trainer.policy)
        for _ in range(10):
            stats = trainer.update(trainer.collect(task))
        drift[weight] = stats["policy/kl_reference"]
        probability[weight] = stats["reward/mean"]
        assert trainer.reference is not None and torch.equal(flat_weights(trainer.reference.policy), start)
    assert drift[1e-9] > 0.5 > 0.25 > drift[1.0]
    assert probability[1e-9] > probability[1.0]


def test_sampling_and_reference_have_no_dropout() -> None:
    policy = TokenPolicy(dropout=0.5)
    trainer = trainer_of(policy, dropout=True, kl_coef=0.1)
    for _ in range(2):
        trainer.update(trainer.collect(TokenTask()))
        assert policy.training and trainer.reference is not None and not trainer.reference.policy.training
    assert policy.modes_of_sampling == {False}


def test_penalty_by_hand() -> None:
    policy = TokenPolicy().double()
    trainer = trainer_of(policy, advantage="leave_one_out", kl_coef=0.5, **ONE_PASS)
    rows = by_hand([[2], [2]], [[1.0], [1.0]], group=torch.tensor([0, 0]))
    # The rows' actions were sampled with twice and half the reference's probability.
    rows = rows.replace(logp=policy(rows).logp.detach() + torch.tensor([[2.0], [0.5]], dtype=torch.float64).log())
    stats = trainer.update(rows)
    assert stats["policy/kl_reference"] == pytest.approx(0.0, abs=1e-9)  # the mean of log 2 and -log 2
    assert stats["reward/mean"] == 1.0  # what is logged has no penalty in it
    assert stats["advantage/std"] == pytest.approx(0.693147, abs=1e-5)  # scores 1 - 0.5 log 2 and 1 + 0.5 log 2


def test_steps_and_rows_make_the_same_update_of_a_policy_without_memory() -> None:
    gradients = []
    for unit in ("rows", "steps"):
        policy = TokenPolicy()
        rows = TokenTask().rollout(policy, num_samples=2, generator=torch.Generator().manual_seed(2))
        settings = {"epochs": 1, "minibatches": 1, "ent_coef": 0.1, "imitation": ImitationConfig(weight=0.3), "minibatch_unit": unit}
        trainer = trainer_of(policy, **settings)
        gradients.append(gradient_of(trainer, trainer.collect(TokenTask())))
        assert rows.mask.sum() < rows.mask.numel()
    assert gradients[0].norm() > 1e-3
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-6)


@pytest.mark.parametrize("unit", ["rows", "steps"])
def test_every_step_is_used_once_an_epoch(unit: Any) -> None:
    rows = trainer_of().collect(TokenTask(num_contexts=10))
    marked = torch.arange(rows.mask.numel(), dtype=torch.float32).view_as(rows.mask)
    minibatches = Minibatches(rows, 3, unit, torch.Generator().manual_seed(0))
    parts = list(minibatches.epoch(advantage=marked, target=-marked))
    assert len(parts) == 3
    used = torch.cat([columns["advantage"][part.mask] for part, columns in parts])
    assert sorted(used.tolist()) == marked[rows.mask].tolist()
    sizes = [part.batch_size for part, _ in parts]
    assert max(sizes) - min(sizes) <= 1
    for part, columns in parts:
        advantage = columns["advantage"]
        assert torch.equal(advantage, -columns["target"])
        place = advantage[part.mask].long()
        assert torch.equal(part.action[part.mask], rows.action.flatten()[place])


def test_numbers_of_steps_that_do_not_count_cannot_overflow_the_ratio() -> None:
    policy = TokenPolicy()
    trainer = trainer_of(policy, advantage="leave_one_out", num_samples=2, **ONE_PASS)
    rows = trainer.collect(TokenTask())
    expected = gradient_of(trainer, rows)
    broken = rows.replace(logp=torch.where(rows.mask, rows.logp, -1000.0))
    assert not rows.mask.all()
    torch.testing.assert_close(gradient_of(trainer, broken), expected, rtol=0, atol=1e-7)  # the order of the rows differs


@pytest.mark.parametrize(
    "settings",
    [
        {"advantage": "critic"},
        {"minibatch_unit": "step"},
        {"clip_range": 0.0},
        {"clip_range": 1.5},
        {"epochs": 0},
        {"minibatches": 0},
        {"num_samples": 0},
        {"clip_range_schedule": "cosine"},
        {"ent_coef_schedule": "cosine"},
        {"normalise_over": "epoch"},
        {"clip_range_vf": 0.2, "value_huber": 1.0},
        {"target_kl": -1.0},
        {"gamma": 1.5},
        {"gae_lambda": -0.1},
        {"kl_coef": -0.1},
        {"recompute_advantage": True, "advantage": "greedy"},
    ],
)
def test_unusable_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        PPOConfig(**settings)


def test_clip_falls_linearly_to_the_end_of_the_run() -> None:
    trainer = PPOConfig(optimiser=FAST, clip_range=0.2, clip_range_schedule="linear").build(TokenPolicy(), seed=0, num_updates=4)
    clips = []
    for _ in range(5):
        clips.append(trainer.clip_range)
        trainer.optimiser.finish_update()
    assert clips == pytest.approx([0.2, 0.15, 0.1, 0.05, 0.0])
    assert trainer_of(clip_range=0.3).clip_range == 0.3


def test_entropy_weight_falls_linearly() -> None:
    settings: dict[str, Any] = {"optimiser": FAST, "ent_coef": 0.8, "ent_coef_schedule": "linear", **ONE_PASS}
    trainer = PPOConfig(**settings).build(TokenPolicy(), seed=0, num_updates=4)
    rows, entropy_losses = trainer.collect(TokenTask()), []
    start = {name: tensor.clone() for name, tensor in trainer.policy.state_dict().items()}
    for _ in range(3):
        trainer.policy.load_state_dict(start)
        entropy_losses.append(trainer.update(rows)["loss/entropy"])
    assert entropy_losses == pytest.approx([entropy_losses[0] * share for share in (1, 0.75, 0.5)]) and entropy_losses[0] < 0


@pytest.mark.parametrize(("error", "grad"), [(0.5, 0.5), (3.0, 2.0), (-3.0, -2.0)])
def test_huber_loss_limits_the_critics_gradient(error: float, grad: float) -> None:
    policy = TokenPolicy().double()
    rows = by_hand([[1]], [[0.0]])
    rows = rows.replace(reward=policy(rows).value.detach() - error)
    gradient = gradient_of(trainer_of(policy, value_huber=2.0, vf_coef=0.5, **ONE_PASS), rows)
    assert float(gradient[-1]) == pytest.approx(0.5 * grad)  # the critic's bias is the last parameter


def recorded(trainer: PPO, rows: Trajectory) -> list[dict[str, Any]]:
    """The arguments of each optimiser step of an update, and the critic's values before it."""
    steps: list[dict[str, Any]] = []
    improve = trainer._improve

    def noted(part: Trajectory, columns: Any, **settings: Any) -> Any:
        steps.append({"part": part, **columns, "value": trainer.policy(part).value.detach()})
        return improve(part, columns, **settings)

    trainer._improve = noted  # type: ignore[method-assign]
    trainer.update(rows)
    return steps


@pytest.mark.parametrize("recompute", [False, True])
def test_advantages_follow_the_critic_only_where_they_are_recomputed(recompute: bool) -> None:
    # Rows of one step that terminate: the advantage is the reward minus the value, and the target is the reward.
    policy = TokenPolicy().double()
    rows = by_hand([[1], [2]], [[1.0], [3.0]])
    rows = rows.replace(logp=policy(rows).logp.detach(), value=torch.nn.functional.pad(policy(rows).value.detach(), (0, 1)))
    trainer = trainer_of(policy, epochs=3, minibatches=1, normalise_advantage=False, recompute_advantage=recompute)
    steps = recorded(trainer, rows)
    assert len(steps) == 3 and (steps[1]["value"] - steps[0]["value"]).abs().min() > 1e-3
    for step in steps:
        torch.testing.assert_close(step["advantage"], rows.reward - (step if recompute else steps[0])["value"])
        torch.testing.assert_close(step["target"], rows.reward)


def test_advantages_are_scaled_over_the_minibatch_or_the_batch() -> None:
    rows = trainer_of().collect(TokenTask(num_contexts=10))
    for over, minibatches in (("batch", 3), ("minibatch", 3), ("minibatch", 1)):
        trainer = trainer_of(normalise_over=over, minibatches=minibatches, epochs=1)
        steps = recorded(trainer, rows)
        parts = [step["advantage"][step["part"].mask] for step in steps]
        whole = torch.cat(parts)
        assert abs(float(whole.mean())) < 1e-6 and float(whole.std(correction=0)) == pytest.approx(1, abs=1e-5)
        assert (max(abs(float(part.mean())) for part in parts) < 1e-6) is (over == "minibatch" or minibatches == 1)


def test_defaults_are_what_is_known_to_matter() -> None:
    # Adam's epsilon and the gradient's norm of Huang et al. 2022 (The 37 implementation details); both can be changed alone.
    assert (PPOConfig().optimiser.epsilon, PPOConfig().optimiser.max_grad_norm) == (1e-5, 0.5)


def test_a_policy_without_a_critic_is_refused_before_any_work() -> None:
    with pytest.raises(ValueError, match="ppo with advantage gae: expected a policy with a critic.*leave_one_out"):
        PPOConfig().build(nn.Linear(2, 2), seed=0, num_updates=1)
    PPOConfig(advantage="leave_one_out").build(nn.Linear(2, 2), seed=0, num_updates=1)


@pytest.mark.parametrize("target_kl", [0.0, 100.0])
def test_stats_are_those_of_the_steps_that_were_taken(target_kl: float) -> None:
    policy = TokenPolicy()
    trainer = trainer_of(policy, num_samples=4, epochs=2, minibatches=2, normalise_advantage=False, target_kl=target_kl)
    rows = trainer.collect(TokenTask())
    scales = iter([float("nan"), 1.0, 1.0, float("nan")])  # of the four steps
    policy.register_forward_pre_hook(lambda *_: setattr(policy, "scale", next(scales)))
    stats = trainer.update(rows)
    assert stats["optimiser/skipped_share"] == 0.5 and stats["policy/optimiser_steps"] == 4
    assert {key: value for key, value in stats.items() if not math.isfinite(value)} == {}
