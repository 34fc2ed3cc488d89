"""Who is in a league, how often each has won against each other, and by which rules they meet, are kept and begin anew."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from seqrl.functional.matchmaking import Weighting, decayed_sums, forgotten, pfsp
from seqrl.trainers.league_config import LeagueConfig, Role


@dataclass(frozen=True)
class Player:
    """Somebody in the league.

    Attributes:
        name: such as "main_0", or "main_0:3" for the third that was kept of it.
        role: of it or of the learner that it was.
        parent: name of the learner that it was; "" where it learns.
    """

    name: str
    role: Role
    parent: str = ""


class Players:
    """All players, with the table of their chances against each other.

    Learners come first, then those that were kept, oldest first.

    Args:
        config: see `LeagueConfig`.

    Attributes:
        players: all.
        games, wins: [N, N] float64 of the row's player against the column's, decayed; a draw is half a win.
        ages: updates of each learner since it was last kept.

    Source: Vinyals et al. 2019 (Grandmaster level in StarCraft II using multi-agent reinforcement learning), methods, populations; the
    thresholds `too_strong`, `exploited` and `no_longer_beaten` are in the pseudocode alone.
    Differs from: the paper, in which a main exploiter that is hopeless meets the past in half of its matches; in the pseudocode, where that
    is below 0.1, and here in all of them. League exploiters weigh by (1 - x)^p, in the pseudocode by min(1 - x, 1/2). There a main
    exploiter begins anew before it is copied; here after, as the paper has it.
    """

    def __init__(self, config: LeagueConfig) -> None:
        self.config = config
        self.players = [Player(name, role) for name, role in config.learners]
        self.games, self.wins = (torch.zeros(len(self.players), len(self.players), dtype=torch.float64) for _ in range(2))
        self.ages = [0] * len(self.players)
        self.num_learners = len(self.players)

    def chance(self, home: int, away: Sequence[int] | None = None) -> Tensor:
        """Give the chance that a player wins, [len(away)], against all when None; 1/2 where they have not met."""
        chance = torch.where(self.games[home] > 0, self.wins[home] / self.games[home].clamp(min=1e-12), 0.5)
        return chance if away is None else chance[list(away)]

    def past(self, role: Role | None = None, parent: str = "") -> list[int]:
        """List those that were kept, of a role or of a learner where these are given, oldest first."""
        kept = enumerate(self.players[self.num_learners :], start=self.num_learners)
        return [index for index, each in kept if role in (None, each.role) and parent in ("", each.parent)]

    @property
    def mains(self) -> list[int]:
        """The main agents as they are."""
        return list(range(self.config.main_agents))

    def opponents(self, home: int) -> Tensor:
        """Give the probability that a learner meets each player next, [N] float64, sum 1."""
        config, mains = self.config, self.mains
        rules: dict[Role, Callable[[int, int], Tensor]] = {"main_exploiter": self._exploit, "league_exploiter": self._everybody}
        if (rule := rules.get(self.players[home].role)) is not None:
            return sum_of(rule(home, main) / len(mains) for main in mains)
        prioritised = 1 - config.self_play - config.verification
        found = sum_of(
            (config.self_play * self._itself(home, main) + config.verification * self._verify(home, main)) / len(mains) for main in mains
        )
        return found + prioritised * self._everybody(home, home) if self.past() else found / found.sum()

    def _spread(self, home: int, over: Sequence[int], weighting: Weighting = "hard") -> Tensor:
        """Share a match out over some players by priority."""
        probabilities = torch.zeros(len(self.players), dtype=torch.float64)
        probabilities[list(over)] = pfsp(self.chance(home, over), weighting, self.config.power)
        return probabilities

    def _itself(self, home: int, main: int) -> Tensor:
        """Self-play: a main agent as it is, or its past where it is too strong."""
        past = self.past(parent=self.players[main].name)
        weak = past and float(self.chance(home)[main]) <= self.config.too_strong
        return self._spread(home, past, "variance") if weak else self._spread(home, [main])

    def _verify(self, home: int, main: int) -> Tensor:
        """Past exploiters that win, else forgotten past main agents, else self-play."""
        exploiters = self.past("main_exploiter")
        if exploiters and float(self.chance(home, exploiters).min()) < self.config.exploited:
            return self._spread(home, exploiters)
        past = self.past(parent=self.players[main].name)
        past = past[: forgotten(self.chance(home, past))]
        if past and float(self.chance(home, past).min()) < self.config.no_longer_beaten:
            return self._spread(home, past)
        return self._itself(home, main)

    def _exploit(self, home: int, main: int) -> Tensor:
        """A main agent as it is, or its past where that is hopeless."""
        past = self.past(parent=self.players[main].name)
        weak = past and float(self.chance(home)[main]) < self.config.hopeless
        return self._spread(home, past, "variance") if weak else self._spread(home, [main])

    def _everybody(self, home: int, _: int) -> Tensor:
        """All that were kept; the main agents where there are none."""
        return self._spread(home, self.past() or self.mains)

    def note(self, home: int, away: int, results: Tensor) -> None:
        """Take down how games ended.

        Args:
            home: who played.
            away: against whom; games against oneself tell nothing.
            results: [K] 1 where home won, 1/2 for a draw, 0 where it lost.
        """
        if home == away:
            return
        for one, other, result in ((home, away, results), (away, home, 1 - results)):
            self.games[one, other], self.wins[one, other] = decayed_sums(
                self.games[one, other], self.wins[one, other], result, self.config.decay
            )

    def is_due(self, home: int) -> bool:
        """Say whether a learner is to be kept: it beats all that it plays, or has learned for long enough."""
        config, age = self.config, self.ages[home]
        if age < config.keep_min_updates:
            return False
        targets = self.mains if self.players[home].role == "main_exploiter" else self.past()
        return age >= config.keep_max_updates or float(self.chance(home, targets).min()) > config.beaten

    def keep(self, home: int) -> str:
        """Let a copy of a learner into the league; give its name."""
        name, role = self.players[home].name, self.players[home].role
        kept = Player(f"{name}:{len(self.past(parent=name))}", role, name)
        self.players.append(kept)
        self.games, self.wins = (torch.nn.functional.pad(table, (0, 1, 0, 1)) for table in (self.games, self.wins))
        self.ages[home] = 0
        return kept.name

    def state_dict(self) -> dict[str, Any]:
        """Give everybody and the tables."""
        names = [[each.name, each.role, each.parent] for each in self.players]
        return {"players": names, "games": self.games.clone(), "wins": self.wins.clone(), "ages": list(self.ages)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a saved state."""
        self.players = [Player(*each) for each in state["players"]]
        self.games, self.wins, self.ages = state["games"].clone(), state["wins"].clone(), list(state["ages"])


def sum_of(tensors: Any) -> Tensor:
    """Add tensors up."""
    return torch.stack(list(tensors)).sum(dim=0)
