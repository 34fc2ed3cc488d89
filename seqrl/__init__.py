"""Trajectories, losses and trainers for policies that write, look or act.

A task's rollouts are trajectories; a trainer turns them into updates of a policy; `fit` runs the loop:

    fit(SelfCritical(policy), task, steps=500)

Nothing is imported before it is used, so `import seqrl` costs next to nothing.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from seqrl.public_names import imported_when_used

# PyTorch's threads otherwise wait for their next work in a loop, and thereby take the cores from environments, from our own threads
# and from other processes; with one of these around, two threads were many times slower than one. It is read when PyTorch starts.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

if TYPE_CHECKING:
    from seqrl.optimiser import OptimiserConfig
    from seqrl.policies.tokens import TokenPolicy
    from seqrl.protocols import Metric, Policy, Task, Trainer
    from seqrl.rollout import Source, unroll
    from seqrl.run.config import EarlyStop
    from seqrl.run.loop import RunResult, fit
    from seqrl.sources import TokenSource, VectorEnvSource
    from seqrl.token_rollout import TokenTask
    from seqrl.trainers import (
        A2C,
        DQN,
        PPO,
        TRPO,
        A2CConfig,
        CrossEntropyConfig,
        CrossEntropyMethod,
        DQNConfig,
        OffPolicy,
        OffPolicyConfig,
        PPOConfig,
        QTable,
        QTableConfig,
        Reinforce,
        ReinforceConfig,
        SelfCritical,
        SelfCriticalConfig,
        Supervised,
        SupervisedConfig,
        TRPOConfig,
        VTrace,
        VTraceConfig,
    )
    from seqrl.trainers.mixing import MixConfig
    from seqrl.trajectory import Evaluation, Step, Trajectory, concatenate

__all__ = [
    "A2C",
    "A2CConfig",
    "CrossEntropyConfig",
    "CrossEntropyMethod",
    "DQN",
    "DQNConfig",
    "EarlyStop",
    "Evaluation",
    "Metric",
    "MixConfig",
    "OffPolicy",
    "OffPolicyConfig",
    "OptimiserConfig",
    "PPO",
    "PPOConfig",
    "Policy",
    "QTable",
    "QTableConfig",
    "Reinforce",
    "ReinforceConfig",
    "RunResult",
    "SelfCritical",
    "SelfCriticalConfig",
    "Source",
    "Step",
    "Supervised",
    "SupervisedConfig",
    "TRPO",
    "TRPOConfig",
    "Task",
    "TokenPolicy",
    "TokenSource",
    "TokenTask",
    "Trainer",
    "Trajectory",
    "VTrace",
    "VTraceConfig",
    "VectorEnvSource",
    "concatenate",
    "fit",
    "unroll",
]

_MODULES = {
    "optimiser": ("OptimiserConfig",),
    "policies.tokens": ("TokenPolicy",),
    "protocols": ("Metric", "Policy", "Task", "Trainer"),
    "rollout": ("Source", "unroll"),
    "run.config": ("EarlyStop",),
    "run.loop": ("RunResult", "fit"),
    "sources": ("TokenSource", "VectorEnvSource"),
    "token_rollout": ("TokenTask",),
    "trainers.mixing": ("MixConfig",),
    "trainers": (
        "A2C",
        "A2CConfig",
        "CrossEntropyConfig",
        "CrossEntropyMethod",
        "DQN",
        "DQNConfig",
        "OffPolicy",
        "OffPolicyConfig",
        "PPO",
        "PPOConfig",
        "QTable",
        "QTableConfig",
        "Reinforce",
        "ReinforceConfig",
        "SelfCritical",
        "SelfCriticalConfig",
        "Supervised",
        "SupervisedConfig",
        "TRPO",
        "TRPOConfig",
        "VTrace",
        "VTraceConfig",
    ),
    "trajectory": ("Evaluation", "Step", "Trajectory", "concatenate"),
}
__getattr__, __dir__ = imported_when_used(__name__, _MODULES)
