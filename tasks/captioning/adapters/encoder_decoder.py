"""Vision encoder-decoders: any encoder of images, and any decoder that attends to its last hidden states."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
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
        self._fast = fast

    @property
    def encoder(self) -> nn.Module:
        """What sees."""
        return self.model.encoder  # type: ignore[no-any-return]

    @property
    def writer(self) -> Any:
        """The model whose `generate` writes."""
        return self.model

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
        output = self.model.decoder(input_ids=tokens, encoder_hidden_states=seen, past_key_values=cache, use_cache=cache is not None)
        return output.logits  # type: ignore[no-any-return]

    def faster(self) -> GPT2Decoder | None:
        """Give what stands in for a GPT-2 decoder, where it can; layers may have been changed since the last time."""
        return GPT2Decoder(self.model.decoder) if self._fast and not why_not(self.model.decoder) else None

    def head(self, features: Tensor) -> tuple[Tensor, None]:
        """Give logits as they are."""
        return features, None
