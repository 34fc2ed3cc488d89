"""What must not change the result of an update, whichever the trainer."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from launched import launch
from toy_tokens import AuxPolicy, TablePolicy, TokenPolicy, TokenTask, flat_weights, gradient_of
from toy_worlds import ToyTask

from seqrl import A2CConfig, OffPolicyConfig, PPOConfig, ReinforceConfig, SelfCriticalConfig, SupervisedConfig, VTraceConfig, distributed
from seqrl.diagnostics import describe_rollout, warnings_for
from seqrl.optimiser import OptimiserConfig
from seqrl.policies.tables import ProbabilityTable
from seqrl.trainers.cem import CrossEntropyConfig
from seqrl.trainers.imitation import ImitationConfig
from seqrl.trainers.trpo import TRPOConfig
from seqrl.trajectory import Trajectory, concatenate, map_tree

FAST = OptimiserConfig(learning_rate=0.05, schedule="cosine", warmup_updates=2, weight_decay=0.01)
MIX = ImitationConfig(weight=0.3, final_weight=0.1, anneal_updates=4)
GRPO: dict[str, Any] = {
    "advantage": "group_norm",
    "average_over": "row_means",
    "kl_coef": 0.1,
    "kl_in": "loss",
    "kl_estimator": "k3",
}
CONFIGS: dict[str, Any] = {
    "supervised": SupervisedConfig(optimiser=FAST, label_smoothing=0.1),
    "none": ReinforceConfig(optimiser=FAST, baseline="none", ent_coef=0.1),
    "moving_average": ReinforceConfig(optimiser=FAST, baseline="moving_average", imitation=MIX),
    "critic": ReinforceConfig(optimiser=FAST, baseline="critic", whiten=True, imitation=MIX),
    "group_norm": ReinforceConfig(optimiser=FAST, baseline="group_norm"),
    "self_critical": SelfCriticalConfig(optimiser=FAST, imitation=MIX),
    "greedy": SelfCriticalConfig(optimiser=FAST, baseline="greedy", ent_coef=0.1),
    "ppo": PPOConfig(optimiser=FAST, num_samples=5, epochs=2, minibatches=1, clip_range_vf=0.2, kl_coef=0.1, imitation=MIX),
    "ppo_steps": PPOConfig(optimiser=FAST, epochs=2, minibatches=1, minibatch_unit="steps", ent_coef=0.1),
    "a2c": A2CConfig(optimiser=FAST, num_samples=2),
    "vtrace": VTraceConfig(optimiser=FAST, num_samples=2, actor_lag=1),
    "off_policy": OffPolicyConfig(optimiser=FAST, num_samples=2, max_weight=3.0, epochs=2),
    "ppo_group": PPOConfig(optimiser=FAST, advantage="leave_one_out", num_samples=5, epochs=2, minibatches=1),
    "rows": SelfCriticalConfig(optimiser=FAST, average_over="rows", ent_coef=0.1, imitation=MIX),
    "grpo": PPOConfig(optimiser=FAST, num_samples=5, epochs=2, minibatches=1, imitation=MIX, **GRPO),
}
# Ones that differ in more than a baseline.
FEW = ["supervised", "moving_average", "self_critical", "ppo"]
every = pytest.mark.parametrize("name", CONFIGS)


class AuxSelfCritical(SelfCriticalConfig):
    """For a policy with an auxiliary loss."""


class AuxCrossEntropy(CrossEntropyConfig):
    """For a policy with an auxiliary loss."""


# These need other policies; that of TRPO has to tell its actions' distribution.
WITH_TRPO = CONFIGS | {
    "trpo": TRPOConfig(optimiser=FAST, num_samples=2, critic_epochs=2, critic_minibatches=1),
    "aux": AuxSelfCritical(optimiser=FAST),
    "aux_cem": AuxCrossEntropy(optimiser=FAST, num_samples=6, threshold="group", percentile=60, gradient_steps=2),
}


def policy_for(config: Any, seed: int = 0) -> Any:
    if isinstance(config, AuxSelfCritical | AuxCrossEntropy):
        return AuxPolicy(seed=seed)
    return TablePolicy(seed=seed) if isinstance(config, TRPOConfig) else TokenPolicy(seed=seed)


def rows_for(config: Any) -> Trajectory:
    return config.build(policy_for(config), seed=4, num_updates=10).collect(TokenTask(num_contexts=4))


def after_updates(config: Any, rows: Trajectory, count: int = 3) -> torch.Tensor:
    trainer = config.build(policy_for(config), seed=0, num_updates=10)
    before = flat_weights(trainer.policy)
    for _ in range(count):
        trainer.update(rows)
    after = flat_weights(trainer.policy)
    assert (after - before).abs().max() > 0.01
    return after


@pytest.mark.parametrize("name", WITH_TRPO)
def test_accumulation_in_parts_changes_nothing(name: str) -> None:
    config = WITH_TRPO[name]
    rows = rows_for(config)
    parts = dataclasses.replace(config, optimiser=dataclasses.replace(FAST, accumulation=3))
    torch.testing.assert_close(after_updates(parts, rows), after_updates(config, rows), rtol=0, atol=1e-6)


@every
def test_accumulated_numbers_are_those_of_the_whole(name: str) -> None:
    config = CONFIGS[name]
    rows = rows_for(config)
    parts = dataclasses.replace(config, optimiser=dataclasses.replace(FAST, accumulation=3))
    whole, summed = (c.build(TokenPolicy(), seed=0, num_updates=10).update(rows) for c in (config, parts))
    assert summed == pytest.approx(whole, rel=1e-3, abs=1e-5)


@every
def test_order_of_rows_changes_nothing(name: str) -> None:
    config = CONFIGS[name]
    rows = rows_for(config)
    shuffled = rows.select_rows(torch.randperm(rows.batch_size, generator=torch.Generator().manual_seed(1)))
    torch.testing.assert_close(after_updates(config, shuffled), after_updates(config, rows), rtol=0, atol=1e-6)


def with_padding(rows: Trajectory) -> Trajectory:
    """Add two columns and three rows that do not count, full of numbers that would matter if they did."""
    off = ~(rows.mask if rows.imitate is None else rows.mask | rows.imitate)
    longer = concatenate([rows, map_rows(rows, slice(0, 3), extra_steps=2)])
    inside = torch.zeros(longer.batch_size, longer.num_steps, dtype=torch.bool)
    inside[: rows.batch_size, : rows.num_steps] = ~off

    def spoil(tensor: torch.Tensor, number: float) -> torch.Tensor:
        return torch.where(inside, tensor, number)

    spoilt = longer.replace(action=spoil(longer.action, 2), logp=spoil(longer.logp, -30.0))
    return spoilt.replace(mask=longer.mask & inside, imitate=None if longer.imitate is None else longer.imitate & inside)


def map_rows(rows: Trajectory, chosen: slice, extra_steps: int) -> Trajectory:
    """Some rows again, made longer by steps that repeat the first."""
    part = rows.select_rows(chosen)
    per_row = ("group", "baseline", "context", "state0")
    fields = {field.name: getattr(part, field.name) for field in dataclasses.fields(part)}
    return Trajectory(**{  # type: ignore[arg-type]
        name: tree if name in per_row else map_tree(lambda leaf: torch.cat([leaf, leaf[:, :extra_steps]], dim=1), tree)
        for name, tree in fields.items()
    })  # fmt: skip


@every
def test_padding_changes_nothing(name: str) -> None:
    config = CONFIGS[name]
    rows = rows_for(config)
    padded = with_padding(rows)
    assert padded.batch_size == rows.batch_size + 3 and padded.num_steps == rows.num_steps + 2
    assert describe_rollout(padded) == pytest.approx(describe_rollout(rows), rel=1e-6)
    torch.testing.assert_close(after_updates(config, padded), after_updates(config, rows), rtol=0, atol=2e-6)


@every
def test_resumed_run_ends_with_the_same_bits(name: str, tmp_path: Path) -> None:
    config = CONFIGS[name]

    def build(seed: int) -> Any:
        return config.build(TokenPolicy(seed=seed), seed=seed, num_updates=6)

    def run(trainer: Any, count: int) -> None:
        for _ in range(count):
            stats.append(trainer.update(trainer.collect(TokenTask(num_contexts=4))))

    stats: list[dict[str, float]] = []
    whole, first, second = build(1), build(1), build(2)
    run(whole, 6)
    run(first, 3)
    torch.save({"trainer": first.state_dict(), "policy": first.policy.state_dict()}, tmp_path / "state.pt")
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    second.policy.load_state_dict(state["policy"])
    second.load_state_dict(state["trainer"])
    run(second, 3)
    assert stats[:6] == stats[6:]
    assert torch.equal(flat_weights(second.policy), flat_weights(whole.policy))


@every
def test_same_seed_same_weights(name: str) -> None:
    config, weights = CONFIGS[name], []
    for seed in (1, 1, 2):
        trainer = config.build(TokenPolicy(), seed=seed, num_updates=10)
        for _ in range(2):
            trainer.update(trainer.collect(TokenTask(num_contexts=4)))
        weights.append(flat_weights(trainer.policy))
    assert torch.equal(weights[0], weights[1])
    assert torch.equal(weights[0], weights[2]) == (name == "supervised")  # which draws nothing here


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
@every
def test_steps_with_broken_numbers_are_skipped_and_counted(name: str, number: float) -> None:
    trainer = CONFIGS[name].build(TokenPolicy(), seed=0, num_updates=10)
    rows = trainer.collect(TokenTask(num_contexts=4))
    assert trainer.update(rows)["optimiser/skipped_share"] == 0.0
    before = everything(trainer)
    trainer.policy.scale = number
    stats = trainer.update(rows)
    assert stats["optimiser/skipped_share"] == 1.0 and "optimiser/grad_norm" not in stats
    assert all(math.isfinite(value) for key, value in stats.items() if key.startswith("policy/"))
    assert list(warnings_for(stats))[0] == "skipped_steps"
    assert trainer.optimiser.num_finished == 2  # the schedule goes on
    assert_same(everything(trainer), before)
    trainer.policy.scale = 1.0
    stats = trainer.update(rows)
    assert stats["optimiser/skipped_share"] == 0.0 and all(math.isfinite(value) for value in stats.values())
    after = flat_weights(trainer.policy)
    assert after.isfinite().all() and not torch.equal(after, before[0])


def test_a_skipped_batch_is_not_taken_into_the_average() -> None:
    trainer = CONFIGS["moving_average"].build(TokenPolicy(), seed=0, num_updates=10)
    rows = trainer.collect(TokenTask(num_contexts=4))
    broken = rows.replace(reward=torch.full_like(rows.reward, 3e38))  # each is finite, and their sum is not
    assert trainer.update(broken)["optimiser/skipped_share"] == 1.0 and trainer.average is None
    trainer.update(rows)
    average = trainer.average.clone()
    assert trainer.update(broken)["optimiser/skipped_share"] == 1.0 and torch.equal(trainer.average, average)


def everything(trainer: Any) -> list[torch.Tensor]:
    """Weights and averages of AdamW."""
    moments = trainer.optimiser.state_dict()["adamw"]["state"].values()
    return [flat_weights(trainer.policy), *(torch.as_tensor(each).clone() for moment in moments for each in moment.values())]


def assert_same(one: list[torch.Tensor], other: list[torch.Tensor]) -> None:
    assert len(one) == len(other) and all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@every
def test_too_many_skipped_updates_in_a_row_end_the_run(name: str) -> None:
    optimiser = dataclasses.replace(FAST, max_skipped_updates=2)
    trainer = dataclasses.replace(CONFIGS[name], optimiser=optimiser).build(TokenPolicy(), seed=0, num_updates=10)
    rows = trainer.collect(TokenTask(num_contexts=4))
    before = flat_weights(trainer.policy)
    trainer.policy.scale = float("nan")
    trainer.update(rows)
    resumed = dataclasses.replace(CONFIGS[name], optimiser=optimiser).build(TokenPolicy(), seed=0, num_updates=10)
    resumed.load_state_dict(trainer.state_dict())
    resumed.policy.scale = float("nan")
    with pytest.raises(ValueError, match=r"is nan at update 1; .*last 2 updates .*max_skipped_updates.*lower the learning rate"):
        resumed.update(rows)
    trainer.policy.scale = 1.0
    trainer.update(rows)
    trainer.policy.scale = float("nan")
    trainer.update(rows)  # in a row again for the first time
    assert flat_weights(trainer.policy).isfinite().all() and not torch.equal(before, flat_weights(trainer.policy))


@every
def test_none_may_be_skipped(name: str) -> None:
    optimiser = dataclasses.replace(FAST, max_skipped_updates=0)
    trainer = dataclasses.replace(CONFIGS[name], optimiser=optimiser).build(TokenPolicy(), seed=0, num_updates=10)
    rows = trainer.collect(TokenTask(num_contexts=4))
    before = everything(trainer)
    trainer.policy.scale = float("inf")
    with pytest.raises(ValueError, match=r" is -?(nan|inf) at update 0; expected a finite number"):
        trainer.update(rows)
    assert_same(everything(trainer), before)


@pytest.mark.parametrize("name", FEW)
def test_half_precision_agrees_roughly_and_keeps_float_weights(name: str) -> None:
    config = CONFIGS[name]
    rows = rows_for(config)
    halved = dataclasses.replace(config, optimiser=dataclasses.replace(FAST, precision="bf16"))
    trainers = [c.build(TokenPolicy(), seed=0, num_updates=10) for c in (config, halved)]
    exact, rounded = (trainer.update(rows) for trainer in trainers)
    assert rounded["optimiser/grad_norm"] != exact["optimiser/grad_norm"]
    assert rounded["optimiser/grad_norm"] == pytest.approx(exact["optimiser/grad_norm"], rel=0.05)
    assert {parameter.dtype for parameter in trainers[1].policy.parameters()} == {torch.float32}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["supervised", "ppo"])
def test_compiled_forward_agrees(name: str) -> None:
    config = CONFIGS[name]
    rows = rows_for(config)
    compiled = dataclasses.replace(config, optimiser=dataclasses.replace(FAST, compile=True))
    # Gradients, since AdamW makes large steps of tiny ones.
    gradients = [gradient_of(c.build(TokenPolicy(), seed=0, num_updates=10), rows) for c in (config, compiled)]
    assert gradients[0].norm() > 1e-2
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-6)


@pytest.mark.slow
def test_two_processes_end_with_the_weights_of_one(tmp_path: Path) -> None:
    names = list(WITH_TRPO)
    rows = {name: rows_for(WITH_TRPO[name]) for name in names}
    # The processes must differ in how many steps count.
    counted = {name: (r.mask if r.imitate is None else r.mask | r.imitate) for name, r in rows.items()}
    halves = {name: interleaved(r) for name, r in rows.items()}
    assert any(counted[name][a].sum() != counted[name][b].sum() for name, (a, b) in halves.items())
    expected = {name: after_updates(WITH_TRPO[name], rows[name]) for name in names}
    parts = [{name: to_plain(rows[name].select_rows(halves[name][rank])) for name in names} for rank in (0, 1)]
    torch.save({"configs": names, "parts": parts}, tmp_path / "rows.pt")
    launch(Path(__file__).with_name("one_of_two.py"), str(tmp_path))
    results = [torch.load(tmp_path / f"weights_{rank}.pt", weights_only=True) for rank in (0, 1)]
    for name in names:
        torch.testing.assert_close(
            results[0]["weights"][name], expected[name], rtol=0, atol=2e-6, msg=lambda text, name=name: f"{name}: {text}"
        )
        torch.testing.assert_close(results[0]["weights"][name], results[1]["weights"][name], rtol=0, atol=0)
    assert results[0]["seed"] == 5 != results[1]["seed"]
    assert results[0]["num_steps"] == results[1]["num_steps"]
    assert all(result["skipped"] == dict.fromkeys(names, (1.0, True)) for result in results)


def interleaved(rows: Trajectory) -> tuple[torch.Tensor, torch.Tensor]:
    """Share out the rows by context, so that a group stays together."""
    assert rows.group is not None
    return (rows.group % 2 == 0).nonzero().squeeze(1), (rows.group % 2 == 1).nonzero().squeeze(1)


def to_plain(rows: Trajectory) -> dict[str, Any]:
    return {field.name: getattr(rows, field.name) for field in dataclasses.fields(rows)}


@pytest.mark.parametrize("config", [A2CConfig(), TRPOConfig(), VTraceConfig(), OffPolicyConfig(epsilon=0.1)])
def test_trainers_with_a_critic_learn_a_table(config: Any) -> None:
    table, task = ProbabilityTable(4, 2), ToyTask()
    config = dataclasses.replace(config, optimiser=dataclasses.replace(config.optimiser, learning_rate=0.1))
    trainer = config.build(table, seed=0, num_updates=2)
    for _ in range(2):
        trainer.update(trainer.collect(task))  # type: ignore[arg-type]
    assert float((table.logits[:3].detach().softmax(dim=1) - 0.5).abs().min()) > 1e-3
    assert float(table(task.rollout(table)).value.detach().abs().max()) > 0.01


@pytest.mark.parametrize(
    "config",
    [
        ReinforceConfig(imitation=MIX),
        SelfCriticalConfig(imitation=MIX),
        PPOConfig(imitation=MIX, advantage="leave_one_out", epochs=1, minibatches=1),
    ],
    ids=lambda config: type(config).__name__,
)
def test_a_process_without_demonstrations_counts_none(config: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its samples would make the other processes' demonstrations weigh less."""
    trainer = config.build(TokenPolicy(), seed=0, num_updates=2)
    rows = TokenTask(num_contexts=2).rollout(trainer.policy, num_samples=3, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr("seqrl.distributed.num_processes", lambda: 2)
    count, counted = distributed.count, list[int]()
    monkeypatch.setattr(distributed, "count", lambda mask, **settings: (counted.append(int(mask.sum())), count(mask, **settings))[1])
    trainer.update(rows)
    assert counted == [int(rows.mask.sum()), 0]
