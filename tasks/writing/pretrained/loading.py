"""A pretrained model for texts by folder or hub name, or as an object, made a policy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

from seqrl.tasks.writing.pretrained.adapter import Adapter
from seqrl.tasks.writing.pretrained.decoder_only import DecoderOnly
from seqrl.tasks.writing.pretrained.dtypes import Dtype, weights_format
from seqrl.tasks.writing.pretrained.encoder_decoder import EncoderDecoder
from seqrl.tasks.writing.pretrained.hub import load_config, load_tokenizer, opened, weights_of
from seqrl.tasks.writing.pretrained.policy import TransformersPolicy

# Those that tests compare with transformers, in sampling, learning, greedy and beam search.
ENCODER_DECODERS = ("bart", "blenderbot-small", "led", "longt5", "marian", "mbart", "mt5", "pegasus", "plbart", "t5", "umt5")
DECODERS = tuple(
    """bloom cohere ernie4_5 falcon gemma gemma2 gemma3_text glm gpt2 gpt_neo gpt_neox gptj granite helium llama mistral nemotron olmo olmo2
    opt persimmon phi phi3 qwen2 qwen3 smollm3 stablelm starcoder2""".split()
)
_WANTED = "a model for texts"


def text_policy(model: Any, tokenizer: Any, **settings: Any) -> TransformersPolicy:
    """Make a policy of a model of transformers and its tokenizer.

    Args:
        model: an encoder-decoder for texts, or a model that goes on with a text; it learns in place.
        tokenizer: of the model.
        settings: keyword arguments of `TransformersPolicy`.

    Raises:
        ValueError: when the model is of another kind, naming those that work.
    """
    return TransformersPolicy(_adapter(model), tokenizer=tokenizer, **settings)


def load_text_policy(path: str | Path, *, dtype: Dtype = "fp32", **settings: Any) -> TransformersPolicy:
    """Load a model and its tokenizer from a folder or the hub; code that comes with a model is never run.

    Args:
        path: folder, or name on the hub.
        dtype: dtype of the model's weights.
        settings: keyword arguments of `TransformersPolicy`.

    Raises:
        FileNotFoundError: when there is no such folder, or the hub does not give it.
        ValueError: when it holds another kind of model, naming those that work, or the device lacks the dtype.
    """
    weights = weights_format(dtype, only_lora_learns=settings.get("lora") is not None)
    name = str(path)
    if not name:
        raise ValueError("policy.path: expected a folder or hub name of a model for texts, got nothing; set task.policy.path")
    config = load_config(name, field="policy.path", wanted=_WANTED)
    kind = AutoModelForSeq2SeqLM if _reads_first(name, config.model_type) else AutoModelForCausalLM
    tokenizer = load_tokenizer(name, field="policy.path")
    with weights_of(name, field="policy.path", wanted=_WANTED):
        model = opened(kind, name, dtype=weights)
    return text_policy(model, tokenizer, **settings)


def _adapter(model: Any) -> Adapter:
    reads_first = _reads_first(type(model).__name__, model.config.model_type)
    if model.get_output_embeddings() is None:
        raise ValueError(
            f"policy.path: expected a model that writes, got a {type(model).__name__}, which has no output matrix; load it by "
            "AutoModelForSeq2SeqLM or AutoModelForCausalLM"
        )
    return EncoderDecoder(model) if reads_first else DecoderOnly(model)


def _reads_first(name: str, kind: str) -> bool:
    """Tell whether a model reads its prompt by an encoder, or goes on with it."""
    if kind in ENCODER_DECODERS or kind in DECODERS:
        return kind in ENCODER_DECODERS
    kinds = ", ".join((*ENCODER_DECODERS, *DECODERS))
    raise ValueError(f"policy.path: expected a model of one of the kinds {kinds}, got {name}, which is of kind {kind}")
