"""A captioning policy: an image encoder, a decoder of any kind, and the heads on its features."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from seqrl.policies import act_on_tokens, check_token_settings, evaluate_tokens, first_leaf, input_tokens, resample_tokens
from seqrl.trajectory import Evaluation, Step, Trajectory, Tree
from tasks.captioning.policies.encoder import distinct_memory_of, memory_of


class CaptionPolicy(nn.Module):
    """Captions images with a decoder over encoded images: p(a_t | image, a_<t) = softmax(W features_t / temperature).

    Args:
        encoder: takes uint8 images [N, 3, S, S], gives a tree with leaves [N, ...].
        decoder: has `token_embedding`, `start(memory)`, `step(tokens, state)` and `forward(tokens, memory, image)`, see
            `TransformerDecoder`.
        max_tokens: longest caption, end token included.
        temperature: divides the logits, in sampling and re-evaluation alike.
        tie_embeddings: use the token embeddings as the output matrix W, too.
        freeze_encoder: no gradients through the encoder; sampled trajectories then carry the encoded images.
        critic: also estimate values, from features that the critic does not shape.
        begin: token before the first action.
        end: token that ends a caption.
        pad: token after the end.

    Raises:
        ValueError: when max_tokens or temperature is not positive.
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        *,
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
        self.begin, self.end, self.pad = begin, end, pad
        self.max_tokens, self.temperature = max_tokens, temperature
        self.freeze_encoder = freeze_encoder
        self.encoder = encoder.requires_grad_(not freeze_encoder)
        self.decoder: Any = decoder
        embedding: Any = decoder.token_embedding
        self.output = nn.Linear(embedding.embedding_dim, embedding.num_embeddings, bias=False)
        nn.init.normal_(self.output.weight, std=0.02)
        if tie_embeddings:
            self.output.weight = embedding.weight
        self.critic = _make_critic(embedding.embedding_dim) if critic else None

    def encode(self, images: Tensor) -> Tree:
        """Encode uint8 images [N, 3, S, S] as a memory with leaves [N, ...]."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.freeze_encoder):
            return self.encoder(images)

    def initial_state(self, context: Tree) -> Tree:
        """Give the decoder's state before the first token, from a context with `image` or `memory`."""
        memory = memory_of(self, context)
        state: dict[str, Tree] = self.decoder.start(memory)
        if self.critic is not None:
            leaf = first_leaf(memory)
            state["value"] = torch.zeros(leaf.shape[0], device=leaf.device)
        return state

    def next_logits(self, tokens: Tensor, state: Tree) -> tuple[Tensor, Tree]:
        """Give the logits [B, V] of what follows tokens [B], and the next state."""
        features, following = self.decoder.step(tokens, state)
        if self.critic is not None:
            following["value"] = self.critic(features.detach()).squeeze(-1)
        return self._logits(features), following

    def act(self, obs: Tree, state: Tree, *, greedy: bool = False, generator: torch.Generator | None = None) -> Step:
        """Choose the next token of each row."""
        return act_on_tokens(self, first_leaf(obs), state, greedy=greedy, generator=generator)

    def forward(self, trajectory: Trajectory) -> Evaluation:
        """Evaluate the tokens of a trajectory in one pass, encoding the image of each group once."""
        features = self._features(trajectory)
        value = None if self.critic is None else self.critic(features.detach()).squeeze(-1)
        return evaluate_tokens(features, self._logits, trajectory, value)

    def resample(self, trajectory: Trajectory, generator: torch.Generator | None = None) -> Tensor:
        """Draw a token [B, T] for every step, given the trajectory's own tokens before it."""
        return resample_tokens(self._logits(self._features(trajectory)), generator)

    def _logits(self, features: Tensor) -> Tensor:
        logits = self.output(features)
        return logits if self.temperature == 1 else logits / self.temperature  # at training's size the division costs 5% of an update

    def _features(self, trajectory: Trajectory) -> Tensor:
        tokens = input_tokens(trajectory, self.begin)
        if tokens.shape[1] > self.max_tokens:
            raise ValueError(f"trajectory: expected at most max_tokens = {self.max_tokens} steps, got {tokens.shape[1]}; cut the captions")
        memory, image = distinct_memory_of(self, trajectory)
        return self.decoder(tokens, memory, image)


def _make_critic(dim: int) -> nn.Module:
    """Make a value head on features [..., dim] whose first values are zero."""
    last = nn.Linear(dim, 1)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Linear(dim, dim), nn.GELU(), last)
