"""The adapter of models that write about images: images are encoded and prompts are read once an item, however many rows follow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.cache_utils import DynamicCache, EncoderDecoderCache

from seqrl.decoding import select
from seqrl.policies.token_evaluation import LinearHead
from seqrl.tasks.captioning.adapters.encoder_decoder import places_before
from seqrl.tasks.captioning.policies.pixels import processed_pixels
from seqrl.tasks.writing.pretrained.adapter import State, cache_of, layers_of
from seqrl.tasks.writing.pretrained.checkpointing import checkpoints


class ImageKind(Protocol):
    """One kind of model; one with a method `faster` gives what stands in for its decoder where there is no prompt, or None.

    Attributes:
        model: of transformers.
        encoder: what sees, and what `freeze_encoder` freezes.
        writer: the model of transformers whose `generate` writes, and whose generation settings rule what is written.
        crosses: whether the decoder attends to what is seen across, rather than holding it in places of its own before the words.
        num_own_places: how many places before the prompt's tokens the decoder keeps for what is seen.
    """

    model: Any
    encoder: Any
    writer: Any
    crosses: bool
    num_own_places: int

    def see(self, pixels: Tensor) -> Tensor:
        """Give the encoder's hidden states [N, R, D] of pixels [N, 3, H, W]."""

    def project(self, hidden: Tensor) -> Tensor:
        """Give what the decoder looks at, [N, R', D'], by what learns even where the encoder is frozen."""

    def read(self, tokens: Tensor, seen: Tensor, cache: Any) -> Tensor:
        """Read tokens, and fill the cache.

        Args:
            tokens: [B, T] long, which follow those in the cache; where there are none, or no cache, they are the rows' first.
            seen: of `project`, [B, R', D'].
            cache: of transformers; None for none.

        Returns:
            [B, T, D] features.
        """

    def head(self, features: Tensor) -> tuple[Tensor, nn.Linear | None]:
        """Give features [..., D'] and the layer that makes logits [..., V] of them; or these logits and None."""


