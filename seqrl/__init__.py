"""Trajectories, losses and trainers for policies that write, look or act.

A task's rollouts are trajectories; a trainer turns them into updates of a policy; `fit` runs the loop:

    fit(SelfCritical(policy), task, num_updates=500)

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
    from seqrl.diagnostics import describe_rollout as describe_rollout
    from seqrl.distributions import Categorical as Categorical
    from seqrl.functional.losses import policy_gradient as policy_gradient
    from seqrl.optimiser import Optimiser as Optimiser
    from seqrl.optimiser import OptimiserConfig as OptimiserConfig
    from seqrl.policies.tokens import TokenPolicy as TokenPolicy
    from seqrl.protocols import Metric as Metric
    from seqrl.protocols import Policy as Policy
    from seqrl.protocols import Task as Task
    from seqrl.protocols import Trainer as Trainer
    from seqrl.rollout import Source as Source
    from seqrl.rollout import unroll as unroll
    from seqrl.run.config import EarlyStop as EarlyStop
    from seqrl.run.loop import RunResult as RunResult
    from seqrl.run.loop import fit as fit
    from seqrl.sources import TokenSource as TokenSource
    from seqrl.sources import VectorEnvSource as VectorEnvSource
    from seqrl.token_rollout import TokenTask as TokenTask
    from seqrl.trainers.a2c import A2C as A2C
    from seqrl.trainers.a2c import A2CConfig as A2CConfig
    from seqrl.trainers.alpha_zero import AlphaZero as AlphaZero
    from seqrl.trainers.alpha_zero import AlphaZeroConfig as AlphaZeroConfig
    from seqrl.trainers.cem import CrossEntropyConfig as CrossEntropyConfig
    from seqrl.trainers.cem import CrossEntropyMethod as CrossEntropyMethod
    from seqrl.trainers.dagger import DAgger as DAgger
    from seqrl.trainers.dagger import DAggerConfig as DAggerConfig
    from seqrl.trainers.dqn import DQN as DQN
    from seqrl.trainers.dqn import DQNConfig as DQNConfig
    from seqrl.trainers.evolution_strategies import EvolutionStrategies as EvolutionStrategies
    from seqrl.trainers.evolution_strategies import EvolutionStrategiesConfig as EvolutionStrategiesConfig
    from seqrl.trainers.gail import GAIL as GAIL
    from seqrl.trainers.gail import GAILConfig as GAILConfig
    from seqrl.trainers.imitation import ImitationConfig as ImitationConfig
    from seqrl.trainers.league import League as League
    from seqrl.trainers.league import LeagueConfig as LeagueConfig
    from seqrl.trainers.model_based import ModelBased as ModelBased
    from seqrl.trainers.model_based import ModelBasedConfig as ModelBasedConfig
    from seqrl.trainers.off_policy import OffPolicy as OffPolicy
    from seqrl.trainers.off_policy import OffPolicyConfig as OffPolicyConfig
    from seqrl.trainers.ppo import PPO as PPO
    from seqrl.trainers.ppo import PPOConfig as PPOConfig
    from seqrl.trainers.q_table import QTable as QTable
    from seqrl.trainers.q_table import QTableConfig as QTableConfig
    from seqrl.trainers.reinforce import Reinforce as Reinforce
    from seqrl.trainers.reinforce import ReinforceConfig as ReinforceConfig
    from seqrl.trainers.sac import SAC as SAC
    from seqrl.trainers.sac import SACConfig as SACConfig
    from seqrl.trainers.self_critical import SelfCritical as SelfCritical
    from seqrl.trainers.self_critical import SelfCriticalConfig as SelfCriticalConfig
    from seqrl.trainers.state import load_state as load_state
    from seqrl.trainers.state import state_of as state_of
    from seqrl.trainers.supervised import Supervised as Supervised
    from seqrl.trainers.supervised import SupervisedConfig as SupervisedConfig
    from seqrl.trainers.trpo import TRPO as TRPO
    from seqrl.trainers.trpo import TRPOConfig as TRPOConfig
    from seqrl.trainers.vtrace import VTrace as VTrace
    from seqrl.trainers.vtrace import VTraceConfig as VTraceConfig
    from seqrl.trajectory import Evaluation as Evaluation
    from seqrl.trajectory import Step as Step
    from seqrl.trajectory import Trajectory as Trajectory
    from seqrl.trajectory import concatenate as concatenate

__all__, __getattr__, __dir__ = imported_when_used(__name__)
