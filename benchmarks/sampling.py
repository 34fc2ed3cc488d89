"""Lets an evaluation, which takes the most probable actions, play sampled ones instead, as published training returns do."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

SEED = 5


@contextlib.contextmanager
def sampling(policy: Any) -> Iterator[None]:
    """Let a policy sample its actions as long as this is entered, whatever is asked for."""
    act, generator = policy.act, torch.Generator().manual_seed(SEED)
    policy.act = lambda obs, state=None, **settings: act(obs, state, generator=generator)
    try:
        yield
    finally:
        del policy.act
