"""Image captioning: data, policies, decoding, rewards and evaluation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seqrl.public_names import imported_when_used

if TYPE_CHECKING:
    from seqrl.tasks.captioning.data import CaptionData as CaptionData
    from seqrl.tasks.captioning.data import CaptionSplit as CaptionSplit
    from seqrl.tasks.captioning.data import load_data as load_data
    from seqrl.tasks.captioning.data_config import DataConfig as DataConfig
    from seqrl.tasks.captioning.evaluation import EvaluationConfig as EvaluationConfig
    from seqrl.tasks.captioning.evaluation import evaluate_captions as evaluate_captions
    from seqrl.tasks.captioning.policies import CaptionPolicy as CaptionPolicy
    from seqrl.tasks.captioning.policies import PolicyConfig as PolicyConfig
    from seqrl.tasks.captioning.policies import build_policy as build_policy
    from seqrl.tasks.captioning.scenes import ScenesConfig as ScenesConfig
    from seqrl.tasks.captioning.task import CaptioningConfig as CaptioningConfig
    from seqrl.tasks.captioning.task import CaptioningTask as CaptioningTask
    from seqrl.tasks.writing.reward import CaptionReward as CaptionReward
    from seqrl.tasks.writing.reward import RewardConfig as RewardConfig
    from seqrl.tasks.writing.vocabulary import TokenizerVocabulary as TokenizerVocabulary
    from seqrl.tasks.writing.vocabulary import Vocabulary as Vocabulary

__all__, __getattr__, __dir__ = imported_when_used(__name__)
