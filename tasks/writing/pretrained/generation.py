"""What a pretrained model's generation settings ask of its policy: end tokens, and rules that change the scores of the next token."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import generation

from seqrl.metrics.text_files import read_json

# Settings said to the generation loop of transformers ("others"), not to what is written: lengths, beams and sampling are the
# configuration's here; and the values with which a setting says nothing ("neutral").
_SETTINGS: dict[str, Any] = read_json(Path(__file__).with_name("generation.json"))
# Of the whole row with its prompt, where a model goes on with one.
_COUNTS_PROMPT = frozenset(("min_length", "forced_bos_token_id"))


class GenerationRules:
    """Changes the scores of the next token as `generate` does, by transformers' own processors, in their order.

    Args:
        settings: the model's generation settings.
        ends: all end tokens.
        max_tokens: longest row, end token included, where a forced end comes.
        continues: the model goes on with a prompt, which rules then read as a part of the row, as `generate` has it.

    Raises:
        ValueError: naming the settings that change what is written and are not understood, or that no row of a batch can keep.
    """

    def __init__(self, settings: Any, ends: tuple[int, ...], max_tokens: int, *, continues: bool = False) -> None:
        given = {name: value for name, value in settings.to_dict().items() if _says_something(name, value)}
        self._given, self._ends, self._max_tokens = given, list(ends), max_tokens
        honoured = self._makers(torch.device("cpu"), 1)
        strange = sorted(given.keys() - honoured)
        if strange:
            raise ValueError(
                f"generation_config: expected settings among {', '.join(honoured)}, got {', '.join(strange)}, which change what is "
                "written; take them out of generation_config.json"
            )
        counted = sorted(set(given) & _COUNTS_PROMPT) if continues else []
        if counted:
            raise ValueError(
                f"generation_config: {', '.join(counted)} of a model that goes on with a prompt would count the prompt, whose length "
                "differs from row to row; take it out of generation_config.json, or say min_new_tokens"
            )
        self.names = tuple(name for name in honoured if name in given)
        self._processors: dict[tuple[torch.device, int], list[tuple[str, Any]]] = {}

    def __bool__(self) -> bool:
        """Tell whether there is any rule."""
        return bool(self.names)

    def apply(self, tokens: Tensor, scores: Tensor, prompt: Tensor | None = None) -> Tensor:
        """Change scores.

        Args:
            tokens: [B, t] long, the row so far, begin token included.
            scores: [B, V] logits, or in beam search log-probabilities.
            prompt: [B, S] long, in the place of the begin token, -1 before a row's first one; None for none.

        Returns:
            [B, V] float32.
        """
        row = tokens if prompt is None else torch.cat([prompt, tokens[:, 1:]], dim=1)
        first = 1 if prompt is None else prompt.shape[1]
        key = (scores.device, first)
        if key not in self._processors:
            makers = self._makers(scores.device, first)
            self._processors[key] = [(name, makers[name](self._given[name])) for name in self.names]
        scores = scores.float()
        for name, processor in self._processors[key]:
            # It asks for the logit of each token: padding stands for one that is there anyhow.
            read = torch.where(row < 0, row[:, first - 1 : first], row) if name == "repetition_penalty" else row
            scores = processor(read, scores)
        return scores

    def apply_to_rows(self, tokens: Tensor, scores: Tensor, mask: Tensor, prompt: Tensor | None = None) -> Tensor:
        """Change the scores [B, T, V] of the steps in mask [B, T]; tokens [B, T] are those seen before each step, prompt as in `apply`.

        Demonstrations are left as they are: a rule may forbid what they show.
        """
        steps = range(tokens.shape[1])
        changed = torch.stack([self.apply(tokens[:, : step + 1], scores[:, step], prompt) for step in steps], dim=1)
        return torch.where(mask.unsqueeze(2), changed, scores.float())

    def _makers(self, device: torch.device, first: int) -> dict[str, Callable[[Any], Any]]:
        """Give what makes the processor of each rule, in their order, for rows whose first `first` tokens are no action."""
        ends, on = self._ends, {"device": str(device)}
        return {
            "sequence_bias": lambda value: generation.SequenceBiasLogitsProcessor(value),
            "repetition_penalty": lambda value: generation.RepetitionPenaltyLogitsProcessor(float(value)),
            "no_repeat_ngram_size": lambda value: generation.NoRepeatNGramLogitsProcessor(value),
            "bad_words_ids": lambda value: generation.NoBadWordsLogitsProcessor(value, torch.tensor(ends, device=device)),
            "min_length": lambda value: generation.MinLengthLogitsProcessor(value, ends, **on),
            "min_new_tokens": lambda value: generation.MinNewTokensLengthLogitsProcessor(first, value, ends, **on),
            "forced_bos_token_id": lambda value: generation.ForcedBOSTokenLogitsProcessor(value),
            "forced_eos_token_id": lambda value: generation.ForcedEOSTokenLogitsProcessor(first + self._max_tokens, value, **on),
            "exponential_decay_length_penalty": lambda value: generation.ExponentialDecayLengthPenalty(
                tuple(value), torch.tensor(ends, device=device), first
            ),
            "suppress_tokens": lambda value: generation.SuppressTokensLogitsProcessor(value, **on),
            "begin_suppress_tokens": lambda value: generation.SuppressTokensAtBeginLogitsProcessor(
                value, first + ("forced_bos_token_id" in self._given), **on
            ),
        }


def _says_something(name: str, value: Any) -> bool:
    nothing = value is None or value is False or value in ([], {}, ())
    return name not in _SETTINGS["others"] and not nothing and value != _SETTINGS["neutral"].get(name)
