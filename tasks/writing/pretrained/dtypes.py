"""The dtype in which a pretrained model's weights are held."""

from __future__ import annotations

from typing import Literal, get_args

import torch

Dtype = Literal["fp32", "bf16", "fp16"]
_FORMATS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def weights_format(dtype: Dtype, *, only_lora_learns: bool) -> torch.dtype:
    """Give the type of a model's weights.

    Args:
        dtype: its name.
        only_lora_learns: whether the weights themselves stay as they are.

    Raises:
        ValueError: when there is no such format, the device lacks it, or weights in it would not learn.
    """
    if dtype not in _FORMATS:
        raise ValueError(f"policy.dtype: expected one of {', '.join(get_args(Dtype))}, got {dtype!r}")
    on_gpu = torch.cuda.is_available()
    if dtype == "fp16" and not on_gpu:
        raise ValueError("policy.dtype: fp16 needs a GPU, and there is none; set it to fp32 or bf16")
    if dtype == "fp16" and not only_lora_learns:
        raise ValueError(
            "policy.dtype: what weights learn is too small for fp16; set it to bf16 or fp32, or let only LoRA learn (policy.lora)"
        )
    if dtype == "bf16" and on_gpu and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise ValueError(f"policy.dtype: {torch.cuda.get_device_name()} has no bf16; set it to fp32, or to fp16 with policy.lora")
    return _FORMATS[dtype]
