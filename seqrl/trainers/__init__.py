"""One file an algorithm: its settings and its trainer, read top to bottom."""

from seqrl.trainers.ppo import PPO, PPOConfig
from seqrl.trainers.reinforce import Reinforce, ReinforceConfig
from seqrl.trainers.self_critical import SelfCritical, SelfCriticalConfig
from seqrl.trainers.supervised import Supervised, SupervisedConfig

__all__ = ["PPO", "PPOConfig", "Reinforce", "ReinforceConfig", "SelfCritical", "SelfCriticalConfig", "Supervised", "SupervisedConfig"]
