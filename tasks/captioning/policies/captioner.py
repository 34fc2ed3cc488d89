"""A captioning policy: an image encoder, a decoder of any kind, and the heads on its features."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqrl.policies import act_on_tokens, check_token_settings, evaluate_tokens, first_leaf, input_tokens, never_right, resample_tokens
from seqrl.tasks.captioning.policies.encoder import distinct_memory_of, memory_of
from seqrl.tasks.captioning.policies.figures import FigureDetector
from seqrl.trajectory import Evaluation, Step, Trajectory, Tree


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
        word_detection: weight of the loss of `WordDetector`, which teaches the encoder while captions are imitated; 0 for none.
        figure_detection: weight of the loss of `FigureDetector`, where a context holds `figures`; 0 for none.
        begin: token before the first action.
        end: token that ends a caption.
        pad: token after the end.
        unknown: token of words that are not in the vocabulary, where there is one. Label smoothing leaves it, `begin` and `pad` out;
            sampling may choose them, and a reward counts them as words that no reference has.

    Raises:
        ValueError: when max_tokens or temperature is not positive.
    """

    tells_distribution = False

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
        word_detection: float = 0.0,
        figure_detection: float = 0.0,
        begin: int = 1,
        end: int = 2,
        pad: int = 0,
        unknown: int | None = None,
    ) -> None:
        super().__init__()
        check_token_settings(max_tokens, temperature)
        self.begin, self.end, self.pad = begin, end, pad
        self.wrong = never_right((end,), begin, pad, unknown)
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
        self.word_detection = word_detection
        feature_dim: Any = encoder.feature_dim
        self.words = WordDetector(feature_dim, embedding.num_embeddings, ignored=(begin, end, pad)) if word_detection else None
        self.figure_detection = figure_detection
        self.figures = FigureDetector(feature_dim) if figure_detection else None

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
        tokens = self._tokens(trajectory)
        memory, image = distinct_memory_of(self, trajectory)
        features = self.decoder(tokens, memory, image)
        value = None if self.critic is None else self.critic(features.detach()).squeeze(-1)
        evaluation = evaluate_tokens(features, self._logits, trajectory, value, wrong=self.wrong)
        detection = self._detection(trajectory, memory, image) if self.training and trajectory.imitate is not None else []
        return dataclasses.replace(evaluation, aux_loss=torch.stack(detection).sum()) if detection else evaluation

    def _detection(self, trajectory: Trajectory, memory: Any, image: Tensor | None) -> list[Tensor]:
        losses, context = [], trajectory.context
        if self.words is not None:
            losses.append(self.word_detection * self.words(memory["regions"], trajectory.action, trajectory.imitate, image))
        if self.figures is not None and isinstance(context, dict) and "figures" in context:
            losses.append(self.figure_detection * self.figures(memory["regions"], context["figures"], image))
        return losses

    def resample(self, trajectory: Trajectory, generator: torch.Generator | None = None) -> Tensor:
        """Draw a token [B, T] for every step, given the trajectory's own tokens before it."""
        tokens = self._tokens(trajectory)
        return resample_tokens(self._logits(self.decoder(tokens, *distinct_memory_of(self, trajectory))), generator)

    def _logits(self, features: Tensor) -> Tensor:
        logits = self.output(features)
        return logits if self.temperature == 1 else logits / self.temperature  # at training's size the division costs 5% of an update

    def _tokens(self, trajectory: Trajectory) -> Tensor:
        tokens = input_tokens(trajectory, self.begin)
        if tokens.shape[1] > self.max_tokens:
            raise ValueError(f"trajectory: expected at most max_tokens = {self.max_tokens} steps, got {tokens.shape[1]}; cut the captions")
        return tokens


class WordDetector(nn.Module):
    """Tells from the regions of an image which words its captions hold, so that an encoder from scratch learns to see.

    Through the decoder alone an encoder learns little until the decoder has found out where to look; this loss reaches it
    at once. p_w = 1 - prod_r (1 - p_rw) with p_rw = sigmoid(W region_r), and the loss is the binary cross-entropy over all
    words, divided by the number of words that are there.

    Args:
        feature_dim: size of a region's feature.
        vocabulary_size: V.
        ignored: tokens that are no words.

    Source: Fang et al. 2015 (From captions to visual concepts and back), noisy-OR multiple-instance learning.
    Differs from: Fang et al. in taking all words instead of the most frequent ones, and in training beside the captioner.
    """

    def __init__(self, feature_dim: int, vocabulary_size: int, *, ignored: Sequence[int]) -> None:
        super().__init__()
        self.project = nn.Linear(feature_dim, vocabulary_size)
        nn.init.constant_(self.project.bias, -7.0)  # at first no region sees any word
        self.ignored = list(ignored)

    def forward(self, regions: Tensor, action: Tensor, imitate: Tensor, image: Tensor | None) -> Tensor:
        """Compare with the demonstrated captions.

        Args:
            regions: [N, R, D] float.
            action: [B, T] tokens.
            imitate: [B, T] bool, tokens of demonstrations.
            image: [B] the image of each row; None where row i has image i.

        Returns:
            [] loss, nats a word.
        """
        logits = self.project(regions).float()
        absent = -F.softplus(logits).sum(dim=1)  # log prod_r (1 - p_r)
        present = torch.log(-torch.expm1(absent.clamp(max=-1e-6)))
        row = torch.arange(action.shape[0], device=action.device) if image is None else image
        target = torch.zeros(absent.shape, dtype=torch.bool, device=action.device)
        target[row.unsqueeze(1).expand_as(action)[imitate], action[imitate]] = True
        target[:, self.ignored] = False
        return -torch.where(target, present, absent).sum() / target.sum().clamp(min=1)


def _make_critic(dim: int) -> nn.Module:
    """Make a value head on features [..., dim] whose first values are zero."""
    last = nn.Linear(dim, 1)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Linear(dim, dim), nn.GELU(), last)
