"""A transformer decoder over image regions, with an attention cache for acting and one pass for re-evaluation."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqrl.policies import act_on_tokens, check_token_settings, evaluate_tokens, first_leaf, input_tokens, resample_tokens
from seqrl.trajectory import Evaluation, Step, Trajectory, Tree
from tasks.captioning.policies.encoder import encode_images, memory_of


class DecoderLayer(nn.Module):
    """Pre-norm self-attention, cross-attention on the regions and a feed-forward part (Vaswani et al. 2017, sec. 3).

    Args:
        dim: model size D.
        num_heads: attention heads H.
        memory_dim: size of a region's feature.
        dropout: probability of dropping an entry of a residual branch.
    """

    def __init__(self, dim: int, *, num_heads: int, memory_dim: int, dropout: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.self_norm, self.cross_norm, self.feed_norm = nn.LayerNorm(dim), nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.self_in, self.self_out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.cross_query, self.cross_out = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.cross_memory = nn.Linear(memory_dim, 2 * dim)
        self.widen, self.narrow = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, memory: tuple[Tensor, Tensor]) -> Tensor:
        """Map [B, T, D] to [B, T, D], each position seeing those before it and the memory's keys and values."""
        query, key, value = self._heads(self.self_in(self.self_norm(x)), 3)
        x = x + self.dropout(self.self_out(_attend(query, key, value, is_causal=True)))
        return self._look_and_think(x, memory)

    def step(self, x: Tensor, memory: tuple[Tensor, Tensor], cache: tuple[Tensor, Tensor], position: int) -> Tensor:
        """Map [B, 1, D] at one position, writing its key and value into the cache [B, H, max_tokens, D/H]."""
        query, key, value = self._heads(self.self_in(self.self_norm(x)), 3)
        keys, values = cache
        keys[:, :, position] = key[:, :, 0]
        values[:, :, position] = value[:, :, 0]
        seen = slice(0, position + 1)
        x = x + self.self_out(_attend(query, keys[:, :, seen], values[:, :, seen]))
        return self._look_and_think(x, memory)

    def project_memory(self, regions: Tensor) -> tuple[Tensor, Tensor]:
        """Give the regions' keys and values [N, H, R, D/H], the same for every token."""
        key, value = self._heads(self.cross_memory(regions), 2)
        return key, value

    def _look_and_think(self, x: Tensor, memory: tuple[Tensor, Tensor]) -> Tensor:
        (query,) = self._heads(self.cross_query(self.cross_norm(x)), 1)
        x = x + self.dropout(self.cross_out(_attend(query, *memory)))
        return x + self.dropout(self.narrow(F.gelu(self.widen(self.feed_norm(x)))))

    def _heads(self, x: Tensor, parts: int) -> tuple[Tensor, ...]:
        B, T = x.shape[:2]
        return x.view(B, T, parts, self.num_heads, -1).permute(2, 0, 3, 1, 4).unbind(0)


def _attend(query: Tensor, key: Tensor, value: Tensor, *, is_causal: bool = False) -> Tensor:
    attended = F.scaled_dot_product_attention(query, key, value, is_causal=is_causal)
    return attended.transpose(1, 2).flatten(2)


