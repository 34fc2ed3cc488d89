"""BLIP: a vision transformer whose last hidden states a decoder of text attends to."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from transformers import BlipForConditionalGeneration


class Blip:
    """A `BlipForConditionalGeneration`, which begins with a token of its own and goes on from a prompt.

    Source: Li et al. 2022 (BLIP: bootstrapping language-image pre-training for unified vision-language understanding and generation).

    Args:
        model: of transformers.
    """

    crosses = True
    num_own_places = 0

    def __init__(self, model: BlipForConditionalGeneration) -> None:
        self.model: Any = model
        # The decoder has generation settings of its own.
        self.encoder, self.writer = self.model.vision_model, self.model.text_decoder

    def see(self, pixels: Tensor) -> Tensor:
        """Give hidden states [N, R, D] of pixels [N, 3, H, W]."""
        return self.model.vision_model(pixel_values=pixels).last_hidden_state  # type: ignore[no-any-return]

    def project(self, hidden: Tensor) -> Tensor:
        """Give what the decoder attends to."""
        return hidden

    def read(self, tokens: Tensor, seen: Tensor, cache: Any) -> Tensor:
        """Give features [B, T, D] of tokens [B, T] that follow those in the cache."""
        decoder = self.model.text_decoder.bert
        output = decoder(input_ids=tokens, encoder_hidden_states=seen, past_key_values=cache, use_cache=cache is not None, is_decoder=True)
        return output.last_hidden_state  # type: ignore[no-any-return]

    def head(self, features: Tensor) -> tuple[Tensor, nn.Linear]:
        """Give features and the layer that makes logits of them."""
        predictions = self.model.text_decoder.cls.predictions
        return predictions.transform(features), predictions.decoder
