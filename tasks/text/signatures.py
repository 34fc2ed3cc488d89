"""How the figures of an evaluation are computed; see `seqrl.metrics.signature`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from seqrl.metrics.by_name import metric_by_name
from seqrl.metrics.signature import number_of_references, signature_of
from seqrl.tasks.text.data import TextSplit
from seqrl.tasks.text.evaluation import EvaluationConfig


def evaluation_signatures(
    names: Sequence[str], settings: Mapping[str, Mapping[str, Any]], split: TextSplit, config: EvaluationConfig, tok: str, version: str
) -> dict[str, str]:
    """Describe the metrics of an evaluation by the name of their figure, those of beam search under `beam/`.

    Args:
        names: of the metrics.
        settings: of metrics by name.
        split: whose replies are scored.
        config: how replies are written, and how many.
        tok: name of the tokenisation.
        version: of this package.
    """
    count = min(config.max_prompts or len(split), len(split))
    fields: dict[str, Any] = {"tok": tok, "nrefs": number_of_references(split.references[:count]), "df": split.name, "docs": count}
    ways: dict[str, dict[str, Any]] = {"": {}}
    if config.beam_size > 1:
        ways["beam/"] = {"beam": config.beam_size, "alpha": config.length_penalty}
    made = {name: metric_by_name(name, **settings[name]) if name in settings else name for name in names}
    return {
        f"{way}{name}": str(signature_of(metric, version=version, **fields, **how))
        for way, how in ways.items()
        for name, metric in made.items()
    }