class TransformerPolicy(nn.Module):
    """Captions an image with a transformer decoder.

    Acting writes keys and values into a cache that was allocated once; a state is therefore used for one next step only.

    Args:
        encoder: gives `regions` [N, R, feature_dim] for uint8 images; has `feature_dim`.
        vocabulary_size: V.
        dim: model size D.
        num_layers: decoder layers.
        num_heads: attention heads; must divide D.
        dropout: of the residual branches and the embeddings.
        max_tokens: longest caption, end token included.
        temperature: divides the logits, in sampling and re-evaluation alike.
        tie_embeddings: use the token embeddings as the output matrix, too.
        freeze_encoder: no gradients through the encoder.
        critic: also estimate values, from features that the critic does not shape.
        begin: token before the first action.
        end: token that ends a caption.
        pad: token after the end.

    Raises:
        ValueError: when sizes do not fit.
    """

    def __init__(
        self,
        encoder: nn.Module,
        vocabulary_size: int,
        *,
        dim: int = 128,
        num_layers: int = 2,
        num_heads: int = 4,
        dropout: float = 0.1,
        max_tokens: int = 20,
        temperature: float = 1.0,
        tie_embeddings: bool = True,
        freeze_encoder: bool = False,
        critic: bool = False,
        begin: int = 1,
        end: int = 2,
        pad: int = 0,
    ) -> None:
        super().__init__()
        check_token_settings(max_tokens, temperature)
        if dim % num_heads:
            raise ValueError(f"dim: expected a multiple of num_heads = {num_heads}, got {dim}")
        self.begin, self.end, self.pad = begin, end, pad
        self.max_tokens, self.temperature = max_tokens, temperature
        self.freeze_encoder = freeze_encoder
        self.encoder = encoder.requires_grad_(not freeze_encoder)
        feature_dim: Any = encoder.feature_dim
        self.token_embedding = nn.Embedding(vocabulary_size, dim)
        self.position_embedding = nn.Parameter(torch.randn(max_tokens, dim) * 0.02)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(
            DecoderLayer(dim, num_heads=num_heads, memory_dim=feature_dim, dropout=dropout) for _ in range(num_layers)
        )
        self.norm = nn.LayerNorm(dim)
        self.output = nn.Linear(dim, vocabulary_size, bias=False)
        self._initialise(num_layers)
        if tie_embeddings:
            self.output.weight = self.token_embedding.weight
        self.critic = make_critic(dim) if critic else None

    def encode(self, images: Tensor) -> Tree:
        """Encode uint8 images [N, 3, S, S] as a memory with leaves [N, ...]."""
        return encode_images(self.encoder, images, frozen=self.freeze_encoder)

    def initial_state(self, context: Tree) -> Tree:
        """Project the regions for every layer and allocate the attention cache."""
        memory: Any = memory_of(self, context)
        regions = memory["regions"]
        projected = tuple(layer.project_memory(regions) for layer in self._decoder_layers())
        B, H, _, size = projected[0][0].shape
        cache = tuple((regions.new_zeros(B, H, self.max_tokens, size), regions.new_zeros(B, H, self.max_tokens, size)) for _ in projected)
        state: dict[str, Tree] = {"memory": projected, "cache": cache, "position": torch.zeros(B, dtype=torch.long, device=regions.device)}
        if self.critic is not None:
            state["value"] = regions.new_zeros(B)
        return state

    def next_logits(self, tokens: Tensor, state: Tree) -> tuple[Tensor, Tree]:
        """Give the logits [B, V] of what follows tokens [B]."""
        parts: Any = state
        # Rows that have ended may have been put back to 0; the live ones are all at the same position.
        position = min(int(parts["position"].max()), self.max_tokens - 1)
        x = self.dropout(self.token_embedding(tokens) + self.position_embedding[position]).unsqueeze(1)
        for layer, memory, cache in zip(self._decoder_layers(), parts["memory"], parts["cache"], strict=True):
            x = layer.step(x, memory, cache, position)
        features = self.norm(x).squeeze(1)
        following = {**parts, "position": torch.full_like(parts["position"], position + 1)}
        if self.critic is not None:
            following["value"] = self.critic(features.detach()).squeeze(-1)
        return self.output(features) / self.temperature, following

    def act(self, obs: Tree, state: Tree, *, greedy: bool = False, generator: torch.Generator | None = None) -> Step:
        """Choose the next token of each row."""
        return act_on_tokens(self, first_leaf(obs), state, greedy=greedy, generator=generator)

    def forward(self, trajectory: Trajectory) -> Evaluation:
        """Evaluate the tokens of a trajectory in one pass, encoding the image of each group once."""
        features = self._features(trajectory)
        value = None if self.critic is None else self.critic(features.detach()).squeeze(-1)
        return evaluate_tokens(features, lambda chosen: self.output(chosen) / self.temperature, trajectory, value)

    def resample(self, trajectory: Trajectory, generator: torch.Generator | None = None) -> Tensor:
        """Draw a token [B, T] for every step, given the trajectory's own tokens before it."""
        return resample_tokens(self.output(self._features(trajectory)) / self.temperature, generator)

    def _features(self, trajectory: Trajectory) -> Tensor:
        tokens = input_tokens(trajectory, self.begin)
        if tokens.shape[1] > self.max_tokens:
            raise ValueError(f"trajectory: expected at most max_tokens = {self.max_tokens} steps, got {tokens.shape[1]}; cut the captions")
        memory: Any = memory_of(self, trajectory.context, trajectory.group)
        x = self.dropout(self.token_embedding(tokens) + self.position_embedding[: tokens.shape[1]])
        for layer in self._decoder_layers():
            x = layer(x, layer.project_memory(memory["regions"]))
        return self.norm(x)

    def _decoder_layers(self) -> list[DecoderLayer]:
        return list(self.layers)  # type: ignore[arg-type]

    def _initialise(self, num_layers: int) -> None:
        for module in self.layers.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        # Each layer adds three branches; their sum keeps unit size (Radford et al. 2019, sec. 2.3).
        for layer in self._decoder_layers():
            for branch in (layer.self_out, layer.cross_out, layer.narrow):
                branch.weight.data /= (3 * num_layers) ** 0.5
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        nn.init.normal_(self.output.weight, std=0.02)


def make_critic(dim: int) -> nn.Module:
    """Make a value head on features [.., dim] whose first values are zero."""
    last = nn.Linear(dim, 1)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Linear(dim, dim), nn.GELU(), last)
