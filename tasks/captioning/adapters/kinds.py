"""The kinds of models of transformers that write about images: which there are, and how each is loaded, prompted and ended."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jinja2 import TemplateError
from PIL import Image

from seqrl.tasks.captioning.adapters.blip import Blip
from seqrl.tasks.captioning.adapters.encoder_decoder import EncoderDecoder
from seqrl.tasks.captioning.adapters.git import Git
from seqrl.tasks.captioning.adapters.image_adapter import ImageAdapter, ImageKind
from seqrl.tasks.captioning.adapters.image_text import ImageText
from seqrl.tasks.writing.pretrained.adapter import special_tokens
from seqrl.tasks.writing.pretrained.generation import GenerationRules

# Class of transformers by the kind that a config.json names.
KINDS: Mapping[str, str] = {
    "vision-encoder-decoder": "VisionEncoderDecoderModel",
    "blip": "BlipForConditionalGeneration",
    "git": "GitForCausalLM",
    "idefics3": "Idefics3ForConditionalGeneration",
    "smolvlm": "SmolVLMForConditionalGeneration",
    "llava": "LlavaForConditionalGeneration",
}
# Those that put image tokens into their prompt, for which they need a processor of images and texts.
IMAGE_TEXT = ("idefics3", "smolvlm", "llava")


def check_kind(name: str, config: Any) -> str:
    """Give the kind of a model.

    Args:
        name: of the model, for messages.
        config: of transformers.

    Raises:
        ValueError: when it is another kind of model, naming those that work.
    """
    kind = config.model_type
    listed = ", ".join(f"{known} ({wanted})" for known, wanted in KINDS.items())
    if kind not in KINDS:
        raise ValueError(f"path: expected a model of one of the kinds {listed}, got {name}, which is a {kind}")
    saved = list(config.architectures or [])
    if saved and KINDS[kind] not in saved:
        raise ValueError(f"path: expected a {KINDS[kind]}, got {name}, which is a {', '.join(saved)} and would lack weights to write with")
    return str(kind)


def seeing_part(model: Any) -> ImageKind:
    """Give what runs the encoder of a model of one of `KINDS`; nothing else of it is to be used."""
    kind = model.config.model_type
    if kind in IMAGE_TEXT:
        return ImageText(model, ())
    return {"blip": Blip, "git": Git}.get(kind, EncoderDecoder)(model)


def adapter_of(
    model: Any, pictures: Any, *, tokenizer: Any = None, whole: Any = None, prompt: str = "", fast: bool = True
) -> tuple[ImageAdapter, dict[str, int]]:
    """Make the adapter of a model.

    Args:
        model: of transformers, of one of `KINDS`; it learns in place.
        pictures: its image processor.
        tokenizer: its tokenizer, which a prompt asks for.
        whole: the processor of both, which an image-text-to-text model has.
        prompt: text that captions go on from, which is no part of them; of an image-text-to-text model what the user says of the image.
        fast: see `seqrl.tasks.captioning.adapters.encoder_decoder.EncoderDecoder`.

    Returns:
        The adapter, and tokens `begin` and perhaps `end` that a model has beside its configuration.

    Raises:
        ValueError: when the model is of another kind, or prompt, tokenizer and processor do not fit it.
    """
    kind = check_kind(type(model).__name__, model.config)
    if prompt and tokenizer is None and whole is None:
        raise ValueError(
            "prompt: it is read by the model's tokenizer, which was not given; set task.data.tokenizer, or leave the prompt out"
        )
    made, tokens = _parts(kind, model, tokenizer, whole, prompt, fast=fast)
    adapter = ImageAdapter(made, pictures, tokens, whole, followed(whole, prompt))
    seen = adapter.look_once()
    if kind in IMAGE_TEXT and tokens.count(model.config.image_token_id) != seen:
        raise ValueError(
            f"processor: it puts {tokens.count(model.config.image_token_id)} image tokens into the prompt, but the model sees an image as "
            f"{seen}; take the processor that belongs to the model (image_seq_len, patch_size and the sizes of its pictures say how many)"
        )
    return adapter, {"begin": adapter.begin} | ({"end": model.config.text_config.sep_token_id} if kind == "blip" else {})


def _parts(kind: str, model: Any, tokenizer: Any, whole: Any, prompt: str, *, fast: bool) -> tuple[ImageKind, tuple[int, ...]]:
    """Give what runs a model, and the tokens of its prompt."""
    if kind in IMAGE_TEXT:
        tokens = chat_prompt(model, whole, prompt)
        return ImageText(model, tokens), tokens
    if kind == "blip":
        _refuse_unread_rules(model)
        # As its `generate` does: the tokenizer's first token gives way to the begin token, and its last one is left out.
        tokens = (model.config.text_config.bos_token_id, *(tokenizer(prompt)["input_ids"][1:-1] if prompt else ()))
        return Blip(model), tokens
    words = tuple(tokenizer(prompt, add_special_tokens=False)["input_ids"]) if prompt else ()
    first = special_tokens(model, "decoder_start_token_id", "bos_token_id")
    if not first:
        raise ValueError(
            "decoder_start_token_id: expected a token in the model's configuration, got none; add it to generation_config.json"
        )
    return Git(model) if kind == "git" else EncoderDecoder(model, fast=fast), (first[0], *words)


def chat_prompt(model: Any, whole: Any, prompt: str) -> tuple[int, ...]:
    """Give the tokens of a prompt with an image in it.

    Args:
        model: an image-text-to-text model.
        whole: its processor of images and texts.
        prompt: what the user says, for the model's chat template; taken as it is where it holds the image token.

    Raises:
        ValueError: when there is no way to put an image into it.
    """
    if whole is None:
        raise ValueError(f"path: a {type(model).__name__} needs its processor, which puts image tokens into the prompt; got none")
    token, black = str(getattr(whole, "image_token", "<image>")), Image.new("RGB", (64, 64))
    number = whole.tokenizer.convert_tokens_to_ids(token)
    if number is None or number == whole.tokenizer.unk_token_id or number != model.config.image_token_id:
        raise ValueError(
            f"tokenizer: expected the image token {token} as number {model.config.image_token_id}, which the model looks for, got "
            f"{number}; take the tokenizer that belongs to the model"
        )
    if token in prompt:
        found = whole(text=[prompt], images=[[black]], return_tensors="np")
    elif whole.chat_template is None and whole.tokenizer.chat_template is None:
        raise ValueError(f"prompt: expected {token} in it, where the image belongs, since the model has no chat template; got {prompt!r}")
    else:
        said = [{"type": "text", "text": prompt}] if prompt else []
        turn = {"role": "user", "content": [{"type": "image", "image": black}, *said]}
        how: dict[str, Any] = {"add_generation_prompt": True, "tokenize": True, "return_dict": True, "return_tensors": "np"}
        try:
            found = whole.apply_chat_template([turn], **how)
        except (TemplateError, TypeError) as error:
            raise ValueError(
                f"prompt: the model's chat template does not take an image and a text ({error}); write the whole prompt, with {token} "
                "where the image belongs"
            ) from error
    return tuple(int(number) for number in found["input_ids"][0])


def followed(whole: Any, prompt: str) -> tuple[str, str]:
    """Give the end of a prompt's text, as far as no special token is in it, and what a text that follows it begins with.

    Args:
        whole: processor with a chat template, in whose form a turn of the assistant is written; None for none.
        prompt: as `adapter_of` takes it.
    """
    if whole is None or str(getattr(whole, "image_token", "<image>")) in prompt:
        return prompt, "" if not prompt or prompt[-1].isspace() else " "
    user = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": prompt}]}
    asked = whole.apply_chat_template([user], add_generation_prompt=True)
    try:
        said = whole.apply_chat_template([user, {"role": "assistant", "content": [{"type": "text", "text": "caption"}]}])
    except (TemplateError, TypeError):  # one that takes questions only says nothing of answers
        said = ""
    end = asked[len(asked.rstrip()) :]
    last = (asked.split() or [""])[-1] + end
    gap = said[len(asked) : said.find("caption", len(asked))] if said.startswith(asked) and "caption" in said[len(asked) :] else ""
    return last, gap if gap.isspace() else ""


def _refuse_unread_rules(model: Any) -> None:
    """Refuse rules of writing that BLIP's own `generate` does not read, since the captions would not be those of transformers."""
    end = (int(model.config.text_config.sep_token_id),)
    read = GenerationRules(model.text_decoder.generation_config, end, 1).names
    unread = [name for name in GenerationRules(model.generation_config, end, 1).names if name not in read]
    if unread:
        raise ValueError(
            f"generation_config: BLIP's own generate does not read {', '.join(unread)}; take it out of generation_config.json, or set it "
            "in model.text_decoder.generation_config"
        )
