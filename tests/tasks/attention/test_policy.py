from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from small import small_task

from seqrl import PPOConfig, ReinforceConfig, SelfCriticalConfig
from seqrl.run.config import read_config
from seqrl.run.renames import rename_fields, rename_tensor
from seqrl.tasks.attention.cores import CoreSize, LSTMCore
from seqrl.tasks.attention.looking import look
from seqrl.tasks.attention.policy import GlimpsePolicy, GlimpsePolicyConfig


def rows(task: Any, policy: Any, **settings: Any) -> Any:
    return task.rollout(policy, generator=torch.Generator().manual_seed(0), **settings)


def own_policy(config: GlimpsePolicyConfig, num_inputs: int, num_classes: int, **others: Any) -> GlimpsePolicy:
    policy = GlimpsePolicy(num_inputs, num_classes, config, **others)
    policy.core = LSTMCore(CoreSize(num_inputs, 8, config.glimpse_units, config.hidden_units))
    return policy


def test_a_policy_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    task = small_task(policy={"type": "test_policy:own_policy"})
    trainer = ReinforceConfig(baseline="critic", num_samples=1).build(task.build_policy(), seed=0, num_updates=4)
    before = [parameter.clone() for parameter in trainer.policy.core.parameters()]
    trainer.update(trainer.collect(task))
    assert isinstance(trainer.policy.core, LSTMCore) and "error_percent" in task.evaluate(trainer.policy)
    assert all((old != new).any() for old, new in zip(before, trainer.policy.core.parameters(), strict=True))


@pytest.mark.parametrize("location_gradient", [False, True])
def test_whose_loss_reaches_the_core(location_gradient: bool) -> None:
    task = small_task(policy={"location_gradient": location_gradient})
    policy: Any = task.build_policy()
    evaluation = policy(rows(task, policy))
    parts = list(policy.core.parameters())
    (evaluation.logp.sum() + evaluation.value.sum()).backward(retain_graph=True)
    assert all((part.grad is not None and part.grad.abs().sum() > 0) == location_gradient for part in parts)
    assert policy.locate.weight.grad.abs().sum() > 0 and policy.critic.weight.grad.abs().sum() > 0 and policy.classify.weight.grad is None
    evaluation.aux_loss.backward()
    assert all(part.grad.abs().sum() > 0 for part in parts) and policy.classify.weight.grad.abs().sum() > 0


def test_the_update_does_not_compute_the_pass_again(monkeypatch: pytest.MonkeyPatch) -> None:
    from seqrl.tasks.attention import cores

    task = small_task()
    trainer = ReinforceConfig(baseline="critic", num_samples=1).build(task.build_policy(), seed=0, num_updates=4)
    trajectory = trainer.collect(task)
    monkeypatch.setattr(cores, "run_pass", None)  # would be called
    trainer.update(trajectory)


@pytest.mark.parametrize(
    "config",
    [
        ReinforceConfig(baseline="critic", num_samples=1),
        ReinforceConfig(baseline="leave_one_out", num_samples=3),
        SelfCriticalConfig(baseline="greedy", num_samples=2),
        PPOConfig(epochs=2, minibatches=2),
        PPOConfig(advantage="leave_one_out", num_samples=3, epochs=2),
    ],
    ids=["critic", "leave_one_out", "self_critical", "ppo", "ppo_leave_one_out"],
)
@pytest.mark.parametrize("core", ["relu_rnn", "lstm", "dram"])
def test_every_policy_gradient_trainer_moves_all_of_the_network(config: Any, core: str) -> None:
    # So small a network is hardly ever right by one path and wrong by another.
    task = small_task(policy={"type": core}, images_per_batch=12, reward="log_probability")
    policy: Any = task.build_policy()
    before = {name: parameter.detach().clone() for name, parameter in policy.named_parameters() if parameter.requires_grad}
    trainer = config.build(policy, seed=0, num_updates=3)
    for _ in range(3):
        metrics = trainer.update(trainer.collect(task))
    assert all(math.isfinite(metric) for metric in metrics.values()) and "loss/auxiliary" in metrics
    uses_critic = getattr(config, "baseline", None) == "critic" or getattr(config, "advantage", None) == "gae"
    for name, parameter in before.items():
        assert torch.equal(parameter, policy.get_parameter(name)) == (name.startswith("critic") and not uses_critic), name


def test_only_the_classifier_learns_where_looking_is_fixed() -> None:
    task = small_task(looking="grid")
    policy: Any = task.build_policy()
    before = policy.locate.weight.detach().clone(), policy.classify.weight.detach().clone()
    trainer = ReinforceConfig(baseline="critic", num_samples=1).build(policy, seed=0, num_updates=2)
    for _ in range(2):
        trainer.update(trainer.collect(task))
    assert torch.equal(policy.locate.weight, before[0]) and not torch.equal(policy.classify.weight, before[1])


