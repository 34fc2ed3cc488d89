"""A pretrained `VisionEncoderDecoderModel` of transformers as a policy; what it learns is saved so that plain transformers loads it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import VisionEncoderDecoderModel
from transformers.cache_utils import DynamicCache, EncoderDecoderCache

from seqrl.policies import act_on_tokens, check_token_settings, first_leaf, input_tokens, never_right, resample_tokens
from seqrl.tasks.captioning.policies.gpt2_decoder import GPT2Decoder, why_not
from seqrl.tasks.captioning.policies.pixels import check_processor, processed_pixels
from seqrl.tasks.writing.memory import distinct_memory_of, memory_of
from seqrl.tasks.writing.pretrained.adapter import special_tokens
from seqrl.tasks.writing.pretrained.generation import GenerationRules
from seqrl.tasks.writing.pretrained.hub import load_config, load_image_processor, only_here, place, weights_of
from seqrl.token_evaluation import LinearHead, evaluate_tokens
from seqrl.trajectory import Evaluation, Step, Trajectory, Tree

_WANTED = "a saved VisionEncoderDecoderModel"


class PretrainedPolicy(nn.Module):
    """Captions images with an encoder-decoder model: p(a_t | image, a_<t) = softmax(model logits / temperature).

    What the model's generation settings rule (`GenerationRules`) is part of the policy, in sampling and re-evaluation alike; only
    demonstrations are imitated as they are.

    Args:
        model: the encoder-decoder; its decoder attends to the encoder's last hidden states.
        processor: its image processor, which is applied to the images as they are stored; where `prepared` is set, those steps are
            left out that `seqrl.tasks.captioning.policies.pixels.Preparation` has done on the photographs.
        max_tokens: longest caption, end token included.
        temperature: divides the logits, in sampling and re-evaluation alike.
        freeze_encoder: no gradients through the encoder; sampled trajectories then carry its hidden states.
        begin: token before the first action; the model's own when None.
        end: token that ends a caption; the model's own when None. Of several, as in `generate`, each ends a caption, and the first
            one ends demonstrations; `end_demonstrations_with` chooses another.
        pad: token after the end; the model's own when None, or else the end token.
        unknown: token of words that have none of their own; the tokenizer's when None.
        tokenizer: saved beside the model, so that others can read what it writes. Label smoothing leaves out its special tokens, but
            those that end a caption, and what the model has beyond it; sampling may choose all of them, and `decode` skips them.
        fast: run a GPT-2 decoder by `GPT2Decoder`, which gives the same numbers; False: as transformers has it, as other decoders.

    Raises:
        ValueError: when a setting is out of range, the processor gives something else than a picture, or neither the model nor the
            caller names the begin or end token.
    """

    tells_distribution = False

    def __init__(
        self,
        model: VisionEncoderDecoderModel,
        processor: Any,
        *,
        max_tokens: int = 20,
        temperature: float = 1.0,
        freeze_encoder: bool = False,
        begin: int | None = None,
        end: int | None = None,
        pad: int | None = None,
        unknown: int | None = None,
        tokenizer: Any = None,
        fast: bool = True,
    ) -> None:
        super().__init__()
        check_token_settings(max_tokens, temperature)
        check_processor(processor)
        self.prepared = False
        self.model: Any = model
        self.processor = processor
        self.tokenizer = tokenizer
        start = special_tokens(model, "decoder_start_token_id", "bos_token_id")
        self.begin = _chosen("decoder_start_token_id", begin, start)[0]
        self.ends = _chosen("eos_token_id", end, special_tokens(model, "eos_token_id"))
        self.end = self.ends[0]
        self.pad = _chosen("pad_token_id", pad, special_tokens(model, "pad_token_id") or self.ends)[0]
        self.rules = GenerationRules(model.generation_config, self.ends, max_tokens)
        self.max_tokens, self.temperature = max_tokens, temperature
        self.freeze_encoder = freeze_encoder
        self.model.encoder.requires_grad_(not freeze_encoder)
        self.vocabulary_size = int(self.model.decoder.config.vocab_size)
        # Models are often rounded up to more tokens than their tokenizer has.
        known = self.vocabulary_size if tokenizer is None else len(tokenizer)
        special = () if tokenizer is None else tokenizer.all_special_ids
        self.wrong = never_right(self.ends, self.begin, self.pad, unknown, *special, *range(known, self.vocabulary_size))
        self.fast = fast

    @property
    def how_it_runs(self) -> str:
        """What runs the decoder, and why, for the first lines of a run."""
        if reason := why_not(self.model.decoder) if self.fast else "policy.fast is false":
            return f"the decoder runs as transformers has it, which takes several times as long as GPT2Decoder, since {reason}"
        return "the decoder runs by seqrl's GPT2Decoder (policy.fast)"

    @property
    def shares_memory(self) -> bool:
        """Whether rows about one item share its memory while they are written."""
        own = self._own_decoder()
        return own is not None and not own.drops

    @classmethod
    def from_pretrained(cls, path: str | Path, **settings: Any) -> PretrainedPolicy:
        """Load a model and its image processor from a folder or the hub; code that comes with a model is never run.

        Args:
            path: folder, or name on the hub.
            settings: the constructor's keyword arguments.

        Raises:
            FileNotFoundError: when there is no such folder, or the hub does not give it.
            ValueError: when it holds another kind of model.
        """
        processor, model = load_model(path)
        return cls(model, processor, **settings)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write a folder that `VisionEncoderDecoderModel`, `AutoImageProcessor` and, where known, `AutoTokenizer` load.

        Args:
            folder: made when it is missing.
        """
        self.model.save_pretrained(folder)
        self.processor.save_pretrained(folder)
        if self.tokenizer is not None:
            self.tokenizer.save_pretrained(folder)

    def encode(self, images: Tensor) -> Tree:
        """Encode uint8 images [N, 3, S, S] as `hidden` [N, R, D], the encoder's last hidden states; real numbers are these already."""
        if images.is_floating_point():
            return {"hidden": images.to(self.model.dtype)}
        pixels = processed_pixels(images, self.processor, prepared=self.prepared)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.freeze_encoder):
            return {"hidden": self.model.encoder(pixel_values=pixels).last_hidden_state}

    def initial_state(self, context: Tree) -> Tree:
        """Give the regions' keys and values and an empty attention cache.

        A decoder of transformers reads the begin token once, since only it knows the shapes; its self-attention is cut off again.
        """
        hidden = self._in_decoder_size(memory_of(self, context)["hidden"])
        begin = torch.full((hidden.shape[0], 1), self.begin, dtype=torch.long, device=hidden.device)
        own = self._own_decoder()
        state: dict[str, Any]
        if own is not None and not own.drops:
            state = own.start(hidden, self.max_tokens)
        else:
            output = self.model.decoder(input_ids=begin, encoder_hidden_states=hidden, use_cache=True)
            kept, cross = _tensors(output.past_key_values)
            empty = tuple((keys[:, :, :0], values[:, :, :0]) for keys, values in kept)
            state = {"memory": {"hidden": hidden, "attention": cross}, "cache": empty}
        return state | {"tokens": begin[:, :0]} if self.rules else state

    def next_logits(self, tokens: Tensor, state: Tree) -> tuple[Tensor, Tree]:
        """Give the logits [B, V] of what follows tokens [B], and the next state."""
        logits, after = self._next(tokens, state)
        logits = self.rules.apply(after["tokens"], logits) if self.rules else logits
        return logits if self.temperature == 1 else logits / self.temperature, after

    def next_logp(self, tokens: Tensor, state: Tree) -> tuple[Tensor, Tree]:
        """Give what beam search adds for each token [B, V]; as in `generate`, rules change log-probabilities, which then add up to less."""
        logits, after = self._next(tokens, state)
        logp = (logits.float() / self.temperature).log_softmax(dim=-1)
        return self.rules.apply(after["tokens"], logp) if self.rules else logp, after

    @property
    def may_gain(self) -> bool:
        """Whether a rule may add to a token's log-probability."""
        return bool({"sequence_bias", "exponential_decay_length_penalty"} & set(self.rules.names))

    def end_demonstrations_with(self, end: int) -> None:
        """Choose which of the end tokens ends a demonstration.

        Raises:
            ValueError: when it is none of them.
        """
        if end not in self.ends:
            raise ValueError(f"end: expected one of the model's end tokens {list(self.ends)}, got {end}")
        self.end = end

    def _next(self, tokens: Tensor, state: Tree) -> tuple[Tensor, dict[str, Any]]:
        """Give the model's own logits [B, V] of what follows tokens [B], and the next state."""
        parts: Any = state
        if "position" in parts:
            own = GPT2Decoder(self.model.decoder)
            features, after = own.step(tokens, parts)
            return F.linear(features, own.output_weight), self._with_tokens(tokens, parts, after)
        memory = parts["memory"]
        cache = EncoderDecoderCache(DynamicCache(parts["cache"]), DynamicCache(memory["attention"]))
        output = self.model.decoder(
            input_ids=tokens.unsqueeze(1), encoder_hidden_states=memory["hidden"], past_key_values=cache, use_cache=True
        )
        kept, _ = _tensors(output.past_key_values)
        return output.logits[:, -1], self._with_tokens(tokens, parts, {"memory": memory, "cache": kept})

    def _with_tokens(self, tokens: Tensor, before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
        """Keep the rows' tokens where rules read them."""
        return after | {"tokens": torch.cat([before["tokens"], tokens.unsqueeze(1)], dim=1)} if self.rules else after

    def act(self, obs: Tree, state: Tree, *, greedy: bool = False, generator: torch.Generator | None = None) -> Step:
        """Choose the next token of each row."""
        return act_on_tokens(self, first_leaf(obs), state, greedy=greedy, generator=generator)

    def forward(self, trajectory: Trajectory) -> Evaluation:
        """Evaluate the tokens of a trajectory in one pass, encoding the image of each group once."""
        own = self._own_decoder()
        if own is None or self.rules:
            return evaluate_tokens(self._logits(trajectory), lambda chosen: chosen, trajectory, wrong=self.wrong)
        features = self._features(own, trajectory, trajectory.counted)
        return evaluate_tokens(features, LinearHead(own.output_weight, None, self.temperature), trajectory, wrong=self.wrong)

    def resample(self, trajectory: Trajectory, generator: torch.Generator | None = None) -> Tensor:
        """Draw a token [B, T] for every step, given the trajectory's own tokens before it."""
        return resample_tokens(self._logits(trajectory), generator)

    def _logits(self, trajectory: Trajectory) -> Tensor:
        tokens, own = input_tokens(trajectory, self.begin), self._own_decoder()
        if own is not None:
            features = self._features(own, trajectory, torch.ones_like(trajectory.mask))
            logits = F.linear(features, own.output_weight).view(*tokens.shape, -1)
        else:
            memory, image = distinct_memory_of(self, trajectory)
            hidden = self._in_decoder_size(memory["hidden"])
            hidden = hidden if image is None else hidden[image]
            logits = self.model.decoder(input_ids=tokens, encoder_hidden_states=hidden, use_cache=False).logits
        return (self.rules.apply_to_rows(tokens, logits, trajectory.mask) if self.rules else logits) / self.temperature

    def _features(self, own: GPT2Decoder, trajectory: Trajectory, mask: Tensor) -> Tensor:
        """Give the features [M, D] of the M tokens in mask [B, T]."""
        tokens = input_tokens(trajectory, self.begin)
        memory, image = distinct_memory_of(self, trajectory)
        return own.read(tokens, mask, self._in_decoder_size(memory["hidden"]), image)

    def _own_decoder(self) -> GPT2Decoder | None:
        """Give what stands in for the model's decoder, where it can; layers may have been changed since the last time."""
        return GPT2Decoder(self.model.decoder) if self.fast and not why_not(self.model.decoder) else None

    def _in_decoder_size(self, hidden: Tensor) -> Tensor:
        # Apart from `encode`: the projection learns even where the encoder is frozen.
        projection = getattr(self.model, "enc_to_dec_proj", None)
        return hidden if projection is None else projection(hidden)


def load_model(path: str | Path) -> tuple[Any, Any]:
    """Load the image processor and the model; see `load_processor`."""
    processor = load_processor(path)
    with weights_of(str(path), field="path", wanted=_WANTED):
        model = VisionEncoderDecoderModel.from_pretrained(place(str(path)), trust_remote_code=False, local_files_only=only_here(str(path)))
        return processor, model


def load_processor(path: str | Path) -> Any:
    """Load the image processor of a `VisionEncoderDecoderModel`; code that comes with a model is never run.

    Args:
        path: folder, or name on the hub.

    Raises:
        FileNotFoundError: when there is no such folder, or the hub does not give it.
        ValueError: when it holds another kind of model.
    """
    name = str(path)
    if not name:
        raise ValueError("path: expected a folder or hub name of a VisionEncoderDecoderModel, got nothing; set policy.path")
    config = load_config(name, field="path", wanted=_WANTED)
    if config.model_type != "vision-encoder-decoder":
        raise ValueError(f"path: expected a vision-encoder-decoder model, got {name}, which is a {config.model_type}")
    return load_image_processor(name, field="path")


def _chosen(name: str, given: int | None, found: tuple[int, ...]) -> tuple[int, ...]:
    if given is None and not found:
        raise ValueError(f"{name}: expected a token in the model's configuration, got none; give begin, end and pad")
    return found if given is None else (given,)


def _tensors(cache: Any) -> tuple[tuple[tuple[Tensor, Tensor], ...], tuple[tuple[Tensor, Tensor], ...]]:
    """Take keys and values of self- and cross-attention, each [B, H, length, size], out of a transformers cache."""

    def layers(part: Any) -> tuple[tuple[Tensor, Tensor], ...]:
        return tuple((layer.keys, layer.values) for layer in part.layers)

    return layers(cache.self_attention_cache), layers(cache.cross_attention_cache)