class ImageAdapter:
    """Writes with one kind of model, from a prompt that is the same for every image.

    Args:
        kind: of model.
        processor: its image processor, which is applied to the images as they are stored; where `prepared` is set, those steps are
            left out that `seqrl.tasks.captioning.policies.pixels.Preparation` has done on the photographs.
        prompt: tokens; the last one is the begin token of every row, those before are read once an item.
        whole: processor of images and texts that is saved beside the model; the image processor alone when None.
        follows: the end of the prompt's text, and what stands between it and a caption.
    """

    def __init__(
        self, kind: ImageKind, processor: Any, prompt: Sequence[int], whole: Any = None, follows: tuple[str, str] = ("", "")
    ) -> None:
        self.follows, self.model, self.encoder = follows, kind.model, kind.encoder
        self.kind, self.processor, self.prepared, self._saved = kind, processor, False, whole or processor
        self.prompt, self.begin, self.continues = tuple(prompt), prompt[-1], len(prompt) > 1
        self.generation_config = kind.writer.generation_config
        self.vocabulary_size = int(kind.writer.get_output_embeddings().weight.shape[0])
        self._started: Any = None

    @property
    def how_it_runs(self) -> str:
        """What is to be known of how the decoder is run."""
        return str(getattr(self.kind, "how_it_runs", ""))

    @property
    def shares_memory(self) -> bool:
        """Whether rows about one item share its keys and values while they are written."""
        faster = self._faster()
        return faster is not None and not faster.drops

    def encode(self, inputs: Tensor) -> State:
        """Look at images.

        Args:
            inputs: uint8 images [N, 3, S, S], or the encoder's hidden states [N, R, D], real numbers, which are kept.

        Returns:
            `hidden` [N, R, D], and `prompt` [N, S] where there is one.
        """
        dtype = next(self.encoder.parameters()).dtype
        if inputs.is_floating_point():
            hidden = inputs.to(dtype)
        else:
            hidden = self.kind.see(processed_pixels(inputs, self.processor, prepared=self.prepared).to(dtype))
        prompt = torch.tensor(self.prompt, device=hidden.device).repeat(hidden.shape[0], 1)
        return {"hidden": hidden, "prompt": prompt} if self.continues else {"hidden": hidden}

    def start(self, memory: State, max_tokens: int) -> State:
        """Read the prompt but for its last token, once an item.

        Without a prompt a decoder reads the begin token, since only it knows the shapes; it is cut off again.
        """
        seen = self.kind.project(memory["hidden"])
        faster = self._faster()
        if faster is not None and not faster.drops:
            self._started = faster  # asked once a text, since `why_not` goes through all layers
            return faster.start(seen, max_tokens)  # type: ignore[no-any-return]
        tokens = torch.tensor(self.prompt[:-1] or self.prompt, device=seen.device).expand(seen.shape[0], -1)
        cache: Any = EncoderDecoderCache(DynamicCache(), DynamicCache()) if self.kind.crosses else DynamicCache()
        self.kind.read(tokens, seen, cache)
        length = self.kind.num_own_places + len(self.prompt) - 1
        across = layers_of(cache.cross_attention_cache) if self.kind.crosses else ()
        return {
            "seen": seen,
            "across": across,
            "cache": tuple((keys[:, :, :length], values[:, :, :length]) for keys, values in _own(cache)),
        }

    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Read one token of every row."""
        if "position" in state:
            features, after = self._started.step(tokens, state)
            return F.linear(features, self._started.output_weight), after
        features, after = self._read(tokens.unsqueeze(1), state)
        features, head = self.kind.head(features[:, -1])
        return (features if head is None else head(features)), after

    def features(self, tokens: Tensor, mask: Tensor, memory: State, item: Tensor | None) -> tuple[Tensor, LinearHead | None]:
        """Read whole rows; see `seqrl.tasks.writing.pretrained.adapter.Adapter`."""
        faster = self._faster()
        if faster is not None:
            return faster.read(tokens, mask, self.kind.project(memory["hidden"]), item), LinearHead(faster.output_weight)
        if item is None or self._checkpoints():
            # Nothing is shared, or keys and values cannot be kept: each row reads the prompt itself.
            seen = self.kind.project(memory["hidden"])
            seen = seen if item is None else seen[item]
            prefix = torch.tensor(self.prompt[:-1], dtype=torch.long, device=tokens.device).expand(tokens.shape[0], -1)
            features = self.kind.read(torch.cat([prefix, tokens], dim=1), seen, None)[:, len(self.prompt) - 1 :]
        else:
            state: Any = select(self.start(memory, tokens.shape[1]), item)
            features, _ = self._read(tokens, state)
        features, head = self.kind.head(features[mask])
        if head is None or type(head) is nn.Linear:
            return features, None if head is None else LinearHead(head.weight, head.bias)
        return head(features), None  # a layer that something was added to

    def save(self, folder: Path) -> None:
        """Write the processor."""
        self._saved.save_pretrained(folder)

    def look_once(self) -> int:
        """Look at a black image, so that a processor that does not fit the model is refused before any long work.

        Returns:
            In how many places the decoder sees an image.

        Raises:
            ValueError: naming both.
        """
        # One that does not resize wants pictures as they are to be.
        size = 64 if getattr(self.processor, "do_resize", False) else getattr(self.encoder.config, "image_size", 64)
        height, width = (size, size) if isinstance(size, int) else size
        pixels = processed_pixels(torch.zeros(1, 3, height, width, dtype=torch.uint8), self.processor)
        try:
            with torch.no_grad():
                return self.kind.project(self.kind.see(pixels.to(next(self.encoder.parameters())))).shape[1]
        except (ValueError, RuntimeError) as error:
            raise ValueError(
                f"image processor {type(self.processor).__name__}: its pictures of {pixels.shape[-2]} x {pixels.shape[-1]} pixels do not "
                f"fit the {type(self.model).__name__} ({error}); give its sizes in task.policy.processor, or take the one that "
                "belongs to the model"
            ) from error

    def check_length(self, max_tokens: int) -> None:
        """Refuse rows that are longer than the decoder has places for, where it learned each place by itself.

        Raises:
            ValueError: saying how long they may be.
        """
        decoder = getattr(self.kind.writer, "decoder", self.kind.writer)
        config, needed = decoder.config, len(self.prompt) + max_tokens - 1
        limit = None if hasattr(config, "rope_parameters") else getattr(config, "max_position_embeddings", None)
        limit = None if limit is None else limit - places_before(decoder)
        if limit is not None and needed > limit:
            raise ValueError(
                f"max_tokens: expected at most {limit + 1 - len(self.prompt)}, since the {type(self.model).__name__} has {limit} places "
                f"and the prompt {len(self.prompt)} tokens, got {max_tokens}"
            )

    def _faster(self) -> Any:
        return None if self.continues or not hasattr(self.kind, "faster") else self.kind.faster()

    def _read(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        cache = cache_of(state["cache"], state["across"] if self.kind.crosses else None)
        features = self.kind.read(tokens, state["seen"], cache)
        return features, {**state, "cache": _own(cache)}

    def _checkpoints(self) -> bool:
        """Tell whether layers run again in the backward pass, by our way or that of transformers, which is off where dropout is."""
        own = self.model.training and any(getattr(part, "gradient_checkpointing", False) for part in self.model.modules())
        return torch.is_grad_enabled() and (own or checkpoints(self.model))


def _own(cache: Any) -> Any:
    return layers_of(cache.self_attention_cache if isinstance(cache, EncoderDecoderCache) else cache)
