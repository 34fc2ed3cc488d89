"""The settings of a league."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import import_module
from typing import Literal

from torch import nn

from seqrl.optimiser_config import OptimiserConfig
from seqrl.protocols import Trainer
from seqrl.settings import Count, Fraction, NotNegative, Positive, check_settings
from seqrl.trainers.ppo_config import PPOConfig

Role = Literal["main", "main_exploiter", "league_exploiter"]


@dataclass
class LeagueConfig:
    """Settings of a league; the defaults are AlphaStar's for one of its three races, but for numbers of games.

    Attributes:
        main_agents: that learn; the first one is the run's policy.
        main_exploiters: that learn to beat the main agents as they are.
        league_exploiters: that learn to beat everybody.
        matches: opponents that each of them draws for an update.
        games: with each opponent drawn.
        self_play: share of a main agent's matches against main agents as they are.
        verification: share of its matches against past exploiters, or past main agents, that it no longer beats; where there are none
            this goes to self-play. The rest is prioritised over all past players.
        power: p of the priorities (1 - chance of winning)^p.
        decay: of what earlier games count in the chance of winning, by each later one.
        too_strong: chance of winning below which a main agent meets another one's past in its place.
        exploited: chance of winning against a past exploiter below which a main agent meets it again.
        no_longer_beaten: the same against its own past.
        hopeless: chance of winning below which a main exploiter meets a main agent's past in its place.
        beaten: chance of winning against all that it plays above which a player is kept, once it may be.
        keep_min_updates: after which a player may be kept.
        keep_max_updates: after which it is kept in any case.
        reset: probability that a league exploiter begins anew when it is kept; main exploiters always do.
        ppo: how each learns, see `PPOConfig`.
    """

    main_agents: int = 1
    main_exploiters: NotNegative[int] = 1
    league_exploiters: NotNegative[int] = 2
    matches: Count = 4
    games: Count = 32
    self_play: Fraction = 0.35
    verification: Fraction = 0.15
    power: Positive = 2.0
    decay: Fraction = 0.99
    too_strong: Fraction = 0.3
    exploited: Fraction = 0.3
    no_longer_beaten: Fraction = 0.7
    hopeless: Fraction = 0.2
    beaten: Fraction = 0.7
    keep_min_updates: Count = 20
    keep_max_updates: Count = 40
    reset: Fraction = 0.25
    ppo: PPOConfig = field(default_factory=lambda: PPOConfig(optimiser=OptimiserConfig(epsilon=1e-5, max_grad_norm=0.5)))

    def __post_init__(self) -> None:
        check_settings(self)
        if self.main_agents < 1:
            raise ValueError(
                f"main_agents: expected at least 1, which the others learn against and which the run is about, got {self.main_agents}"
            )
        if self.self_play + self.verification > 1:
            raise ValueError(
                f"self_play, verification: expected shares of at most 1 together, got {self.self_play} and {self.verification}"
            )
        if self.keep_max_updates < self.keep_min_updates:
            raise ValueError(f"keep_max_updates: expected at least keep_min_updates, {self.keep_min_updates}, got {self.keep_max_updates}")
        if self.ppo.num_samples != 1:
            raise ValueError(f"ppo.num_samples: expected 1, since matches x games are played, got {self.ppo.num_samples}; set games")
        if self.ppo.advantage == "greedy":
            raise ValueError("ppo.advantage: expected gae, or one that compares games against the same opponent, got 'greedy'")
        if self.ppo.imitation.weight:
            raise ValueError(
                f"ppo.imitation.weight: expected 0, since a league plays and has no demonstrations, got {self.ppo.imitation.weight}; "
                "imitate first, by trainer supervised, and begin with --init_from"
            )

    @property
    def learners(self) -> list[tuple[str, Role]]:
        """Names and roles of all that learn, main agents first."""
        counts: dict[Role, int] = {
            "main": self.main_agents,
            "main_exploiter": self.main_exploiters,
            "league_exploiter": self.league_exploiters,
        }
        return [(f"{role}_{number}", role) for role, count in counts.items() for number in range(count)]

    def build(self, policy: nn.Module, *, seed: int, num_updates: int) -> Trainer:
        """Make the trainer."""
        # By its name, since its file imports this one.
        trainer: Trainer = import_module("seqrl.trainers.league").League(policy, self, seed=seed, num_updates=num_updates)
        return trainer
