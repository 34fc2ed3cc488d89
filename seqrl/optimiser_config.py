"""The settings of the optimiser, and the course of its learning rate."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from seqrl.settings import Count, FractionBelowOne, NotNegative, Positive, check_settings


@dataclass
class OptimiserConfig:
    """Settings of AdamW and of what surrounds it.

    Attributes:
        learning_rate: peak step size.
        weight_decay: decoupled weight decay; biases, norms and other vectors are spared.
        beta1: decay of the gradient average.
        beta2: decay of the squared-gradient average.
        epsilon: added to the root of the squared-gradient average.
        max_grad_norm: gradients are scaled down to this global L2 norm; 0 switches clipping off.
        schedule: shape of the learning rate after the warm-up.
        warmup_updates: updates over which the learning rate rises from 0.
        final_fraction: learning rate at the end of a linear or cosine schedule, as a share of the peak.
        ema_decay: evaluate, keep as the best and save a moving average of the weights, see `seqrl.weight_average`; 0 for the
            weights themselves. 0.999 averages over some 1,000 optimiser steps.
        accumulation: parts into which a batch is cut to save memory; the result is the same as without.
        max_skipped_updates: a step with a loss or gradient that is not finite is skipped; after so many updates in a row without
            any other step the run ends. 0: the first skipped step ends it.
        precision: dtype of the update's forward pass, by autocast. "auto": what the run measures to be fastest, see
            `seqrl.run.measured_settings`, and fp32 outside of a run. Sampling stays in fp32, so that PPO's ratios start a
            little off 1 (under 1 % with bf16).
        compile: wrap the policy's forward in `torch.compile`.
        sharding: "full": of several processes each keeps its part of weights, gradients and averages only, and has the whole while it
            samples and computes gradients (torch's `fully_shard`); the training is the same, and docs/scaling.md says what it costs.
            "none": each keeps all.
        fused: "auto": derivatives that are written out by hand take the place of autograd where there are some, they compute what the plain
            way does, and it pays; a run says in its first lines which way it goes and why. "off": always the plain way.
    """

    learning_rate: Positive = 3e-4
    weight_decay: NotNegative[float] = 0.0
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    max_grad_norm: NotNegative[float] = 1.0
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    warmup_updates: NotNegative[int] = 0
    final_fraction: float = 0.0
    ema_decay: FractionBelowOne = 0.0
    accumulation: Count = 1
    max_skipped_updates: NotNegative[int] = field(default=10, metadata={"decisive": False})
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    compile: bool = False
    sharding: Literal["none", "full"] = field(default="none", metadata={"decisive": False})
    fused: Literal["auto", "off"] = field(default="auto", metadata={"decisive": False})

    def __post_init__(self) -> None:
        check_settings(self)


def schedule_factor(update: int, config: OptimiserConfig, num_updates: int) -> float:
    """Share of the peak learning rate at an update.

    Warm-up: (update + 1) / warmup_updates. Then with p the share of the remaining updates that are done, linear:
    1 - p (1 - f), cosine: f + (1 - f) (1 + cos(pi p)) / 2, where f is `final_fraction`.

    Args:
        update: number of the update, from 0.
        config: see `OptimiserConfig`.
        num_updates: where the schedule ends.
    """
    if update < config.warmup_updates:
        return (update + 1) / config.warmup_updates
    progress = min(1.0, (update - config.warmup_updates) / max(1, num_updates - config.warmup_updates))
    if config.schedule == "linear":
        return 1 - progress * (1 - config.final_fraction)
    if config.schedule == "cosine":
        return config.final_fraction + (1 - config.final_fraction) * (1 + math.cos(math.pi * progress)) / 2
    return 1.0
