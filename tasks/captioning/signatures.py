"""What the figures of a captioner's evaluation depend on; see `seqrl.metrics.signature`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from seqrl.metrics.signature import Signature, number_of_references, signature_of, written
from seqrl.tasks.captioning.data import CaptionSplit
from seqrl.tasks.captioning.evaluation import EvaluationConfig


def evaluation_signatures(
    names: Sequence[str], functions: Mapping[str, str], split: CaptionSplit, name: str, config: EvaluationConfig, tok: str, version: str
) -> dict[str, str]:
    """Describe the figures of an evaluation by metric: words alone, document frequencies of the references at hand, as published ones are.

    Args:
        names: of the metrics.
        functions: of one's own, `module:name` by the name of the figure.
        split: whose captions are scored.
        name: of the split.
        config: how captions are written, and of how many images; figures of beam search, under `beam/`, say how wide it was.
        tok: name of the tokenisation.
        version: of this package.
    """
    count = min(config.max_images or len(split), len(split))
    ways: dict[str, dict[str, object]] = {"": {}}
    if config.beam_size > 1:
        ways["beam/"] = {"beam": config.beam_size, "alpha": config.length_penalty}
        if config.temperature is not None:
            ways["beam/"]["temperature"] = config.temperature
    words = {"tok": tok, "nrefs": number_of_references(split.references[:count]), "version": version}
    shared = {**words, "text": tok, "df": name, "docs": count}
    figures = {f"{way}{metric}": str(signature_of(metric, **shared, **how)) for way, how in ways.items() for metric in names}  # type: ignore[arg-type]
    for way, how in ways.items():
        for figure, function in functions.items():
            fields = {"function": function, **words, **how}
            figures[f"{way}{figure}"] = str(
                Signature("function", {key: written(value) for key, value in fields.items() if value is not None})
            )
    return figures
