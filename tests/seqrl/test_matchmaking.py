"""Who meets whom, against probabilities found by hand with the paper's numbers."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from seqrl import ImitationConfig, PPOConfig
from seqrl.functional.matchmaking import decayed_sums, forgotten, pfsp
from seqrl.trainers.league_config import LeagueConfig
from seqrl.trainers.league_players import Players

# Of one main agent, one main exploiter and one league exploiter.
MAIN, EXPLOITER, EVERYBODY = 0, 1, 2


def test_priorities_by_hand() -> None:
    chance = torch.tensor([0.0, 0.5, 0.9, 1.0])
    hard = torch.tensor([1.0, 0.25, 0.01, 0.0], dtype=torch.float64)
    torch.testing.assert_close(pfsp(chance, "hard", 2.0), hard / 1.26)
    torch.testing.assert_close(pfsp(chance, "hard", 1.0), torch.tensor([1.0, 0.5, 0.1, 0.0], dtype=torch.float64) / 1.6)
    torch.testing.assert_close(pfsp(chance, "variance"), torch.tensor([0.0, 0.25, 0.09, 0.0], dtype=torch.float64) / 0.34)
    assert pfsp(torch.ones(4), "hard").tolist() == [0.25] * 4  # nobody is left to learn from
    assert pfsp(torch.tensor([0.0, 1.0]), "variance").tolist() == [0.5, 0.5]


@pytest.mark.parametrize(
    ("chance", "kept"),
    [([0.9, 0.8, 0.6], 0), ([0.4, 0.8, 0.6], 2), ([0.9, 0.3, 0.5, 0.5, 0.4], 3), ([0.5], 0), ([], 0), ([0.2, 0.9], 2)],
)
def test_what_may_have_been_forgotten(chance: list[float], kept: int) -> None:
    assert forgotten(torch.tensor(chance)) == kept


def test_results_count_less_and_less() -> None:
    results = torch.tensor([1.0, 0.0, 0.5, 1.0])
    games, wins = torch.tensor(7.0).double(), torch.tensor(2.0).double()
    by_hand = (7.0, 2.0)
    for result in results.tolist():
        by_hand = (by_hand[0] * 0.9 + 1, by_hand[1] * 0.9 + result)
    found = decayed_sums(games, wins, results, 0.9)
    assert [float(each) for each in found] == pytest.approx(by_hand)


def league(**settings: Any) -> Players:
    return Players(LeagueConfig(main_exploiters=1, league_exploiters=1, **settings))


def told(players: Players, home: int, away: int, chance: float) -> None:
    players.games[home, away], players.wins[home, away] = 10.0, 10 * chance


def test_the_table_of_results() -> None:
    players = league(decay=1.0)
    players.note(0, 2, torch.tensor([1.0, 1.0, 0.5, 0.0]))
    assert float(players.chance(0)[2]) == 2.5 / 4 and float(players.chance(2)[0]) == 1.5 / 4
    assert float(players.chance(0)[1]) == 0.5  # not met yet
    players.note(1, 1, torch.ones(3))
    assert players.games[1, 1] == 0


def test_a_main_agent_that_has_met_nobody_plays_its_past_and_itself() -> None:
    players = league()
    assert players.opponents(MAIN).tolist() == [1, 0, 0]  # no past yet
    players.keep(MAIN)
    # Half against the past, 35% against itself, and the 15% to look for weaknesses go to itself, too.
    torch.testing.assert_close(players.opponents(MAIN), torch.tensor([0.5, 0, 0, 0.5], dtype=torch.float64))


def test_a_main_agents_shares() -> None:
    players = league()
    own = [players.num_learners + number for number, _ in enumerate([players.keep(MAIN), players.keep(MAIN), players.keep(MAIN)])]
    players.keep(EXPLOITER)
    beaten_by = own[-1] + 1
    for index, chance in zip([*own, beaten_by], [0.5, 0.8, 0.9, 0.5], strict=True):
        told(players, MAIN, index, chance)
    # f_hard with p = 2: 0.25, 0.04, 0.01, 0.25, sum 0.55. Forgotten: its first one, at 0.5, below a later chance and below 0.7; chances
    # rise up to the third, so that all three may be: 0.25, 0.04, 0.01 of 0.30.
    past = [0.5 * each / 0.55 for each in (0.25, 0.04, 0.01, 0.25)]
    found = [first + 0.15 * second / 0.30 for first, second in zip(past, (0.25, 0.04, 0.01, 0.0), strict=True)]
    torch.testing.assert_close(players.opponents(MAIN), torch.tensor([0.35, 0, 0, *found], dtype=torch.float64))
    # An exploiter that wins more than 70% takes the 15%.
    told(players, MAIN, beaten_by, 0.2)
    past = [0.5 * each / 0.94 for each in (0.25, 0.04, 0.01, 0.64)]
    torch.testing.assert_close(players.opponents(MAIN), torch.tensor([0.35, 0, 0, *past[:3], past[3] + 0.15], dtype=torch.float64))
    # Nobody forgotten and no exploiter that wins: they go to itself.
    for index, chance in zip([*own, beaten_by], [0.9, 0.8, 0.5, 0.5], strict=True):
        told(players, MAIN, index, chance)
    assert float(players.opponents(MAIN)[MAIN]) == pytest.approx(0.5)


def test_another_main_agent_that_is_too_strong_is_met_as_it_was() -> None:
    players = Players(LeagueConfig(main_agents=2, main_exploiters=0, league_exploiters=0))
    players.keep(1), players.keep(1)
    told(players, 0, 1, 0.3)
    told(players, 0, 2, 0.5)
    told(players, 0, 3, 0.1)
    # Half of self-play's 0.5 (the other main has nothing forgotten: its chances fall) goes to the other one's past by x (1 - x), 0.25 and
    # 0.09; the half that is the past by (1 - x)^2, 0.25 and 0.81.
    found = [0.25 * 0.25 / 0.34 + 0.5 * 0.25 / 1.06, 0.25 * 0.09 / 0.34 + 0.5 * 0.81 / 1.06]
    torch.testing.assert_close(players.opponents(0), torch.tensor([0.25, 0, *found], dtype=torch.float64))
    told(players, 0, 1, 0.31)
    assert float(players.opponents(0)[1]) == pytest.approx(0.25)


def test_a_main_exploiter_plays_the_main_agent_unless_that_is_hopeless() -> None:
    players = league()
    players.keep(MAIN), players.keep(MAIN), players.keep(EXPLOITER)
    told(players, EXPLOITER, MAIN, 0.2)
    assert players.opponents(EXPLOITER).tolist() == [1, 0, 0, 0, 0, 0]
    told(players, EXPLOITER, MAIN, 0.19)
    told(players, EXPLOITER, 3, 0.9)
    told(players, EXPLOITER, 4, 0.4)
    torch.testing.assert_close(players.opponents(EXPLOITER), torch.tensor([0, 0, 0, 0.09 / 0.33, 0.24 / 0.33, 0], dtype=torch.float64))


def test_a_league_exploiter_plays_everybody_that_was_kept() -> None:
    players = league()
    players.keep(MAIN), players.keep(EXPLOITER), players.keep(EVERYBODY)
    for index, chance in ((3, 0.8), (4, 0.4), (5, 0.5)):
        told(players, EVERYBODY, index, chance)
    expected = torch.tensor([0, 0, 0, 0.04, 0.36, 0.25], dtype=torch.float64) / 0.65
    torch.testing.assert_close(players.opponents(EVERYBODY), expected)


def test_naive_self_play_is_a_setting() -> None:
    players = Players(LeagueConfig(main_exploiters=0, league_exploiters=0, self_play=1.0, verification=0.0))
    for _ in range(3):
        players.keep(MAIN)
    told(players, MAIN, 2, 0.0)
    assert players.opponents(MAIN).tolist() == [1, 0, 0, 0]


def test_who_is_kept_and_when() -> None:
    players = league(keep_min_updates=3, keep_max_updates=5)
    players.keep(MAIN)
    told(players, MAIN, 3, 0.71)
    told(players, EXPLOITER, MAIN, 0.71)
    told(players, EXPLOITER, 3, 0.0)  # it need not beat the past
    told(players, EVERYBODY, MAIN, 0.0)  # it need not beat those that learn
    told(players, EVERYBODY, 3, 0.71)
    due = {age: [players.is_due(home) for home in range(3) if not players.ages.__setitem__(home, age)] for age in (2, 3)}
    assert due == {2: [False] * 3, 3: [True] * 3}
    for home, away in ((MAIN, 3), (EXPLOITER, MAIN), (EVERYBODY, 3)):
        told(players, home, away, 0.7)
    assert not any(players.is_due(home) for home in range(3))
    players.ages = [5] * 3
    assert all(players.is_due(home) for home in range(3))
    assert players.keep(MAIN) == "main_0:1" and players.ages == [0, 5, 5]
    assert players.games.shape == (5, 5) and float(players.chance(MAIN)[4]) == 0.5


def test_settings_that_make_no_league() -> None:
    for settings, text in (
        ({"main_agents": 0}, r"main_agents: expected at least 1.*got 0"),
        ({"self_play": 0.9, "verification": 0.2}, r"self_play, verification: expected shares of at most 1"),
        ({"ppo": PPOConfig(num_samples=2)}, r"ppo.num_samples: expected 1, since matches x games are played, got 2"),
        ({"ppo": PPOConfig(advantage="greedy")}, r"ppo.advantage: expected gae"),
        ({"ppo": PPOConfig(imitation=ImitationConfig(weight=0.1))}, r"ppo.imitation.weight: expected 0.*--init_from"),
        ({"keep_min_updates": 5, "keep_max_updates": 4}, r"keep_max_updates: expected at least keep_min_updates, 5, got 4"),
    ):
        with pytest.raises(ValueError, match=text):
            LeagueConfig(**settings)  # type: ignore[arg-type]
