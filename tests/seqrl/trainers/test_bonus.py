"""Bonuses for what is new: counts, counts of a density, a network that is foretold, and how trainers are paid them."""

from __future__ import annotations

import io
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch

from seqrl import DQNConfig, GAILConfig, PPOConfig, QTableConfig, Trajectory
from seqrl.functional.bonuses import count_bonus, pseudo_count
from seqrl.optimiser import OptimiserConfig
from seqrl.policies.encoders import ObservationSize
from seqrl.policies.novelty import DensityCounts, RandomDistillation, VisitCounts
from seqrl.policies.tokens import TokenPolicy
from seqrl.tasks.control import ControlConfig, ControlPolicyConfig
from seqrl.trainers.bonus import BonusConfig


def rows(seen: Any, mask: Any = None, terminated: Any = None) -> Trajectory:
    obs = torch.as_tensor(seen)
    none = torch.zeros(obs.shape[0], obs.shape[1] - 1)
    flags = [none.bool() if flag is None else torch.as_tensor(flag) for flag in (terminated, mask)]
    counted = flags[1] if mask is not None else ~none.bool()
    return Trajectory(none.long(), none, torch.zeros(obs.shape[:2]), none, flags[0], none.bool(), counted, obs=obs)


def test_pseudo_count_of_the_empirical_density_is_the_count() -> None:
    """The paper's check: ρ = N/n and ρ' = (N+1)/(n+1), with whole numbers of every size."""
    for number in (1, 7, 10_000):
        count = torch.arange(0, number + 1, max(1, number // 7), dtype=torch.float64)[:-1]
        implied = pseudo_count((count / number).log(), ((count + 1) / (number + 1)).log())
        torch.testing.assert_close(implied, count, rtol=1e-9, atol=1e-9)


def test_pseudo_count_is_the_papers_ratio() -> None:
    density, after = 0.02, 0.05
    expected = density * (1 - after) / (after - density)
    assert float(pseudo_count(torch.tensor(density).log(), torch.tensor(after).log())) == pytest.approx(expected, rel=1e-4)
    assert float(pseudo_count(torch.tensor(-1.0), torch.tensor(-1.0))) == float("inf")  # nothing was learned: it is well known
    with pytest.raises(ValueError, match=r"logp_after: expected shape \[2\]"):
        pseudo_count(torch.zeros(2), torch.zeros(3))


def test_bonus_falls_with_the_root_of_the_count() -> None:
    torch.testing.assert_close(count_bonus(torch.tensor([1.0, 4.0, 100.0])), torch.tensor([1.0, 0.5, 0.1]))
    assert float(count_bonus(torch.tensor(0.0), smoothing=0.01)) == pytest.approx(10.0)


SEEN = [[3, 1, 1, 4, 0], [0, 4, 4, 2, 2]]
# A dummy step leads from the end of an episode to the start of the next.
MASK = [[True, True, False, True], [True, True, True, True]]


def test_states_are_counted_where_steps_lead() -> None:
    counts, part = VisitCounts(6), rows(SEEN, MASK)
    for visits in (1, 2):
        logged = counts.observe(part)
        expected = Counter({1: 2, 0: 1, 4: 2, 2: 2})
        assert logged == {"explore/states_visited": 4.0}
        assert counts.visits.tolist() == [visits * expected[state] for state in range(6)]
    bonus = counts.bonus(part)
    assert bonus[0, 0] == pytest.approx(4**-0.5) and bonus[0, 3] == pytest.approx(2**-0.5)


def test_counts_of_a_density_are_counts_where_states_have_numbers() -> None:
    plain, implied, part = VisitCounts(6), DensityCounts(ObservationSize((), num_categories=6), 20), rows(SEEN, MASK)
    for _ in range(3):
        plain.observe(part)
        implied.observe(part)
    counts = implied.count(part)[part.mask]
    torch.testing.assert_close(counts, plain.visits[part.obs[:, 1:][part.mask]])  # type: ignore[index]
    torch.testing.assert_close(implied.bonus(part)[part.mask], (counts + 0.01).rsqrt().float())


def test_counts_of_a_density_of_two_numbers_by_hand() -> None:
    random = np.random.default_rng(0)
    seen = torch.from_numpy(random.integers(0, 4, (5, 21, 2)).astype(np.float32)) - 1.5
    density, part = DensityCounts(ObservationSize((2,)), 4), rows(seen)
    density.observe(part)
    first = seen[:, :-1].reshape(-1, 2).numpy()
    scaled = (seen[:, 1:].reshape(-1, 2).numpy() - first.mean(axis=0)) / first.std(axis=0)
    bins = np.clip(np.floor((scaled + 3) / 6 * 4), 0, 3).astype(int)
    met = [Counter(column.tolist()) for column in bins.T]
    number = len(bins)
    expected = []
    for one, two in bins.tolist():
        before = met[0][one] / number * met[1][two] / number
        after = (met[0][one] + 1) / (number + 1) * (met[1][two] + 1) / (number + 1)
        expected.append(before * (1 - after) / (after - before))
    torch.testing.assert_close(density.count(part).flatten(), torch.tensor(expected, dtype=torch.float64), rtol=1e-4, atol=1e-6)
    # What lies apart from all that was seen is new, and its bins do not move with it.
    far = rows(torch.full((1, 2, 2), 50.0))
    density.observe(far)
    assert float(density.count(far)) < float(density.count(part).min()) + 1


def distillation(size: ObservationSize, **settings: Any) -> RandomDistillation:
    return RandomDistillation(size, (16,), 8, 0.9, torch.Generator().manual_seed(3), **settings)


def test_foretelling_a_random_network_fails_where_nobody_was() -> None:
    """Half of the states are visited; the error there falls, that of the others hardly does."""
    config = BonusConfig("random_distillation", 1.0, hidden_sizes=(32,), num_features=8, gradient_steps=50)
    config.optimiser.learning_rate = 3e-3
    policy = ControlConfig("FrozenLake-v1", max_episode_steps=9).build(0).build_policy()
    bonus = config.build(policy, seed=1, num_updates=1)
    assert bonus is not None
    visited, others = rows([[*range(8), *range(8)]]), rows([[*range(8, 16), *range(8, 16)]])
    before = [float(bonus.novelty(part).logp.detach().mean()) for part in (visited, others)]  # type: ignore[operator]
    paid = [float(bonus.pay(visited)[0].reward.mean()) for _ in range(6)]
    after = [float(bonus.novelty(part).logp.detach().mean()) for part in (visited, others)]  # type: ignore[operator]
    assert after[0] < 0.05 * before[0] and after[1] > 0.3 * before[1]
    assert paid[-1] < 0.2 * paid[0]
    target = [p for name, p in bonus.novelty.named_parameters() if name.startswith("target")]
    assert target and not any(p.requires_grad for p in target)


def test_bonuses_are_divided_by_the_deviation_of_their_discounted_sums() -> None:
    network = distillation(ObservationSize((3,)))
    seen = torch.randn(4, 31, 3, generator=torch.Generator().manual_seed(0))
    part = rows(seen)
    network.observe(part)
    scaled = network.bonus(part)
    error = network(part).logp.detach().double()
    sums = []
    for row in error:
        total = 0.0
        for each in row.tolist():
            total = 0.9 * total + each
            sums.append(total)
    torch.testing.assert_close(scaled.double(), error / np.std(sums), rtol=1e-4, atol=1e-6)


def test_observations_far_away_are_cut_off() -> None:
    network = distillation(ObservationSize((3,)))
    network.observe(rows(torch.randn(4, 31, 3, generator=torch.Generator().manual_seed(0))))
    far, farther = (network(rows(torch.full((1, 2, 3), value))).logp for value in (1e3, 1e6))
    assert torch.equal(far, farther)


LAKE = {"num_envs": 2, "num_steps": 6, "max_episode_steps": 9, "num_eval_episodes": 2}
COUNTS = BonusConfig("counts", 0.5)


def lake(kind: str, **settings: Any) -> Any:
    return ControlConfig("FrozenLake-v1", policy=ControlPolicyConfig(type=kind, hidden_sizes=(8,)), **{**LAKE, **settings}).build(0)


def paid_by_hand(part: Trajectory, coefficient: float) -> list[list[float]]:
    """What each step of the first rollout is paid."""
    steps = [(row, step) for row in range(part.batch_size) for step in range(part.num_steps) if part.mask[row, step]]
    reached = part.obs[:, 1:]  # type: ignore[index]
    count = Counter(int(reached[place]) for place in steps)  # type: ignore[index]
    reward = part.reward.tolist()
    for row, step in steps:
        reward[row][step] += coefficient / count[int(reached[row, step])] ** 0.5  # type: ignore[index]
    return reward


def test_a_table_learns_from_bonuses() -> None:
    task = lake("action_value_table")
    policy = task.build_policy()
    trainer = QTableConfig(learning_rate=1.0, gamma=0.0, bonus=COUNTS).build(policy, seed=0, num_updates=1)
    part = trainer.collect(task)
    stats = trainer.update(part)
    reward = paid_by_hand(part, 0.5)
    for row in range(part.batch_size):
        for step in range(part.num_steps):
            if part.mask[row, step]:
                last = max(
                    (t, b)
                    for b in range(2)
                    for t in range(6)
                    if part.mask[b, t] and part.obs[b, t] == part.obs[row, step] and part.action[b, t] == part.action[row, step]  # type: ignore[index]
                )
                value = float(policy.values[part.obs[row, step], part.action[row, step]])  # type: ignore[index]
                assert value == pytest.approx(reward[last[1]][last[0]], abs=1e-6)
    assert stats["reward/mean"] == float(part.score.mean()) and stats["explore/bonus"] > 0


def test_planning_pays_counts_as_they_are_by_then() -> None:
    """With γ = 0 an entry that is planned is the reward and the newest bonus of the state that it leads to."""
    task = ControlConfig("seqrl/Chain-v0", num_envs=1, num_steps=59, policy=ControlPolicyConfig(type="action_value_table")).build(0)
    policy = task.build_policy()
    trainer = QTableConfig(
        learning_rate=1.0, learning_rate_final=1.0, gamma=0.0, epsilon_start=0.9, planning_steps=300, bonus=COUNTS
    ).build(policy, seed=0, num_updates=1)
    met = set()
    for _ in range(3):
        part = trainer.collect(task)
        met |= {(int(s), int(a)) for s, a, m in zip(part.obs[0], part.action[0], part.mask[0], strict=False) if m}  # type: ignore[index]
        trainer.update(part)
    visits = trainer.bonus.novelty.visits  # type: ignore[union-attr]
    assert len(met) > 8 and float(visits.sum()) == 3 * 59 - 2  # the two dummy steps between episodes
    for state, action in met:
        following = max(0, state - 1) if action == 0 else state + 1
        expected = 0.5 * float(visits[following]) ** -0.5 + (0.001 if following == 0 else 0.0)
        assert float(policy.values[state, action]) == pytest.approx(expected, abs=1e-9)


def test_a_replay_keeps_bonuses_and_ppo_learns_from_them(monkeypatch: pytest.MonkeyPatch) -> None:
    task = lake("action_values")
    trainer = DQNConfig(learning_starts=1000, bonus=COUNTS).build(task.build_policy(), seed=0, num_updates=1)
    part = trainer.collect(task)
    trainer.update(part)
    kept = trainer.replay._ring.columns["reward"][:, :6]  # type: ignore[attr-defined]
    torch.testing.assert_close(kept, torch.tensor(paid_by_hand(part, 0.5)))
    task = lake("actor_critic")
    trainer = PPOConfig(bonus=COUNTS).build(task.build_policy(), seed=0, num_updates=1)
    part = trainer.collect(task)
    seen = []
    plain = trainer._advantage  # type: ignore[attr-defined]
    monkeypatch.setattr(trainer, "_advantage", lambda rows: seen.append(rows.reward) or plain(rows))
    stats = trainer.update(part)
    torch.testing.assert_close(seen[0], torch.tensor(paid_by_hand(part, 0.5)))
    assert stats["reward/mean"] == pytest.approx(float(part.score.mean()))


ALL = [BonusConfig("counts"), BonusConfig("pseudo_counts"), BonusConfig("random_distillation", hidden_sizes=(8,), num_features=4)]


@pytest.mark.parametrize("bonus", ALL, ids=lambda bonus: bonus.type)
@pytest.mark.parametrize("kind", ["action_value_table", "action_values", "actor_critic", "probability_table"])
def test_a_saved_bonus_goes_on_with_the_same_bits(kind: str, bonus: BonusConfig) -> None:
    configs = {
        "action_value_table": QTableConfig(bonus=bonus),
        "action_values": DQNConfig(learning_starts=6, batch_size=4, gradient_steps=2, bonus=bonus),
    }
    config = configs.get(kind, PPOConfig(minibatches=1, bonus=bonus))

    def start() -> tuple[Any, Any]:
        task = lake(kind)
        return task, config.build(task.build_policy(), seed=0, num_updates=4)

    task, trainer = start()
    trainer.update(trainer.collect(task))
    state = torch.load(saved(trainer, task), weights_only=True)
    expected = trainer.update(trainer.collect(task))
    task, other = start()
    other.policy.load_state_dict(state["policy"])
    other.load_state_dict(state["trainer"])
    task.load_state_dict(state["task"])
    assert other.update(other.collect(task)) == expected and expected["explore/bonus"] > 0


def saved(trainer: Any, task: Any) -> Any:
    file = io.BytesIO()
    torch.save({"policy": trainer.policy.state_dict(), "trainer": trainer.state_dict(), "task": task.state_dict()}, file)
    file.seek(0)
    return file


def test_checkpoints_without_a_bonus_are_read() -> None:
    for kind, config in (("action_value_table", QTableConfig()), ("action_values", DQNConfig()), ("actor_critic", PPOConfig())):
        trainer = config.build(lake(kind).build_policy(), seed=0, num_updates=1)
        state = trainer.state_dict()
        del state["bonus"]
        trainer.load_state_dict(state)


def test_parts_of_a_batch_teach_the_network_what_the_whole_does() -> None:
    def learned(parts: int) -> torch.Tensor:
        bonus = BonusConfig("random_distillation", 1.0, hidden_sizes=(8,), num_features=4)
        bonus.optimiser = OptimiserConfig(learning_rate=0.01, epsilon=1e-3, accumulation=parts, precision="fp32")
        trainer = PPOConfig(bonus=bonus).build(lake("actor_critic", num_envs=5).build_policy(), seed=0, num_updates=1)
        paid = trainer.bonus.pay(rows(torch.arange(55).view(5, 11) % 16))[0]  # type: ignore[union-attr]
        assert trainer.bonus is not None
        return torch.cat([paid.reward.flatten(), *(p.flatten() for p in trainer.bonus.novelty.predictor.parameters())])  # type: ignore[union-attr]

    torch.testing.assert_close(learned(3), learned(1), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: lake_like("CartPole-v1", PPOConfig(bonus=COUNTS)), r"counts expects numbered states.*\[4\].*pseudo_counts"),
        (lambda: PPOConfig(bonus=COUNTS, advantage="greedy"), r'another than "greedy" beside a bonus'),
        (
            lambda: QTableConfig(planning_steps=2, bonus=BonusConfig("pseudo_counts")),
            r"planning_steps: expected 0 beside bonus.type pseudo",
        ),
        (lambda: BonusConfig("counts", num_bins=3), r"num_bins: type counts does not read it"),
        (lambda: BonusConfig("random_distillation", hidden_sizes=()), r"hidden_sizes: expected at least one layer"),
        (lambda: BonusConfig("novelty"), r"type: expected one of none, counts"),  # type: ignore[arg-type]
        (
            lambda: lake_like("CartPole-v1", DQNConfig(bonus=BonusConfig("pseudo_counts")), reward_scale=True),
            r"dqn with a bonus.*reward_scale",
        ),
        (
            lambda: PPOConfig(bonus=ALL[2], advantage="leave_one_out").build(tokens(), seed=0, num_updates=1),
            r"expects a policy that acts in an",
        ),
    ],
)
def test_refuses_what_it_cannot_pay(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def tokens() -> TokenPolicy:
    class Writer(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(1, 5)

        def forward(self, shown: Any, tokens: torch.Tensor) -> torch.Tensor:
            return self.layer(tokens.float().unsqueeze(-1))  # type: ignore[no-any-return]

    return TokenPolicy(Writer(), max_tokens=3)


def lake_like(name: str, config: Any, **settings: Any) -> None:
    kind = "action_values" if isinstance(config, DQNConfig) else "actor_critic"
    task = ControlConfig(name, policy=ControlPolicyConfig(type=kind), **settings).build(0)
    trainer = config.build(task.build_policy(), seed=0, num_updates=1)
    trainer.check_task(task)


def test_pictures_are_refused_by_a_density_of_numbers() -> None:
    from seqrl.policies.actor_critic import ActionSize, ActorCritic

    policy = ActorCritic(ObservationSize((1, 84, 84), frames=True), ActionSize(num_actions=2))
    with pytest.raises(ValueError, match=r"pseudo_counts expects numbers, got pictures.*random_distillation"):
        BonusConfig("pseudo_counts").build(policy, seed=0, num_updates=1)
    bonus = BonusConfig("random_distillation", hidden_sizes=(8,), num_features=4).build(policy, seed=0, num_updates=1)
    assert bonus is not None
    paid, stats = bonus.pay(rows(torch.randint(256, (2, 3, 1, 84, 84), dtype=torch.uint8)))
    assert bool((paid.reward > 0).all()) and stats["loss/predictor"] > 0


def test_gails_ppo_takes_a_bonus_as_well() -> None:
    """GAIL pays first and PPO's bonus comes on top; its state is in GAIL's."""
    policy = ControlConfig("CartPole-v1").build(0).build_policy()
    trainer = GAILConfig(ppo=PPOConfig(bonus=ALL[2])).build(policy, seed=0, num_updates=1)
    assert trainer.state_dict()["bonus"] is not None


@pytest.mark.slow
@pytest.mark.parametrize("trainer", ["q_table", "ppo"])
def test_counts_find_the_far_end_of_the_chain(trainer: str) -> None:
    """A chain of 20, of which chance actions see the end once in 2^18 episodes."""
    kind = "action_value_table" if trainer == "q_table" else "actor_critic"
    settings = {"environment_options": {"length": 20}, "max_episode_steps": 29, "num_steps": 29, "num_eval_episodes": 1}
    task = ControlConfig(
        "seqrl/Chain-v0", num_envs=1 if trainer == "q_table" else 8, policy=ControlPolicyConfig(type=kind), **settings
    ).build(0)  # type: ignore[arg-type]
    bonus = BonusConfig("counts", 0.1)
    config: Any = QTableConfig(gamma=0.95, learning_rate=1.0, learning_rate_final=1.0, planning_steps=20, bonus=bonus)
    if trainer == "ppo":
        config = PPOConfig(minibatch_unit="steps", ent_coef=0.01, bonus=bonus)
        config.optimiser.learning_rate = 1e-3
    agent = config.build(task.build_policy(), seed=0, num_updates=100)
    for _ in range(100):
        agent.update(agent.collect(task))
    returns = task.evaluate(agent.policy)["return_mean"]
    assert returns == 12.0, returns
