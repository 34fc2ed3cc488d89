"""What trainers save: their optimiser and their random numbers.

A trainer whose updates depend on nothing else takes both functions as its methods; others add what they have.
"""

from __future__ import annotations

from typing import Any


def state_of(trainer: Any) -> dict[str, Any]:
    """Give the state of a trainer's `optimiser` and `generator`."""
    return {"optimiser": trainer.optimiser.state_dict(), "generator": trainer.generator.get_state()}


def load_state(trainer: Any, state: dict[str, Any]) -> None:
    """Go back to a saved state."""
    trainer.optimiser.load_state_dict(state["optimiser"])
    trainer.generator.set_state(state["generator"].cpu())
