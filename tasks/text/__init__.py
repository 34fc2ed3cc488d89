"""Pairs of texts: a prompt in, a reply out, scored as a whole. Translations, replies, responses to dialogue acts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seqrl.public_names import imported_when_used

if TYPE_CHECKING:
    from seqrl.tasks.text.data_config import DataConfig, load_pairs
    from seqrl.tasks.text.evaluation import EvaluationConfig
    from seqrl.tasks.text.pairs import Pairs
    from seqrl.tasks.text.policy import PolicyConfig, build_policy
    from seqrl.tasks.text.task import TextConfig, TextTask
    from seqrl.tasks.writing.reward import RewardConfig

__all__ = [
    "DataConfig",
    "EvaluationConfig",
    "Pairs",
    "PolicyConfig",
    "RewardConfig",
    "TextConfig",
    "TextTask",
    "build_policy",
    "load_pairs",
]

_MODULES = {
    "data_config": ("DataConfig", "load_pairs"),
    "evaluation": ("EvaluationConfig",),
    "pairs": ("Pairs",),
    "policy": ("PolicyConfig", "build_policy"),
    "task": ("TextConfig", "TextTask"),
    "seqrl.tasks.writing.reward": ("RewardConfig",),
}
__getattr__, __dir__ = imported_when_used(__name__, _MODULES)
