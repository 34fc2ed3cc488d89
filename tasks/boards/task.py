"""Board games: a policy plays against itself, and is evaluated against others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any, Literal

import numpy as np
import torch
from torch import nn

from seqrl.policies.search_policy import Choice, SearchPolicy
from seqrl.policies.tokens import evaluation_mode
from seqrl.policies.tree_search import TreeSearchConfig
from seqrl.policies.two_headed import TwoHeadedNetwork
from seqrl.rollout import evaluation_seed, refuse_forced_steps
from seqrl.run.registry import call
from seqrl.run.trust import NAMES_CODE
from seqrl.settings import Count, NotNegative, check_settings, named
from seqrl.tasks.boards.games import EVALUATION_SEEDS, make_game
from seqrl.tasks.boards.match import BoardMatch
from seqrl.tasks.boards.players import (
    Player,
    checked,
    every_opening,
    every_reply,
    plain_search,
    play_out,
    random_moves,
    random_openings,
)
from seqrl.tasks.boards.rules import BoardGame, Boards
from seqrl.tasks.boards.self_play import self_play
from seqrl.trajectory import Trajectory

HINTS = {"tree_search": "set task.policy.search.num_simulations above 0"}


@dataclass
class BoardPolicyConfig:
    """Size of the network, and how moves are searched by it.

    Attributes:
        num_channels: of the residual tower.
        num_blocks: residual blocks in it.
        search: see `TreeSearchConfig`; without simulations the network alone plays, and any trainer can teach it.
    """

    num_channels: Count = 32
    num_blocks: Count = 2
    search: TreeSearchConfig = field(default_factory=TreeSearchConfig)

    def __post_init__(self) -> None:
        check_settings(self)


@dataclass
class BoardsConfig:
    """Settings of board games.

    Attributes:
        game: "tic_tac_toe", "connect4" or "go".
        size: cells a side, 1 to 9, of go; null for 9, and for the other games.
        num_games: games of self-play in a rollout; each gives two rows, one a player.
        opponent: who plays in evaluations: "random" moves; "plain_search", a tree search without a network that plays random games;
            "every_reply" there is, for tic-tac-toe; or `module:function` for one of one's own, where the function takes the game and gives
            a player, a function from N games, `seqrl.tasks.boards.rules.Boards`, to their moves [N].
        opponent_simulations: positions that "plain_search" looks at for each move.
        opening_moves: moves at random with which a game of an evaluation begins; each opening is played with both colours.
            "every_reply" takes every opening there is.
        num_eval_games: games of an evaluation.
        policy: see `BoardPolicyConfig`.
    """

    game: Literal["tic_tac_toe", "connect4", "go"] = "tic_tac_toe"
    size: int | None = None
    num_games: Count = 32
    opponent: Annotated[str, named("random", "plain_search", "every_reply")] = field(default="random", metadata={NAMES_CODE: ()})
    opponent_simulations: Count = 200
    opening_moves: NotNegative[int] = 1
    num_eval_games: Count = 100
    policy: BoardPolicyConfig = field(default_factory=BoardPolicyConfig)

    def __post_init__(self) -> None:
        check_settings(self)
        game = make_game(self.game, self.size)
        if self.opponent == "every_reply" and self.game != "tic_tac_toe":
            raise ValueError(f"opponent: every_reply is for tic_tac_toe alone, whose games can be counted, got game {self.game}")
        if self.opening_moves >= game.max_moves:
            raise ValueError(f"opening_moves: expected fewer than the {game.max_moves} moves of a game, got {self.opening_moves}")

    def build(self, seed: int) -> BoardTask:
        """Make the task."""
        return BoardTask(self, seed=seed)


class BoardTask:
    """Self-play and evaluation in a board game.

    A game gives two rows, one a player: what that player saw, its moves, and 1, 0 or -1 after its last one. All games begin alike, so that
    all first players are one group, and all second players another. Beside planes and legal moves, `obs` holds "visits", the search's share
    of each move.

    Args:
        config: see `BoardsConfig`.
        seed: of the policy's initial weights.

    Attributes:
        game: the rules.
    """

    hints = HINTS

    def __init__(self, config: BoardsConfig, *, seed: int = 0) -> None:
        self.config, self._seed = config, seed
        self.game: BoardGame = make_game(config.game, config.size)
        self._num_moves = 0
        self._ended: list[Boards] = []

    def build_policy(self) -> nn.Module:
        """Make a policy; its initial weights depend on the task's seed."""
        made, generator = self.config.policy, torch.Generator().manual_seed(self._seed)
        sizes = {"num_channels": made.num_channels, "num_blocks": made.num_blocks}
        network = TwoHeadedNetwork(self.game.num_planes, self.game.shape, self.game.num_actions, **sizes, generator=generator)
        policy = SearchPolicy(self.game, network, made.search)
        vars(policy)["hints"] = HINTS
        return policy

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
        """Play games to their ends, both sides by the policy; see `seqrl.protocols.Task.rollout`.

        The greedy baseline of a row is what its player has in a greedy game.

        Raises:
            ValueError: when forced steps are asked for.
        """
        refuse_forced_steps(num_forced_steps)
        played, end = self_play(self.game, policy, self.config.num_games * num_samples, greedy=greedy, generator=generator)
        self._num_moves += int(end.num_moves.sum())
        self._ended.append(end)
        if not greedy_baseline:
            return played
        winner = int(self_play(self.game, policy, 1, greedy=True)[1].winner[0])
        first = torch.arange(played.batch_size) < played.batch_size // 2
        return played.replace(baseline=torch.where(first, winner, -winner).to(played.reward))

    def pop_metrics(self) -> dict[str, float]:
        """Say how the games of the rollouts since the last call went."""
        ends, self._ended = self._ended, []
        moves = [number for end in ends for number in end.num_moves.tolist()]
        stats = {"progress/num_env_steps": float(self._num_moves), "episode/count": float(len(moves))}
        if not moves:
            return stats
        winners = np.concatenate([end.winner for end in ends])
        shares = {"games/first_won": float((winners == 1).mean()), "games/drawn": float((winners == 0).mean())}
        return stats | shares | {"episode/length": float(np.mean(moves))}

    def evaluate(self, policy: nn.Module, *, split: str = "dev") -> dict[str, float]:
        """Play greedily against the opponent.

        Args:
            policy: see `seqrl.policies.search_policy.SearchPolicy.choose`.
            split: "dev" or "test", two sets of openings.

        Returns:
            won, drawn and lost, shares of the games; score, won + drawn / 2; and lost_first and lost_second, the shares of the games
            with each colour that were lost.

        Raises:
            ValueError: when there is no such split, or the opponent fails or makes an illegal move.
        """
        seed = evaluation_seed(split, EVALUATION_SEEDS)
        with evaluation_mode(policy):
            results = self._against(self.player(policy), seed)
        won, drawn, lost = (sum(column) for column in zip(*results, strict=True))
        total = won + drawn + lost
        by_colour = {f"lost_{name}": result[2] / sum(result) for name, result in zip(("first", "second"), results, strict=True)}
        return {"won": won / total, "drawn": drawn / total, "lost": lost / total, "score": (won + drawn / 2) / total, **by_colour}

    def player(self, policy: nn.Module) -> Player:
        """Give a function from games to the moves that a policy chooses greedily."""
        choose: Callable[..., Choice] = policy.choose  # type: ignore[assignment]
        return lambda state: choose(state, greedy=True).action

    def opponent(self, random: np.random.Generator) -> Player:
        """Make the player of the configuration's name, which draws from `random`."""
        name = self.config.opponent
        if name == "random":
            return lambda state: random_moves(self.game, state, random)
        if name == "plain_search":
            return partial(plain_search, self.game, random=random, num_simulations=self.config.opponent_simulations)
        return checked(name, self.game, call("task.opponent", name, self.game))

    def play(self, policy: nn.Module, *, first: bool = True, simulations: int | None = None) -> BoardMatch:
        """Let somebody play against a policy; see `seqrl.tasks.boards.match.BoardMatch`."""
        return BoardMatch(self.game, policy, first=first, simulations=simulations)

    def less_is_better(self, metric: str) -> bool:
        """Say whether a metric counts games that were lost."""
        return metric.startswith("lost")

    def state_dict(self) -> dict[str, Any]:
        """Give how many moves were played; games begin anew with each rollout."""
        return {"num_moves": self._num_moves}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a saved state."""
        self._num_moves, self._ended = state["num_moves"], []

    def _against(self, player: Player, seed: int) -> list[tuple[int, int, int]]:
        """Count games won, drawn and lost, with each colour."""
        config, game = self.config, self.game
        if config.opponent == "every_reply":
            openings = every_opening(game, config.opening_moves)
            return [every_reply(game, openings, player, colour) for colour in (1, -1)]
        random = np.random.default_rng(seed)
        openings = random_openings(game, max(1, config.num_eval_games // 2), config.opening_moves, random)
        opponent, results = self.opponent(random), []
        for colour in (1, -1):
            pair = (player, opponent) if colour == 1 else (opponent, player)
            outcome = play_out(game, openings, *pair).winner * colour
            results.append((int((outcome == 1).sum()), int((outcome == 0).sum()), int((outcome == -1).sum())))
        return results
