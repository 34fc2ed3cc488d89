"""Image-text-to-text models: a language model in whose prompt an image's features take the places of its image tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn


class ImageText:
    """An Idefics3 (SmolVLM among them), SmolVLM2 or LLaVA model with a prompt that is the same for every image.

    Source: Marafioti et al. 2025 (SmolVLM: redefining small and efficient multimodal models); Liu et al. 2023 (Visual instruction tuning).
    Differs from: one picture an image, without tiles, so that each image has as many tokens.

    Args:
        model: of transformers.
        prompt: tokens of the prompt, image tokens among them.
    """

    crosses = False

    def __init__(self, model: Any, prompt: Sequence[int]) -> None:
        self.model, self._body = model, model.model
        self.encoder: Any = self._body.vision_tower if hasattr(self._body, "vision_tower") else self._body.vision_model
        self.writer = model
        self.num_own_places = 0
        self._is_image = torch.tensor([token == model.config.image_token_id for token in prompt])

    @property
    def how_it_sees(self) -> str:
        """What the encoder's hidden states depend on beside its weights and its own configuration."""
        config = self.model.config
        return " ".join(str(getattr(config, name, "")) for name in ("vision_feature_layer", "vision_feature_select_strategy")).strip()

    def see(self, pixels: Tensor) -> Tensor:
        """Give hidden states [N, R, D] of pixels [N, 3, H, W]."""
        pixels, config = pixels.to(self.model.dtype), self.model.config
        if not hasattr(self._body, "vision_tower"):
            return self.encoder(pixel_values=pixels).last_hidden_state  # type: ignore[no-any-return]
        layers, chosen = self.encoder(pixels, output_hidden_states=True).hidden_states, config.vision_feature_layer
        # The class token is left out by the strategy "default".
        first = 1 if config.vision_feature_select_strategy == "default" else 0
        found = [layers[layer][:, first:] for layer in ([chosen] if isinstance(chosen, int) else chosen)]
        return torch.cat(found, dim=-1)

    def project(self, hidden: Tensor) -> Tensor:
        """Give what stands in the places of the image tokens."""
        return (self._body.multi_modal_projector if hasattr(self._body, "multi_modal_projector") else self._body.connector)(hidden)  # type: ignore[no-any-return]

    def read(self, tokens: Tensor, seen: Tensor, cache: Any) -> Tensor:
        """Give features [B, T, D] of tokens [B, T] that follow those in the cache; where it is empty, they begin with the prompt."""
        embedded = self.model.get_input_embeddings()(tokens)
        if cache is None or not cache.get_seq_length():
            is_image = torch.nn.functional.pad(self._is_image.to(tokens.device), (0, max(0, tokens.shape[1] - len(self._is_image))))
            where = is_image[: tokens.shape[1]].view(1, -1, 1).expand_as(embedded)
            embedded = embedded.masked_scatter(where, seen.to(embedded.dtype))
        text = self._body.language_model if hasattr(self._body, "language_model") else self._body.text_model
        return text(inputs_embeds=embedded, past_key_values=cache, use_cache=cache is not None).last_hidden_state  # type: ignore[no-any-return]

    def head(self, features: Tensor) -> tuple[Tensor, nn.Linear]:
        """Give features and the layer that makes logits of them."""
        return features, self.model.lm_head
