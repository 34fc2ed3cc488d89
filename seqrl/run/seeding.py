"""Random state of the whole process: set once at the start, saved and restored with checkpoints."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch


def seed_everything(seed: int, *, deterministic: bool = True, num_threads: int | None = None) -> None:
    """Seed python, numpy and torch, and fix what else changes the last bits.

    Modules draw their initial weights from torch's global generator; nothing else should.

    Args:
        seed: any non-negative integer.
        deterministic: let torch refuse operations without a deterministic form on CPU; on other devices warn only.
        num_threads: CPU threads of torch; None leaves them.
    """
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    # Not torch.use_deterministic_algorithms, which imports the compiler, a second or more; the optimiser calls that where it compiles.
    torch.set_deterministic_debug_mode("default" if not deterministic else "warn" if torch.cuda.is_available() else "error")
    # It writes NaN into every new tensor, to show reads of memory that nobody wrote; 8% of a captioner's update on a CPU.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    if num_threads is not None:
        torch.set_num_threads(num_threads)


def random_state() -> dict[str, Any]:
    """Give the state of the global generators as tensors, numbers, strings and tuples."""
    name, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    return {
        "python": random.getstate(),
        "numpy": (str(name), torch.from_numpy(np.asarray(keys).astype(np.int64)), int(position), int(has_gauss), float(gauss)),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def restore_random_state(state: dict[str, Any]) -> None:
    """Go back to what `random_state` gave."""
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, cached))
    torch.set_rng_state(state["torch"].cpu())
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all([entry.cpu() for entry in state["cuda"]])
