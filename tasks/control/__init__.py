"""Acting in gymnasium environments: the same trainers, with rewards that arrive step by step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seqrl.public_names import imported_when_used

if TYPE_CHECKING:
    from seqrl.tasks.control.environments import EnvironmentFactory as EnvironmentFactory
    from seqrl.tasks.control.policy import ControlPolicyConfig as ControlPolicyConfig
    from seqrl.tasks.control.policy import build_policy as build_policy
    from seqrl.tasks.control.task import ControlConfig as ControlConfig
    from seqrl.tasks.control.task import EnvTask as EnvTask

__all__, __getattr__, __dir__ = imported_when_used(__name__)
