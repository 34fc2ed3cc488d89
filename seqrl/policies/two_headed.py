"""A residual network over the planes of a board, with a head for moves and one for the outcome."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seqrl.policies.networks import initialise_orthogonal


class ResidualBlock(nn.Module):
    """Adds what two convolutions of 3x3 find: f(x + W_2 f(W_1 x)); W_2 begins at 0, so that a deep tower begins as the identity.

    Args:
        num_channels: of input and output.
        generator: draws the initial weights.

    Source: He et al. 2016 (Deep residual learning for image recognition); the beginning at 0: Zhang, Dauphin & Ma 2019 (Fixup
    initialization).
    """

    def __init__(self, num_channels: int, *, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.first, self.second = (nn.Conv2d(num_channels, num_channels, 3, padding=1) for _ in range(2))
        initialise_orthogonal(self.first, 2.0**0.5, generator)
        for parameter in self.second.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, H, W] to the same shape."""
        change: Tensor = self.second(self.first(x).relu())
        return (x + change).relu()


class TwoHeadedNetwork(nn.Module):
    """Maps planes of a board to (p, v): the logits of the moves, and the outcome -1..1 that is to be expected by who is to move.

    A convolution and `num_blocks` residual blocks see the board; behind them each head has a convolution of 1x1 and linear layers, and
    the one of the outcome ends in tanh.

    Attributes:
        trunk, actor, critic: the parts.

    Args:
        num_planes: C of the input.
        shape: (H, W) of the board.
        num_actions: A.
        num_channels: of the tower.
        num_blocks: residual blocks in it.
        generator: draws the initial weights.

    Source: Silver et al. 2017 (Mastering the game of Go without human knowledge), methods (neural network architecture).
    Differs from: the paper's batch normalisation, which would make the numbers of a row depend on its batch; there is none.
    """

    def __init__(
        self,
        num_planes: int,
        shape: tuple[int, int],
        num_actions: int,
        *,
        num_channels: int = 32,
        num_blocks: int = 2,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        first, cells = nn.Conv2d(num_planes, num_channels, 3, padding=1), shape[0] * shape[1]
        initialise_orthogonal(first, 2.0**0.5, generator)
        self.trunk = nn.Sequential(first, nn.ReLU(), *(ResidualBlock(num_channels, generator=generator) for _ in range(num_blocks)))

        def head(planes: int, *layers: nn.Module) -> nn.Sequential:
            made = nn.Sequential(nn.Conv2d(num_channels, planes, 1), nn.ReLU(), nn.Flatten(), *layers)
            initialise_orthogonal(made, 2.0**0.5, generator)
            last = next(layer for layer in reversed(layers) if isinstance(layer, nn.Linear))
            initialise_orthogonal(last, 0.01, generator)
            return made

        self.actor = head(4, nn.Linear(4 * cells, num_actions))
        self.critic = head(2, nn.Linear(2 * cells, 64), nn.ReLU(), nn.Linear(64, 1), nn.Tanh())

    def forward(self, planes: Tensor) -> tuple[Tensor, Tensor]:
        """Map [B, C, H, W] to logits [B, A] and outcomes [B]."""
        seen = self.trunk(planes)
        return self.actor(seen), self.critic(seen).squeeze(-1)
