"""A policy for games of two players: a two-headed network, and a tree search by it."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from seqrl.distributions import Categorical
from seqrl.policies.actor_critic import forbid, split_observation
from seqrl.policies.tree_search import Floats, Game, TreeSearchConfig, search, with_noise
from seqrl.policies.two_headed import TwoHeadedNetwork
from seqrl.trajectory import Evaluation, Step, Trajectory, Tree, map_tree


class Choice(NamedTuple):
    """Moves in N games.

    Attributes:
        action: [N].
        logp: [N] its log-probability in self-play, nats; 0 for the greedy one.
        value: [N] expected outcome from the view of who is to move.
        visits: [N, A] share of the search's visits; without a search, the network's probabilities.
    """

    action: NDArray[np.int64]
    logp: Floats
    value: Floats
    visits: Floats


class SearchPolicy(nn.Module):
    """Chooses moves by a tree search that its network guides; without simulations, by the network alone.

    `act` and `forward` are those of the network, which any trainer of policies with a critic can teach. `choose` searches. Observations
    are a mapping of "observation", planes [..., C, H, W], and "action_mask", bool [..., A], True where a move is legal.

    Attributes:
        network: gives logits and outcomes.
        critic: the part of it that only the outcome has.
        max_entropy: of choosing among all moves, nats.

    Args:
        game: rules that the search plays by.
        network: see `TwoHeadedNetwork`.
        config: see `TreeSearchConfig`.

    Source: Silver et al. 2017 (Mastering the game of Go without human knowledge).
    """

    def __init__(self, game: Game, network: TwoHeadedNetwork, config: TreeSearchConfig) -> None:
        super().__init__()
        self.game, self.network, self.config = game, network, config
        self.max_entropy = float(np.log(game.num_actions))

    @property
    def critic(self) -> nn.Module:
        """The head of the outcome."""
        return self.network.critic

    @property
    def how_it_runs(self) -> str:
        """A line about how moves are chosen."""
        by = f"a search of {self.config.num_simulations} positions a move" if self.config.num_simulations else "the network alone"
        return f"moves are chosen by {by}"

    def initial_state(self, context: Tree) -> Tree:
        """Give None: nothing is remembered."""
        return None

    def act(self, obs: Tree, state: Tree = None, *, greedy: bool = False, generator: torch.Generator | None = None) -> Step:
        """Draw a move for each row of obs [B, ...] by the network alone, or take the most probable one."""
        distribution, value = self._run(obs)
        action = distribution.mode() if greedy else distribution.sample(generator)
        return Step(action, distribution.logp(action), value)

    def forward(self, trajectory: Trajectory) -> Evaluation:
        """Evaluate the moves of a trajectory whose obs is [B, T+1, ...]."""
        distribution, value = self._run(map_tree(lambda leaf: leaf[:, :-1], trajectory.obs))
        return Evaluation(distribution.logp(trajectory.action), distribution.entropy(), value, distribution=distribution)

    @torch.no_grad()
    def choose(self, state: Any, *, greedy: bool = False, generator: torch.Generator | None = None) -> Choice:
        """Choose a move in N games that have not ended.

        Args:
            state: see `seqrl.policies.tree_search.GameState`.
            greedy: search without noise, and take the move with the most visits; else play as in self-play.
            generator: draws noise and moves.
        """
        if not self.config.num_simulations:
            return self._by_network(state, greedy, generator)
        config, change, random = self.config, None, np.random.default_rng(0)
        if not greedy:
            random = _random(generator)
            legal = self.game.legal(state)
            change = partial(with_noise, legal=legal, share=config.noise_share, alpha=config.noise_alpha, random=random)
        found = search(
            self.game, state, self.evaluate, num_simulations=config.num_simulations, exploration=config.exploration, change_root=change
        )
        share = found.visits / found.visits.sum(axis=1, keepdims=True)
        action, everyone = share.argmax(axis=1), np.arange(len(share))
        logp = np.zeros(len(share), dtype=np.float32)
        if not greedy:
            clock = np.divide(random.standard_exponential(share.shape), share, out=np.full(share.shape, np.inf), where=share > 0)
            drawn = state.num_moves < config.temperature_moves
            action = np.where(drawn, clock.argmin(axis=1), action)
            logp = np.where(drawn, np.log(share[everyone, action]), 0.0).astype(np.float32)
        return Choice(action, logp, found.value, share)

    @torch.no_grad()
    def evaluate(self, state: Any) -> tuple[Floats, Floats]:
        """Give the network's probabilities [N, A] and expected outcomes [N], from the view of who is to move."""
        distribution, value = self._run(self.observe_state(state))
        return distribution.logits.softmax(dim=-1).cpu().numpy(), value.cpu().numpy()

    def observe_state(self, state: Any) -> dict[str, Tensor]:
        """Give what the network sees of N games."""
        return {
            "observation": torch.from_numpy(self.game.planes(state)),
            "action_mask": torch.from_numpy(self.game.legal(state)),
        }

    def _by_network(self, state: Any, greedy: bool, generator: torch.Generator | None) -> Choice:
        distribution, value = self._run(self.observe_state(state))
        action = distribution.mode() if greedy else distribution.sample(generator)
        found = (action, distribution.logp(action), value, distribution.logits.softmax(dim=-1))
        return Choice(*(leaf.cpu().numpy() for leaf in found))

    def _run(self, obs: Tree) -> tuple[Categorical, Tensor]:
        """Give the distribution over legal moves and the expected outcome [...]."""
        planes, mask = split_observation(obs)
        weight = next(self.network.parameters())
        leading = planes.shape[:-3]
        logits, value = self.network(planes.reshape(-1, *planes.shape[-3:]).to(weight))
        logits, value = logits.float().view(*leading, -1), value.float().view(leading)
        if mask is not None:
            logits = forbid(logits, mask.to(logits.device, torch.bool))
        return Categorical(logits), value


def _random(generator: torch.Generator | None) -> np.random.Generator:
    """Give NumPy's generator of the next numbers of torch's, whose state a run saves."""
    device = "cpu" if generator is None else generator.device
    return np.random.default_rng(int(torch.randint(2**62, (), generator=generator, device=device)))
