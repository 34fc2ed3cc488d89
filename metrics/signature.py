"""How a score was computed, as a line of text that travels with it and is read back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from seqrl.metrics.by_name import metric_by_name

# The order in which fields stand, and all that there are; docs/metrics.md explains them.
KEYS = tuple(
    """weight function tok text case end credit df docs counts nrefs n sigma repetition length relative clip smooth eff free beta nc nw
    space stem over slots model w prompt parameters weights synonyms beam alpha temperature base samples parser version""".split()
)
_BETWEEN_FIELDS, _BETWEEN_SIGNATURES = "|", " + "


@dataclass(frozen=True)
class Signature:
    """The name of a metric and the settings that its numbers depend on: `NAME|key:value|key:value`.

    Args:
        name: of the metric, as papers write it.
        fields: settings by key, see `KEYS`; they are brought into that order.

    Raises:
        ValueError: for an unknown key, or a text that could not be read back.

    Source: Post 2018 (A call for clarity in reporting BLEU scores), signatures; Hu et al. 2023 (A request for clarity over the end of
    sequence token in the self-critical sequence training), what a self-critical reward's has to say.
    Differs from: Hu et al. in keys before the values, in the end token of the reward and of the document frequencies apart, and in naming
    tokenisation, corpus and counts of the document frequencies.
    """

    name: str
    fields: Mapping[str, str]

    def __post_init__(self) -> None:
        if unknown := sorted(self.fields.keys() - set(KEYS)):
            raise ValueError(f"signature: there is no field {', '.join(unknown)}; known are {', '.join(KEYS)}")
        for text in (self.name, *self.fields.values()):
            if not text or _BETWEEN_FIELDS in text or _BETWEEN_SIGNATURES in text or text != " ".join(text.split()):
                raise ValueError(
                    f"signature: expected a text of one line without {_BETWEEN_FIELDS!r} and {_BETWEEN_SIGNATURES!r}, got {text!r}"
                )
        object.__setattr__(self, "fields", {key: self.fields[key] for key in KEYS if key in self.fields})

    def __str__(self) -> str:
        """Write it as one line."""
        return _BETWEEN_FIELDS.join([self.name, *(f"{key}:{value}" for key, value in self.fields.items())])


def parse(text: str) -> list[Signature]:
    """Read what `Signature` or `joined` wrote.

    Raises:
        ValueError: for a part that is no `key:value`, an unknown key or one that stands twice.
    """
    found = []
    for each in text.strip().split(_BETWEEN_SIGNATURES):
        name, *parts = each.split(_BETWEEN_FIELDS)
        fields: dict[str, str] = {}
        for part in parts:
            key, colon, value = part.partition(":")
            if not colon or key in fields:
                raise ValueError(f"signature: expected NAME|key:value|key:value with each key once, got {each[:200]!r}")
            fields[key] = value
        found.append(Signature(name, fields))
    return found


def joined(signatures: Iterable[Signature]) -> str:
    """Write the signature of a sum of scores, such as a mix of metrics."""
    return _BETWEEN_SIGNATURES.join(map(str, signatures))


def signature_of(
    metric: Any, *, version: str, tok: str = "ptb", text: str | None = None, end: bool = False, df: str = "references", **fields: Any
) -> Signature:
    """Describe a metric.

    A metric's own settings come from its attribute `described`: its name as papers write it, and settings by key; one without goes
    by its registered name or its class.

    Args:
        metric: a metric, or the name under which one is registered, see `seqrl.metrics.by_name`.
        version: of this package.
        tok: name of the tokenisation; metrics of text as it was written name their own.
        text: name of the tokenisation whose words, with spaces between, such metrics were given in place of that text.
        end: whether the end of a sentence counts as a word, in the score and in the document frequencies.
        df: where document frequencies come from, said of metrics that have them: "references" for those of the scored items, a split's
            name, or "file".
        fields: more of them; None leaves one out, and so do `docs` (number of items in the document frequencies) and `counts` (their
            fingerprint) for metrics without such.

    Raises:
        ValueError: for an unknown metric or key.
    """
    name = metric if isinstance(metric, str) else type(metric).__name__
    metric = metric_by_name(metric) if isinstance(metric, str) else metric
    label, own = getattr(metric, "described", (name, {}))
    # only n-grams of ids can count the end as a word; what scores words gets them without it
    end = end and not hasattr(metric, "prepare_words")
    if hasattr(metric, "document_frequency"):
        fields["df"] = f"{df}+end" if end else df
    else:
        fields = {key: value for key, value in fields.items() if key not in ("docs", "counts")}
    words = {"text": text} if getattr(metric, "reads_raw_text", False) else {"tok": tok, "end": end}
    given = {**words, **fields, **own, "version": version}
    return Signature(label, {key: written(value) for key, value in given.items() if value is not None})


def written(value: Any) -> str:
    """Write a setting: yes and no, numbers as Python does, all else as text."""
    return ("no", "yes")[value] if isinstance(value, bool) else str(value)


def number_of_references(references: Sequence[Sequence[Any]]) -> str:
    """Say how many references an item has: 5, or 1-5 where items differ."""
    counts = {len(each) for each in references}
    return "-".join(map(str, sorted({min(counts), max(counts)}))) if counts else "0"


def package_version(name: str = "seqrl") -> str:
    """Give the version of an installed package; "unknown" where it runs from a folder and is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "unknown"
