"""Acting in gymnasium environments: the same trainers, with rewards that arrive step by step."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tasks.control.environments import EnvironmentFactory
    from tasks.control.policy import ControlPolicyConfig, build_policy
    from tasks.control.task import ControlConfig, ControlTask

__all__ = [
    "ControlConfig",
    "ControlPolicyConfig",
    "ControlTask",
    "EnvironmentFactory",
    "build_policy",
]

_NAMES = {
    "environments": ("EnvironmentFactory",),
    "policy": ("ControlPolicyConfig", "build_policy"),
    "task": ("ControlConfig", "ControlTask"),
}
_HOMES = {name: module for module, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import what is public when it is first asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    return value


def __dir__() -> list[str]:
    """Name what is public beside what is there already."""
    return sorted({*globals(), *__all__})
