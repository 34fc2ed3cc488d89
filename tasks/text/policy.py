"""Policies that read a text and write another: an encoder of the prompt with a decoder that attends to it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from seqrl.policies.networks import run_recurrent
from seqrl.run.registry import call
from seqrl.run.trust import NAMES_CODE
from seqrl.settings import Count, Positive, check_settings, named
from seqrl.tasks.captioning.policies.captioner import CaptionPolicy
from seqrl.tasks.captioning.policies.feature_encoder import masked_memory
from seqrl.tasks.captioning.policies.lstm import AttentionLSTMDecoder
from seqrl.tasks.captioning.policies.transformer import TransformerDecoder, attend_all
from seqrl.tasks.text.data import make_vocabulary
from seqrl.tasks.text.data_config import DataConfig
from seqrl.tasks.text.pairs import Pairs
from seqrl.tasks.text.sc_lstm import SemanticPolicy
from seqrl.tasks.writing.pretrained.dtypes import Dtype
from seqrl.tasks.writing.pretrained.lora import PRETRAINED, LoraConfig
from seqrl.tasks.writing.vocabulary import AnyVocabulary, any_vocabulary

TYPES = ("transformer", "recurrent", "sc_lstm", "pretrained")


@dataclass
class PolicyConfig:
    """Which policy to build, and how large.

    Attributes:
        type: "transformer", or "recurrent" (a GRU that reads both ways, and an LSTM that attends to it), or "sc_lstm", the semantically
            conditioned LSTM, for prompts that are sets of slots, or "pretrained", a model of transformers with its tokenizer, whose sizes
            are its own; or `module:function` for a policy of one's own, where the function takes this configuration and the vocabulary.
            It reads `context["image"]`, prompts as `tokens` [N, S] and `mask` [N, S].
        dim: size of the features.
        num_layers: layers of the encoder, and of the transformer's decoder; "sc_lstm" has one.
        num_heads: attention heads (transformer).
        dropout: probability of dropping an entry while training.
        max_tokens: longest reply, end token included.
        temperature: divides the logits, in sampling and re-evaluation alike.
        tie_embeddings: use the decoder's token embeddings as the output matrix, too.
        critic: also estimate values, for baselines that need them.
        path: folder or hub name of the pretrained model.
        prefix: text before each prompt that a pretrained model reads, such as "translate English to German: ".
        suffix: text after each prompt, which tells a model that goes on with it where the reply begins, such as " =>".
        chat: put each prompt into the chat template of a pretrained model's tokenizer, as what the user says.
        freeze_encoder: no gradients through a pretrained encoder, nor through embeddings that it shares with the decoder.
        lora: what a pretrained model learns beside its own weights, which then stay as they are; null to train these. Needs peft.
        gradient_checkpointing: run a pretrained model's layers again for their gradients, which takes less memory and more time.
        dtype: dtype of a pretrained model's weights: "fp32", "bf16", or with `lora` on a GPU "fp16".
    """

    type: Annotated[str, named(*TYPES)] = field(default="transformer", metadata={NAMES_CODE: ()})
    dim: int = 128
    num_layers: int = 2
    num_heads: int = 4
    dropout: float = 0.1
    max_tokens: Count = 40
    temperature: Positive = 1.0
    tie_embeddings: bool = True
    critic: bool = False
    path: Annotated[str, PRETRAINED] = ""
    prefix: Annotated[str, PRETRAINED] = ""
    suffix: Annotated[str, PRETRAINED] = ""
    chat: Annotated[bool, PRETRAINED] = False
    freeze_encoder: Annotated[bool, PRETRAINED] = False
    lora: Annotated[LoraConfig | None, PRETRAINED] = None
    gradient_checkpointing: Annotated[bool, PRETRAINED] = False
    dtype: Annotated[Dtype, PRETRAINED] = "fp32"

    def __post_init__(self) -> None:
        check_settings(self)
        if self.type == "pretrained" and self.critic:
            raise ValueError("critic: a pretrained model has no critic; choose a baseline that needs none, such as leave_one_out")


def load_pretrained(config: PolicyConfig) -> Any:
    """Load the pretrained model that a configuration names; see `seqrl.tasks.writing.pretrained.loading.load_text_policy`."""
    # transformers takes seconds to import; only those who use it wait.
    from seqrl.tasks.writing.pretrained.loading import load_text_policy

    names = ("dtype", "max_tokens", "temperature", "freeze_encoder", "lora", "gradient_checkpointing")
    return load_text_policy(config.path, **{name: getattr(config, name) for name in names})


def vocabulary_of(train: Pairs, given: Any, policy: Any, data: DataConfig, config: PolicyConfig) -> AnyVocabulary:
    """Make the vocabulary of a task: what is given, else the tokenizer of a pretrained policy, the configured one, or the words of `train`.

    Raises:
        ValueError: when it can be none.
    """
    if given is None and getattr(policy, "tokenizer", None) is not None:
        return model_vocabulary(policy, data, config)
    if given is None and not data.tokenizer:
        return make_vocabulary(train, tokens=data.tokens, min_count=data.min_count, pieces=data.pieces)
    return any_vocabulary(data.tokenizer if given is None else given, tokens=data.tokens)


def model_vocabulary(policy: Any, data: DataConfig, config: PolicyConfig) -> AnyVocabulary:
    """Make the vocabulary that a pretrained policy reads and writes in: its own tokenizer.

    Raises:
        ValueError: when the settings ask for another one, or tokenizer and model do not fit.
    """
    from seqrl.tasks.writing.pretrained.vocabulary import ModelVocabulary

    for name in ("tokenizer", "pieces"):
        if getattr(data, name):
            raise ValueError(
                f"data.{name}: a pretrained model reads and writes with its own tokenizer, got {getattr(data, name)!r}; leave it out"
            )
    return ModelVocabulary(policy.tokenizer, policy, around=(config.prefix, config.suffix), chat=config.chat, tokens=data.tokens)


def build_policy(config: PolicyConfig, vocabulary: AnyVocabulary, max_prompt_tokens: int) -> nn.Module:
    """Make the policy that a configuration names.

    Args:
        config: kind and sizes.
        vocabulary: its length and its special tokens are read.
        max_prompt_tokens: longest prompt, its end token included.

    Raises:
        ValueError: when its sizes do not fit.
    """
    if config.type == "pretrained":
        return load_pretrained(config)  # type: ignore[no-any-return]
    if ":" in config.type:
        return call("task.policy.type", config.type, config, vocabulary)  # type: ignore[no-any-return]
    tokens: dict[str, Any] = {name: getattr(vocabulary, name) for name in ("begin", "end", "pad", "unknown")}
    shared: dict[str, Any] = {name: getattr(config, name) for name in ("max_tokens", "temperature", "tie_embeddings", "critic")}
    if config.type == "sc_lstm":
        return SemanticPolicy(len(vocabulary), dim=config.dim, dropout=config.dropout, **shared, **tokens)
    sizes: dict[str, Any] = {"memory_dim": config.dim, "dim": config.dim, "dropout": config.dropout}
    encoder: nn.Module
    decoder: Any
    # A word of the prompt is the same word in the reply, so that both sides share its embedding.
    if config.type == "recurrent":
        decoder = AttentionLSTMDecoder(len(vocabulary), **sizes)
        encoder = RecurrentEncoder(decoder.token_embedding, num_layers=config.num_layers, dropout=config.dropout)
    else:
        stack: dict[str, Any] = {"num_layers": config.num_layers, "num_heads": config.num_heads}
        decoder = TransformerDecoder(len(vocabulary), max_tokens=config.max_tokens, **stack, **sizes)
        encoder = TransformerEncoder(decoder.token_embedding, max_tokens=max_prompt_tokens, dropout=config.dropout, **stack)
    return CaptionPolicy(encoder, decoder, **shared, **tokens)


def trimmed(prompts: Any) -> tuple[Tensor, Tensor]:
    """Give tokens and mask of prompts without the columns in which all of them have ended."""
    width = int(prompts["mask"].any(dim=0).sum())
    return prompts["tokens"][:, :width], prompts["mask"][:, :width]


class RecurrentEncoder(nn.Module):
    """Reads a prompt in both directions: h_i = W [GRU(x_1 .. x_i), GRU(x_S .. x_i)].

    Source: Bahdanau et al. 2015 (Neural machine translation by jointly learning to align and translate), encoder.

    Args:
        embedding: of the tokens, D numbers each.
        num_layers: of GRU cells.
        dropout: of the embeddings and the features.
    """

    def __init__(self, embedding: nn.Embedding, *, num_layers: int, dropout: float) -> None:
        super().__init__()
        self.feature_dim = dim = embedding.embedding_dim
        self.token_embedding = embedding
        # Embeddings are small at first, too small for gates to tell them apart.
        self.norm = nn.LayerNorm(dim)
        self.gru = nn.GRU(dim, dim, num_layers, batch_first=True, bidirectional=True)
        self.project = nn.Linear(2 * dim, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, prompts: Any) -> dict[str, Tensor]:
        """Encode prompts: `tokens` [N, S] long and `mask` [N, S] bool."""
        tokens, mask = trimmed(prompts)
        embedded = self.dropout(self.norm(self.token_embedding(tokens)))
        packed = pack_padded_sequence(embedded, mask.sum(dim=1).cpu(), batch_first=True, enforce_sorted=False)
        features, _ = pad_packed_sequence(run_recurrent(self.gru, packed)[0], batch_first=True, total_length=tokens.shape[1])
        return masked_memory(self.dropout(self.project(features)), mask)


class EncoderLayer(nn.Module):
    """Pre-norm self-attention over all tokens that count, and a feed-forward part.

    Args:
        dim: model size D.
        num_heads: attention heads H.
        dropout: probability of dropping an entry of a residual branch.

    Source: Vaswani et al. 2017 (Attention is all you need), encoder.
    """

    def __init__(self, dim: int, *, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.self_norm, self.feed_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.self_in, self.self_out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.widen, self.narrow = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Map [N, S, D] to [N, S, D], each token seeing those of its row that `mask` [N, S] says are there."""
        N, S, D = x.shape
        parts = self.self_in(self.self_norm(x)).view(N, S, 3, self.num_heads, D // self.num_heads)
        query, key, value = (part.transpose(1, 2) for part in parts.unbind(2))
        x = x + self.dropout(self.self_out(attend_all(query, key, value, mask=mask).transpose(1, 2).flatten(2)))
        return x + self.dropout(self.narrow(F.gelu(self.widen(self.feed_norm(x)))))


class TransformerEncoder(nn.Module):
    """Reads a prompt with learned positions and a final layer normalisation.

    Source: Vaswani et al. 2017 (Attention is all you need), encoder.
    Differs from: learned positions instead of sines, normalisation before each branch.

    Args:
        embedding: of the tokens, D numbers each.
        num_layers: of them.
        num_heads: attention heads; must divide D.
        dropout: of the residual branches and the embeddings.
        max_tokens: longest prompt that has positions of its own; tokens behind share the last one.

    Raises:
        ValueError: when num_heads does not divide dim.
    """

    def __init__(self, embedding: nn.Embedding, *, num_layers: int, num_heads: int, dropout: float, max_tokens: int) -> None:
        super().__init__()
        self.feature_dim = dim = embedding.embedding_dim
        if dim % num_heads:
            raise ValueError(f"dim: expected a multiple of num_heads = {num_heads}, got {dim}")
        self.token_embedding = embedding
        self.position_embedding = nn.Parameter(torch.randn(max_tokens, dim) * 0.02)
        self.layers = nn.ModuleList(EncoderLayer(dim, num_heads=num_heads, dropout=dropout) for _ in range(num_layers))
        self.norm = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, prompts: Any) -> dict[str, Tensor]:
        """Encode prompts: `tokens` [N, S] long and `mask` [N, S] bool."""
        tokens, mask = trimmed(prompts)
        place = torch.arange(tokens.shape[1], device=tokens.device).clamp(max=self.position_embedding.shape[0] - 1)
        x = self.dropout(self.token_embedding(tokens) + self.position_embedding[place])
        for layer in self.layers:
            x = layer(x, mask)
        return masked_memory(self.norm(x), mask)
