"""Models that go on with a text, such as GPT-2, Llama and Qwen2: the prompt is read once an item, and each row goes on from there."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from seqrl.decoding import select
from seqrl.policies.token_evaluation import LinearHead
from seqrl.tasks.writing.pretrained.adapter import State, cache_of, layers_of, moved_to_one_side
from seqrl.tasks.writing.pretrained.checkpointing import checkpoints

# Kinds whose logits are the output matrix on the last hidden states and nothing else.
_PLAIN_HEADS = frozenset(("gpt2", "gpt_neo", "gpt_neox", "llama", "mistral", "opt", "phi", "qwen2", "qwen3", "smollm3"))


class DecoderOnly:
    """Runs a causal model on prompts `tokens` [N, S] and `mask` [N, S], padded on either side.

    The last token of a prompt stands in the place of the begin token: what follows it is the first action. Keys and values of the tokens
    before it are made once an item, in learning, too, and gradients flow through them.

    Args:
        model: of transformers, as `AutoModelForCausalLM` loads it.
    """

    continues = True
    encoder = None

    def __init__(self, model: Any) -> None:
        self.model = model
        self.vocabulary_size = int(model.get_output_embeddings().weight.shape[0])

    def encode(self, inputs: Any) -> State:
        """Give `prompt` [N, S], padded with -1 on the left, and keys and values of all but its last column.

        A model that checkpoints gradients keeps none, and then reads prompt and row together.
        """
        tokens, mask = moved_to_one_side(inputs["tokens"], inputs["mask"], left=True)
        memory: State = {"prompt": tokens.masked_fill(~mask, -1)}
        if torch.is_grad_enabled() and checkpoints(self.model):
            return memory
        kept = tokens.shape[1] - 1
        # Where nothing is to be kept a token is read all the same, since only the model knows the shapes.
        read = slice(0, max(1, kept))
        # Of an own cache, one that slides over the text would keep no more than its window, of another length in every layer.
        settings = {"past_key_values": cache_of(()), "use_cache": True}
        output = self._run(self.model.base_model, tokens[:, read], mask[:, read], _positions(mask[:, read]), **settings)
        layers = layers_of(output.past_key_values)
        return memory | {"attention": tuple((keys[:, :, :kept], values[:, :, :kept]) for keys, values in layers)}

    def start(self, memory: State, max_tokens: int) -> State:
        """Give the cache of the prompt."""
        prompt = memory["prompt"]
        place = torch.zeros(prompt.shape[0], dtype=torch.long, device=prompt.device)
        return {"cache": memory["attention"], "prompt": prompt, "place": place}

    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Read one token a row, the last one of the prompt first."""
        prompt, place = state["prompt"], state["place"]
        row = torch.where(place == 0, prompt[:, -1], tokens).unsqueeze(1)
        there = prompt >= 0
        num_new = state["cache"][0][0].shape[2] + 2 - prompt.shape[1]
        mask = torch.cat([there[:, :-1], there.new_ones(row.shape[0], num_new)], dim=1)
        positions = (there.sum(dim=1) - 1 + place).unsqueeze(1)
        output = self._run(self.model, row, mask, positions, past_key_values=cache_of(state["cache"]), use_cache=True)
        return output.logits[:, -1], {"cache": layers_of(output.past_key_values), "prompt": prompt, "place": place + 1}

    def features(self, tokens: Tensor, mask: Tensor, memory: State, item: Tensor | None) -> tuple[Tensor, LinearHead | None]:
        """Give the last hidden states [M, D] and the output matrix, or, where that is not all, the logits [M, V]."""
        memory = memory if item is None else select(memory, item)  # type: ignore[assignment]
        prompt, num_tokens = memory["prompt"], tokens.shape[1]
        there = prompt >= 0
        row = torch.cat([prompt.clamp(min=0), tokens[:, 1:]], dim=1)
        seen = torch.cat([there, there.new_ones(tokens[:, 1:].shape)], dim=1)
        kept = prompt.shape[1] - 1 if "attention" in memory else 0
        cache = {"past_key_values": cache_of(memory["attention"])} if kept else {}
        head = self.model.get_output_embeddings()
        # One that has been wrapped does more than its weights say.
        plain = self.model.config.model_type in _PLAIN_HEADS and type(head) is nn.Linear
        model = self.model.base_model if plain else self.model
        output = self._run(model, row[:, kept:], seen, _positions(seen)[:, kept:], use_cache=bool(kept), **cache)
        found = (output.last_hidden_state if plain else output.logits)[:, -num_tokens:][mask]
        return found, LinearHead(head.weight, head.bias) if plain else None

    def _run(self, model: Any, tokens: Tensor, mask: Tensor, positions: Tensor, **settings: Any) -> Any:
        return model(input_ids=tokens, attention_mask=mask.long(), position_ids=positions, **settings)


def _positions(mask: Tensor) -> Tensor:
    """Number the tokens that count from 0; padding on the left has the number of the first one."""
    return (mask.long().cumsum(dim=1) - 1).clamp(min=0)
