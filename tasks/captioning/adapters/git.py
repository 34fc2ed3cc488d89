"""GIT: an image's features stand before the words in one transformer."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import GitForCausalLM


class Git:
    """A `GitForCausalLM`; what is seen takes the first places of the decoder, which all see each other, and no word.

    Source: Wang et al. 2022 (GIT: a generative image-to-text transformer for vision and language).

    Args:
        model: of transformers.

    Raises:
        ValueError: when it reads several frames, as models of videos do.
    """

    crosses = False

    def __init__(self, model: GitForCausalLM) -> None:
        self.model: Any = model
        self.encoder, self.writer = self.model.git.image_encoder, self.model
        if model.config.num_image_with_embedding is not None:
            raise ValueError(
                f"path: expected a GIT model of images, got one of videos of {model.config.num_image_with_embedding} frames; choose another"
            )
        vision: Any = model.config.vision_config
        self.num_own_places = (vision.image_size // vision.patch_size) ** 2 + 1

    def see(self, pixels: Tensor) -> Tensor:
        """Give hidden states [N, R, D] of pixels [N, 3, H, W]."""
        return self.model.git.image_encoder(pixels).last_hidden_state  # type: ignore[no-any-return]

    def project(self, hidden: Tensor) -> Tensor:
        """Give what stands in the places before the words."""
        return self.model.git.visual_projection(hidden)  # type: ignore[no-any-return]

    def read(self, tokens: Tensor, seen: Tensor, cache: Any) -> Tensor:
        """Give features [B, T, D] of tokens [B, T] that follow those in the cache; where it is empty, what is seen is read first."""
        body, T = self.model.git, tokens.shape[1]
        past = 0 if cache is None else cache.get_seq_length()
        images = 0 if past else seen.shape[1]
        before, first = past + images, max(0, past - self.num_own_places)
        places = torch.arange(first, first + T, device=tokens.device)  # words are counted without the image
        embedded = body.embeddings(input_ids=tokens, position_ids=places.unsqueeze(0))
        embedded = embedded if past else torch.cat([seen.to(embedded.dtype), embedded], dim=1)
        # Words see what is before them; places of the image see each other.
        sees = torch.ones(images + T, before + T, dtype=torch.bool, device=tokens.device).tril(before - images)
        sees[:images, :images] = True
        mask = torch.zeros_like(sees, dtype=embedded.dtype).masked_fill(~sees, torch.finfo(embedded.dtype).min)
        output = body.encoder(embedded, attention_mask=mask[None, None], past_key_values=cache, use_cache=cache is not None)
        return output.last_hidden_state[:, images:]  # type: ignore[no-any-return]

    def head(self, features: Tensor) -> tuple[Tensor, nn.Linear]:
        """Give features and the layer that makes logits of them."""
        return features, self.model.output
