"""Encoder-decoders for texts, such as T5, BART and Marian: the encoder reads a prompt, and the decoder attends to it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutput

from seqrl.decoding import select
from seqrl.policies.token_evaluation import LinearHead
from seqrl.tasks.writing.pretrained.adapter import State, cache_of, layers_of, moved_to_one_side

# Kinds whose logits are the output matrix on the last hidden states, with a bias, or on the hidden states as they are scaled here.
_BIASED = frozenset(("bart", "blenderbot-small", "led", "marian", "mbart", "pegasus", "plbart"))
_SCALED = frozenset(("longt5", "mt5", "t5"))


class EncoderDecoder:
    """Runs a model for conditional generation, whose prompts are `tokens` [N, S] and `mask` [N, S], padded on either side.

    Args:
        model: of transformers, as `AutoModelForSeq2SeqLM` loads it.
    """

    continues = False

    def __init__(self, model: Any) -> None:
        self.model, self.encoder = model, model.get_encoder()
        self.vocabulary_size = int(model.get_output_embeddings().weight.shape[0])

    def encode(self, inputs: Any) -> State:
        """Give `hidden` [N, S, D], the encoder's last hidden states, and `mask` [N, S]."""
        tokens, mask = moved_to_one_side(inputs["tokens"], inputs["mask"], left=False)
        return {"hidden": self.encoder(input_ids=tokens, attention_mask=mask.long()).last_hidden_state, "mask": mask}

    def start(self, memory: State, max_tokens: int) -> State:
        """Give keys and values of what is looked at, and an empty cache.

        The model reads a token once, since only it knows the shapes; its self-attention is cut off again.
        """
        hidden, mask = memory["hidden"], memory["mask"]
        output = self._run(torch.zeros(hidden.shape[0], 1, dtype=torch.long, device=hidden.device), hidden, mask, use_cache=True)
        cache = output.past_key_values
        empty = tuple((keys[:, :, :0], values[:, :, :0]) for keys, values in layers_of(cache.self_attention_cache))
        return {"memory": {**memory, "attention": layers_of(cache.cross_attention_cache)}, "cache": empty}

    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Read one token a row."""
        memory = state["memory"]
        cache = cache_of(state["cache"], memory["attention"])
        output = self._run(tokens.unsqueeze(1), memory["hidden"], memory["mask"], past_key_values=cache, use_cache=True)
        return output.logits[:, -1], {"memory": memory, "cache": layers_of(output.past_key_values.self_attention_cache)}

    def features(self, tokens: Tensor, mask: Tensor, memory: State, item: Tensor | None) -> tuple[Tensor, LinearHead | None]:
        """Give the decoder's last hidden states [M, D] and the output matrix, or, where that is not all, the logits [M, V]."""
        memory = memory if item is None else select(memory, item)  # type: ignore[assignment]
        kind, head = self.model.config.model_type, self.model.get_output_embeddings()
        # One that has been wrapped does more than its weights say.
        if kind not in _BIASED | _SCALED or type(head) is not nn.Linear:
            return self._run(tokens, memory["hidden"], memory["mask"], use_cache=False).logits[mask], None
        read = {"encoder_hidden_states": memory["hidden"], "encoder_attention_mask": memory["mask"].long()}
        found = self.model.get_decoder()(input_ids=tokens, use_cache=False, **read).last_hidden_state[mask]
        if kind in _BIASED:
            return found, LinearHead(head.weight, self.model.final_logits_bias[0])
        scaled = found * self.model.model_dim**-0.5 if getattr(self.model.config, "scale_decoder_outputs", False) else found
        return scaled, LinearHead(head.weight)

    def _run(self, tokens: Tensor, hidden: Tensor, mask: Tensor, **settings: Any) -> Any:
        read = BaseModelOutput(last_hidden_state=hidden)
        return self.model(encoder_outputs=read, attention_mask=mask.long(), decoder_input_ids=tokens, **settings)
