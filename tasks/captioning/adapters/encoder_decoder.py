"""Vision encoder-decoders: any encoder of images, and any decoder that attends to its last hidden states."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import VisionEncoderDecoderModel

from seqrl.tasks.captioning.policies.gpt2_decoder import GPT2Decoder, why_not


class EncoderDecoder:
    """A `VisionEncoderDecoderModel`, such as Swin or ViT with BERT or GPT-2.

    Args:
        model: of transformers.
        fast: run a GPT-2 decoder by `GPT2Decoder`, which gives the same numbers; False: as transformers has it, as other decoders.
    """

    crosses = True
    num_own_places = 0

    def __init__(self, model: VisionEncoderDecoderModel, *, fast: bool = True) -> None:
        self.model: Any = model
        self.encoder, self.writer = self.model.encoder, self.model
        self._fast = fast

    @property
    def how_it_runs(self) -> str:
        """What runs the decoder, and why, for the first lines of a run."""
        if reason := why_not(self.model.decoder) if self._fast else "policy.fast is false":
            return f"the decoder runs as transformers has it, which takes several times as long as GPT2Decoder, since {reason}"
        return "the decoder runs by seqrl's GPT2Decoder (policy.fast)"

    def see(self, pixels: Tensor) -> Tensor:
        """Give hidden states [N, R, D] of pixels [N, 3, H, W]."""
        return self.model.encoder(pixel_values=pixels).last_hidden_state  # type: ignore[no-any-return]

    def project(self, hidden: Tensor) -> Tensor:
        """Give what the decoder attends to; the projection learns even where the encoder is frozen."""
        projection = getattr(self.model, "enc_to_dec_proj", None)
        return hidden if projection is None else projection(hidden)  # type: ignore[no-any-return]

    def read(self, tokens: Tensor, seen: Tensor, cache: Any) -> Tensor:
        """Give logits [B, T, V] of tokens [B, T] that follow those in the cache."""
        settings: dict[str, Any] = {"past_key_values": cache, "use_cache": cache is not None}
        padding = places_before(self.model.decoder) - 1
        if padding >= 0:
            # As they are numbered token by token; over a whole row such a decoder would leave out the padding tokens that were written.
            first = 1 if cache is None else 1 + cache.get_seq_length()
            places = torch.arange(first, first + tokens.shape[1], device=tokens.device).expand_as(tokens)
            settings["position_ids"] = padding + places.masked_fill(tokens == padding, 0)
        return self.model.decoder(input_ids=tokens, encoder_hidden_states=seen, **settings).logits  # type: ignore[no-any-return]

    def faster(self) -> GPT2Decoder | None:
        """Give what stands in for a GPT-2 decoder, where it can; layers may have been changed since the last time."""
        return GPT2Decoder(self.model.decoder) if self._fast and not why_not(self.model.decoder) else None

    def head(self, features: Tensor) -> tuple[Tensor, None]:
        """Give logits as they are."""
        return features, None


def places_before(decoder: Any) -> int:
    """Give how many of a decoder's places stand before the first token's: RoBERTa and its like count from behind the padding token."""
    embeddings = getattr(decoder.base_model, "embeddings", None)
    counts = hasattr(embeddings, "create_position_ids_from_input_ids") and hasattr(embeddings, "padding_idx")
    return int(embeddings.padding_idx) + 1 if counts and embeddings is not None else 0
