"""Tiny models of every kind that writes about images, made at random, with tokenizers and processors; no network is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors

WORDS = [
    *("<pad>", "<begin>", "<end>", "<unknown>", "<also_end>", "<fake_token_around_image>", "<global-img>", "<image>", "<end_of_utterance>"),
    *("a", "red", "blue", "square", "circle", "left", "of", "photo", "user", "assistant", "describe", "the", "image", "big", "dog", "cat"),
]
NUMBER = {word: number for number, word in enumerate(WORDS)}
TEMPLATE = (
    "<begin>{% for message in messages %}{{ message['role'] }} {% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %} {% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}assistant{% endif %}"
)
KINDS = ("vision-encoder-decoder", "blip", "git", "idefics3", "llava")
_SPECIAL = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
_SMALL = {"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
_EYES = {"hidden_size": 16, "image_size": 32, "patch_size": 8, **_SMALL}
_LLAMA = {"vocab_size": len(WORDS), "hidden_size": 24, **_SMALL, "num_attention_heads": 4, "num_key_value_heads": 2, **_SPECIAL}
_SIZE = {"height": 32, "width": 32}


def tokenizer(*, leave_out: str = "") -> Any:
    """Make a tokenizer that adds begin and end around a text, as BERT's does."""
    words = {word: number for word, number in NUMBER.items() if word != leave_out}
    made = Tokenizer(models.WordLevel(words, unk_token="<unknown>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.post_processor = processors.TemplateProcessing(single="<begin> $A <end>", special_tokens=[("<begin>", 1), ("<end>", 2)])
    extra = [word for word in WORDS[5:9] if word != leave_out]
    names = {"pad_token": "<pad>", "bos_token": "<begin>", "eos_token": "<end>", "unk_token": "<unknown>"}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=made, additional_special_tokens=extra, **names)


def pictures_reader(kind: str) -> Any:
    """Make the image processor of a kind of model."""
    if kind in ("idefics3", "smolvlm"):
        return transformers.Idefics3ImageProcessorPil(
            size={"longest_edge": 48}, max_image_size={"longest_edge": 32}, do_image_splitting=False
        )
    if kind == "blip":
        return transformers.BlipImageProcessorPil(size=_SIZE)
    if kind == "vision-encoder-decoder":
        return transformers.ViTImageProcessorPil(size=_SIZE)
    return transformers.CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=_SIZE)


def whole_processor(kind: str, text: Any = None, **settings: Any) -> Any:
    """Make the processor of images and texts of a kind of model; None where it has none."""
    parts = pictures_reader(kind), tokenizer() if text is None else text
    if kind in ("idefics3", "smolvlm"):  # whose own processor wants packages for videos, and makes the same of an image
        return transformers.Idefics3Processor(*parts, **({"image_seq_len": 4, "chat_template": TEMPLATE} | settings))
    if kind == "llava":
        usual = {"patch_size": 8, "vision_feature_select_strategy": "default", "num_additional_image_tokens": 1, "chat_template": TEMPLATE}
        return transformers.LlavaProcessor(*parts, **(usual | settings))
    return {"blip": transformers.BlipProcessor, "git": transformers.GitProcessor}[kind](*parts) if kind in ("blip", "git") else None


def model(kind: str, *, encoder: str = "swin", decoder: str = "bert", seed: int = 0) -> Any:
    """Make a model whose captions depend on the image."""
    torch.manual_seed(seed)
    made = _made(kind, encoder, decoder)
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            seeing = any(
                part in name for part in ("vision", "encoder.", "image_encoder", "connector", "projector", "projection", "crossatt")
            )
            parameter.mul_((8 if seeing else 4) if parameter.ndim > 1 else 1)
    return made.eval()


def save(folder: Path, kind: str, **settings: Any) -> Any:
    """Save a model with what reads for it, as a folder of the hub holds it; give the model."""
    made = model(kind, **settings)
    made.save_pretrained(folder)
    whole = whole_processor(kind)
    for part in [whole] if whole is not None else [pictures_reader(kind), tokenizer()]:
        part.save_pretrained(folder)
    return made


def _made(kind: str, encoder: str, decoder: str) -> Any:
    if kind == "blip":
        # Its begin token is its own, beyond the tokenizer's, as in the published models.
        text = {"vocab_size": len(WORDS) + 2, "hidden_size": 24, "encoder_hidden_size": 16, "sep_token_id": 2, **_SMALL}
        text |= {"bos_token_id": len(WORDS), "eos_token_id": 2, "pad_token_id": 0, "max_position_embeddings": 40}
        return transformers.BlipForConditionalGeneration(
            transformers.BlipConfig(text_config=text, vision_config=_EYES | {"initializer_range": 0.02})
        )
    if kind == "git":
        text = {"vocab_size": len(WORDS), "hidden_size": 24, "max_position_embeddings": 40, **_SMALL, **_SPECIAL}
        return transformers.GitForCausalLM(transformers.GitConfig(vision_config=_EYES, **text))
    if kind in ("idefics3", "smolvlm"):
        text = transformers.LlamaConfig(**_LLAMA).to_dict()
        parts = {"vision_config": _EYES, "text_config": text, "image_token_id": NUMBER["<image>"], "scale_factor": 2, **_SPECIAL}
        if kind == "smolvlm":
            return transformers.SmolVLMForConditionalGeneration(transformers.SmolVLMConfig(**parts))
        return transformers.Idefics3ForConditionalGeneration(transformers.Idefics3Config(**parts))
    if kind == "llava":
        eyes, words = transformers.CLIPVisionConfig(**_EYES), transformers.LlamaConfig(**_LLAMA)
        return transformers.LlavaForConditionalGeneration(
            transformers.LlavaConfig(vision_config=eyes, text_config=words, image_token_index=NUMBER["<image>"], **_SPECIAL)
        )
    return _encoder_decoder(encoder, decoder)


def _encoder_decoder(encoder: str, decoder: str) -> Any:
    eyes: Any = transformers.ViTConfig(**_EYES)
    if encoder == "swin":
        eyes = transformers.SwinConfig(image_size=32, patch_size=4, embed_dim=8, depths=[1, 1], num_heads=[2, 2], window_size=4)
    text: Any = transformers.GPT2Config(vocab_size=len(WORDS), n_positions=32, n_embd=24, n_layer=2, n_head=2, **_SPECIAL)
    if decoder != "gpt2":
        kind = {"bert": transformers.BertConfig, "roberta": transformers.RobertaConfig}[decoder]
        text = kind(vocab_size=len(WORDS), hidden_size=24, **_SMALL, **_SPECIAL)
    text.is_decoder = text.add_cross_attention = True
    config = transformers.VisionEncoderDecoderConfig.from_encoder_decoder_configs(eyes, text)
    config.decoder_start_token_id, config.pad_token_id, config.eos_token_id = 1, 0, 2
    return transformers.VisionEncoderDecoderModel(config)
