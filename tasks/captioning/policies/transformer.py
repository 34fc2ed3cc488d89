"""A transformer decoder over image regions, with an attention cache for acting and one pass for re-evaluation."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqrl.policies.packing import pack, unpack
from seqrl.policies.token_attention import Places, look, places_of
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

    def forward(self, x: Tensor, memory: tuple[Tensor, Tensor], tokens: _Tokens, mask: Tensor | None) -> Tensor:
        """Map the tokens' [M, D] to [M, D], each seeing those before it in its row and the memory of its row's image."""
        query, key, value = (part.transpose(1, 2) for part in tokens.in_rows(self._heads(self.self_in(self.self_norm(x)), 3)).unbind(2))
        seen = tokens.of_rows(attend_all(query, key, value, is_causal=True).transpose(1, 2).flatten(2))
        x = x + self.dropout(self.self_out(seen))
        (query,) = self._heads(self.cross_query(self.cross_norm(x)), 1).unbind(1)
        seen = tokens.by_image.take_back(attend_all(tokens.by_image.lay_out(query).transpose(1, 2), *memory, mask=mask).transpose(1, 2))
        return self._think(x, seen.flatten(1))

    def step(self, x: Tensor, memory: tuple[Tensor, Tensor], cache: Tensor, position: int, image: Places, mask: Tensor | None) -> Tensor:
        """Map [L, D] at one position, writing its key and value into the cache [L, 2, H, max_tokens, D/H]."""
        parts = self._heads(self.self_in(self.self_norm(x)), 3)
        cache[:, :, :, position] = parts[:, 1:]
        keys, values = (cache[:, part, :, : position + 1] for part in (0, 1))
        seen = F.scaled_dot_product_attention(parts[:, 0].unsqueeze(2), keys, values)
        x = x + self.self_out(seen.flatten(1))
        (query,) = self._heads(self.cross_query(self.cross_norm(x)), 1).unbind(1)
        return self._think(x, look(query, *memory, image, mask).flatten(1))

    def project_memory(self, regions: Tensor) -> tuple[Tensor, Tensor]:
        """Give the regions' keys and values [N, H, R, D/H], the same for every token."""
        N, R = regions.shape[:2]
        key, value = (project(regions).view(N, R, self.num_heads, -1).transpose(1, 2) for project in (self.cross_key, self.cross_value))
        return key, value

    def _think(self, x: Tensor, seen: Tensor) -> Tensor:
        x = x + self.dropout(self.cross_out(seen))
        return x + self.dropout(self.narrow(F.gelu(self.widen(self.feed_norm(x)))))

    def _heads(self, x: Tensor, parts: int) -> Tensor:
        return x.view(x.shape[0], parts, self.num_heads, x.shape[1] // (parts * self.num_heads))


def attend_all(query: Tensor, key: Tensor, value: Tensor, *, is_causal: bool = False, mask: Tensor | None = None) -> Tensor:
    """softmax(Q K^T / sqrt(d)) V (Vaswani et al. 2017), [B, H, T, d] each; `mask` [B, R] says which keys are there."""
    allowed = None if mask is None else mask[:, None, None, :]
    if query.device.type != "cpu" or not query.requires_grad:
        return F.scaled_dot_product_attention(query, key, value, attn_mask=allowed, is_causal=is_causal)
    # On a CPU the fused kernel's backward pass is up to 20 times slower at these sizes, in bf16 above all.
    weight = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
    if is_causal:
        allowed = torch.ones(weight.shape[-2:], dtype=torch.bool, device=weight.device).tril()
    if allowed is not None:
        weight = weight.masked_fill(~allowed, float("-inf"))
    return weight.softmax(dim=-1) @ value


class _Tokens:
    """The tokens that a pass reads, end to end, and where they stand: in their rows, and among the tokens about their image.

    Args:
        mask: [B, T] bool, the tokens to read, the beginning of each row; None for all.
        image: [B] long, the image of each row; None where row i has image i.
        shape: (B, T).
        num_images: N.
    """

    def __init__(self, mask: Tensor | None, image: Tensor | None, shape: tuple[int, int], num_images: int, device: torch.device) -> None:
        self.mask, self.shape = mask, shape
        rows = torch.arange(shape[0], device=device) if image is None else image
        item = rows.unsqueeze(1).expand(shape)
        self.by_image = _places(item.flatten() if mask is None else pack(item, mask), num_images)

    def in_rows(self, x: Tensor) -> Tensor:
        """Map [M, ...] to [B, T, ...]."""
        return x.view(*self.shape, *x.shape[1:]) if self.mask is None else unpack(x, self.mask)

    def of_rows(self, x: Tensor) -> Tensor:
        """Map [B, T, ...] to [M, ...]."""
        return x.flatten(0, 1) if self.mask is None else pack(x, self.mask)


def _places(item: Tensor, num_items: int) -> Places:
    """Find the places of rows whose items may come in any order, as in a minibatch that was drawn at random."""
    if bool((item[1:] >= item[:-1]).all()):
        return places_of(item, num_items)
    item, order = item.sort(stable=True)
    places = places_of(item, num_items)
    index = torch.arange(order.shape[0], device=order.device) if places.index is None else places.index
    return Places(num_items, places.num_slots, torch.empty_like(order).index_copy_(0, order, index))


class TransformerDecoder(nn.Module):
    """Reads tokens and an image's regions, with learned positions and a final layer normalisation.

    Acting writes keys and values into a cache that was allocated once; a state is therefore used for one next step only. The rows about one
    image share its keys and values.

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

    shares_memory = True
    packs = True

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
        layers = [DecoderLayer(dim, num_heads=num_heads, memory_dim=memory_dim, dropout=dropout) for _ in range(num_layers)]
        self.layers: Any = nn.ModuleList(layers)
        self.norm = nn.LayerNorm(dim)
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        for layer in layers:
            # Each layer adds three branches; their sum keeps unit size (Radford et al. 2019).
            for branch in (layer.self_out, layer.cross_out, layer.narrow):
                branch.weight.data /= (3 * num_layers) ** 0.5

    def start(self, memory: Any) -> dict[str, Tree]:
        """Project the regions for every layer, leaves [N, ...]; what else a state holds has no size before the first step."""
        projected = tuple(layer.project_memory(memory["regions"]) for layer in self.layers)
        N, H, _, size = projected[0][0].shape
        mask: dict[str, Tree] = {"mask": memory["mask"]} if "mask" in memory else {}
        # The shape of `read` says how many tokens were read, without asking the device.
        return {
            "memory": {"layers": projected} | mask,
            "cache": projected[0][0].new_zeros(N, len(self.layers), 2, H, 0, size),
            "read": projected[0][0].new_zeros(N, 0, 0),
        }

    def step(self, tokens: Tensor, state: Any) -> tuple[Tensor, dict[str, Tree]]:
        """Read one token [L] a row; give features [L, D] and the next state; `state["item"]` as in `seqrl.decoding.sample`."""
        memory, cache = state["memory"], state["cache"]
        # Behind the last token `unroll` asks once more, for a value that nobody reads.
        position = min(state["read"].shape[1], self.max_tokens - 1)
        if cache.shape[4] == 0:
            cache = cache.new_empty(tokens.shape[0], *cache.shape[1:4], self.max_tokens, cache.shape[5])
        image, mask = places_of(state.get("item"), memory["layers"][0][0].shape[0]), memory.get("mask")
        x = self.dropout(self.token_embedding(tokens) + self.position_embedding[position])
        for number, (layer, projected) in enumerate(zip(self.layers, memory["layers"], strict=True)):
            x = layer.step(x, projected, cache[:, number], position, image, mask)
        return self.norm(x), {**state, "cache": cache, "read": state["read"].new_zeros(tokens.shape[0], position + 1, 0)}

    def forward(self, tokens: Tensor, memory: Any, image: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Read whole rows [B, T].

        Args:
            tokens: [B, T] long.
            memory: encoded images, leaves [N, ...]: `regions` [N, R, D] and, where their number differs, `mask` [N, R] bool.
            image: [B] long, the image of each row; None where row i has image i.
            mask: [B, T] bool, the tokens whose features are wanted; what a row holds behind the last of them is not read.

        Returns:
            Features [B, T, D], or those of the M wanted tokens [M, D], row by row.
        """
        read = None if mask is None else mask.flip(1).cummax(1).values.flip(1)
        x = self.token_embedding(tokens) + self.position_embedding[: tokens.shape[1]]
        rows = _Tokens(read, image, (tokens.shape[0], tokens.shape[1]), memory["regions"].shape[0], tokens.device)
        x = self.dropout(rows.of_rows(x))
        for layer in self.layers:
            x = layer(x, layer.project_memory(memory["regions"]), rows, memory.get("mask"))
        features = self.norm(x)
        if mask is None or read is None:
            return rows.in_rows(features)
        wanted = pack(mask, read)
        return features if bool(wanted.all()) else features[wanted]
