"""A self-play league (Vinyals et al. 2019): main agents learn against their past and against exploiters of their weaknesses."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from seqrl.distributed import num_launched
from seqrl.protocols import Task
from seqrl.requirements import duel_of
from seqrl.trainers.league_config import LeagueConfig as LeagueConfig
from seqrl.trainers.league_players import Players
from seqrl.trainers.ppo import PPO
from seqrl.trajectory import Trajectory, concatenate

PAIR = 2**20  # a row's group is home x PAIR + away
Weights = dict[str, Tensor]


class League:
    """Trains all learners of a league at once, each by PPO against opponents drawn by its role.

    Main agents play those that they lose against: P(B) ~ (1 - P[A beats B])^p over all past players, and themselves. Main exploiters play
    the main agents as they are, league exploiters all past players. A learner that beats all of those, or has learned for long enough, is
    kept: a frozen copy enters the league, and an exploiter may begin anew with the first weights, which are the policy's when the trainer
    is made. To begin with a policy that has imitated, load it before (`init_from`).

    A rollout holds the rows of all learners; the group of a row says who played whom.

    Args:
        policy: the first main agent; trained in place.
        config: see `LeagueConfig`.
        seed: of the sampling.
        num_updates: length of the run, for the learning-rate schedules.

    Attributes:
        players: who there is, see `Players`.
        learners: PPO of each learner, in the order of `players`.
        kept: weights by the names of those that were kept.

    Raises:
        ValueError: when the policy has no critic, or several processes share the run.

    Source: Vinyals et al. 2019 (Grandmaster level in StarCraft II using multi-agent reinforcement learning), methods, multi-agent learning.
    Differs from: the paper in PPO in the place of V-trace, UPGO and TD(lambda); all learners are updated in turn, in one process; a game is
    won where the sum of its rewards is above 0, and drawn where it is 0.
    """

    weights_by_name = ("league_weights",)

    def __init__(self, policy: nn.Module, config: LeagueConfig | None = None, *, seed: int = 0, num_updates: int = 1) -> None:
        if num_launched() > 1:
            raise ValueError(
                "trainer league: expected one process, since its table of results is not shared, got several; leave --num_processes out"
            )
        self.policy, self.config = policy, config or LeagueConfig()
        self.players = Players(self.config)
        modules = [policy, *(deepcopy(policy) for _ in self.players.players[1:])]
        settings = {"num_updates": num_updates}
        self.learners = [PPO(module, self.config.ppo, seed=seed + number, **settings) for number, module in enumerate(modules)]
        self.optimiser = self.learners[0].optimiser
        self._guest = deepcopy(policy).requires_grad_(False)
        self.kept = {self.players.keep(main): weights_of(policy) for main in self.players.mains}
        self._first = next(iter(self.kept.values()))

    @property
    def how_it_runs(self) -> str:
        """See `PPO.how_it_runs`."""
        return self.learners[0].how_it_runs

    def check_task(self, task: Task) -> None:
        """Refuse a task in which nobody can be played against."""
        duel_of(task)
        self.learners[0].check_task(task)

    def collect(self, task: Task) -> Trajectory:
        """Draw opponents for each learner, and play."""
        self.check_task(task)
        rows, generator = [], self.optimiser.generator
        for home in range(len(self.learners)):
            probabilities = self.players.opponents(home).to(generator.device)
            drawn = torch.multinomial(probabilities, self.config.matches, replacement=True, generator=generator)
            met, counts = drawn.unique(return_counts=True)
            rows += [self._match(task, home, away, count) for away, count in zip(met.tolist(), counts.tolist(), strict=True)]
        return concatenate(rows).to(self.optimiser.device)

    def _match(self, task: Task, home: int, away: int, matches: int) -> Trajectory:
        """Play the games of some matches between two players; whatever fails, it is said who met."""
        policy, names = self.learners[home].policy, [self.players.players[index].name for index in (home, away)]
        try:
            opponent = self._module(away)
            played = duel_of(task)(policy, opponent, num_games=matches * self.config.games, generator=self.optimiser.generator)
        except Exception as error:
            error.add_note(f"trainer league: {names[0]} played against {names[1]}")
            raise
        return played.replace(group=torch.full((played.batch_size,), home * PAIR + away, device=played.reward.device))

    def _module(self, index: int) -> nn.Module:
        """Give a player as a module that can act."""
        if index < len(self.learners):
            return self.learners[index].policy.eval()
        self._guest.load_state_dict(self.kept[self.players.players[index].name])
        return self._guest.eval()

    def update(self, trajectory: Trajectory) -> dict[str, float]:
        """Improve each learner with its own rows, take the results down, and keep whom is to be kept; the numbers are the first main's."""
        rows = trajectory.select_rows(trajectory.mask.any(dim=1))
        assert rows.group is not None
        home, stats = rows.group // PAIR, list[dict[str, float]]()
        for number, learner in enumerate(self.learners):
            stats.append(learner.update(rows.select_rows(home == number)))
        for pair in rows.group.unique().tolist():
            one, other = divmod(pair, PAIR)
            self.players.note(one, other, (rows.score[rows.group == pair].sign() + 1) / 2)
        num_kept = 0
        for number in range(len(self.learners)):
            self.players.ages[number] += 1
            if self.players.is_due(number):
                self._keep(number)
                num_kept += 1
        worst = float(self.players.chance(0, self.players.past()).min())
        return stats[0] | {"league/num_players": float(len(self.players.players)), "league/kept": float(num_kept), "league/worst": worst}

    def _keep(self, number: int) -> None:
        """Let a copy of a learner into the league; an exploiter may begin anew."""
        role, policy = self.players.players[number].role, self.learners[number].policy
        self.kept[self.players.keep(number)] = weights_of(policy)
        generator = self.optimiser.generator
        chance = {"main": 0.0, "main_exploiter": 1.0, "league_exploiter": self.config.reset}[role]
        if chance == 1 or (chance and float(torch.rand((), generator=generator, device=generator.device)) < chance):
            policy.load_state_dict(self._first)

    def reward_settings(self) -> dict[str, object]:
        """Say what rewards are compared with, for signatures."""
        return self.learners[0].reward_settings()

    def state_dict(self) -> dict[str, Any]:
        """Give the players, each learner's optimiser, and under `league_weights` those of all but the run's policy, by their names."""
        living = {
            each.name: weights_of(self.learners[number].policy) for number, each in enumerate(self.players.players[: len(self.learners)])
        }
        del living[self.players.players[0].name]
        return {
            "players": self.players.state_dict(),
            "learners": [learner.state_dict() for learner in self.learners],
            "league_weights": living | self.kept,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a saved state."""
        self.players.load_state_dict(state["players"])
        for number, (learner, saved) in enumerate(zip(self.learners, state["learners"], strict=True)):
            learner.load_state_dict(saved)
            if number:
                learner.policy.load_state_dict(state["league_weights"][self.players.players[number].name])
        past = [self.players.players[index].name for index in self.players.past()]
        self.kept = {
            name: {key: tensor.to(self.optimiser.device) for key, tensor in state["league_weights"][name].items()} for name in past
        }
        self._first = self.kept[past[0]]


def weights_of(policy: nn.Module) -> Weights:
    """Copy a policy's weights."""
    return {name: tensor.detach().clone() for name, tensor in policy.state_dict().items()}
