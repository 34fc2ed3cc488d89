"""A transformer decoder over image regions, with an attention cache for acting and one pass for re-evaluation."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqrl.trajectory import Tree


class DecoderLayer(nn.Module):
    """Pre-norm self-attention, cross-attention on the regions and a feed-forward part.

    Args:
        dim: model size D.
        num_heads: attention heads H.
        memory_dim: size of a region's feature.
        dropout: probability of dropping an entry of a residual branch.

    Source: Vaswani et al. 2017 (Attention is all you need), decoder; pre-norm: Radford et al. 2019 (Language models are
    unsupervised multitask learners).
    """

    def __init__(self, dim: int, *, num_heads: int, memory_dim: int, dropout: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.self_norm, self.cross_norm, self.feed_norm = nn.LayerNorm(dim), nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.self_in, self.self_out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.cross_query, self.cross_out = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.cross_key, self.cross_value = nn.Linear(memory_dim, dim), nn.Linear(memory_dim, dim)
        self.widen, self.narrow = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, memory: tuple[Tensor, Tensor], image: Tensor | None = None) -> Tensor:
        """Map [B, T, D] to [B, T, D], each position seeing those before it and the memory of its row's `image` [B]."""
        query, key, value = self._heads(self.self_in(self.self_norm(x)), 3)
        x = x + self.dropout(self.self_out(_join(_attend(query, key, value, is_causal=True))))
        return self._look_and_think(x, memory, image)

    def step(self, x: Tensor, memory: tuple[Tensor, Tensor], cache: tuple[Tensor, Tensor], position: int) -> Tensor:
        """Map [B, 1, D] at one position, writing its key and value into the cache [B, H, max_tokens, D/H]."""
        query, key, value = self._heads(self.self_in(self.self_norm(x)), 3)
        keys, values = cache
        keys[:, :, position] = key[:, :, 0]
        values[:, :, position] = value[:, :, 0]
        seen = slice(0, position + 1)
        x = x + self.self_out(_join(_attend(query, keys[:, :, seen], values[:, :, seen])))
        return self._look_and_think(x, memory, None)

    def project_memory(self, regions: Tensor) -> tuple[Tensor, Tensor]:
        """Give the regions' keys and values [N, H, R, D/H], the same for every token."""
        return self._heads(self.cross_key(regions), 1)[0], self._heads(self.cross_value(regions), 1)[0]

    def _look_and_think(self, x: Tensor, memory: tuple[Tensor, Tensor], image: Tensor | None) -> Tensor:
        (query,) = self._heads(self.cross_query(self.cross_norm(x)), 1)
        x = x + self.dropout(self.cross_out(_join(_look(query, *memory, image))))
        return x + self.dropout(self.narrow(F.gelu(self.widen(self.feed_norm(x)))))

    def _heads(self, x: Tensor, parts: int) -> tuple[Tensor, ...]:
        B, T = x.shape[:2]
        return tuple(part.view(B, T, self.num_heads, -1).transpose(1, 2) for part in x.chunk(parts, dim=-1))


def _attend(query: Tensor, key: Tensor, value: Tensor, *, is_causal: bool = False) -> Tensor:
    """softmax(Q K^T / sqrt(d)) V (Vaswani et al. 2017), [B, H, T, d] each."""
    if query.device.type != "cpu" or not query.requires_grad:
        return F.scaled_dot_product_attention(query, key, value, is_causal=is_causal)
    # On a CPU the fused kernel's backward pass is up to 20 times slower at these sizes, in bf16 above all.
    weight = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
    if is_causal:
        ahead = torch.ones(weight.shape[-2:], dtype=torch.bool, device=weight.device).triu(1)
        weight = weight.masked_fill(ahead, float("-inf"))
    return weight.softmax(dim=-1) @ value


