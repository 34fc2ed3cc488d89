"""Acting in gymnasium environments: the same trainers, with rewards that arrive step by step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seqrl.public_names import imported_when_used

if TYPE_CHECKING:
    from seqrl.tasks.control.environments import EnvironmentFactory
    from seqrl.tasks.control.policy import ControlPolicyConfig, build_policy
    from seqrl.tasks.control.task import ControlConfig, EnvTask

__all__ = [
    "ControlConfig",
    "ControlPolicyConfig",
    "EnvTask",
    "EnvironmentFactory",
    "build_policy",
]

_MODULES = {
    "environments": ("EnvironmentFactory",),
    "policy": ("ControlPolicyConfig", "build_policy"),
    "task": ("ControlConfig", "EnvTask"),
}
__getattr__, __dir__ = imported_when_used(__name__, _MODULES)
