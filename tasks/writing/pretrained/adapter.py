"""What a kind of model of transformers has to tell: how it reads what it writes about, and how it goes on from token to token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

from torch import Tensor
from transformers.cache_utils import DynamicCache, EncoderDecoderCache

from seqrl.policies.token_evaluation import LinearHead

Layers: TypeAlias = tuple[tuple[Tensor, Tensor], ...]
State: TypeAlias = dict[str, Any]


class Adapter(Protocol):
    """One kind of model; it holds no weights but those of `model`, and is no module itself.

    What it may have beside: `shares_memory`, that rows about one item share what their state holds under "memory" (see
    `seqrl.decoding.sample`); `how_it_runs`, a sentence for the first lines of a run; `generation_config`, settings that rule what
    is written where they are not the model's; `save(folder)`, which writes what belongs to the
    model beside weights and tokenizer, such as an image processor.

    Attributes:
        model: of transformers, which learns in place.
        encoder: what `freeze_encoder` freezes, a module; None where the model has none.
        continues: whether it goes on with a prompt, whose last token then stands in the place of the begin token.
        vocabulary_size: number of tokens that it has logits for.
    """

    model: Any
    encoder: Any
    continues: bool
    vocabulary_size: int

    def encode(self, inputs: Any) -> State:
        """Read what is written about, once an item: leaves [N, ...], with gradients where these are on.

        Args:
            inputs: what the context holds under "image", leaves [N, ...].

        Returns:
            The memory. One that `continues` leaves the prompts in it for rules of generation: `prompt` [N, S] long, -1 before the first.
        """

    def start(self, memory: State, max_tokens: int) -> State:
        """Give the state before the first token, leaves [N, ...]; what stands under "memory" is the same for all rows about an item.

        Args:
            memory: of `encode`.
            max_tokens: longest row.
        """

    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Read one token of every row, [L] long; give logits [L, V] of the next one, and the next state."""

    def features(self, tokens: Tensor, mask: Tensor, memory: State, item: Tensor | None) -> tuple[Tensor, LinearHead | None]:
        """Read whole rows.

        Args:
            tokens: [B, T] long, the begin token first.
            mask: [B, T] bool, True at the M tokens after which something is wanted.
            memory: of N items, of `encode`.
            item: [B] long, the item of each row; None where row i is about item i.

        Returns:
            [M, V] logits and None; or what they are made of, [M, D], and the head that makes them, so that only a piece is ever held.
        """


def layers_of(cache: Any) -> Layers:
    """Take keys and values [B, H, length, size] of each layer out of a cache of transformers."""
    return tuple((layer.keys, layer.values) for layer in cache.layers)


def cache_of(layers: Layers, cross: Layers | None = None) -> Any:
    """Make a cache of transformers of keys and values of self-attention, and of cross-attention where there is any."""
    own = DynamicCache(layers)
    return own if cross is None else EncoderDecoderCache(own, DynamicCache(cross))


def moved_to_one_side(tokens: Tensor, mask: Tensor, *, left: bool) -> tuple[Tensor, Tensor]:
    """Move what counts to one side of each row and leave out the columns where nothing counts.

    Args:
        tokens: [N, S] long.
        mask: [N, S] bool, True at tokens that count.
        left: put padding on the left.

    Returns:
        The same, [N, S'].

    Raises:
        ValueError: when nothing counts in a row.
    """
    if not bool(mask.any(dim=1).all()):
        raise ValueError("prompts: expected at least one token in each, got a prompt without any; leave it out, or begin it with a word")
    width = int(mask.sum(dim=1).max())
    order = (mask if left else ~mask).to(tokens.dtype).argsort(dim=1, stable=True)
    columns = slice(-width, None) if left else slice(0, width)
    return tokens.gather(1, order)[:, columns], mask.gather(1, order)[:, columns]


def special_tokens(model: Any, *names: str) -> tuple[int, ...]:
    """Find the ids of the first special token that a model's settings name; several for an end token, none where it has none.

    Args:
        model: of transformers.
        names: for instance "eos_token_id", the first choice first.
    """
    config = model.config
    places = (getattr(model, "generation_config", None), config, getattr(config, "decoder", None), getattr(config, "text_config", None))
    for name in names:
        for place in places:
            found = getattr(place, name, None)
            if found is not None and found != []:
                return tuple(int(token) for token in found) if isinstance(found, Sequence) else (int(found),)
    return ()
