"""Gradient checkpointing: layers are run again for their gradients, in the place of keeping what they computed."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer


def _forward(layer: nn.Module, *args: Any, **kwargs: Any) -> Any:
    """Run a layer, and keep only its inputs where gradients are wanted and no cache is written."""
    forward = type(layer).forward
    if not torch.is_grad_enabled() or kwargs.get("past_key_values") is not None:
        return forward(layer, *args, **kwargs)
    return checkpoint(forward, layer, *args, use_reentrant=False, **kwargs)


def checkpoint_layers(model: nn.Module) -> None:
    """Let each layer of a model of transformers run again in the backward pass: the memory of one layer for the time of a third pass.

    Differs from: `activation_checkpointing_enable` of transformers, which does nothing where dropout is off, as it is while a policy
    learns from rewards.

    Args:
        model: of transformers; changed in place.

    Raises:
        ValueError: when it has no layers that can.

    Source: Chen et al. 2016 (Training deep nets with sublinear memory cost).
    """
    layers = [part for part in model.modules() if isinstance(part, GradientCheckpointingLayer)]
    if not layers:
        raise ValueError(f"gradient_checkpointing: a {type(model).__name__} has no layers that can; set it to false")
    for layer in layers:
        vars(layer)["forward"] = partial(_forward, layer)


def checkpoints(model: nn.Module) -> bool:
    """Tell whether layers of a model run again in the backward pass."""
    return any("forward" in vars(part) for part in model.modules() if isinstance(part, GradientCheckpointingLayer))
