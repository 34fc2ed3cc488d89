"""The search over many trees at once beside one that is written for a single tree, and on games that are solved."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from seqrl.policies.search_policy import SearchPolicy
from seqrl.policies.tree_search import TreeSearchConfig, search, with_noise
from seqrl.policies.two_headed import TwoHeadedNetwork
from seqrl.tasks.boards.games import make_game
from seqrl.tasks.boards.players import random_openings
from seqrl.tasks.boards.rules import BoardGame, Boards
from seqrl.tasks.boards.solving import Enumeration, keeping_moves
from seqrl.trajectory import Trajectory


def hashed(game: BoardGame, state: Boards) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Priors and values that look random but depend on the position alone."""
    cells = state.flat.astype(np.float64)
    numbers = np.sin(cells @ np.sin(np.arange(1, cells.shape[1] + 1))[:, None] * np.arange(1, game.num_actions + 2) * 3.7)
    prior = np.where(game.legal(state), np.exp(2 * numbers[:, :-1]), 0)
    return (prior / prior.sum(axis=1, keepdims=True)).astype(np.float32), (0.9 * numbers[:, -1]).astype(np.float32)


class Node:
    """One position of a tree with its moves, as a textbook has it."""

    def __init__(self, game: BoardGame, state: Boards) -> None:
        self.game, self.state, self.children = game, state, dict[int, Node]()
        self.visits, self.total = dict[int, int](), dict[int, float]()
        self.value = float(state.winner[0] * state.player[0])
        if not state.ended[0]:
            prior, value = hashed(game, state)
            self.value = float(value[0])
            self.prior = {int(move): float(prior[0, move]) for move in np.flatnonzero(game.legal(state)[0])}
            self.visits, self.total = dict.fromkeys(self.prior, 0), dict.fromkeys(self.prior, 0.0)

    def simulate(self, c: float) -> float:
        """Give the value of a new position below, from the view of who is to move here."""
        if self.state.ended[0]:
            return self.value
        root = math.sqrt(1 + sum(self.visits.values()))
        score = {m: self.total[m] / max(1, self.visits[m]) + c * p * root / (1 + self.visits[m]) for m, p in self.prior.items()}
        move = max(score, key=lambda m: (score[m], -m))
        if move in self.children:
            value = -self.children[move].simulate(c)
        else:
            self.children[move] = Node(self.game, self.game.play(self.state, np.array([move])))
            value = -self.children[move].value
        self.visits[move] += 1
        self.total[move] += value
        return value


@pytest.mark.parametrize(("name", "opening"), [("tic_tac_toe", 4), ("connect4", 20), ("go", 6)])
def test_visits_and_values_are_those_of_single_trees(name: str, opening: int) -> None:
    game = make_game(name, 3 if name == "go" else None)
    state = random_openings(game, 6, opening, np.random.default_rng(3))
    found = search(game, state, lambda reached: hashed(game, reached), num_simulations=60, exploration=1.3)
    for row in range(6):
        root = Node(game, state.rows(slice(row, row + 1)))
        values = [root.simulate(1.3) for _ in range(60)]
        assert found.visits[row].tolist() == [root.visits.get(move, 0) for move in range(game.num_actions)]
        assert found.value[row] == pytest.approx(np.mean(values), abs=1e-5)


def test_with_exact_values_it_never_gives_a_game_away() -> None:
    """All 4,520 positions of tic-tac-toe in which somebody is to move."""
    game = make_game("tic_tac_toe")
    solver = Enumeration(game)
    state = solver.positions.rows(~solver.positions.ended)
    assert len(state.player) == 4_520

    def exact(reached: Boards) -> tuple[NDArray[Any], NDArray[Any]]:
        legal = game.legal(reached)
        return legal / legal.sum(axis=1, keepdims=True), solver.values(reached)

    found = search(game, state, exact, num_simulations=40, exploration=1.0)
    keeps = keeping_moves(game, solver, state)
    assert keeps[np.arange(len(keeps)), found.visits.argmax(axis=1)].all()
    assert not found.visits[~game.legal(state)].any() and (found.visits.sum(axis=1) == 40).all()


