"""ViT + GPT-2 captioners of several sizes with random weights, whose captions are as long as people's."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor

from seqrl.decoding import sample
from seqrl.tasks.captioning.policies.pretrained import captioner_of
from seqrl.tasks.writing.pretrained.policy import TransformersPolicy

PAD, BEGIN, END = 0, 1, 2
IMAGE_SIZE, PATCH_SIZE, MAX_TOKENS = 128, 16, 20
# Flickr8k's captions have 11.8 tokens with their end on average.
CAPTION_LENGTH = 11.8


@dataclass(frozen=True)
class Size:
    """Sizes of an encoder-decoder; a head has 64 numbers."""

    encoder_dim: int
    encoder_layers: int
    decoder_dim: int
    decoder_layers: int
    vocabulary: int


# The first has a vocabulary like that of COCO's captions, the others GPT-2's; the decoder of the last is GPT-2 small.
SIZES = {
    "10M": Size(256, 4, 256, 4, 8_000),
    "60M": Size(384, 9, 512, 4, 50_257),
    "200M": Size(512, 12, 768, 12, 50_257),
}


def build_model(size: Size, seed: int, *, ending: bool) -> transformers.VisionEncoderDecoderModel:
    """Make a model with random weights whose next tokens differ in probability.

    Logits of fresh weights are nearly alike; a larger last normalisation spreads them. The end token's logit grows with the position,
    so that sampled captions are as long as people's, or it never comes (`ending=False`).
    """
    torch.manual_seed(seed)
    encoder = transformers.ViTConfig(
        hidden_size=size.encoder_dim,
        num_hidden_layers=size.encoder_layers,
        num_attention_heads=size.encoder_dim // 64,
        intermediate_size=4 * size.encoder_dim,
        image_size=IMAGE_SIZE,
        patch_size=PATCH_SIZE,
    )
    decoder: Any = transformers.GPT2Config(
        vocab_size=size.vocabulary,
        n_positions=64,
        n_embd=size.decoder_dim,
        n_layer=size.decoder_layers,
        n_head=size.decoder_dim // 64,
        bos_token_id=BEGIN,
        eos_token_id=END,
        pad_token_id=PAD,
    )
    decoder.is_decoder = decoder.add_cross_attention = True
    config = transformers.VisionEncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder)
    config.decoder_start_token_id, config.eos_token_id, config.pad_token_id = BEGIN, END, PAD
    model = transformers.VisionEncoderDecoderModel(config).eval()
    with torch.no_grad():
        model.decoder.transformer.ln_f.weight.mul_(1_200 / size.decoder_dim)
    _let_end(model, ending=ending)
    return model


@torch.no_grad()
def _let_end(model: Any, *, ending: bool) -> None:
    """Give the end token a direction of its own, along which nothing but the position counts."""
    body = model.decoder.transformer
    dim = body.wte.weight.shape[1]
    direction = torch.randn(dim, generator=torch.Generator().manual_seed(0))
    direction -= direction.mean()
    direction /= direction.norm()
    outputs = [part.c_proj.weight for block in body.h for part in (block.attn, block.crossattention, block.mlp)]
    for table in (body.wte.weight, body.wpe.weight, *outputs):
        table -= (table @ direction).unsqueeze(1) * direction
    # From a third of the way, so that lengths differ as people's do.
    ramp = (10 + torch.arange(body.wpe.weight.shape[0])) / (10 + MAX_TOKENS)
    body.wpe.weight += 0.02 * dim**0.5 * ramp.unsqueeze(1) * direction
    if not ending:
        body.wte.weight[END] = -10 * direction
        body.ln_f.bias += 10 * direction
        return
    policy, images = policy_of(model, fast=False), {"image": pictures(8, seed=1)}
    body.wte.weight[END] = 0
    rows = sample(policy, images, num_samples=4, generator=torch.Generator().manual_seed(2))
    adapter: Any = policy.adapter
    hidden = adapter.kind.project(policy.encode(images["image"])["hidden"]).repeat_interleave(4, dim=0)  # type: ignore[index, call-overload]
    seen = body(input_ids=rows.obs[:, :-1], encoder_hidden_states=hidden).last_hidden_state
    others, along = model.decoder.lm_head(seen).logsumexp(dim=2), seen @ direction
    low, high = 0.0, 100.0
    for _ in range(40):
        # The mean length is the sum over steps of the probability to come there.
        scale = (low + high) / 2
        goes_on = torch.sigmoid(others - scale * along).cumprod(dim=1)
        low, high = (scale, high) if 1 + goes_on[:, :-1].sum(dim=1).mean() > CAPTION_LENGTH else (low, scale)
    body.wte.weight[END] = scale * direction


def policy_of(model: Any, **settings: Any) -> TransformersPolicy:
    """Wrap a model as a policy whose images need no resizing."""
    with tempfile.TemporaryDirectory() as folder:
        side = {"height": IMAGE_SIZE, "width": IMAGE_SIZE}
        text = json.dumps({"image_processor_type": "ViTImageProcessor", "size": side, "do_resize": False})
        (Path(folder) / "preprocessor_config.json").write_text(text, encoding="utf-8")
        processor = transformers.AutoImageProcessor.from_pretrained(folder)
    return captioner_of(model, processor, max_tokens=MAX_TOKENS, **settings)


def pictures(count: int, *, seed: int) -> Tensor:
    """Draw uint8 images [N, 3, S, S]."""
    return torch.randint(0, 256, (count, 3, IMAGE_SIZE, IMAGE_SIZE), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def count_parameters(model: Any) -> dict[str, int]:
    """Count parameters: all, those of the token embeddings, which are the output matrix too, and those of the encoder."""
    return {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "vocabulary_parameters": model.decoder.transformer.wte.weight.numel(),
        "encoder_parameters": sum(parameter.numel() for parameter in model.encoder.parameters()),
    }
