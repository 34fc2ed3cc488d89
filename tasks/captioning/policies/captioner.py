"""A captioning policy: an image encoder, a decoder of any kind, and the heads on its features."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqrl.policies.packing import unpack
from seqrl.policies.token_evaluation import LinearHead, evaluate_tokens
from seqrl.policies.tokens import act_on_tokens, check_token_settings, first_leaf, input_tokens, never_right, resample_tokens
from seqrl.tasks.captioning.scene_layout import COLOURS, SHAPES, TEXTURES
from seqrl.tasks.writing.memory import distinct_memory_of, memory_of
from seqrl.trajectory import Evaluation, Trajectory, Tree


class CaptionPolicy(nn.Module):
    """Captions images with a decoder over encoded images: p(a_t | image, a_<t) = softmax(W features_t / temperature).

    Args:
        encoder: takes uint8 images [N, 3, S, S], gives a tree with leaves [N, ...].
        decoder: has `token_embedding`, `start(memory)`, `step(tokens, state)` and `forward(tokens, memory, image)`, see
            `TransformerDecoder`. One with `packs = True` takes `mask` [B, T], too, and then gives the features [M, D] of the M steps that
            count alone. One with `shares_memory = True` reads from `state["item"]` which memory is a row's.
        max_tokens: longest caption, end token included.
        temperature: divides the logits, in sampling and re-evaluation alike.
        tie_embeddings: use the token embeddings as the output matrix W, too.
        freeze_encoder: no gradients through the encoder; sampled trajectories then carry the encoded images.
        critic: also estimate values, from features that the critic does not shape.
        word_detection: weight of the loss of `WordDetector`, learned from rows that are demonstrations; 0 for none.
        figure_detection: weight of the loss of `FigureDetector`, where a context holds `figures`; 0 for none.
        begin: token before the first action.
        end: token that ends a caption.
        pad: token after the end.
        unknown: token of words that are not in the vocabulary, where there is one. Label smoothing leaves it, `begin` and `pad` out;
            sampling may choose them, and a reward counts them as words that no reference has.

    Raises:
        ValueError: when max_tokens or temperature is not positive.
    """

    has_distribution = False
    act = act_on_tokens

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
        # What an encoder itself keeps from learning stays so.
        self.encoder = encoder.requires_grad_(False) if freeze_encoder else encoder
        self.decoder: Any = decoder
        self.packs = bool(getattr(decoder, "packs", False))
        self.shares_memory = bool(getattr(decoder, "shares_memory", False))
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

    def forward(self, trajectory: Trajectory) -> Evaluation:
        """Evaluate the tokens of a trajectory in one pass, encoding the image of each group once."""
        tokens = self._tokens(trajectory)
        memory, image = distinct_memory_of(self, trajectory)
        counted = trajectory.counted
        features = self.decoder(tokens, memory, image, mask=counted) if self.packs else self.decoder(tokens, memory, image)
        value = None if self.critic is None else self.critic(features.detach()).squeeze(-1)
        if value is not None and self.packs:
            value = unpack(value, counted)
        head = LinearHead(self.output.weight, temperature=self.temperature)
        evaluation = evaluate_tokens(features, head, trajectory, value, wrong=self.wrong)
        # Whether dropout is on says nothing about whether somebody learns from this pass.
        detection = self._detection(trajectory, memory, image) if torch.is_grad_enabled() else []
        return dataclasses.replace(evaluation, aux_loss=torch.stack(detection)) if detection else evaluation

    def aux_count(self, trajectory: Trajectory) -> Tensor:
        """Count the words and the figures that the detectors are taught with, [K], one for each detector, whatever the rows hold."""
        counts, figures = list[Tensor](), self._figures(trajectory)
        if self.words is not None:
            counts.append(self.words.demonstrated(trajectory)[1].sum())
        if self.figures is not None:
            counts.append(trajectory.action.new_zeros(()) if figures is None else FigureDetector.seen(figures).sum())
        return torch.stack(counts).float() if counts else torch.zeros(1, device=trajectory.action.device)

    def _figures(self, trajectory: Trajectory) -> Tensor | None:
        context: Any = trajectory.context
        return context.get("figures") if self.figures is not None and isinstance(context, dict) else None

    def _detection(self, trajectory: Trajectory, memory: Any, image: Tensor | None) -> list[Tensor]:
        """Give the detectors' losses, weighted; none where none of them could be taught."""
        losses, figures = list[Tensor](), self._figures(trajectory)
        if figures is None and (self.words is None or trajectory.imitate is None):
            return losses
        if self.words is not None:
            rows, words = self.words.demonstrated(trajectory)
            losses.append(self.word_detection * self.words(memory["regions"], words, rows if image is None else image[rows]))
        if self.figures is not None:
            seen = memory["regions"].new_zeros(()) if figures is None else self.figures(memory["regions"], figures, image)
            losses.append(self.figure_detection * seen)
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
    words, of each demonstrated row with the words of its own, divided by the number of words that are there.

    A demonstrated row is a whole caption that was given: what the policy has sampled, or has gone on with after a forced beginning, says
    nothing about the image.

    Args:
        feature_dim: size of a region's feature.
        vocabulary_size: V.
        ignored: tokens that are no words.

    Source: Fang et al. 2015 (From captions to visual concepts and back), noisy-OR multiple-instance learning.
    Differs from: Fang et al. in taking all words instead of the most frequent ones, in training beside the captioner, and in comparing
    with the words of one caption at a time instead of those of any caption of the image. So a word counts by the share of the captions
    that hold it, and the loss of a batch is the same however its rows are shared out; with the union, a word would be taught to be absent
    where the caption that holds it stands in another part.
    """

    def __init__(self, feature_dim: int, vocabulary_size: int, *, ignored: Sequence[int]) -> None:
        super().__init__()
        self.project = nn.Linear(feature_dim, vocabulary_size)
        nn.init.constant_(self.project.bias, -7.0)  # at first no region sees any word
        self.ignored = list(ignored)

    def demonstrated(self, trajectory: Trajectory) -> tuple[Tensor, Tensor]:
        """Find the rows that are demonstrations from their first step to their last.

        Args:
            trajectory: B rows of tokens.

        Returns:
            [R] long, which rows these are, and [R, V] bool, the words that each of them holds.
        """
        imitate, size = trajectory.imitate, self.project.out_features
        if imitate is None:
            return torch.zeros(0, dtype=torch.long, device=trajectory.action.device), trajectory.mask.new_zeros(0, size)
        rows = (imitate.any(dim=1) & ~trajectory.mask.any(dim=1)).nonzero().squeeze(1)
        shown = imitate[rows]
        words = shown.new_zeros(rows.shape[0], size)
        words[shown.nonzero()[:, 0], trajectory.action[rows][shown]] = True
        words[:, self.ignored] = False
        return rows, words

    def forward(self, regions: Tensor, words: Tensor, image: Tensor) -> Tensor:
        """Compare with demonstrated captions.

        Args:
            regions: [N, R, D] float.
            words: [M, V] bool, the words of each caption.
            image: [M] long, the image of each caption.

        Returns:
            [] loss, nats a word; 0 without captions.
        """
        if not words.shape[0]:
            return regions.new_zeros(())
        logits = self.project(regions).float()
        absent = -F.softplus(logits).sum(dim=1)  # log prod_r (1 - p_r)
        present = torch.log(-torch.expm1(absent.clamp(max=-1e-6)))
        return -torch.where(words, present[image], absent[image]).sum() / words.sum().clamp(min=1)


class FigureDetector(nn.Module):
    """Tells shape, colour and texture of a figure of a drawn scene from the region of its middle, for an encoder from scratch to learn by.

    The loss is -log p(shape | region) - log p(colour | region) - log p(texture | region), the mean over all figures that can
    be seen. Captioners of photographs start from encoders that were taught on labelled images; drawn scenes have labels of
    their own.

    Args:
        feature_dim: size of a region's feature.
    """

    def __init__(self, feature_dim: int) -> None:
        super().__init__()
        self.looks = nn.ModuleList(nn.Linear(feature_dim, len(names)) for names in (SHAPES, COLOURS, TEXTURES))

    @staticmethod
    def seen(figures: Tensor) -> Tensor:
        """Say which of figures [B, M, 5] are there, [B, M] bool."""
        return figures[:, :, 2] >= 0

    def forward(self, regions: Tensor, figures: Tensor, image: Tensor | None) -> Tensor:
        """Compare with what was drawn.

        Args:
            regions: [N, R, D] float, a square grid of R regions, row by row.
            figures: [B, M, 5] float, see `seqrl.tasks.captioning.scene_figures.describe_figures`; rows of one image are alike.
            image: [B] the image of each row; None where row i has image i.

        Returns:
            [] loss, nats a figure.
        """
        side = round(regions.shape[1] ** 0.5)
        row = torch.arange(figures.shape[0], device=figures.device) if image is None else image
        seen = self.seen(figures)
        x, y, *names = figures[seen].unbind(dim=1)
        cell = (y * side).long() * side + (x * side).long()
        features = regions[row.unsqueeze(1).expand_as(seen)[seen], cell].float()
        losses = [F.cross_entropy(head(features), name.long(), reduction="sum") for head, name in zip(self.looks, names, strict=True)]
        return torch.stack(losses).sum() / max(cell.shape[0], 1)


def _make_critic(dim: int) -> nn.Module:
    """Make a value head on features [..., dim] whose first values are zero."""
    last = nn.Linear(dim, 1)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Linear(dim, dim), nn.GELU(), last)
