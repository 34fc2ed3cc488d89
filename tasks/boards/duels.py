"""Board games as a task of two players: a policy against itself or others, a row a game, and players by rules to compare with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from seqrl.policies.actor_critic import ActionSize, ActorCritic
from seqrl.policies.encoders import ObservationSize
from seqrl.policies.tokens import evaluation_mode
from seqrl.rollout import evaluation_seed, refuse_forced_steps, unroll
from seqrl.settings import Count, check_settings
from seqrl.tasks.boards.games import EVALUATION_SEEDS, make_game
from seqrl.tasks.boards.rules import BoardGame, Boards
from seqrl.tasks.opponents import opponents_action, refuse_illegal
from seqrl.trajectory import Step, Trajectory, Tree


@dataclass
class BoardDuelConfig:
    """Settings of duels on a board.

    Attributes:
        game: "tic_tac_toe" or "connect4".
        num_games: of a rollout of the policy against itself; in every second one it begins.
        num_eval_games: against each of the players by rules in an evaluation.
        hidden_sizes: of the layers of actor and critic.
    """

    game: Literal["tic_tac_toe", "connect4"] = "connect4"
    num_games: Count = 64
    num_eval_games: Count = 100
    hidden_sizes: tuple[int, ...] = (64, 64)

    def __post_init__(self) -> None:
        check_settings(self)

    def build(self, seed: int) -> BoardDuelTask:
        """Make the task."""
        return BoardDuelTask(self, seed=seed)


class BoardDuelTask:
    """Rows of one game: the row's player earns 1 for a win, -1 for a loss and 0 for a draw, after its last move.

    What is seen are the stones of who is to move and of the other one, and which moves are legal.

    Args:
        config: see `BoardDuelConfig`.
        seed: of the policy's first weights.
        opponent: whom `rollout` plays against; the policy itself when None.

    Attributes:
        game: the rules.
        opponent: as given.
    """

    def __init__(self, config: BoardDuelConfig, *, seed: int = 0, opponent: nn.Module | None = None) -> None:
        self.config, self.game, self._seed, self.opponent = config, make_game(config.game), seed, opponent
        self._generator = torch.Generator().manual_seed(seed)

    def build_policy(self) -> ActorCritic:
        """Make a policy; its first weights depend on the task's seed."""
        size = ObservationSize((self.game.num_planes * self.game.shape[0] * self.game.shape[1],))
        generator = torch.Generator().manual_seed(self._seed)
        return ActorCritic(size, ActionSize(num_actions=self.game.num_actions), self.config.hidden_sizes, generator=generator)

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
        """Let a policy play itself, see `seqrl.protocols.Task.rollout`.

        Raises:
            ValueError: when forced steps or a greedy baseline are asked for: games go other ways after other moves.
        """
        refuse_forced_steps(num_forced_steps)
        if greedy_baseline:
            raise ValueError("greedy baseline: expected none where the other side's moves depend on one's own; choose another baseline")
        against = policy if self.opponent is None else self.opponent
        return self._played(policy, against, self.config.num_games * num_samples, generator, greedy=greedy)

    def duel(self, policy: nn.Module, opponent: nn.Module, *, num_games: int, generator: torch.Generator | None = None) -> Trajectory:
        """Let a policy play games against another one; see `seqrl.protocols.Task`."""
        return self._played(policy, opponent, num_games, generator)

    def _played(
        self,
        policy: nn.Module,
        opponent: nn.Module,
        num_games: int,
        generator: torch.Generator | None,
        *,
        greedy: bool = False,
        others: torch.Generator | None = None,
    ) -> Trajectory:
        """Play games; the opponent's moves are drawn by `others` where that is another generator."""
        device = next(policy.parameters(), torch.zeros(0)).device
        with evaluation_mode(policy), evaluation_mode(opponent):
            source = Duels(self.game, opponent, num_games, generator if others is None else others, device)
            return unroll(policy, source, max_steps=self.game.max_moves, greedy=greedy, bootstrap=False, generator=generator)[0]

    def demonstrations(self, group: Tensor | None = None) -> Trajectory:
        """Give games of the tactician against itself, its moves to be imitated."""
        player = Tactician(self.game)
        rows = self._played(player, player, self.config.num_games, self._generator)
        return rows.replace(imitate=rows.mask, mask=torch.zeros_like(rows.mask), reward=torch.zeros_like(rows.reward))

    def evaluate(self, policy: nn.Module, *, split: str = "dev") -> dict[str, float]:
        """Give the chance of winning, a draw being half a win, of moves that are sampled, against players by rules."""
        seed, device, found = evaluation_seed(split, EVALUATION_SEEDS), next(policy.parameters(), torch.zeros(0)).device, {}
        own, others = torch.Generator(device).manual_seed(seed), torch.Generator().manual_seed(seed + 1)
        for name, player in (("chance_anything", Anything()), ("chance_tactician", Tactician(self.game))):
            found[name] = chance(self._played(policy, player, self.config.num_eval_games, own, others=others))
        return found

    def fingerprint(self) -> dict[str, str]:
        """Give the game that a policy's inputs and outputs stand for."""
        return {"game": self.config.game}

    def state_dict(self) -> dict[str, Any]:
        """Give what the next demonstrations depend on."""
        return {"generator": self._generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to it."""
        self._generator.set_state(state["generator"])


def chance(rows: Trajectory) -> float:
    """Give the share of games won; a draw is half a win."""
    return float((rows.score.sign() + 1).mean() / 2)


class Duels:
    """Games against an opponent, which moves at once after each move; see `seqrl.rollout.Source`.

    Args:
        game: the rules.
        opponent: of the other side; it begins in every second game.
        num_games: B.
        generator: draws the opponent's moves.
        device: of the policy that acts here.
    """

    def __init__(
        self,
        game: BoardGame,
        opponent: nn.Module,
        num_games: int,
        generator: torch.Generator | None,
        device: torch.device | str = "cpu",
    ) -> None:
        self._game, self._opponent, self._generator, self._device = game, opponent, generator, device
        self._boards, self._side = game.start(num_games), np.where(np.arange(num_games) % 2 == 0, 1, -1)
        self._answer()

    def _answer(self) -> None:
        """Let the opponent move where it is its turn, and see what there is then."""
        turn = ~self._boards.ended & (self._boards.player != self._side)
        if turn.any():
            obs = seen(self._game, self._boards.rows(turn), self._device)
            action = np.zeros(len(turn), dtype=np.int64)
            action[turn] = opponents_action(self._opponent, obs, obs["action_mask"], self._generator).cpu().numpy()
            answered, others = self._game.play(self._boards, action), ~turn
            self._boards = Boards(*(_chosen(others, old, new) for old, new in zip(self._boards, answered, strict=True)))
        self.obs: dict[str, Tensor] = seen(self._game, self._boards, self._device)
        self.active = torch.from_numpy(~self._boards.ended).to(self._device)
        self.finished = bool(self._boards.ended.all())

    def step(self, action: Tensor) -> tuple[Tree, Tensor, Tensor, Tensor]:
        """Move in each game that goes on, and let the opponent answer."""
        live, legal = self.active, self.obs["action_mask"]
        refuse_illegal(action[live], legal[live], "the policy")
        self._boards = self._game.play(self._boards, action.cpu().numpy())
        self._answer()
        ended = live & ~self.active
        reward = torch.from_numpy((self._boards.winner * self._side).astype(np.float32)).to(self._device)
        return self.obs, torch.where(ended, reward, 0.0), ended, torch.zeros_like(ended)


def _chosen(where: NDArray[np.bool_], old: Any, new: Any) -> NDArray[Any]:
    return np.where(where.reshape(-1, *[1] * (old.ndim - 1)), old, new)


def seen(game: BoardGame, boards: Boards, device: torch.device | str = "cpu") -> dict[str, Tensor]:
    """Give what a policy sees of some boards: stones [B, C * H * W] and legal moves [B, A]."""
    planes = torch.from_numpy(game.planes(boards)).flatten(1)
    return {"observation": planes.to(device), "action_mask": torch.from_numpy(game.legal(boards)).to(device)}


class Anything(nn.Module):
    """Plays any legal move, all alike."""

    def initial_state(self, context: Tree) -> None:
        """Give nothing to remember."""
        return None

    def act(self, obs: Any, state: Tree = None, *, greedy: bool = False, generator: torch.Generator | None = None) -> Step:
        """Choose for each row of obs [B, ...]."""
        weight = self.weights(obs)
        weight = torch.where(weight.any(dim=1, keepdim=True), weight, 1.0)  # games that have ended
        action = torch.multinomial(weight, 1, generator=generator).squeeze(1)
        none = torch.zeros(len(action))
        return Step(action, none, none)

    def weights(self, obs: Any) -> Tensor:
        """Give how likely each move is, [B, A], not normalised; 0 for illegal ones."""
        legal: Tensor = obs["action_mask"]
        return legal.float()


class Tactician(Anything):
    """Wins where one move does it, else prevents the other one from that, else plays anything.

    Args:
        game: the rules.
    """

    def __init__(self, game: BoardGame) -> None:
        super().__init__()
        self._game = game

    def weights(self, obs: Any) -> Tensor:
        """Give how likely each move is, [B, A]."""
        legal = obs["action_mask"].cpu().numpy()
        stones = obs["observation"].view(len(legal), 2, *self._game.shape).cpu().numpy()
        own, other = (self._wins(stones[:, side] - stones[:, 1 - side], legal) for side in (0, 1))
        best = np.where(own.any(axis=1, keepdims=True), own, np.where(other.any(axis=1, keepdims=True), other, legal))
        return torch.from_numpy(best.astype(np.float32))

    def _wins(self, cells: NDArray[np.float32], legal: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Say which moves win at once for who has the stones 1, [N, A]."""
        boards = self._game.start(len(cells))._replace(cells=cells.astype(np.int8))
        won: list[NDArray[np.bool_]] = []
        play: Callable[..., Boards] = self._game.play
        for action in range(legal.shape[1]):
            possible = boards._replace(ended=~legal[:, action])
            won.append((play(possible, np.full(len(cells), action)).winner == 1) & legal[:, action])
        return np.stack(won, axis=1)
