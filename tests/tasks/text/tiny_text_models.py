"""Tiny models of transformers for texts with a tokenizer of single words, and what transformers itself makes of them."""

from __future__ import annotations

from typing import Any

import torch
import transformers
from torch import Tensor

from seqrl.tasks.writing.pretrained.loading import text_policy

SPECIALS = ["<pad>", "</s>", "<s>", "<unk>"]
WORDS = ["a", "red", "blue", "green", "small", "large", "dog", "cat", "bird", "sees", "no", "two", "the", "old", "house", "runs"]
NUM_TOKENS = len(SPECIALS) + len(WORDS)
LENGTH = 7
PROMPTS = ["a red dog", "the old cat sees no small bird", "two", "blue house sees"]
REFERENCES = ["a dog", "a cat", "two birds", "the house runs"]
OWN = {"lora", "gradient_checkpointing", "temperature", "freeze_encoder", "max_tokens"}

_T5 = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2, "decoder_start_token_id": 0}
_BART = {
    "d_model": 16,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
    "decoder_start_token_id": 1,
    "forced_eos_token_id": None,
}
_GPT2 = {"n_embd": 16, "n_layer": 2, "n_head": 2}
_LLAMA = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
_SHARED_HEADS = _LLAMA | {"num_key_value_heads": 1}
_OF_8 = _SHARED_HEADS | {"head_dim": 8}
_SHAPES: dict[str, dict[str, Any]] = {
    **dict.fromkeys(("t5", "mt5", "umt5", "longt5"), _T5),
    **dict.fromkeys(("bart", "blenderbot-small", "mbart", "pegasus", "plbart"), _BART),
    "led": _BART | {"attention_window": 4},
    "marian": _BART | {"decoder_start_token_id": 0},
    "gpt2": _GPT2,
    "gptj": _GPT2 | {"rotary_dim": 4},
    "gpt_neo": {"hidden_size": 16, "num_layers": 2, "num_heads": 2, "attention_types": [[["global", "local"], 1]], "window_size": 4},
    "opt": {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "ffn_dim": 32, "word_embed_proj_dim": 16},
    **dict.fromkeys(("bloom", "falcon", "gpt_neox", "persimmon", "phi"), _LLAMA),
    **dict.fromkeys(("ernie4_5", "gemma", "gemma3_text", "glm", "helium", "qwen3"), _OF_8),
    "mistral": _SHARED_HEADS | {"sliding_window": 4},
    "gemma2": _OF_8 | {"sliding_window": 4},
    "qwen2": _SHARED_HEADS | {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1},
}


def make_tokenizer(*, closes: bool) -> Any:
    """Tokens are whole words; what is read is closed with an end token where `closes`."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = {word: index for index, word in enumerate(SPECIALS + WORDS)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if closes:
        tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    named = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **named)


def make_model(kind: str, seed: int = 0, **rules: Any) -> Any:
    """A model of a kind with random weights, strong enough that tokens differ; `rules` are settings of its generation."""
    torch.manual_seed(seed)
    shape = _SHAPES.get(kind, _SHARED_HEADS)
    size = {"vocab_size": NUM_TOKENS, "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2}
    config = transformers.AutoConfig.for_model(kind, **shape, **size)
    reads = kind in transformers.models.auto.modeling_auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES
    model = (transformers.AutoModelForSeq2SeqLM if reads else transformers.AutoModelForCausalLM).from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1 if "t5" in kind else 3)
    for name, value in rules.items():
        setattr(model.generation_config, name, value)
    return model.eval()


def policy_of(kind: str, seed: int = 0, **settings: Any) -> Any:
    rules = {name: value for name, value in settings.items() if name not in OWN}
    model = make_model(kind, seed, **rules)
    own = {"max_tokens": LENGTH} | {name: value for name, value in settings.items() if name in OWN}
    return text_policy(model, make_tokenizer(closes=bool(model.config.is_encoder_decoder)), **own).eval()


def context_of(policy: Any, *, left: bool = False) -> dict[str, dict[str, Tensor]]:
    rows = [policy.tokenizer(prompt)["input_ids"] for prompt in PROMPTS]
    width = max(map(len, rows)) + 2  # columns of padding alone are nothing special
    gaps = [[0] * (width - len(row)) for row in rows]
    tokens = [gap + row if left else row + gap for gap, row in zip(gaps, rows, strict=True)]
    there = [[1] * len(row) for row in rows]
    mask = [gap + ones if left else ones + gap for gap, ones in zip(gaps, there, strict=True)]
    return {"image": {"tokens": torch.tensor(tokens), "mask": torch.tensor(mask).bool()}}


def teacher_forced(policy: Any, prompt: str, action: Tensor) -> Tensor:
    """The plain model's logits [T, V] before each action, of one prompt alone, without padding or cache."""
    read = policy.tokenizer([prompt], return_tensors="pt")["input_ids"]
    if policy.model.config.is_encoder_decoder:
        tokens = torch.cat([torch.tensor([policy.begin]), action[:-1]]).unsqueeze(0)
        return policy.model(input_ids=read, decoder_input_ids=tokens, use_cache=False).logits[0]  # type: ignore[no-any-return]
    row = torch.cat([read[0], action[:-1]]).unsqueeze(0)
    return policy.model(input_ids=row, use_cache=False).logits[0, read.shape[1] - 1 :]  # type: ignore[no-any-return]


def generated(policy: Any, **settings: Any) -> list[list[int]]:
    """What `generate` writes about each prompt alone, up to its first end token."""
    rows = []
    for prompt in PROMPTS:
        read = policy.tokenizer([prompt], return_tensors="pt")
        read = {name: read[name] for name in ("input_ids", "attention_mask")}
        row = policy.model.generate(**read, max_new_tokens=policy.max_tokens, do_sample=False, **settings)[0].tolist()
        row = row[1:] if policy.model.config.is_encoder_decoder else row[read["input_ids"].shape[1] :]
        length = next((place for place, token in enumerate(row) if token in policy.ends), len(row) - 1)
        rows.append(row[: length + 1])
    return rows
