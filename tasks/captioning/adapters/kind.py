"""What a kind of model that writes about images has to tell: what sees, and how the decoder reads what was seen."""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor, nn


class ImageKind(Protocol):
    """One kind of model; one with a method `faster` gives what stands in for its decoder where there is no prompt, or None.

    Attributes:
        model: of transformers.
        encoder: what sees, and what `freeze_encoder` freezes.
        writer: the model of transformers whose `generate` writes, and whose generation settings rule what is written.
        crosses: whether the decoder attends to what is seen across, rather than holding it in places of its own before the words.
        num_own_places: how many places before the prompt's tokens the decoder keeps for what is seen.
    """

    model: Any
    encoder: Any
    writer: Any
    crosses: bool
    num_own_places: int

    def see(self, pixels: Tensor) -> Tensor:
        """Give the encoder's hidden states [N, R, D] of pixels [N, 3, H, W]."""

    def project(self, hidden: Tensor) -> Tensor:
        """Give what the decoder looks at, [N, R', D'], by what learns even where the encoder is frozen."""

    def read(self, tokens: Tensor, seen: Tensor, cache: Any) -> Tensor:
        """Read tokens, and fill the cache.

        Args:
            tokens: [B, T] long, which follow those in the cache; where there are none, or no cache, they are the rows' first.
            seen: of `project`, [B, R', D'].
            cache: of transformers; None for none.

        Returns:
            [B, T, D] features.
        """

    def head(self, features: Tensor) -> tuple[Tensor, nn.Linear | None]:
        """Give features [..., D'] and the layer that makes logits [..., V] of them; or these logits and None."""
