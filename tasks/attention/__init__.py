"""Recurrent attention: a policy that sees an image through glimpses and learns where to look."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seqrl.public_names import imported_when_used

if TYPE_CHECKING:
    from seqrl.tasks.attention.data import AttentionData as AttentionData
    from seqrl.tasks.attention.data import ImageSplit as ImageSplit
    from seqrl.tasks.attention.data import load_data as load_data
    from seqrl.tasks.attention.data_config import DataConfig as DataConfig
    from seqrl.tasks.attention.policy import GlimpsePolicy as GlimpsePolicy
    from seqrl.tasks.attention.policy import GlimpsePolicyConfig as GlimpsePolicyConfig
    from seqrl.tasks.attention.retina import Retina as Retina
    from seqrl.tasks.attention.task import AttentionConfig as AttentionConfig
    from seqrl.tasks.attention.task import AttentionTask as AttentionTask

__all__, __getattr__, __dir__ = imported_when_used(__name__)
