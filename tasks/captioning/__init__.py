"""Image captioning: data, policies, decoding, rewards and evaluation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seqrl.public_names import imported_when_used

if TYPE_CHECKING:
    from seqrl.tasks.captioning.data import CaptionData, CaptionSplit, load_data
    from seqrl.tasks.captioning.data_config import DataConfig
    from seqrl.tasks.captioning.evaluation import EvaluationConfig, evaluate_captions
    from seqrl.tasks.captioning.policies import CaptionPolicy, PolicyConfig, build_policy
    from seqrl.tasks.captioning.scenes import ScenesConfig
    from seqrl.tasks.captioning.task import CaptioningConfig, CaptioningTask
    from seqrl.tasks.writing.reward import CaptionReward, RewardConfig
    from seqrl.tasks.writing.vocabulary import TokenizerVocabulary, Vocabulary

__all__ = [
    "CaptionData",
    "CaptionPolicy",
    "CaptionReward",
    "CaptionSplit",
    "CaptioningConfig",
    "CaptioningTask",
    "DataConfig",
    "EvaluationConfig",
    "PolicyConfig",
    "RewardConfig",
    "ScenesConfig",
    "TokenizerVocabulary",
    "Vocabulary",
    "build_policy",
    "evaluate_captions",
    "load_data",
]

_MODULES = {
    "data": ("CaptionData", "CaptionSplit", "load_data"),
    "data_config": ("DataConfig",),
    "evaluation": ("EvaluationConfig", "evaluate_captions"),
    "policies": ("CaptionPolicy", "PolicyConfig", "build_policy"),
    "seqrl.tasks.writing.reward": ("CaptionReward", "RewardConfig"),
    "scenes": ("ScenesConfig",),
    "task": ("CaptioningConfig", "CaptioningTask"),
    "seqrl.tasks.writing.vocabulary": ("TokenizerVocabulary", "Vocabulary"),
}
__getattr__, __dir__ = imported_when_used(__name__, _MODULES)
