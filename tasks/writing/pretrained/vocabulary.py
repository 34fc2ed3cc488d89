"""The tokenizer of a pretrained model as a vocabulary: prompts and references become what the model was trained to read and to write."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Any

from seqrl.metrics.tokenisations import tokenisation_by_name
from seqrl.tasks.writing.vocabulary import before_end


class ModelVocabulary:
    """A tokenizer with the special tokens of the model that it belongs to.

    A prompt is tokenised by the tokenizer's own rules for what is read (T5 ends it, BART puts it between two tokens), a reference by those
    for what is written (`text_target`), which a Marian tokenizer reads in another language. Texts come back without special tokens.

    Args:
        tokenizer: of transformers.
        policy: of the model; its special tokens and `vocabulary_size` are read, and its demonstrations end with the tokenizer's end.
        around: text before and after each prompt.
        chat: put prompts into the tokenizer's chat template, as what the user says.
        tokens: the tokenisation in which words are scored.

    Raises:
        ValueError: when the tokenizer has more tokens than the model, or no chat template where one is asked for, or the model cannot write
            as long texts as the policy may.
    """

    def __init__(
        self, tokenizer: Any, policy: Any, *, around: tuple[str, str] = ("", ""), chat: bool = False, tokens: str = "spaces"
    ) -> None:
        self.tokenisation = tokenisation_by_name(tokens)
        self.tokenizer = tokenizer
        if len(tokenizer) > policy.vocabulary_size:
            raise ValueError(
                f"tokenizer: expected at most the {policy.vocabulary_size} tokens that the model writes, got {len(tokenizer)}; take the "
                "tokenizer that belongs to the model, or resize the model's embeddings"
            )
        if chat and not tokenizer.chat_template:
            raise ValueError("policy.chat: the tokenizer has no chat template; set it to false, or take a model that was trained to chat")
        self._around, self._chat, self._continues = around, chat, bool(policy.adapter.continues)
        # The begin token takes a place, too; of a model that goes on with a prompt it is the prompt's.
        places = _num_places(policy.model.config)
        self._longest = places - (policy.max_tokens if self._continues else 0)
        if policy.max_tokens + 1 > places:
            raise ValueError(f"policy.max_tokens: expected at most {places - 1} with this model, got {policy.max_tokens}")
        if tokenizer.eos_token_id in policy.ends:
            policy.end_demonstrations_with(tokenizer.eos_token_id)
        self.begin, self.end, self.pad = int(policy.begin), int(policy.end), int(policy.pad)
        self.unknown = self.end if tokenizer.unk_token_id is None else int(tokenizer.unk_token_id)

    def __len__(self) -> int:
        """Number of ids, added tokens included."""
        return len(self.tokenizer)

    def encode_prompt(self, text: str, max_tokens: int = 0) -> list[int]:
        """Give the ids of a text that is read, with the special tokens that belong there.

        Args:
            text: any.
            max_tokens: longer ones lose their beginning, with the prefix; 0 for no limit.

        Raises:
            ValueError: when it is longer than the model can read.
        """
        read = text.join(self._around)
        side, self.tokenizer.truncation_side = self.tokenizer.truncation_side, "left"
        how: dict[str, Any] = {"truncation": True, "max_length": max_tokens} if max_tokens else {}
        try:
            if self._chat:
                said = [{"role": "user", "content": read}]
                how |= {"add_generation_prompt": True, "tokenize": True, "return_dict": True}
                found = list(self.tokenizer.apply_chat_template(said, **how)["input_ids"])
            else:
                found = list(self.tokenizer(read, **how)["input_ids"])
        finally:
            self.tokenizer.truncation_side = side
        if len(found) > self._longest:
            raise ValueError(
                f"the prompt {text[:60]!r} has {len(found)} tokens, of which the model can read {self._longest}; "
                f"set data.max_prompt_tokens={self._longest}, so that longer ones lose their beginning"
            )
        # A model that goes on with a prompt needs a token to go on from.
        return found or [self.end if self.tokenizer.bos_token_id is None else int(self.tokenizer.bos_token_id)]

    def encode_reference(self, text: str) -> list[int]:
        """Give the ids of a text that is written, up to its end token."""
        if self._continues:
            return [*self.tokenizer(text, add_special_tokens=False)["input_ids"], self.end]
        found = list(self.tokenizer(text_target=text)["input_ids"])
        return found if found and found[-1] == self.end else [*found, self.end]

    def encode(self, words: Sequence[str]) -> list[int]:
        """Give the ids of words, joined to a text; no begin or end token is added."""
        return list(self.tokenizer(text_target=self.tokenisation.join(words), add_special_tokens=False)["input_ids"])

    def decode(self, ids: Iterable[int]) -> list[str]:
        """Give the words of a text, up to the end token: what is rewarded, evaluated and shown; special tokens count nowhere."""
        return self.tokenisation.split(self.tokenizer.decode(before_end(ids, self.end), skip_special_tokens=True))

    def fingerprint(self) -> str:
        """Give 16 hexadecimal digits that differ where any id stands for another token."""
        tokens = self.tokenizer.convert_ids_to_tokens(list(range(len(self))))
        return hashlib.sha256(json.dumps([tokens, self.begin, self.end]).encode()).hexdigest()[:16]


def _num_places(config: Any) -> int:
    """Tell how many tokens a model can tell apart by their places; a very large number where there is no limit, as in T5."""
    names = ("max_position_embeddings", "max_decoder_position_embeddings")
    return next((int(found) for found in (getattr(config, name, None) for name in names) if found), 2**31)
