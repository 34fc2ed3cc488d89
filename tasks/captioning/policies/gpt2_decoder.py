"""GPT-2 with cross-attention on the weights of a transformers model: the same numbers without what costs time and memory there."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import GPT2LMHeadModel
from transformers.models.gpt2.modeling_gpt2 import GPT2MLP, GPT2Attention, GPT2Block, GPT2Model
from transformers.pytorch_utils import Conv1D

from seqrl.policies.packing import pack, unpack
from seqrl.policies.token_attention import look, places_of
from seqrl.trajectory import Tree

_KNOWN = (GPT2LMHeadModel, GPT2Model, GPT2Block, GPT2Attention, GPT2MLP, Conv1D, nn.LayerNorm, nn.Dropout, nn.Embedding, nn.Linear)
_TANH_GELU = ("gelu_new", "gelu_pytorch_tanh")


def why_not(decoder: Any) -> str:
    """Say why `GPT2Decoder` cannot stand in for a decoder; nothing where it can.

    What changes a layer from outside (adapters, quantisation, hooks, checkpointing) would be passed over here.
    """
    if type(decoder) is not GPT2LMHeadModel:
        return f"the decoder is a {type(decoder).__name__}, not a plain GPT2LMHeadModel"
    config: Any = decoder.config
    if not config.add_cross_attention or config.reorder_and_upcast_attn or decoder.lm_head.bias is not None:
        return "the decoder's attention or output is not GPT-2's usual one"
    for name, part in decoder.named_modules():
        if "forward" in vars(part):
            return f"{name or 'the decoder'} has another forward pass of its own"
        if part._forward_hooks or part._forward_pre_hooks or part._backward_hooks or part._backward_pre_hooks:
            return f"{name or 'the decoder'} has hooks"
        if type(part) not in _KNOWN and not name.endswith("mlp.act") and type(part) is not nn.ModuleList:
            return f"{name} is a {type(part).__name__}"
    return "it checkpoints gradients" if decoder.transformer.gradient_checkpointing else ""


class GPT2Decoder:
    """Runs a GPT-2 decoder step by step for sampling, and over whole rows for learning.

    It holds no weights of its own: those of the transformers model are read, and gradients flow there. A step writes keys and values into a
    cache that was allocated once, so that a state is used for one next step only; rows about one item share its keys and values of
    cross-attention. A pass over whole rows reads only the tokens that are there, laid end to end. Dropout, in training, has the
    model's own probabilities.

    Args:
        decoder: for which `why_not` has nothing to say.

    Source: Radford et al. 2019 (Language models are unsupervised multitask learners).
    """

    def __init__(self, decoder: GPT2LMHeadModel) -> None:
        self.decoder: Any = decoder

    @property
    def output_weight(self) -> Tensor:
        """The output matrix [V, D]."""
        return self.decoder.lm_head.weight  # type: ignore[no-any-return]

    @property
    def drops(self) -> bool:
        """Whether a pass would drop entries at random."""
        config = self.decoder.config
        return self.decoder.training and max(config.embd_pdrop, config.attn_pdrop, config.resid_pdrop) > 0

    def start(self, hidden: Tensor, max_tokens: int) -> dict[str, Tree]:
        """Give the keys and values of what is looked at, and an empty cache.

        Args:
            hidden: [N, R, D] of the items.
            max_tokens: longest row.
        """
        blocks = self.decoder.transformer.h
        memory = tuple(tuple(part.contiguous() for part in _keys_and_values(block.crossattention, hidden)) for block in blocks)
        N, H, _, size = memory[0][0].shape
        cache = tuple((hidden.new_empty(N, H, max_tokens, size), hidden.new_empty(N, H, max_tokens, size)) for _ in memory)
        return {"memory": memory, "cache": cache, "position": torch.zeros(N, dtype=torch.long, device=hidden.device)}

    def step(self, tokens: Tensor, state: Any) -> tuple[Tensor, dict[str, Tree]]:
        """Read one token a row, without dropout.

        Args:
            tokens: [L] long.
            state: of `start`; where `item` [L] is in it, row i looks at item[i], else at item i.

        Returns:
            [L, D] features, and the next state.
        """
        body, memory = self.decoder.transformer, state["memory"]
        # Rows that have ended may have been put back to 0; the live ones are all at the same position. What is behind the last one is
        # asked for its value only.
        position = min(int(state["position"].max()), state["cache"][0][0].shape[2] - 1)
        places = places_of(state.get("item"), memory[0][0].shape[0])
        x = F.embedding(tokens, body.wte.weight) + body.wpe.weight[position]
        for block, (keys, values), (own_keys, own_values) in zip(body.h, memory, state["cache"], strict=True):
            heads = block.attn.num_heads
            query, own_keys[:, :, position], own_values[:, :, position] = (
                _linear(block.attn.c_attn, _norm(block.ln_1, x)).view(x.shape[0], 3, heads, -1).unbind(1)
            )
            past = own_keys[:, :, : position + 1], own_values[:, :, : position + 1]
            seen = F.scaled_dot_product_attention(query.unsqueeze(2), *past, scale=block.attn.scaling)
            x = x + _linear(block.attn.c_proj, seen.reshape(x.shape))
            query = _linear(block.crossattention.q_attn, _norm(block.ln_cross_attn, x)).view(x.shape[0], heads, -1)
            seen = look(_scaled(block.crossattention, query), keys, values, places)
            x = x + _linear(block.crossattention.c_proj, seen.reshape(x.shape))
            x = x + self._mlp(block.mlp, _norm(block.ln_2, x))
        return _norm(body.ln_f, x), {**state, "position": torch.full_like(state["position"], position + 1)}

    def read(self, tokens: Tensor, mask: Tensor, hidden: Tensor, item: Tensor | None = None) -> Tensor:
        """Read whole rows and give the features of the tokens that count.

        Args:
            tokens: [B, T] long.
            mask: [B, T] bool, True at M tokens that count; those before a row's last one are read, too.
            hidden: [N, R, D] of the items.
            item: [B] long, the item of each row; None where row i is about item i.

        Returns:
            [M, D] features, row by row.
        """
        order = None
        if item is not None and not bool((item[1:] >= item[:-1]).all()):
            order = item.argsort(stable=True)
            tokens, mask, item = tokens[order], mask[order], item[order]
        there = mask.flip(1).cummax(dim=1).values.flip(1)
        lengths = there.sum(dim=1)
        # The tokens about an item stand together, as one long query.
        counts = lengths if item is None else lengths.new_zeros(hidden.shape[0]).index_add(0, item, lengths)
        slots = torch.arange(int(counts.max()), device=tokens.device) < counts.unsqueeze(1)
        features = self._read_packed(tokens, there, hidden, slots)
        if order is None:
            return features if torch.equal(mask, there) else features[mask[there]]
        back = order.argsort()
        return pack(unpack(features, there)[back], mask[back])

    def _read_packed(self, tokens: Tensor, there: Tensor, hidden: Tensor, slots: Tensor) -> Tensor:
        body, training = self.decoder.transformer, self.decoder.training
        positions = torch.arange(tokens.shape[1], device=tokens.device).expand_as(tokens)
        x = F.embedding(tokens[there], body.wte.weight) + F.embedding(positions[there], body.wpe.weight)
        x = self._dropped(x, self.decoder.config.embd_pdrop)
        drop, drop_resid = self.decoder.config.attn_pdrop if training else 0.0, self.decoder.config.resid_pdrop
        for block in body.h:
            query, keys, values = _heads(unpack(_linear(block.attn.c_attn, _norm(block.ln_1, x)), there), 3, block.attn.num_heads)
            seen = F.scaled_dot_product_attention(query, keys, values, dropout_p=drop, is_causal=True, scale=block.attn.scaling)
            x = x + self._dropped(_linear(block.attn.c_proj, pack(_joined(seen), there)), drop_resid)
            cross = block.crossattention
            (query,) = _heads(unpack(_linear(cross.q_attn, _norm(block.ln_cross_attn, x)), slots), 1, cross.num_heads)
            keys, values = _keys_and_values(cross, hidden)
            seen = F.scaled_dot_product_attention(query, keys, values, dropout_p=drop, scale=cross.scaling)
            x = x + self._dropped(_linear(cross.c_proj, pack(_joined(seen), slots)), drop_resid)
            x = x + self._dropped(self._mlp(block.mlp, _norm(block.ln_2, x)), drop_resid)
        return _norm(body.ln_f, x)

    def _mlp(self, mlp: Any, x: Tensor) -> Tensor:
        hidden = _linear(mlp.c_fc, x)
        # As one operation, which keeps one tensor for the derivative instead of eight.
        tanh = self.decoder.config.activation_function in _TANH_GELU
        return _linear(mlp.c_proj, F.gelu(hidden, approximate="tanh") if tanh else mlp.act(hidden))

    def _dropped(self, x: Tensor, probability: float) -> Tensor:
        return F.dropout(x, probability) if self.decoder.training and probability else x


def _linear(layer: Conv1D, x: Tensor) -> Tensor:
    return torch.addmm(layer.bias, x, layer.weight)


def _norm(layer: nn.LayerNorm, x: Tensor) -> Tensor:
    return F.layer_norm(x, layer.normalized_shape, layer.weight, layer.bias, layer.eps)


def _keys_and_values(attention: Any, hidden: Tensor) -> tuple[Tensor, Tensor]:
    """Project what is looked at [N, R, D] to keys and values, each [N, H, R, d]."""
    both = _linear(attention.c_attn, hidden.flatten(0, 1)).view(*hidden.shape[:2], -1)
    keys, values = _heads(both, 2, attention.num_heads)
    return keys, values


def _heads(x: Tensor, parts: int, heads: int) -> tuple[Tensor, ...]:
    """Cut [B, T, parts * D] into parts, each [B, H, T, d]."""
    return x.view(*x.shape[:2], parts, heads, -1).permute(2, 0, 3, 1, 4).unbind(0)


def _joined(heads: Tensor) -> Tensor:
    return heads.transpose(1, 2).flatten(2)


def _scaled(attention: Any, query: Tensor) -> Tensor:
    """Make up for a model whose scores are not divided by the root of a head's size."""
    factor = float(attention.scaling * query.shape[-1] ** 0.5)
    return query if abs(factor - 1) < 1e-9 else query * factor
