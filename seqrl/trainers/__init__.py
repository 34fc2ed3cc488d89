"""One file an algorithm: its settings and its trainer, read top to bottom."""

from seqrl.trainers.a2c import A2C as A2C
from seqrl.trainers.a2c import A2CConfig as A2CConfig
from seqrl.trainers.cem import CrossEntropyConfig as CrossEntropyConfig
from seqrl.trainers.cem import CrossEntropyMethod as CrossEntropyMethod
from seqrl.trainers.dagger import DAgger as DAgger
from seqrl.trainers.dagger import DAggerConfig as DAggerConfig
from seqrl.trainers.dqn import DQN as DQN
from seqrl.trainers.dqn import DQNConfig as DQNConfig
from seqrl.trainers.gail import GAIL as GAIL
from seqrl.trainers.gail import GAILConfig as GAILConfig
from seqrl.trainers.off_policy import OffPolicy as OffPolicy
from seqrl.trainers.off_policy import OffPolicyConfig as OffPolicyConfig
from seqrl.trainers.ppo import PPO as PPO
from seqrl.trainers.ppo import PPOConfig as PPOConfig
from seqrl.trainers.q_table import QTable as QTable
from seqrl.trainers.q_table import QTableConfig as QTableConfig
from seqrl.trainers.reinforce import Reinforce as Reinforce
from seqrl.trainers.reinforce import ReinforceConfig as ReinforceConfig
from seqrl.trainers.self_critical import SelfCritical as SelfCritical
from seqrl.trainers.self_critical import SelfCriticalConfig as SelfCriticalConfig
from seqrl.trainers.supervised import Supervised as Supervised
from seqrl.trainers.supervised import SupervisedConfig as SupervisedConfig
from seqrl.trainers.trpo import TRPO as TRPO
from seqrl.trainers.trpo import TRPOConfig as TRPOConfig
from seqrl.trainers.vtrace import VTrace as VTrace
from seqrl.trainers.vtrace import VTraceConfig as VTraceConfig
