"""A game of two in one simultaneous move as a task: a policy against itself or against others, demonstrations, exploitability."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

from seqrl.policies.actor_critic import ActionSize, ActorCritic
from seqrl.policies.encoders import ObservationSize
from seqrl.policies.tokens import evaluation_mode
from seqrl.requirements import require_distribution
from seqrl.rollout import refuse_forced_steps, unroll
from seqrl.settings import Count, NotNegative, ReadBy, check_settings
from seqrl.tasks.matrix_games.payoffs import MatrixGame, blotto, rock_paper_scissors
from seqrl.tasks.opponents import opponents_action, refuse_illegal
from seqrl.trajectory import Trajectory


@dataclass
class MatrixGameConfig:
    """Settings of the matrix games.

    Attributes:
        game: "rock_paper_scissors" or "blotto", see `seqrl.tasks.matrix_games.payoffs`.
        stakes: "rock_paper_scissors" alone: what wins by rock, paper and scissors earn.
        soldiers: "blotto" alone: of each player.
        fields: "blotto" alone: that they are shared out over.
        noise: deviation of a Gaussian that is added to what a game pays the one player and taken from the other.
        num_games: of a rollout of the policy against itself; times the trainer's num_samples.
        sharpness: of the expert whose moves are the demonstrations: it expects all moves alike of the other player, and plays
            softmax(sharpness x what a move then earns).
        hidden_sizes: of the layers of actor and critic.
    """

    game: Literal["rock_paper_scissors", "blotto"] = "rock_paper_scissors"
    stakes: Annotated[tuple[float, ...], ReadBy("game", "rock_paper_scissors")] = (1.0, 1.0, 1.0)
    soldiers: Annotated[int, ReadBy("game", "blotto")] = 10
    fields: Annotated[int, ReadBy("game", "blotto")] = 3
    noise: NotNegative[float] = 0.0
    num_games: Count = 128
    sharpness: NotNegative[float] = 4.0
    hidden_sizes: tuple[int, ...] = (16,)

    def __post_init__(self) -> None:
        check_settings(self)
        self.make_game()

    def make_game(self) -> MatrixGame:
        """Make the game.

        Raises:
            ValueError: when a setting does not make one.
        """
        return rock_paper_scissors(self.stakes) if self.game == "rock_paper_scissors" else blotto(self.soldiers, self.fields)

    def build(self, seed: int) -> MatrixGameTask:
        """Make the task."""
        return MatrixGameTask(self, seed=seed)


class MatrixGameTask:
    """Rows of one step: both players choose a move, and the row's player earns its entry of the payoffs, with noise.

    There is nothing to be seen, so that a policy is a mixed strategy. `rollout` lets a policy play itself, `duel` another one.

    Args:
        config: see `MatrixGameConfig`.
        seed: of the policy's first weights, the noise and the demonstrations.

    Attributes:
        game: the moves and payoffs.
    """

    def __init__(self, config: MatrixGameConfig, *, seed: int = 0) -> None:
        self.config, self.game, self._seed = config, config.make_game(), seed
        self._payoff = torch.tensor(self.game.payoff, dtype=torch.float32)
        self._expert = torch.tensor(self.game.quantal_response(config.sharpness))
        self._generator = torch.Generator().manual_seed(seed)

    def build_policy(self) -> ActorCritic:
        """Make a policy; its first weights depend on the task's seed."""
        sizes = ObservationSize((1,)), ActionSize(num_actions=len(self.game.moves))
        return ActorCritic(*sizes, self.config.hidden_sizes, generator=torch.Generator().manual_seed(self._seed))

    def rollout(
        self,
        policy: nn.Module,
        *,
        num_samples: int = 1,
        greedy: bool = False,
        greedy_baseline: bool = False,
        num_forced_steps: int = 0,
        generator: torch.Generator | None = None,
    ) -> Trajectory:
        """Let a policy play itself, see `seqrl.protocols.Task.rollout`; a greedy baseline plays the same moves of the other side."""
        refuse_forced_steps(num_forced_steps)
        source = self._source(policy, policy, self.config.num_games * num_samples, generator)
        rows = self._unrolled(policy, source, greedy=greedy, generator=generator)
        if not greedy_baseline:
            return rows
        best = self._unrolled(policy, source.again(), greedy=True, generator=generator)
        return rows.replace(baseline=best.score)

    def duel(self, policy: nn.Module, opponent: nn.Module, *, num_games: int, generator: torch.Generator | None = None) -> Trajectory:
        """Let a policy play games against another one; see `seqrl.protocols.Task`."""
        return self._unrolled(policy, self._source(policy, opponent, num_games, generator), generator=generator)

    def demonstrations(self, group: Tensor | None = None) -> Trajectory:
        """Give the expert's moves in as many games as a rollout has."""
        count = self.config.num_games
        move = torch.multinomial(self._expert, count, replacement=True, generator=self._generator).unsqueeze(1)
        none, no = torch.zeros(count, 1), torch.zeros(count, 1, dtype=torch.bool)
        value, obs = torch.zeros(count, 2), torch.ones(count, 2, 1)
        return Trajectory(move, none, value, none, ~no, no, no, obs=obs, imitate=~no)

    def evaluate(self, policy: nn.Module, *, split: str = "dev") -> dict[str, float]:
        """Give how exploitable the policy's mixed strategy is, exactly, and its entropy in nats; every split is the whole game."""
        strategy = self.strategy(policy)
        entropy = -(strategy * strategy.clamp(min=1e-12).log()).sum()
        return {"exploitability": self.game.exploitability(strategy.numpy()), "strategy_entropy": float(entropy)}

    @torch.no_grad()
    def strategy(self, policy: nn.Module) -> Tensor:
        """Give the probabilities of the moves, [N] float64.

        Raises:
            ValueError: when the policy does not tell them.
        """
        require_distribution(policy, "a matrix game's evaluation", "choose an actor-critic")
        one, no = torch.zeros(1, 1), torch.zeros(1, 1, dtype=torch.bool)
        device = next(policy.parameters()).device
        row = Trajectory(one.long(), one, torch.zeros(1, 2), one, ~no, no, ~no, obs=torch.ones(1, 2, 1)).to(device)
        with evaluation_mode(policy):
            logits: Tensor = policy(row).distribution.logits
        return logits[0, 0].double().softmax(dim=0).cpu()

    def less_is_better(self, metric: str) -> bool:
        """Say so of the exploitability."""
        return metric == "exploitability"

    def fingerprint(self) -> dict[str, str]:
        """Give the moves that a policy's outputs stand for."""
        return {"moves": f"{self.config.game} of {len(self.game.moves)}"}

    def state_dict(self) -> dict[str, Any]:
        """Give what the next noise and the next demonstrations depend on."""
        return {"generator": self._generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to it."""
        self._generator.set_state(state["generator"])

    def _source(self, policy: nn.Module, opponent: nn.Module, num_games: int, generator: torch.Generator | None) -> OneMove:
        """Let the other side choose, and draw the noise; on the policy's device."""
        noise = self.config.noise * torch.randn(num_games, generator=self._generator) if self.config.noise else torch.zeros(num_games)
        device = next(policy.parameters(), torch.zeros(0)).device
        legal = torch.ones(num_games, len(self.game.moves), dtype=torch.bool, device=device)
        with evaluation_mode(opponent):
            move = opponents_action(opponent, torch.ones(num_games, 1, device=device), legal, generator)
        return OneMove(self._payoff.to(device), move, noise.to(device))

    def _unrolled(self, policy: nn.Module, source: OneMove, **settings: Any) -> Trajectory:
        with evaluation_mode(policy):
            return unroll(policy, source, max_steps=1, **settings)[0]


class OneMove:
    """Games in which the other side has chosen already, unseen; see `seqrl.rollout.Source`.

    Args:
        payoff: [N, N].
        other: [B] the other side's moves.
        noise: [B] added to what each game pays.
    """

    def __init__(self, payoff: Tensor, other: Tensor, noise: Tensor) -> None:
        self._payoff, self._other, self._noise = payoff, other, noise
        self.obs = torch.ones(len(other), 1, device=other.device)
        self.active, self.finished = torch.ones_like(other, dtype=torch.bool), False

    def again(self) -> OneMove:
        """Give the same games anew."""
        return OneMove(self._payoff, self._other, self._noise)

    def step(self, action: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Play one move in each game, [B]; all end."""
        legal = torch.ones(len(action), len(self._payoff), dtype=torch.bool, device=self._other.device)
        reward = self._payoff[refuse_illegal(action, legal, "the policy"), self._other] + self._noise
        ended, self.active, self.finished = self.active, torch.zeros_like(self.active), True
        return self.obs, reward, ended, torch.zeros_like(ended)
