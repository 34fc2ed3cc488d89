"""Payoffs and exploitability against games written out, and what the task refuses."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from seqrl import PPOConfig, fit
from seqrl.tasks.matrix_games.payoffs import MatrixGame, blotto, rock_paper_scissors
from seqrl.tasks.matrix_games.task import MatrixGameConfig
from seqrl.trajectory import Step


def test_rock_paper_scissors_by_hand() -> None:
    game = rock_paper_scissors((1, 2, 3))
    assert game.moves == ("rock", "paper", "scissors")
    assert game.payoff.tolist() == [[0, -2, 1], [2, 0, -3], [-1, 3, 0]]
    # The equilibrium plays each move in the ratio of what the other two play for: rock 3, paper 1, scissors 2.
    assert game.exploitability(np.array([3, 1, 2]) / 6) == pytest.approx(0)
    assert game.exploitability(np.array([1.0, 0, 0])) == 2
    assert game.exploitability(np.ones(3) / 3) == pytest.approx(2 / 3)  # scissors: (-1 + 3) / 3


def test_blotto_against_battles_fought_one_by_one() -> None:
    game = blotto(4, 3)
    shares = [share for share in itertools.product(range(5), repeat=3) if sum(share) == 4]
    assert set(game.moves) == {"-".join(map(str, share)) for share in shares} and len(game.moves) == len(shares) == 15
    for one, other in itertools.product(shares, shares):
        fields = sum((mine > yours) - (mine < yours) for mine, yours in zip(one, other, strict=True))
        places = (game.moves.index("-".join(map(str, share))) for share in (one, other))
        assert game.payoff[tuple(places)] == (fields > 0) - (fields < 0)
    assert len(blotto(10, 3).moves) == 66  # 12 over 2


def test_exploitability_is_what_the_best_of_all_moves_earns() -> None:
    game, random = blotto(5, 3), np.random.default_rng(0)
    strategy = random.dirichlet(np.ones(len(game.moves)))
    earned = [sum(p * game.payoff[move, other] for other, p in enumerate(strategy)) for move in range(len(game.moves))]
    assert game.exploitability(strategy) == pytest.approx(max(earned))


def fictitious_play(game: MatrixGame, rounds: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Brown's way to an equilibrium: each move answers the mean of those before."""
    counts = np.ones(len(game.moves))
    for _ in range(rounds):
        counts[int((game.payoff @ counts).argmax())] += 1
    return counts / counts.sum()


def test_an_equilibrium_cannot_be_exploited() -> None:
    assert rock_paper_scissors((1, 2, 3)).exploitability(fictitious_play(rock_paper_scissors((1, 2, 3)), 20_000)) < 0.05
    assert blotto(10, 3).exploitability(fictitious_play(blotto(10, 3), 20_000)) < 0.03


def test_the_expert_answers_an_even_mix_of_moves() -> None:
    game = rock_paper_scissors((1, 2, 3))
    weight = np.exp(3 * np.array([-1 / 3, -1 / 3, 2 / 3]))
    np.testing.assert_allclose(game.quantal_response(3.0), weight / weight.sum())
    task = MatrixGameConfig(stakes=(1.0, 2.0, 3.0), sharpness=3.0, num_games=4000).build(0)
    shown = task.demonstrations()
    assert shown.imitate is not None and bool(shown.imitate.all()) and not bool(shown.mask.any())
    np.testing.assert_allclose(np.bincount(shown.action[:, 0]) / 4000, weight / weight.sum(), atol=0.03)


class Always(nn.Module):
    """Plays one move."""

    def __init__(self, move: Any) -> None:
        super().__init__()
        self.move = move

    def act(self, obs: torch.Tensor, state: Any = None, **_: Any) -> Step:
        none = torch.zeros(len(obs))
        return Step(torch.full((len(obs),), self.move), none, none)

    def initial_state(self, context: Any) -> None:
        return None


