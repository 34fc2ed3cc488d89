"""One vector a sentence, by a model of transformers or sentence-transformers; torch is loaded when the first encoder is made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqrl.metrics.limits import brief
from seqrl.metrics.packaged_models import PACKAGED, packaged_model
from seqrl.metrics.text_files import read_json

POOLINGS = ("mean", "cls", "max", "lasttoken")
# Names of sentence-transformers; a factor does not change a cosine, so the mean over the root of the length is the mean.
_THEIR_NAMES = (
    "mean_tokens:mean mean_sqrt_len_tokens:mean cls_token:cls max_tokens:max lasttoken:lasttoken weightedmean_tokens:weightedmean"
)
_SAME = dict(pair.split(":") for pair in _THEIR_NAMES.split())


@dataclass(frozen=True)
class Reading:
    """How a model's folder says that sentences are read: pooling, the most tokens (None: what the model can), lower case or not."""

    pooling: str = "mean"
    max_tokens: int | None = None
    lowercase: bool = False


class SentenceEncoder:
    """Encodes sentences as the pooled last hidden states of a model, with length 1.

    Args:
        name: a folder or a hub name, or one of `PACKAGED`; where a sentence-transformers configuration stands in it, its pooling, most
            tokens and case are taken, else the mean over the attention mask. Weights have to be safetensors, and no code comes with them.
        batch_size: sentences encoded at a time.
        device: of the model, for instance "cpu" or "cuda".

    Raises:
        ValueError: for a model that cannot be loaded, or a configuration that asks for more than pooling.
    """

    def __init__(self, name: str, *, batch_size: int = 64, device: str = "cpu") -> None:
        import torch
        from transformers import AutoModel, AutoTokenizer

        place = str(packaged_model(name)) if name in PACKAGED else name
        self.reading = read_reading(place)
        try:
            self.tokenizer = AutoTokenizer.from_pretrained(place, trust_remote_code=False)
            self.model = AutoModel.from_pretrained(place, trust_remote_code=False, use_safetensors=True, dtype=torch.float32)
        except (OSError, ValueError, KeyError) as error:
            raise ValueError(
                f"{name}: expected a folder or hub name of a model with tokenizer and safetensors, or one of {', '.join(PACKAGED)}; {error}"
            ) from error
        self.model = self.model.eval().requires_grad_(False).to(device)
        self.batch_size, self.device = batch_size, device
        longest = [self.reading.max_tokens, getattr(self.model.config, "max_position_embeddings", None), self.tokenizer.model_max_length]
        self.max_tokens = min(tokens for tokens in longest if tokens)
        if self.tokenizer.pad_token is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        self.tokenizer.padding_side = "right"

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Give a vector of length 1 for each text, [N, dimensions]; texts of like length share a batch."""
        import torch

        # what no UTF-8 can hold, a lone surrogate, no tokenizer takes
        clean = [text.encode("utf-8", "replace").decode() for text in texts]
        if self.reading.lowercase:
            clean = [text.lower() for text in clean]
        order = sorted(range(len(clean)), key=lambda place: len(clean[place]))
        found: dict[int, NDArray[np.float32]] = {}
        for start in range(0, len(order), self.batch_size):
            places = order[start : start + self.batch_size]
            batch = self.tokenizer(
                [clean[place] for place in places], padding=True, truncation=True, max_length=self.max_tokens, return_tensors="pt"
            ).to(self.device)
            with torch.inference_mode():
                hidden = self.model(**batch).last_hidden_state
                vectors = torch.nn.functional.normalize(pool(hidden, batch["attention_mask"], self.reading.pooling), dim=-1)
            found.update(zip(places, vectors.float().cpu().numpy(), strict=True))
        return np.stack([found[place] for place in range(len(clean))]) if clean else np.zeros((0, 1), np.float32)


def pool(hidden: Any, mask: Any, pooling: str) -> Any:
    """Pool hidden states [B, T, D] over the places where mask [B, T] is 1, padded on the right; gives [B, D]."""
    kept = mask.unsqueeze(-1).to(hidden.dtype)
    if pooling == "cls":
        return hidden[:, 0]
    if pooling == "max":
        return hidden.masked_fill(kept == 0, float("-inf")).amax(dim=1)
    if pooling == "lasttoken":
        last = (mask.sum(dim=1) - 1).clamp(min=0)
        return hidden[range(len(hidden)), last]
    return (hidden * kept).sum(dim=1) / kept.sum(dim=1).clamp(min=1e-9)


def read_reading(place: str) -> Reading:
    """Read how a model is used from the configuration of sentence-transformers, if it has one.

    Args:
        place: a folder or a hub name.

    Raises:
        ValueError: for parts other than a transformer, pooling and normalising, for several poolings at once or one of another kind.
    """
    modules = _json_of(place, "modules.json")
    if modules is None:
        return Reading()
    kinds = [str(module.get("type", "")).rsplit(".", 1)[-1] for module in modules]
    if kinds[:2] != ["Transformer", "Pooling"] or set(kinds[2:]) - {"Normalize"}:
        raise ValueError(
            f"{place}: expected a sentence encoder of Transformer, Pooling and Normalize, got {', '.join(kinds)}; name another"
        )
    prompts = _json_of(place, "config_sentence_transformers.json") or {}
    if prompts.get("default_prompt_name"):
        raise ValueError(
            f"{place}: expected a sentence encoder without a prompt, got {brief(prompts['default_prompt_name'])}; name another"
        )
    pooling = _json_of(place, f"{modules[1].get('path', '')}/config.json") or {}
    chosen = pooling.get("pooling_mode") or [key for key in _SAME if pooling.get(f"pooling_mode_{key}")] or ["mean"]
    chosen = [chosen] if isinstance(chosen, str) else chosen
    chosen = [_SAME.get(mode, mode) for mode in chosen]
    if len(chosen) != 1 or chosen[0] not in POOLINGS:
        raise ValueError(f"{place}: expected one pooling among {', '.join(POOLINGS)}, got {brief(chosen)}; name another model")
    settings = _json_of(place, "sentence_bert_config.json") or {}
    return Reading(chosen[0], settings.get("max_seq_length"), bool(settings.get("do_lower_case", False)))


def _json_of(place: str, name: str) -> Any:
    """Read a file of a model, None where there is none."""
    if Path(place).is_dir():
        path = Path(place) / name
        return read_json(path) if path.is_file() else None
    from transformers.utils.hub import cached_file

    # Without a connection what is in the hub's cache counts: it holds this file, too, where sentence-transformers fetched the model.
    lenient = {f"_raise_exceptions_for_{kind}": False for kind in ("missing_entries", "connection_errors", "gated_repo")}
    try:
        found = cached_file(place, name, **lenient)
    except OSError as error:
        raise ValueError(f"{place}: expected a folder or hub name of a model, or one of {', '.join(PACKAGED)}; {error}") from error
    return None if found is None else read_json(found)