def _look(query: Tensor, key: Tensor, value: Tensor, image: Tensor | None) -> Tensor:
    """Attend from [B, H, T, d] to the regions [N, H, R, d] of each row's image."""
    if image is None:
        return _attend(query, key, value)
    (B, H, T, d), N = query.shape, key.shape[0]
    S = B // N
    if B == N * S and torch.equal(image, torch.arange(N, device=image.device).repeat_interleave(S)):
        # The samples of an image lie next to each other: take them as one long query and copy no regions.
        folded = query.view(N, S, H, T, d).transpose(1, 2).reshape(N, H, S * T, d)
        attended = _attend(folded, key, value)
        return attended.view(N, H, S, T, d).transpose(1, 2).reshape(B, H, T, d)
    return _attend(query, key[image], value[image])


def _join(heads: Tensor) -> Tensor:
    return heads.transpose(1, 2).flatten(2)


class TransformerDecoder(nn.Module):
    """Reads tokens and an image's regions, with learned positions and a final layer normalisation.

    Acting writes keys and values into a cache that was allocated once; a state is therefore used for one next step only.

    Args:
        vocabulary_size: V.
        memory_dim: size of a region's feature.
        dim: model size D.
        num_layers: decoder layers.
        num_heads: attention heads; must divide D.
        dropout: of the residual branches and the embeddings.
        max_tokens: longest row.

    Raises:
        ValueError: when num_heads does not divide dim.

    Source: Vaswani et al. 2017 (Attention is all you need); first size of the residual branches: Radford et al. 2019 (Language
    models are unsupervised multitask learners).
    Differs from: learned positions instead of sines.
    """

    def __init__(
        self, vocabulary_size: int, *, memory_dim: int, dim: int, num_layers: int, num_heads: int, dropout: float, max_tokens: int
    ) -> None:
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"dim: expected a multiple of num_heads = {num_heads}, got {dim}")
        self.max_tokens = max_tokens
        self.token_embedding = nn.Embedding(vocabulary_size, dim)
        self.position_embedding = nn.Parameter(torch.randn(max_tokens, dim) * 0.02)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(
            DecoderLayer(dim, num_heads=num_heads, memory_dim=memory_dim, dropout=dropout) for _ in range(num_layers)
        )
        self.norm = nn.LayerNorm(dim)
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        for layer in self._decoder_layers():
            # Each layer adds three branches; their sum keeps unit size (Radford et al. 2019).
            for branch in (layer.self_out, layer.cross_out, layer.narrow):
                branch.weight.data /= (3 * num_layers) ** 0.5

    def start(self, memory: Any) -> dict[str, Tree]:
        """Project the regions for every layer and allocate the attention cache; leaves [B, ...]."""
        regions = memory["regions"]
        projected = tuple(layer.project_memory(regions) for layer in self._decoder_layers())
        B, H, _, size = projected[0][0].shape
        cache = tuple((regions.new_zeros(B, H, self.max_tokens, size), regions.new_zeros(B, H, self.max_tokens, size)) for _ in projected)
        return {"memory": projected, "cache": cache, "position": torch.zeros(B, dtype=torch.long, device=regions.device)}

    def step(self, tokens: Tensor, state: Any) -> tuple[Tensor, dict[str, Tree]]:
        """Read one token [B] a row; give features [B, D] and the next state."""
        # Rows that have ended may have been put back to 0; the live ones are all at the same position.
        position = min(int(state["position"].max()), self.max_tokens - 1)
        x = self.dropout(self.token_embedding(tokens) + self.position_embedding[position]).unsqueeze(1)
        for layer, memory, cache in zip(self._decoder_layers(), state["memory"], state["cache"], strict=True):
            x = layer.step(x, memory, cache, position)
        return self.norm(x).squeeze(1), {**state, "position": torch.full_like(state["position"], position + 1)}

    def forward(self, tokens: Tensor, memory: Any, image: Tensor | None = None) -> Tensor:
        """Read whole rows [B, T]; give features [B, T, D].

        Args:
            tokens: [B, T] long.
            memory: encoded images, leaves [N, ...].
            image: [B] long, the image of each row; None where row i has image i.
        """
        x = self.dropout(self.token_embedding(tokens) + self.position_embedding[: tokens.shape[1]])
        for layer in self._decoder_layers():
            x = layer(x, layer.project_memory(memory["regions"]), image)
        return self.norm(x)

    def _decoder_layers(self) -> list[DecoderLayer]:
        return list(self.layers)  # type: ignore[arg-type]
