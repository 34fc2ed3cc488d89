"""Pairs of texts: a prompt in, a reply out, scored as a whole. Translations, replies, responses to dialogue acts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seqrl.public_names import imported_when_used

if TYPE_CHECKING:
    from seqrl.tasks.text.data_config import DataConfig as DataConfig
    from seqrl.tasks.text.data_config import load_pairs as load_pairs
    from seqrl.tasks.text.evaluation import EvaluationConfig as EvaluationConfig
    from seqrl.tasks.text.pairs import Pairs as Pairs
    from seqrl.tasks.text.policy import PolicyConfig as PolicyConfig
    from seqrl.tasks.text.policy import build_policy as build_policy
    from seqrl.tasks.text.task import TextConfig as TextConfig
    from seqrl.tasks.text.task import TextTask as TextTask
    from seqrl.tasks.writing.reward import RewardConfig as RewardConfig

__all__, __getattr__, __dir__ = imported_when_used(__name__)
