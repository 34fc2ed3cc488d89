"""What trainers save: their optimiser and their random numbers.

A trainer takes both functions as its methods, and names in `saved` what else its updates depend on.
"""

from __future__ import annotations

from typing import Any


def state_of(trainer: Any) -> dict[str, Any]:
    """Give the state of a trainer's optimiser and its generator, and each attribute in `saved`, or its state where it has one."""
    parts = {name: getattr(trainer, name) for name in getattr(trainer, "saved", ())}
    states = {name: part.state_dict() if hasattr(part, "state_dict") else part for name, part in parts.items()}
    return {"optimiser": trainer.optimiser.state_dict(), "generator": trainer.optimiser.generator.get_state(), **states}


def load_state(trainer: Any, state: dict[str, Any]) -> None:
    """Go back to a saved state."""
    trainer.optimiser.load_state_dict(state["optimiser"])
    trainer.optimiser.generator.set_state(state["generator"].cpu())
    for name in getattr(trainer, "saved", ()):
        load = getattr(getattr(trainer, name), "load_state_dict", None)
        setattr(trainer, name, state[name]) if load is None else load(state[name])