def test_noise_is_shared_out_among_legal_moves() -> None:
    legal = np.array([[True, True, False], [True, False, False]])
    prior = np.tile(np.array([[0.7, 0.3, 0.0], [1.0, 0.0, 0.0]]), (4000, 1)).astype(np.float32)
    noisy = with_noise(prior, np.tile(legal, (4000, 1)), 0.25, 0.5, np.random.default_rng(0))
    np.testing.assert_allclose(noisy.sum(axis=1), 1, atol=1e-5)
    assert not noisy[::2, 2].any() and (noisy[1::2, 0] == 1).all()
    np.testing.assert_allclose(noisy[::2].mean(axis=0), [0.75 * 0.7 + 0.125, 0.75 * 0.3 + 0.125, 0], atol=0.01)
    # The variance of Dirichlet(alpha, alpha) is 1 / (4 (2 alpha + 1)).
    assert noisy[::2, 0].var() == pytest.approx(0.25**2 / (4 * 2), rel=0.1)


def network(**settings: int) -> TwoHeadedNetwork:
    return TwoHeadedNetwork(2, (3, 3), 9, num_channels=8, generator=torch.Generator().manual_seed(0), **settings)


def test_a_network_has_two_heads_and_a_deep_one_begins_as_a_shallow_one() -> None:
    planes = torch.randn(5, 2, 3, 3)
    deep, shallow = network(num_blocks=3), network(num_blocks=0)
    shallow.load_state_dict({name: tensor for name, tensor in deep.state_dict().items() if name in shallow.state_dict()})
    logits, value = deep(planes)
    assert logits.shape == (5, 9) and value.shape == (5,) and bool((value.abs() <= 1).all())
    torch.testing.assert_close((logits, value), shallow(planes))
    value.sum().backward()
    gradient = deep.trunk[2].second.weight.grad  # type: ignore[union-attr]
    assert float(gradient.abs().sum()) > 0  # type: ignore[union-attr]


def policy(**settings: Any) -> SearchPolicy:
    return SearchPolicy(make_game("tic_tac_toe"), network(), TreeSearchConfig(**settings)).eval()


def test_a_policy_draws_its_first_moves_and_then_takes_the_most_visited() -> None:
    game = make_game("tic_tac_toe")
    early = random_openings(game, 200, 1, np.random.default_rng(0))
    late = random_openings(game, 50, 4, np.random.default_rng(0))
    chooser = policy(num_simulations=12, temperature_moves=2)
    first = chooser.choose(early, generator=torch.Generator().manual_seed(1))
    again = chooser.choose(early, generator=torch.Generator().manual_seed(1))
    assert all((one == other).all() for one, other in zip(first, again, strict=True))
    taken = first.visits[np.arange(200), first.action]
    np.testing.assert_allclose(np.exp(first.logp), taken, rtol=1e-5)
    assert (taken > 0).all() and (first.action != first.visits.argmax(axis=1)).any()
    then = chooser.choose(late, generator=torch.Generator().manual_seed(1))
    assert (then.action == then.visits.argmax(axis=1)).all() and not then.logp.any()
    greedy = chooser.choose(early, greedy=True)
    assert (greedy.action == greedy.visits.argmax(axis=1)).all()


def test_without_simulations_the_network_chooses() -> None:
    game = make_game("tic_tac_toe")
    state = random_openings(game, 20, 3, np.random.default_rng(0))
    chosen = policy(num_simulations=0).choose(state, generator=torch.Generator().manual_seed(0))
    assert game.legal(state)[np.arange(20), chosen.action].all()
    np.testing.assert_allclose(np.exp(chosen.logp), chosen.visits[np.arange(20), chosen.action], rtol=1e-5)
    assert not chosen.visits[~game.legal(state)].any()


def test_acting_and_evaluating_agree() -> None:
    chooser, game = policy(), make_game("tic_tac_toe")
    obs = chooser.observe_state(random_openings(game, 7, 2, np.random.default_rng(0)))
    step = chooser.act(obs, generator=torch.Generator().manual_seed(0))
    no = torch.zeros(7, 1, dtype=torch.bool)
    rows = Trajectory(
        action=step.action.unsqueeze(1),
        logp=torch.zeros(7, 1),
        value=torch.zeros(7, 2),
        reward=torch.zeros(7, 1),
        terminated=~no,
        truncated=no,
        mask=~no,
        obs={name: torch.stack([leaf, leaf], dim=1) for name, leaf in obs.items()},
    )
    evaluation = chooser(rows)
    torch.testing.assert_close(evaluation.logp[:, 0], step.logp)
    torch.testing.assert_close(evaluation.value[:, 0], step.value)


def test_bad_settings() -> None:
    with pytest.raises(ValueError, match="noise_share: expected a number from 0 to 1, got 2"):
        TreeSearchConfig(noise_share=2)
    with pytest.raises(ValueError, match="num_simulations: expected 0 or more, got -1"):
        TreeSearchConfig(num_simulations=-1)
    with pytest.raises(ValueError, match="exploration: expected a positive number"):
        TreeSearchConfig(exploration=0)