def test_rows_hold_what_the_matrix_says_and_noise_on_top() -> None:
    paper, scissors = Always(1), Always(2)
    task = MatrixGameConfig(stakes=(1.0, 2.0, 3.0)).build(0)
    rows = task.duel(paper, scissors, num_games=5)
    assert rows.reward.tolist() == [[-3.0]] * 5 and bool(rows.terminated.all()) and bool(rows.mask.all())
    noisy = MatrixGameConfig(stakes=(1.0, 2.0, 3.0), noise=0.5).build(0).duel(scissors, paper, num_games=4000)
    assert float(noisy.reward.mean()) == pytest.approx(3, abs=0.04) and float(noisy.reward.std()) == pytest.approx(0.5, abs=0.03)


def test_a_policy_plays_itself_and_its_greedy_self_meets_the_same_moves() -> None:
    task = MatrixGameConfig(num_games=3000).build(0)
    policy = task.build_policy()
    generator = torch.Generator().manual_seed(1)
    rows = task.rollout(policy, greedy_baseline=True, num_samples=2, generator=generator)
    assert rows.batch_size == 6000 and rows.baseline is not None
    played = task.strategy(policy).numpy()
    expected = {payoff: float(played @ (task.game.payoff == payoff) @ played) for payoff in (-1, 0, 1)}
    for payoff, share in expected.items():
        assert float((rows.reward == payoff).float().mean()) == pytest.approx(share, abs=0.03)
    best = int(played.argmax())
    # The greedy move against the moves of the other side: what it beats is beaten as often as that is played.
    assert float(rows.baseline.mean()) == pytest.approx(float(task.game.payoff[best] @ played), abs=0.05)


def test_an_evaluation_is_exact() -> None:
    task = MatrixGameConfig(stakes=(1.0, 2.0, 3.0)).build(0)
    policy = task.build_policy()
    with torch.no_grad():
        for parameter in policy.actor.parameters():
            parameter.zero_()
        list(policy.actor.parameters())[-1].copy_(torch.log(torch.tensor([3.0, 1.0, 2.0])))
    found = task.evaluate(policy)
    assert found["exploitability"] == pytest.approx(0, abs=1e-6)
    assert found["strategy_entropy"] == pytest.approx(-sum(p * np.log(p) for p in (1 / 2, 1 / 6, 1 / 3)))
    assert task.less_is_better("exploitability") and not task.less_is_better("strategy_entropy")


@pytest.mark.parametrize(
    ("move", "text"),
    [(3, r"the opponent: chose 3 in game 0, which is illegal; expected 0 to 2"), (-1, "chose -1"), (0.5, "expected a whole number")],
)
def test_an_opponents_illegal_move_is_refused(move: Any, text: str) -> None:
    task = MatrixGameConfig().build(0)
    with pytest.raises(ValueError, match=text):
        task.duel(task.build_policy(), Always(move), num_games=4)
    with pytest.raises(ValueError, match=text.replace("the opponent", "the policy")):
        task.duel(Always(move), task.build_policy(), num_games=4)


def test_settings_that_make_no_game() -> None:
    for settings, text in (
        ({"stakes": (1.0, 2.0)}, r"stakes: expected three positive numbers"),
        ({"stakes": (1.0, 2.0, 0.0)}, r"stakes: expected three positive numbers"),
        ({"game": "blotto", "soldiers": 0}, r"soldiers, fields: expected at least 1 soldier and 2 fields, got 0 and 3"),
        ({"game": "blotto", "fields": 1}, r"expected at least 1 soldier and 2 fields, got 10 and 1"),
        ({"game": "blotto", "soldiers": 100, "fields": 9}, r"expected at most 5000 ways to share out"),
        ({"soldiers": 4}, r"soldiers: game rock_paper_scissors does not read it"),
    ):
        with pytest.raises(ValueError, match=text):
            MatrixGameConfig(**settings)  # type: ignore[arg-type]


def test_ppo_learns_to_beat_a_fixed_player_by_self_play_of_one_side() -> None:
    """Against its own strong bias a policy moves to what beats it: rollouts are rows that a trainer learns from."""
    task = MatrixGameConfig(num_games=64).build(0)
    policy = task.build_policy()
    with torch.no_grad():
        list(policy.actor.parameters())[-1].copy_(torch.tensor([2.0, 0.0, 0.0]))  # mostly rock
    before = task.strategy(policy)
    fit(PPOConfig(minibatches=1).build(policy, seed=0, num_updates=5), task, num_updates=5)
    assert float(task.strategy(policy)[1]) > float(before[1])
