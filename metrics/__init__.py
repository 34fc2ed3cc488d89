"""Metrics of text: strings, numpy and token ids only.

CiderD().score(["a dog runs", "a cat"], [["a dog runs fast", "the dog runs"], ["a cat sits"]])
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seqrl.metrics.bleu import Bleu as Bleu
    from seqrl.metrics.by_name import metric_by_name as metric_by_name
    from seqrl.metrics.cider import Cider as Cider
    from seqrl.metrics.cider import CiderD as CiderD
    from seqrl.metrics.cider import CiderR as CiderR
    from seqrl.metrics.document_frequency import DocumentFrequency as DocumentFrequency
    from seqrl.metrics.mix import MetricMix as MetricMix
    from seqrl.metrics.rouge import RougeL as RougeL
    from seqrl.metrics.sacre import SacreBleu as SacreBleu
    from seqrl.metrics.tokenize import ptb_tokenize as ptb_tokenize

_HOMES = {"Bleu": "bleu", "Cider": "cider", "CiderD": "cider", "CiderR": "cider", "DocumentFrequency": "document_frequency"}
_HOMES |= {"MetricMix": "mix", "RougeL": "rouge", "SacreBleu": "sacre", "metric_by_name": "by_name", "ptb_tokenize": "tokenize"}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    """Import what is public when it is first asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    return value


def __dir__() -> list[str]:
    """Name what is public beside what is there already."""
    return sorted({*globals(), *__all__})