def test_earlier_classes_take_their_share_of_the_cross_entropy() -> None:
    task = small_task(policy={"early_classification": 0.3})
    policy: Any = task.build_policy()
    trajectory = rows(task, policy)
    with torch.no_grad():
        hidden = policy.core.run(trajectory.obs["glimpse"].transpose(0, 1), trajectory.obs["location"].transpose(0, 1))[0]
        label = trajectory.context["label"][:, 0]
        wrong = [float(torch.nn.functional.cross_entropy(policy.classify(state), label)) for state in hidden]
        assert float(policy(trajectory).aux_loss) == pytest.approx(0.3 * sum(wrong[:3]) / 3 + 0.7 * wrong[3], rel=1e-5)


def test_steps_are_not_shuffled_apart() -> None:
    task = small_task()
    trainer = PPOConfig(minibatch_unit="steps").build(task.build_policy(), seed=0, num_updates=1)
    with pytest.raises(ValueError, match="steps of a recurrent policy cannot be shuffled apart"):
        trainer.update(trainer.collect(task))


def test_the_gradient_is_that_of_the_expected_reward() -> None:
    """Against a sum over a fine grid of second locations, of which the reward is a function."""
    std, number = 0.3, 40_000
    task = small_task(num_glimpses=2, policy={"location_std": std, "hidden_units": 6})
    policy: Any = task.build_policy()
    with torch.no_grad():
        policy.start.copy_(torch.tensor([[0.2, -0.1]]))
    images, label = task.data.batch(torch.tensor([3]), torch.Generator())
    prepared = task.retina.prepare(images)

    def reward(location: torch.Tensor) -> torch.Tensor:
        many = len(location)
        place = torch.stack([torch.zeros(many, 2), location], dim=1)
        context, image = {"label": label.expand(many, 1)}, torch.zeros(many).long()
        hidden = look(policy, task.retina, prepared, place, context, num_glimpses=2, image=image)[1]
        return policy.classify(hidden[-1]).softmax(dim=1)[:, int(label)].detach()

    place = torch.zeros(number, 1, 2)
    drawn, _ = look(
        policy,
        task.retina,
        prepared,
        place,
        {"label": label.expand(number, 1)},
        num_glimpses=2,
        image=torch.zeros(number).long(),
        generator=torch.Generator().manual_seed(0),
    )
    scored = drawn.replace(reward=reward(drawn.action[:, 0]).unsqueeze(1))
    evaluation = policy(scored)
    advantage = scored.reward - scored.reward.mean()
    estimate = torch.autograd.grad((evaluation.logp * advantage).mean(), policy.start)[0][0]

    mean = evaluation.distribution.mean[0, 0].detach()
    axis = torch.linspace(-5 * std, 5 * std, 161)
    offset = torch.cartesian_prod(axis, axis)
    density = torch.exp(-offset.square().sum(dim=1) / (2 * std**2))
    density /= density.sum()
    by_mean = (density * reward(mean + offset)) @ (offset / std**2)
    expected = by_mean * (1 - mean.square())  # the mean is a tanh
    assert expected.abs().max() > 5e-3
    torch.testing.assert_close(estimate, expected, rtol=0.1, atol=2e-3)


def test_bad_settings() -> None:
    for settings, message in (
        ({"type": "gru"}, "type: expected one of relu_rnn, lstm, dram or module:function, got 'gru'"),
        ({"hidden_units": 0}, "hidden_units: expected at least 1, got 0"),
        ({"location_std": 0.0}, "location_std: expected a positive number, got 0.0"),
        ({"head_scale": 0.0}, "head_scale: expected a positive number, got 0.0"),
        ({"early_classification": 1.0}, "early_classification: expected a share from 0 to below 1, got 1.0"),
        ({"classification_weight": -1.0}, "classification_weight: expected 0 or more, got -1.0"),
    ):
        with pytest.raises(ValueError, match=message):
            GlimpsePolicyConfig(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("core", ["relu_rnn", "lstm", "dram"])
def test_weights_of_earlier_versions_have_their_names_now(core: str) -> None:
    earlier = {"glimpse_features": "see", "location_features": "place", "join_glimpse": "join_seen", "join_location": "join_placed"}
    for name in small_task(policy={"type": core}).build_policy().state_dict():
        old = ".".join(earlier.get(part, part) for part in name.split("."))
        assert rename_tensor(old) == name
        assert (old != name) == name.startswith(("core.glimpse_features", "core.location_features", "core.join_"))


def test_an_earlier_core_is_refused_by_its_name_now(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("name: run\nnum_updates: 1\ntask: {type: attention, policy: {type: rectifier}}\ntrainer: {type: reinforce}\n")
    with pytest.raises(ValueError, match=r"got 'rectifier'; type rectifier is now relu_rnn, and `seqrl migrate RUN` rewrites a run"):
        read_config(path, [])
    assert rename_fields({("task", "type"): "attention", ("task", "policy", "core"): "rectifier"})[0] == {
        ("task", "type"): "attention",
        ("task", "policy", "type"): "relu_rnn",
    }
