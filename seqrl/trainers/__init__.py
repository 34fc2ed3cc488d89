"""One file an algorithm: its settings and its trainer, read top to bottom."""

from seqrl.trainers.a2c import A2C, A2CConfig
from seqrl.trainers.cem import CrossEntropyConfig, CrossEntropyMethod
from seqrl.trainers.dqn import DQN, DQNConfig
from seqrl.trainers.off_policy import OffPolicy, OffPolicyConfig
from seqrl.trainers.ppo import PPO, PPOConfig
from seqrl.trainers.q_table import QTable, QTableConfig
from seqrl.trainers.reinforce import Reinforce, ReinforceConfig
from seqrl.trainers.self_critical import SelfCritical, SelfCriticalConfig
from seqrl.trainers.supervised import Supervised, SupervisedConfig
from seqrl.trainers.trpo import TRPO, TRPOConfig
from seqrl.trainers.vtrace import VTrace, VTraceConfig

__all__ = [
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
]
