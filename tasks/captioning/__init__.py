"""Image captioning: data, policies, decoding, rewards and evaluation."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tasks.captioning.data import CaptionData, CaptionSplit, load_data
    from tasks.captioning.data_config import DataConfig
    from tasks.captioning.decoding import beam_search, sample
    from tasks.captioning.evaluation import EvaluationConfig, evaluate_captions
    from tasks.captioning.policies import CaptionPolicy, PolicyConfig, build_policy
    from tasks.captioning.reward import CaptionReward, RewardConfig
    from tasks.captioning.scenes import ScenesConfig
    from tasks.captioning.task import CaptioningConfig, CaptioningTask
    from tasks.captioning.vocabulary import TokenizerVocabulary, Vocabulary

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
    "beam_search",
    "build_policy",
    "evaluate_captions",
    "load_data",
    "sample",
]

_NAMES = {
    "data": ("CaptionData", "CaptionSplit", "load_data"),
    "data_config": ("DataConfig",),
    "decoding": ("beam_search", "sample"),
    "evaluation": ("EvaluationConfig", "evaluate_captions"),
    "policies": ("CaptionPolicy", "PolicyConfig", "build_policy"),
    "reward": ("CaptionReward", "RewardConfig"),
    "scenes": ("ScenesConfig",),
    "task": ("CaptioningConfig", "CaptioningTask"),
    "vocabulary": ("TokenizerVocabulary", "Vocabulary"),
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
