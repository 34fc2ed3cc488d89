"""The policy that a pretrained model of transformers is, whatever kind it is of: what adapters share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from seqrl.policies.token_evaluation import LinearHead, evaluate_tokens
from seqrl.policies.tokens import act_on_tokens, check_token_settings, first_leaf, input_tokens, never_right, resample_tokens
from seqrl.tasks.writing.memory import distinct_memory_of, memory_of
from seqrl.tasks.writing.pretrained.adapter import Adapter, special_tokens
from seqrl.tasks.writing.pretrained.checkpointing import checkpoint_layers
from seqrl.tasks.writing.pretrained.generation import GenerationRules
from seqrl.tasks.writing.pretrained.hub import without_progress_bars
from seqrl.tasks.writing.pretrained.lora import Lora, LoraConfig
from seqrl.trajectory import Evaluation, Trajectory, Tree


class TransformersPolicy(nn.Module):
    """Writes with a model of transformers: p(a_t | x, a_<t) = softmax(model logits / temperature).

    What the model's generation settings rule (`GenerationRules`) is part of the policy, in sampling and re-evaluation alike; only
    demonstrations are imitated as they are.

    Args:
        adapter: of the model's kind.
        max_tokens: longest text, end token included.
        temperature: divides the logits, in sampling and re-evaluation alike.
        freeze_encoder: no gradients through the encoder, nor through embeddings that it shares with the decoder; sampled trajectories then
            carry its hidden states.
        begin: token before the first action; the model's own when None.
        end: token that ends a text; the model's own when None. Of several, as in `generate`, each ends a text, and the first one ends
            demonstrations; `end_demonstrations_with` chooses another.
        pad: token after the end; the model's own when None, or else the end token.
        unknown: token of words that have none of their own.
        lora: learn small matrices beside the model's own; None to train all weights.
        gradient_checkpointing: run layers again in the backward pass, in the place of keeping what they computed.
        tokenizer: saved beside the model, so that others can read what it writes. Label smoothing leaves out its special tokens, but
            those that end a text, and what the model has beyond it; sampling may choose all of them.

    Raises:
        ValueError: when a setting is out of range, the model has no encoder to freeze, or neither the model nor the caller names the begin
            or end token.
    """

    has_distribution = False
    act = act_on_tokens

    def __init__(
        self,
        adapter: Adapter,
        *,
        max_tokens: int = 20,
        temperature: float = 1.0,
        freeze_encoder: bool = False,
        begin: int | None = None,
        end: int | None = None,
        pad: int | None = None,
        unknown: int | None = None,
        lora: LoraConfig | None = None,
        gradient_checkpointing: bool = False,
        tokenizer: Any = None,
    ) -> None:
        super().__init__()
        check_token_settings(max_tokens, temperature)
        self.adapter, self.tokenizer = adapter, tokenizer
        self.model: Any = adapter.model
        self.ends = _chosen("eos_token_id", end, special_tokens(self.model, "eos_token_id"))
        self.end = self.ends[0]
        first = special_tokens(self.model, "decoder_start_token_id", "bos_token_id")
        # Where the prompt's last token stands in its place, the begin token is only a mark.
        self.begin = _chosen("decoder_start_token_id", begin, first or (self.ends if adapter.continues else ()))[0]
        self.pad = _chosen("pad_token_id", pad, special_tokens(self.model, "pad_token_id") or self.ends)[0]
        settings = getattr(adapter, "generation_config", self.model.generation_config)
        self.rules = GenerationRules(settings, self.ends, max_tokens, continues=adapter.continues)
        # Rules that may add to a token's log-probability, which beam search asks for.
        self.may_gain = bool({"sequence_bias", "exponential_decay_length_penalty"} & set(self.rules.names))
        self.max_tokens, self.temperature = max_tokens, temperature
        self.lora = None if lora is None else Lora(self.model, lora, left_out=adapter.encoder if freeze_encoder else None)
        if gradient_checkpointing:
            checkpoint_layers(self.model)
        self.freeze_encoder = freeze_encoder
        if freeze_encoder:
            if adapter.encoder is None:
                raise ValueError(f"freeze_encoder: a {type(self.model).__name__} has no encoder; set it to false")
            adapter.encoder.requires_grad_(False)
        self.vocabulary_size = adapter.vocabulary_size
        # Models are often rounded up to more tokens than their tokenizer has.
        known = self.vocabulary_size if tokenizer is None else len(tokenizer)
        special = () if tokenizer is None else tokenizer.all_special_ids
        # The last token of a prompt may be a word like any other.
        mark = None if adapter.continues else self.begin
        self.wrong = never_right(self.ends, mark, self.pad, unknown, *special, *range(known, self.vocabulary_size))

    @property
    def how_it_runs(self) -> str:
        """What is to be known of how the model is run, for the first lines of a run."""
        learned = sum(weight.numel() for weight in self.parameters() if weight.requires_grad)
        others = sum(map(Tensor.numel, self.parameters())) - learned
        lora = "" if self.lora is None else f"LoRA learns {learned:,} numbers beside {others:,}"
        return "; ".join(part for part in (getattr(self.adapter, "how_it_runs", ""), lora) if part)

    @property
    def shares_memory(self) -> bool:
        """Whether rows about one item share its memory while they are written."""
        return bool(getattr(self.adapter, "shares_memory", False))

    def save_pretrained(self, folder: str | Path) -> None:
        """Write a folder that plain transformers loads: the model, its tokenizer where known, and what else belongs to it.

        What LoRA has learned is put into the weights.

        Args:
            folder: made when it is missing.
        """
        with without_progress_bars():
            (self.model if self.lora is None else self.lora.merged()).save_pretrained(folder)
        if save := getattr(self.adapter, "save", None):
            save(Path(folder))
        if self.tokenizer is not None:
            self.tokenizer.save_pretrained(folder)

    def end_demonstrations_with(self, end: int) -> None:
        """Choose which of the end tokens ends a demonstration.

        Raises:
            ValueError: when it is none of them.
        """
        if end not in self.ends:
            raise ValueError(f"end: expected one of the model's end tokens {list(self.ends)}, got {end}")
        self.end = end

    def encode(self, inputs: Any) -> Tree:
        """Read what is written about, leaves [N, ...]; see `Adapter.encode`."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.freeze_encoder):
            return self.adapter.encode(inputs)

    def initial_state(self, context: Tree) -> Tree:
        """Give the state before the first token."""
        memory = memory_of(self, context)
        state = self.adapter.start(memory, self.max_tokens)
        if not self.rules:
            return state
        N, device = first_leaf(memory).shape[0], first_leaf(memory).device
        prompts = {"prompt": memory["prompt"]} if self.adapter.continues else {}
        return state | prompts | {"tokens": torch.zeros(N, 0, dtype=torch.long, device=device)}

    def next_logits(self, tokens: Tensor, state: Tree) -> tuple[Tensor, Tree]:
        """Give the logits [B, V] of what follows tokens [B], and the next state."""
        logits, after = self._next(tokens, state)
        logits = self.rules.apply(after["tokens"], logits, after.get("prompt")) if self.rules else logits
        return logits if self.temperature == 1 else logits / self.temperature, after

    def next_logp(self, tokens: Tensor, state: Tree) -> tuple[Tensor, Tree]:
        """Give what beam search adds for each token [B, V]; as in `generate`, rules change log-probabilities, which then add up to less."""
        logits, after = self._next(tokens, state)
        logp = (logits.float() / self.temperature).log_softmax(dim=-1)
        return self.rules.apply(after["tokens"], logp, after.get("prompt")) if self.rules else logp, after

    def forward(self, trajectory: Trajectory) -> Evaluation:
        """Evaluate the tokens of a trajectory in one pass, with one reading of what each group is about."""
        if self.rules:
            return evaluate_tokens(self._logits(trajectory), lambda chosen: chosen, trajectory, wrong=self.wrong)
        memory, item = distinct_memory_of(self, trajectory)
        tokens = input_tokens(trajectory, self.begin)
        features, head = self.adapter.features(tokens, trajectory.counted, memory, item)
        if head is not None:
            head = LinearHead(head.weight, head.bias, self.temperature)
        return evaluate_tokens(features, head or (lambda chosen: chosen / self.temperature), trajectory, wrong=self.wrong)

    def resample(self, trajectory: Trajectory, generator: torch.Generator | None = None) -> Tensor:
        """Draw a token [B, T] for every step, given the trajectory's own tokens before it."""
        return resample_tokens(self._logits(trajectory), generator)

    def _next(self, tokens: Tensor, state: Any) -> tuple[Tensor, dict[str, Any]]:
        """Give the model's own logits [B, V] of what follows tokens [B], and the next state."""
        logits, after = self.adapter.step(tokens, state)
        if self.rules:
            after = after | {"tokens": torch.cat([state["tokens"], tokens.unsqueeze(1)], dim=1)}
            after |= {"prompt": state["prompt"]} if "prompt" in state else {}
        return logits, after

    def _logits(self, trajectory: Trajectory) -> Tensor:
        """Give all logits [B, T, V], as rules and temperature change them."""
        memory, item = distinct_memory_of(self, trajectory)
        tokens = input_tokens(trajectory, self.begin)
        features, head = self.adapter.features(tokens, torch.ones_like(trajectory.mask), memory, item)
        logits = (features if head is None else head(features)).view(*tokens.shape, -1)
        if self.rules:
            prompt = memory.get("prompt")
            prompt = prompt if prompt is None or item is None else prompt[item]
            logits = self.rules.apply_to_rows(tokens, logits, trajectory.mask, prompt)
        return logits / self.temperature


def _chosen(name: str, given: int | None, found: tuple[int, ...]) -> tuple[int, ...]:
    if given is None and not found:
        raise ValueError(f"{name}: expected a token in the model's configuration, got none; give begin, end and pad")
    return found if given is None else (given,)
