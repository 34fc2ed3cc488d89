"""What the metrics of a reward and of an evaluation depend on; see `seqrl.metrics.signature`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from seqrl.metrics.by_name import metric_by_name, reads_document_frequency
from seqrl.metrics.signature import Signature, joined, number_of_references, signature_of, written
from seqrl.tasks.writing.reward import TextReward


def reward_signature(reward: TextReward, trainer: Mapping[str, object], version: str) -> str:
    """Describe what a sampled text earns: one signature for each metric of the mix, with what belongs to all of them in each.

    Args:
        reward: of the task.
        trainer: what its rewards are compared with, `base` and `samples`.
        version: of this package.
    """
    config, tok = reward.config, reward.vocabulary.tokenisation.name
    shared: dict[str, object] = {"version": version, "tok": tok, "nrefs": number_of_references(reward.references), **trainer}
    shared |= {"credit": "token"} if config.per_token else {}
    parts = [_signature("variety", {"weight": config.variety, "version": version, **trainer})] if config.variety else []
    if not reward.weights:
        own = reward.own
        assert own is not None
        several = len(own.names) > 1
        for place, (name, weight) in enumerate(zip(own.names, own.weights, strict=True)):
            parts.insert(place, _signature("function", {"weight": weight if several else None, "function": name, **shared}))
        return joined(parts)
    frequency = reward.frequency
    counted = {} if frequency is None else {"docs": frequency.num_images, "counts": frequency.fingerprint[:8]}
    # SPIDEr counts for itself, over the words of the same texts and without their ends.
    counts_itself = {"docs": len(reward.references)}
    shared |= {"text": tok, "end": config.score_end, "df": "file" if config.document_frequency else "train"}
    made = {name: metric_by_name(name, **config.settings[name]) if name in config.settings else name for name in reward.weights}
    mix = [
        signature_of(made[name], weight=weight, **(counted if reads_document_frequency(name) else counts_itself), **shared)  # type: ignore[arg-type]
        for name, weight in reward.weights.items()
    ]
    return joined([*mix, *parts])


# What settings of beam search are called in a signature.
_BEAM = {"beam_size": "beam", "length_penalty": "alpha", "temperature": "temperature"}


def evaluation_signatures(
    metrics: Mapping[str, Any],
    references: Sequence[Sequence[Any]],
    beam: Mapping[str, Any],
    *,
    tok: str,
    version: str,
    functions: Mapping[str, str] | None = None,
    **fields: Any,
) -> dict[str, str]:
    """Describe the metrics of an evaluation by their names.

    Args:
        metrics: by metric; a metric or its name.
        references: of what is scored.
        beam: settings of beam search, whose metrics stand under `beam/`; empty where there is none.
        tok: name of the tokenisation.
        version: of this package.
        functions: of one's own, `module:name` by metric.
        fields: more of the metrics, see `seqrl.metrics.signature.signature_of`.
    """
    shared: dict[str, Any] = {"tok": tok, "nrefs": number_of_references(references), "version": version}
    searched = {short: beam[name] for name, short in _BEAM.items() if beam.get(name) is not None}
    ways = {"": {}, "beam/": searched} if beam else {"": {}}
    corpus = fields | {"docs": len(references)}
    found = {
        f"{way}{value}": str(signature_of(metric, **shared, **corpus, **how))
        for way, how in ways.items()
        for value, metric in metrics.items()
    }
    for way, how in ways.items():
        for value, function in (functions or {}).items():
            found[f"{way}{value}"] = str(_signature("function", {"function": function, **shared, **how}))
    return found


def _signature(name: str, fields: Mapping[str, object]) -> Signature:
    return Signature(name, {key: written(value) for key, value in fields.items() if value is not None})
